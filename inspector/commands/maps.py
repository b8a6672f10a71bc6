"""``maps``: what is mapped, in ranges of pages that continue each other."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from inspector.commands import behind
from inspector.commands.behind import Listing
from inspector.commands.listing import CUT, AddressSpace, RangeBlock, put_together, range_blocks
from inspector.commands.notes import Aside, Note, limited
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import (
    Beside,
    Unfinished,
    beside,
    count,
    looked_at,
    scope_arguments,
    selection_arguments,
    selection_of,
)
from inspector.errors import UsageError
from inspector.mappings.order import ORDERS, first_rows
from inspector.radix.bits import KERNEL_PID
from inspector.spaces import Spaces

if TYPE_CHECKING:
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.select import Selection
    from inspector.radix.columns import Columns

PLURAL = {"leaf": "leaves", "range": "ranges", "hole": "holes"}
FORMATS = ("text", "debugfs")
A_SCREENFUL = 20
"""More ranges than these are summed up at the end."""
STREAMED = (
    "these tables are larger than can be kept here, so their ranges were put together while they were read; "
    "--leaves leaves out what is beyond that"
)
LEAVES_CUT = "these tables are larger than can be kept here, and leaves are left out; without --leaves all is told"


@dataclass(frozen=True, slots=True)
class InRegion(Answered):
    """The region of Linux's kernel addresses that the next answers are in, None where there is none."""

    topic: ClassVar[str] = "maps"
    region: str | None


@dataclass(frozen=True, slots=True)
class Sorted(Answered):
    """That the next answers are of all processes, by something else than their addresses. ``led_on`` where a KVM
    guest's own real addresses stand beside the host's, ``holes`` where they stand alone; ``behind`` where the answers
    are of partitions."""

    topic: ClassVar[str] = "maps"
    by: str
    led_on: bool = False
    holes: bool = False
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Total(Answered):
    """What all the ranges come to: of how many trees, how many leaves by log2 of their size. ``partial`` where there is
    more, that was not read or is left out; ``behind`` where the trees are those of partitions, and ``holes`` where the
    ranges have nothing behind them."""

    topic: ClassVar[str] = "maps"
    ranges: int
    processes: int
    leaves: tuple[tuple[int, int], ...]
    partial: bool
    behind: bool = False
    holes: bool = False

    @property
    def size(self) -> int:
        """Bytes mapped."""
        return sum(count << shift for shift, count in self.leaves)


Answer = AddressSpace | InRegion | Sorted | RangeBlock | Total | Listing | Aside | Beside


def _maps(session: Session, arguments: Namespace) -> Iterator[Answer]:
    limit = count(session, arguments.limit, "--limit")
    behind.check(arguments)
    selection = selection_of(session, arguments)
    if arguments.format == "debugfs":
        yield from _listed(session, arguments, selection, limit)
        return
    spaces = yield from looked_at(session, arguments, "current")
    if spaces is None:
        return
    findings, partial = spaces.sweep.findings, spaces.interrupted
    if arguments.holes:
        lacking = spaces.gathered_holes
        if lacking is None:
            raise UsageError("--holes are told of a KVM guest, and LPID 0 is the host itself; 'lpids' lists the guests")
        if lacking.cut:
            yield Unfinished(CUT)
        partial |= lacking.cut
        mapped: Ranges | Columns = lacking.ranges
    elif arguments.leaves:
        if spaces.too_large:
            yield Note(LEAVES_CUT)
            partial = True
        mapped = spaces.columns
    else:
        found = yield from put_together(spaces, keep_partial=True)
        mapped, findings = found.ranges, found.findings
        partial |= found.interrupted or found.cut
        if found.streamed:
            yield Note(STREAMED)
    looked_through = len(mapped)
    if not selection.everything:
        mapped = mapped.take(selection.mask(mapped))
    what = "hole" if arguments.holes else "leaf" if arguments.leaves else "range"
    shown = mapped.take(first_rows(mapped, arguments.sort, limit))
    if arguments.sort == "ea":
        empty_too = selection.everything and len(shown) == len(mapped) and not arguments.holes
        yield from _by_process(spaces, shown, empty_too, holes=arguments.holes)
    elif len(shown):
        yield Sorted(arguments.sort, shown.gra is not None, arguments.holes, arguments.partition)
        yield from range_blocks(spaces, shown, 0, len(shown), mixed=True, holes=arguments.holes)
    if len(mapped) > A_SCREENFUL:
        yield replace(_total(mapped, partial), behind=arguments.partition, holes=arguments.holes)
    if not len(mapped) and spaces.trees:
        yield Note(_nothing(spaces, arguments, selection, looked_through, what))
    elif len(shown) < len(mapped):
        yield limited(len(shown), len(mapped), PLURAL[what])
    if not arguments.holes:
        yield from behind.lacking(spaces, selection)
    yield from beside(spaces, findings)


def _listed(session: Session, arguments: Namespace, selection: Selection, limit: int | None) -> Iterator[Answer]:
    """What is behind one guest, as KVM lists it; all else is said aside."""
    before = looked_at(session, arguments, "current")
    while True:
        try:
            yield Aside(next(before))
        except StopIteration as ended:
            spaces: Spaces | None = ended.value
            break
    if spaces is not None:
        yield from behind.listing(spaces, selection, limit)


