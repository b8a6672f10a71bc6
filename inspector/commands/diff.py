"""``diff``: what is mapped otherwise than it was: between snapshots, marks, and the guest now."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.changes import Answer, Which, asked_for, told
from inspector.commands.notes import Note
from inspector.commands.registry import Command, Example, Parser, Session
from inspector.commands.roots import unlisted
from inspector.commands.scope import (
    Beside,
    Odd,
    count,
    looked_at,
    not_there,
    oddities,
    pids_of,
    scope_arguments,
    selection_arguments,
)
from inspector.commands.whose import lpid_of
from inspector.errors import UsageError
from inspector.trees import base_of

if TYPE_CHECKING:
    from inspector.moments import Moment

PARTLY_BEHIND = (
    "not all of what the host has behind this guest could be read, so that what is missing there is unseen, and not "
    "gone; --partition tells what is lacking"
)
LONGEST = 24 * 3600.0
"""Seconds that --run waits at most."""


@dataclass(frozen=True, slots=True)
class OfSide:
    """What should be known of one side of a comparison: ``side`` is "before", "after" or "both"."""

    topic: ClassVar[str] = "diff"
    side: str
    name: str
    of: Beside

    @property
    def ok(self) -> bool:
        """As what is said."""
        return self.of.ok


Looking = Generator[Beside | OfSide, None, "Moment | None"]


def _diff(session: Session, arguments: Namespace) -> Iterator[Answer | Beside | OfSide]:
    which = asked_for(session, arguments)
    limit = count(session, arguments.limit, "--limit")
    names: list[str] = arguments.moments
    if arguments.run is not None:
        if names:
            raise UsageError("--run compares the guest with itself, before and after; leave the other names out")
        before, after = yield from _ran(session, arguments, _seconds(arguments.run))
    elif len(names) > 2:
        raise UsageError(f"two are compared, not {len(names)}; name what was before, and what is after or nothing")
    else:
        if not names and not session.marks:
            raise UsageError(
                "diff wants to know what to hold it against: a snapshot's file, or a mark ('mark NAME' makes one)"
            )
        if len(names) < 2 and session.guest is None and session.reopen is None:
            raise UsageError("diff wants two files here, or a target before it, as in: inspector TARGET diff FILE")
        one = session.at if len(names) < 2 else None  # whether there is anything now is told before a file is read
        first = names[0] if names else next(reversed(session.marks))
        before = yield from _named(session, arguments, first, "before")
        if before is None:
            return
        after = yield from (_now(session, arguments) if one else _named(session, arguments, names[1], "after"))
    if before is None or after is None:
        return
    yield from _between(before, after)
    yield from told(before, after, which, limit, summary=arguments.summary, exit_code=arguments.exit_code)
    yield from _beside(session, arguments, before, after)


# -- what is compared -------------------------------------------------------------------------------------------------


def _now(session: Session, arguments: Namespace) -> Generator[Beside, None, Moment | None]:
    """What is mapped now; None where there is nothing to look at, or Ctrl-C ended it early, which is said."""
    from inspector.moments import Moment

    spaces = yield from looked_at(session, arguments, guests=True)
    return None if spaces is None or spaces.interrupted else Moment.of(spaces)


def _named(session: Session, arguments: Namespace, name: str, side: str) -> Looking:
    """The mark of this name, or what a file holds."""
    mark = session.marks.get(name)
    if mark is not None:
        lpid = None if arguments.lpid is None else lpid_of(session, arguments)
        if arguments.nested:
            raise UsageError(
                f"a mark does not hold the guests of LPID {lpid}'s own, but its processes and, with --partition, what "
                "the host has behind it; --run and snapshots ('record FILE') compare --nested"
            )
        if arguments.partition and lpid == 0:
            raise UsageError("a mark does not hold LPID 0's own partition-scoped tree; --run and snapshots compare it")
        if arguments.partition:
            mark = mark.partitions(lpid)
        elif lpid:
            if lpid not in mark.guests:
                raise UsageError(f"there was no KVM guest of LPID {lpid} at {name!r}; 'mark NAME' keeps those of now")
            mark = mark.guests[lpid]
        if arguments.pid is not None and not arguments.partition:
            mark = mark.only(pids_of(session, arguments.pid))
        return replace(mark, name=f"mark {name}")
    return (yield from _file(session, arguments, name, side))


def _file(session: Session, arguments: Namespace, name: str, side: str) -> Looking:
    """What the processes of a snapshot mapped. Words that found the tables of the target serve it too, where it does
    not know them itself. Raises UsageError where there is no such file."""
    import os

    from inspector.opening import DEMO, open_target

    if name.startswith("gdb:"):
        raise UsageError(f"{name} is live: make it the target, and name what was before, as in: {name} diff FILE")
    if name != DEMO and not name.startswith("raw:") and not os.path.exists(name):
        there = f"the marks are {', '.join(session.marks)}" if session.marks else "'mark NAME' makes a mark"
        raise UsageError(f"{name!r} is neither a mark nor a file; {there}")
    guest = session.guest
    with closing(open_target(name, progress=guest.progress if guest else None)) as opened:
        if guest is not None and opened.target.known_roots.process_table is None:
            opened.process_table_given = guest.process_table_given
            opened.symbols = guest.symbols
        looking = _now(Session(opened), arguments)
        while True:
            try:
                said = next(looking)
            except StopIteration as end:
                moment: Moment | None = end.value
                return moment
            yield OfSide(side, name, said)


def _ran(
    session: Session, arguments: Namespace, seconds: float
) -> Generator[Beside, None, tuple[Moment | None, Moment | None]]:
    """Before and after the guest has run so long. One that stands is stopped again whatever happens; one that runs is
    left running all the while. Ctrl-C ends the waiting early."""
    guest = session.at
    control = guest.control
    stood = not guest.running
    before = yield from _now(session, arguments)
    if before is None:
        return None, None
    began = time.monotonic()
    ended = ""
    try:
        guest.resume()
        ended = "it stopped by itself" if control.wait(seconds) else ""
    except KeyboardInterrupt:
        ended = "interrupted"
    finally:
        spent = time.monotonic() - began
        if stood and guest.running:
            control.interrupt()
    if ended:
        seconds = spent
        yield Note(f"{ended} after {spent:.1f} s: this is what changed until then")
    after = yield from _now(session, arguments)
    ran = f"{seconds:g} s" if seconds == int(seconds) else f"{seconds:.1f} s"
    return before, None if after is None else replace(after, name=f"{ran} later")


def _seconds(text: str) -> float:
    """How long to run: ``2``, ``0.5``, ``2s``. Raises UsageError."""
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"--run takes seconds, up to a day, as in --run 2, not {text!r}")
    return seconds


# -- what is said besides ---------------------------------------------------------------------------------------------


def _between(before: Moment, after: Moment) -> Iterator[Note]:
    """What should be known before the answers: whether these two belong together at all."""
    one, other = before.spaces, after.spaces
    if one.ram.spans() != other.ram.spans():
        yield Note(f"their RAM is not the same: {one.ram.total >> 20} MiB before, {other.ram.total >> 20} MiB after")
    if one.table[0] != other.table[0]:
        yield Note(
            f"their process tables are not at the same place ({one.table[0]:#x}, then {other.table[0]:#x}): "
            "is this one guest, and one boot of it?"
        )
    if one.changing:
        yield Note(f"the guest was running while {before.name} was taken: not all of it need belong to one moment")


def _beside(session: Session, arguments: Namespace, before: Moment, after: Moment) -> Iterator[Beside | OfSide]:
    """What is wrong with the trees of a side, or could not be read; what is so on both is said once."""
    there = {each.pid for moment in (before, after) for each in moment.spaces.trees}
    unreadable = {each.pid for moment in (before, after) for each in moment.spaces.absent if each.cause != "no-process"}
    seen = (before.spaces, after.spaces)
    whose = [*(each.lpid for of in seen for each in of.trees), *(each.lpid for of in seen for each in of.absent)]
    lpid = whose[0] if whose else session.value(arguments.lpid or "0")
    for pid in dict.fromkeys(pids_of(session, arguments.pid)):
        if pid not in there | unreadable:
            reason = f"the process-table entry of PID {pid} is empty on both sides: no address space has this PID"
            yield Odd(lpid, pid, base_of(pid), "no-process", reason)
    sides: list[list[Beside]] = []
    for moment in (before, after):
        spaces = moment.spaces
        odd: list[Beside] = [not_there(each) for each in spaces.absent if each.cause != "no-process"]
        if spaces.partly_behind:
            odd.append(Note(PARTLY_BEHIND))
        sides.append([*odd, *oddities(spaces, moment.findings), *unlisted(spaces.missed)])
    both = set(sides[0]) & set(sides[1])
    for side, moment, said in zip(("before", "after"), (before, after), sides, strict=True):
        for each in said:
            if each not in both:
                yield OfSide(side, moment.name, each)
            elif side == "before":
                yield OfSide("both", f"{before.name} and {after.name}", each)


# -- words ------------------------------------------------------------------------------------------------------------


def _diff_arguments(parser: Parser) -> None:
    parser.add_argument(
        "moments",
        nargs="*",
        metavar="FILE|MARK",
        help="what was before, and what is after it: a snapshot or a mark. Without the second, the target as it is "
        "now; without any, since the latest mark",
    )
    parser.add_argument("--run", metavar="SECONDS", help="let the guest run so long, stop it, and tell what changed")
    parser.add_argument(
        "--only", metavar="KIND,…", action="append", help=f"only changes of these kinds: {' '.join(Which.NAMES)}"
    )
    parser.add_argument("--limit", metavar="N", help="tell so many changes at most; all are counted")
    parser.add_argument("--summary", action="store_true", help="the counts alone")
    parser.add_argument("--exit-code", action="store_true", help="exit status 1 where anything differs")
    scope_arguments(parser)
    selection_arguments(parser)


COMMANDS = (
    Command(
        "diff",
        "what is mapped otherwise than before",
        _diff,
        _diff_arguments,
        (
            Example("diff demo", "from a snapshot to what the target is now"),
            Example("diff demo demo --summary", "between two snapshots: counts alone"),
            Example("diff demo --only touched --user --limit 10", "what user mode touched since"),
            Example("diff --run 2 --only touched", "what the guest touches in two seconds"),
            Example("diff --run 1 --pid 0 --only tables", "table pages that the kernel takes in one"),
        ),
        "Two snapshots need no target: inspector diff A.core B.core. In a session, 'mark NAME' keeps a moment and "
        "'diff NAME' tells what changed since; a file whose name is a mark's too is written ./NAME. "
        "Mappings are added (+), removed (-) or changed (~): moved to another real address, of other rights, "
        "attribute or page size (split or joined, the memory being the same), touched (a reference or change bit is "
        "newly set; those of a new page count), cleared (one was, as by ageing), software (bits that are the kernel's "
        "own) or reserved. Unseen (?) is what is mapped on one side where the tables of the other could not be read. "
        "Of a bare machine, what its hypervisor has behind its KVM guests is compared too (--partition: that alone). "
        "The conditions below hold for a change when they hold for one of its sides. PIDs came, went, or were "
        "replaced: another process has the PID. --run lets the guest run because you ask so, and leaves it as it was "
        "found. The exit status is 0 whether anything differs or not, but for --exit-code. In JSON a change has "
        '"change", a table page "table", a PID "process", and the counts, which come last, "summary".',
    ),
)
