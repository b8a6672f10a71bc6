"""Which address spaces a command looks at, and which of their mappings: the words that many commands share."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from inspector.commands.notes import Note, if_changing
from inspector.commands.registry import Parser, Session
from inspector.commands.roots import RootsFound, Unlisted, current_pids, unlisted
from inspector.commands.whose import NESTED, lpid_of, nested_of, number, whose_guest
from inspector.errors import UsageError
from inspector.partitions import made, partition_table
from inspector.radix.bits import KERNEL_PID
from inspector.spaces import Absent, Spaces
from inspector.trees import base_of

if TYPE_CHECKING:
    from inspector.mappings.select import Selection, Span
    from inspector.partitions import Partition
    from inspector.radix.columns import Findings, SweepOddity

EVERY_PROCESS = Namespace(pid=None, all=True, lpid=None, nested=None, partition=False)
"""What :func:`looked_at` is asked by a command that has no such words."""
Which = Literal["current", "all"]
"""What is looked at where nothing is said: the kernel and the process that the vCPU runs, or every process."""
ODDITIES_TOLD = 32
"""Oddities of one cause in one tree that are told one by one; the others are counted."""
SEPARATORS = ("..", ":")
"""What stands between two addresses, and between an address and a length."""


@dataclass(frozen=True, slots=True)
class Odd:
    """Where a tree is not as it should be: that of ``pid``, or (None) the partition-scoped one of ``lpid``. ``more``
    counts others of the same cause that are not told."""

    topic: ClassVar[str] = "scope"
    lpid: int
    pid: int | None
    ea: int
    cause: str
    reason: str
    more: int = 0

    @property
    def ok(self) -> bool:
        """A finding."""
        return False


@dataclass(frozen=True, slots=True)
class Unfinished:
    """That Ctrl-C ended the reading of the tables: what is told is not all."""

    topic: ClassVar[str] = "scope"
    text: str = "interrupted: only what was read until then is told here, and there may be more"

    @property
    def ok(self) -> bool:
        """A finding: the answer is not whole."""
        return False


Beside = Odd | Unlisted | RootsFound | Note | Unfinished
"""What may have to be said besides the answers."""


# -- address spaces ----------------------------------------------------------------------------------------------------


def scope_arguments(parser: Parser, which: Which = "all") -> None:
    """``--pid N`` (more than once) and ``--all``, ``--partition`` and ``--lpid N``."""
    default = "" if which == "current" else " (this is so where nothing is said)"
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--pid", metavar="N", action="append", help="of the process with this radix PID; 0 is the kernel"
    )
    group.add_argument("--all", action="store_true", help=f"of every process that the process table has{default}")
    parser.add_argument(
        "--partition", action="store_true", help="what the host has behind the KVM guest of --lpid, or behind all"
    )
    parser.add_argument("--lpid", metavar="N", help="of the KVM guest with this LPID, led on to the host's memory")
    parser.add_argument("--nested", metavar="PTCR:N", help=NESTED)


def looked_at(
    session: Session, arguments: Namespace, which: Which = "all", *, composed: bool = True, guests: bool = False
) -> Generator[Beside, None, Spaces | None]:
    """Sweep what ``arguments`` ask for; None where there are no radix tables to sweep. A KVM guest's processes are
    led on to the host's memory, unless ``composed`` is False. ``guests`` adds what the host has behind its KVM guests
    to all its own processes; ``--partition`` without ``--lpid`` asks for that alone.

    On the way it yields what should be known before the answers; what is wrong with the trees is told by
    :func:`oddities`, and what could not be listed by :func:`unlisted`, after them. Raises UsageError."""
    guest = session.at
    if arguments.partition and (arguments.pid is not None or arguments.all):
        raise UsageError(
            "--partition is what lies behind a whole guest, whatever its processes are; leave --pid and --all out, or "
            "leave --partition out for what they map"
        )
    yield from if_changing(guest)
    if guest.roots.state != "radix" and not (arguments.partition and made(guest)):
        yield RootsFound(guest.roots, ())
        return None
    lpid = lpid_of(session, arguments)
    nested = nested_of(session, arguments)
    if nested:
        yield whose_guest(lpid, nested)
    if arguments.partition:
        every = arguments.lpid is None
        if every and not made(guest):
            partition_table(guest)  # refused where the hypervisor is out of sight
        spaces = guest.spaces(
            lpid=lpid, nested=nested, partition=True, composed=composed, guests=every, keep_partial=True
        )
        if every and not spaces.trees:
            yield Note("the partition table has no KVM guest of radix trees; 'lpids' lists what it has")
        if spaces.interrupted:
            yield Unfinished()
        return spaces
    pids: list[int] | None = None
    if arguments.pid is not None:
        pids = pids_of(session, arguments.pid)
    elif which == "current" and not arguments.all and not lpid:
        pids = [KERNEL_PID]
        current = [pid for pid, cpus in current_pids(guest).items() if guest.cpu in cpus]
        if guest.running:
            yield Note("while it runs, its PID is not known: only the kernel's maps are told; --pid N tells others'")
        elif not current:
            yield Note("the vCPU runs no known process of this table, so only the kernel's maps are told; see 'pids'")
        pids += [pid for pid in current if pid != KERNEL_PID]
    if lpid and pids is None and not guest.partition(lpid, nested).registered:
        yield Note(f"{guest.partition(lpid, nested).unregistered}; --partition tells what is behind those")
    more = guests and pids is None and not lpid
    spaces = guest.spaces(pids, lpid=lpid, nested=nested, composed=composed, guests=more, keep_partial=True)
    if spaces.interrupted:
        yield Unfinished()
    return spaces


def tables_within(session: Session, arguments: Namespace) -> Partition | None:
    """The KVM guest whose memory the tables lie in that are asked about; None where it is the host's."""
    lpid, nested = lpid_of(session, arguments), nested_of(session, arguments)
    if arguments.partition:
        return session.at.partition(lpid) if nested else None
    return session.at.partition(lpid, nested) if lpid else None