def _by_process(spaces: Spaces, shown: Ranges | Columns, empty_too: bool, *, holes: bool = False) -> Iterator[Answer]:
    """What is shown in order of address, each process after its name and the kernel's by region."""
    import numpy as np

    from inspector.linux.regions import by_region

    bounds = np.searchsorted(shown.root, np.arange(len(spaces.trees) + 1)).tolist()
    for number, tree in enumerate(spaces.trees):
        first, end = bounds[number], bounds[number + 1]
        if first < end or empty_too:
            yield AddressSpace(tree)
        if tree.pid != KERNEL_PID:
            yield from range_blocks(spaces, shown, first, end, holes=holes)
            continue
        for region, begin, stop in by_region(shown.take(slice(first, end)).ea):
            yield InRegion(None if region is None else region.name)
            yield from range_blocks(spaces, shown, first + begin, first + stop, holes=holes)


def _total(mapped: Ranges | Columns, partial: bool) -> Total:
    import numpy as np

    from inspector.mappings.ranges import Ranges

    def leaves(shift: int) -> int:
        there = mapped.shift == shift
        return int(mapped.count[there].sum()) if isinstance(mapped, Ranges) else int(np.count_nonzero(there))

    shifts = np.unique(mapped.shift)[::-1].tolist()
    processes = len(np.unique(mapped.root))
    return Total(len(mapped), processes, tuple((shift, leaves(shift)) for shift in shifts), partial)


def _nothing(spaces: Spaces, arguments: Namespace, selection: Selection, looked_through: int, what: str) -> str:
    """Why nothing is told, and a way on."""
    from inspector.mappings.select import can_be_mapped

    trees = spaces.trees
    of = "partitions" if arguments.partition else "processes"
    named = " and ".join(tree.name for tree in trees) if len(trees) <= 2 else f"{len(trees)} {of}"
    if not looked_through and what == "hole":
        return f"the host has something behind all that is mapped by {named}"
    if not looked_through:
        return f"no mapping was found: {named}"
    if selection.ea and not arguments.partition and not any(can_be_mapped(span) for span in selection.ea):
        return (
            "no process can map addresses there: effective addresses are below 2^52 in quadrant 0 (a process's) "
            "or in quadrant 3 (0xc…, the kernel's)"
        )
    whole = arguments.all or arguments.partition or (arguments.lpid is not None and arguments.pid is None)
    way = "" if whole else "; --all looks at every process"
    return f"none of {_counted(looked_through, what)} of {named} is as was asked{way}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else PLURAL[what]}"


def _maps_arguments(parser: Parser) -> None:
    scope_arguments(parser, "current")
    parser.add_argument("--leaves", action="store_true", help="each leaf by itself, not put together into ranges")
    parser.add_argument(
        "--sort", choices=ORDERS, default="ea", help="by address (this is so where nothing is said), or all processes' "
        "together by real address, or the largest first"
    )  # fmt: skip
    parser.add_argument("--limit", metavar="N", help="tell so many at most: the first in that order")
    parser.add_argument("--holes", action="store_true", help="what the guest of --lpid maps to nothing of the host's")
    parser.add_argument("--format", choices=FORMATS, default="text", help="debugfs: as KVM lists a --partition itself")
    selection_arguments(parser)


COMMANDS = (
    Command(
        "maps",
        "what is mapped, and where to",
        _maps,
        _maps_arguments,
        (
            Example("maps", "the kernel's mappings, and those of the process that the vCPU runs"),
            Example("maps --pid 0 --limit 10", "the first of the kernel's"),
            Example("maps --ea 0xc000000000002000", "the range that holds an address"),
            Example("maps --region ioremap", "what Linux has in a region of its addresses"),
            Example("maps --all --sort size --limit 10", "the largest ranges of all"),
            Example("maps --all --leaves --limit 20", "leaf by leaf"),
            Example("maps --all --user --rights w --page 64K", "what user mode may write, in pages of 64K"),
        ),
        "A range is pages of one size and with the same flags that continue each other. Its rights are the leaves' "
        "own, whoever asks: r, w, x, and p where only privileged code has them; then R (referenced) and C (changed). "
        "--rights asks for any of these letters, and u for user: ! is not, | or, & and, brackets as usual. "
        "What is wrong with a tree is told after the maps, and makes the exit status 1; in JSON, an object whose "
        '"oddity" is the cause. A note is an object with "note" alone. Ctrl-C while the tables are read tells what '
        'there is so far; in JSON, "unfinished" says so. '
        "On a bare machine, --lpid N tells what a KVM guest maps, led on to the host's memory: effective address, "
        "guest real, real. Rights are those that both stages allow, and pages as large as the smaller; --holes tells "
        "what has nothing behind it. --partition tells what the host has behind a guest's real addresses, and with "
        "--format debugfs in the very lines of KVM's debugfs file 'radix', for diff; all else then goes to standard "
        "error.",
    ),
)
