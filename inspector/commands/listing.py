"""Ranges in answers, as 'maps' tells them: whose they are, many of them at a time, and whether they are all."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.registry import Answered
from inspector.commands.scope import Unfinished
from inspector.spaces import Spaces
from inspector.trees import Tree

if TYPE_CHECKING:
    from inspector.mappings.gather import Gathered
    from inspector.mappings.ranges import Ranges
    from inspector.radix.columns import Bools, Columns

CUT = "there are more ranges than can be kept here, and the rest is left out; --pid N looks at fewer"


@dataclass(frozen=True, slots=True)
class AddressSpace(Answered):
    """The tree that the next answers are of."""

    topic: ClassVar[str] = "maps"
    tree: Tree


@dataclass(frozen=True, slots=True)
class RangeBlock(Answered):
    """Ranges, many at a time, and of each whether all of it is RAM. ``mixed`` where they are of several trees. In
    ``holes`` a KVM guest maps what the host has nothing behind: real addresses are then guest real."""

    topic: ClassVar[str] = "maps"
    ranges: Ranges
    in_ram: Bools
    mixed: bool = False
    holes: bool = False


def range_blocks(
    spaces: Spaces, shown: Ranges | Columns, first: int, end: int, *, mixed: bool = False, holes: bool = False
) -> Iterator[RangeBlock]:
    """The rows from ``first`` up to ``end``, some at a time: a million rows are never plain numbers together."""
    from inspector.mappings.ranges import Ranges, single
    from inspector.mappings.runs import AT_A_TIME
    from inspector.mappings.select import covered

    spans = spaces.ram.spans()
    for at in range(first, end, AT_A_TIME):
        part = shown.take(slice(at, min(at + AT_A_TIME, end)))
        ranges = part if isinstance(part, Ranges) else single(part)
        yield RangeBlock(ranges, covered(ranges.ra, ranges.size, spans), mixed, holes)


def put_together(spaces: Spaces, *, keep_partial: bool = False) -> Generator[Unfinished, None, Gathered]:
    """The ranges of ``spaces``, and on the way what makes them less than all, but for what was said of the sweep. With
    ``keep_partial`` Ctrl-C gives those so far."""
    found = spaces.gathered(keep_partial=keep_partial)
    if found.interrupted and not spaces.interrupted:
        yield Unfinished()
    if found.cut:
        yield Unfinished(CUT)
    return found