def pids_of(session: Session, texts: Sequence[str] | None) -> list[int]:
    """The radix PIDs that ``--pid`` gives. Raises UsageError."""
    return [number(session, text, "--pid", "a radix PID", "'pids' lists those there are") for text in texts or ()]


def oddities(spaces: Spaces, findings: Findings | None = None, most: int = ODDITIES_TOLD) -> Iterator[Odd]:
    """What is wrong with the trees, ``most`` of a cause and tree one by one. Sharing of tables is none: 'tables' and
    'audit' tell of it. ``findings`` are the sweep's where no others are given."""
    findings = findings or spaces.sweep.findings
    each_told = Counter(odd.cause for odd in findings.told)
    beyond = {cause: findings.counts[cause] - told for cause, told in each_told.items()}
    of_cause: dict[tuple[int, str], list[SweepOddity]] = {}
    for odd in sorted(findings.told, key=lambda odd: (odd.root, odd.offset)):
        if not odd.cause.startswith("shared"):
            of_cause.setdefault((odd.root, odd.cause), []).append(odd)
    told = {id(odd) for odds in of_cause.values() for odd in odds[:most]}
    last = {id(odds[:most][-1]): len(odds) - most for odds in of_cause.values() if len(odds) > most}
    for odd in sorted((odd for odds in of_cause.values() for odd in odds), key=lambda odd: (odd.root, odd.offset)):
        if id(odd) in told:
            root = spaces.roots[odd.root]
            # Those that were not kept one by one are not known by tree: they are told with the first tree's.
            more = last.get(id(odd), 0) + (beyond.pop(odd.cause, 0) if id(odd) in last else 0)
            yield Odd(root.lpid, root.pid, root.base | odd.offset, odd.cause, odd.reason, more)


def not_there(absent: Absent) -> Odd:
    """That what was asked for has no tree."""
    return Odd(absent.lpid, absent.pid, base_of(absent.pid), absent.cause, absent.reason)


def beside(spaces: Spaces, findings: Findings | None = None) -> Iterator[Beside]:
    """All that should be known after the answers: PIDs that are not there, oddities, and what could not be listed."""
    yield from map(not_there, spaces.absent)
    yield from oddities(spaces, findings)
    yield from unlisted(spaces.missed)


