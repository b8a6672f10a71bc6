"""``maps``: what is mapped, in runs of pages that continue each other."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.roots import unlisted
from inspector.commands.scope import (
    Beside,
    Odd,
    count,
    looked_at,
    oddities,
    scope_arguments,
    selection_arguments,
    selection_of,
)
from inspector.spaces import effective

if TYPE_CHECKING:
    from inspector.mappings.runs import Run


@dataclass(frozen=True, slots=True)
class AddressSpace(Answered):
    """The tree that the next answers are of. ``entry`` is its process-table entry."""

    topic: ClassVar[str] = "maps"
    lpid: int
    pid: int
    entry: int


@dataclass(frozen=True, slots=True)
class Mapped(Answered):
    """One run of pages, and whether all of it is RAM."""

    topic: ClassVar[str] = "maps"
    run: Run
    in_ram: bool


Answer = AddressSpace | Mapped | Beside


def _maps(session: Session, arguments: Namespace) -> Iterator[Answer]:
    from inspector.mappings.ranges import single
    from inspector.mappings.runs import runs_of

    limit = count(session, arguments.limit, "--limit")
    selection = selection_of(session, arguments)
    spaces = yield from looked_at(session, arguments, "current")
    if spaces is None:
        return
    if arguments.leaves:
        columns = spaces.columns
        ranges = single(columns if selection.everything else columns.take(selection.mask(columns)))
    else:
        ranges = spaces.ranges
        ranges = ranges if selection.everything else ranges.take(selection.mask(ranges))
    told = 0
    for number, process in enumerate(spaces.processes):
        mine = ranges.take(ranges.root == number)
        if selection.everything or len(mine):
            yield AddressSpace(0, process.pid, process.entry)
        for run in runs_of(mine):
            if told == limit:
                yield from oddities(spaces, process.pid)
                yield Note(f"there is more than the {limit} told here; --limit N tells more")
                return
            told += 1
            yield Mapped(run, spaces.ram.covers(run.ra, run.size))
        yield from oddities(spaces, process.pid)
    for absent in spaces.absent:
        yield Odd(0, absent.pid, effective(absent.pid, 0), absent.cause, absent.reason)
    yield from unlisted(spaces.missed)


def _maps_arguments(parser: Parser) -> None:
    scope_arguments(parser, "current")
    parser.add_argument("--leaves", action="store_true", help="each leaf by itself, not put together into runs")
    parser.add_argument("--limit", metavar="N", help="tell so many at most")
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
            Example("maps --all --leaves --limit 20", "leaf by leaf"),
            Example("maps --all --user --rights w --page 64K", "what user mode may write, in pages of 64K"),
        ),
        "A run is pages of one size and with the same flags that continue each other. Its rights are the leaves' own, "
        "whoever asks: r, w, x, and p where only privileged code has them; then R (referenced) and C (changed). "
        "--rights asks for any of these letters, and u for user: ! is not, | or, & and, brackets as usual. "
        "What is wrong with a tree is told after its maps, and makes the exit status 1; in JSON, an object whose "
        '"oddity" is the cause. A note is an object with "note" alone.',
    ),
)