# -- selection ---------------------------------------------------------------------------------------------------------


def selection_arguments(parser: Parser) -> None:
    """The conditions of :class:`inspector.mappings.select.Selection`, all of which must hold."""
    group = parser.add_argument_group("only mappings that")
    span = "ADDR[:LEN|..END]"
    group.add_argument("--ea", metavar=span, action="append", help="touch this effective address, or any of a range")
    group.add_argument("--ra", metavar=span, action="append", help="the same of the real address")
    group.add_argument("--region", metavar="NAME", action="append", help="lie in this region of Linux's, as 'vmalloc'")
    group.add_argument("--page", metavar="SIZE", action="append", help="are of this page size: 4K 64K 2M 1G")
    group.add_argument("--rights", metavar="EXPR", help="allow this: w&x  !r  u(w|x)  pC  (see below)")
    who = group.add_mutually_exclusive_group()
    who.add_argument("--user", action="store_true", help="are for user mode")
    who.add_argument("--privileged", action="store_true", help="are for privileged code only")
    group.add_argument("--attribute", metavar="NAME", action="append", help="have this memory attribute, as 'tolerant'")
    referenced = group.add_mutually_exclusive_group()
    referenced.add_argument("--referenced", action="store_true", help="have the reference bit set")
    referenced.add_argument("--unreferenced", action="store_true", help="have it clear")
    changed = group.add_mutually_exclusive_group()
    changed.add_argument("--changed", action="store_true", help="have the change bit set")
    changed.add_argument("--unchanged", action="store_true", help="have it clear")


def selection_of(session: Session, arguments: Namespace) -> Selection:
    """The conditions that ``arguments`` give; the PIDs are not among them. Raises UsageError, ExpressionError."""
    from inspector.linux.regions import region_named
    from inspector.mappings.rights import parse
    from inspector.mappings.select import Selection, attribute, both, page_shift

    if arguments.rights is not None:
        parse(arguments.rights)  # a wrong one is told before anything is read
    regions = [(each.start, each.end) for each in map(region_named, arguments.region or ())]
    eas = [span(session, text) for text in arguments.ea or ()]
    if eas and regions and not both(eas, regions):
        raise UsageError("no address that --ea names lies in the --region named; leave one of the two out")
    return Selection(
        ea=both(eas, regions),
        ra=[span(session, text) for text in arguments.ra or ()],
        shifts={page_shift(text) for text in arguments.page or ()},
        rights=arguments.rights,
        privileged=_either(arguments.privileged, arguments.user),
        attributes={attribute(text) for text in arguments.attribute or ()},
        referenced=_either(arguments.referenced, arguments.unreferenced),
        changed=_either(arguments.changed, arguments.unchanged),
    )


def _either(yes: bool, no: bool) -> bool | None:
    return True if yes else False if no else None


def span(session: Session, text: str) -> Span:
    """(first address, one past the last) of ``ADDR``, ``ADDR:LEN`` or ``ADDR..END``. Raises UsageError."""
    for separator in SEPARATORS:
        first, found, other = text.partition(separator)
        if not found:
            continue
        if not (first.strip() and other.strip()):
            raise UsageError(f"{text!r} lacks one of its ends; write it as ADDR:LEN or ADDR..END")
        start, value = session.value(first), session.value(other)
        if other.strip().startswith("-"):
            raise UsageError(f"{text!r} ends below 0; write it as ADDR:LEN or ADDR..END")
        end = value if separator == ".." else start + value
        if end <= start:
            raise UsageError(f"{text!r} is an empty range; write it as ADDR:LEN or ADDR..END, END being past the last")
        return start, end
    start = session.value(text)
    return start, start + 1


def count(session: Session, text: str | None, option: str, otherwise: str = "all") -> int | None:
    """A count that an option gives, None where it does not; without it there are ``otherwise``. Raises UsageError for
    a negative one."""
    return None if text is None else number(session, text, option, "a count", f"leave it out for {otherwise}")
