"""A whole tree, table by table: every leaf, every table page, and every oddity on the way.

The plain version, entry by entry. Each table is read once; a table that is reached again on its own path is a cycle
and is not entered.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inspector.errors import MemoryReadError
from inspector.radix import oddities
from inspector.radix.bits import (
    LEVEL_BITS,
    PDE_NLB,
    PDE_NLS,
    PTE_LEAF,
    PTE_RPN,
    PTE_VALID,
    RPDB_MASK,
    RPDS_MASK,
    TREE_BITS,
    tree_bits,
)

ReadBlock = Callable[[int, int], bytes]
"""Reads a length of bytes at a real address; raises MemoryReadError."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A valid leaf: ``offset`` is the EA below its quadrant, ``ra`` the page's real address, ``shift`` log2 of its
    size."""

    offset: int
    ra: int
    shift: int
    entry: int
    level: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the tree: its real address, length in bytes and level, and whether it could be read."""

    address: int
    length: int
    level: int
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Oddity:
    """Where a tree is not as it should be: the entry that leads there, and what is wrong with it."""

    cause: str
    reason: str
    offset: int


Found = Leaf | Table | Oddity


BUDGET = 1 << 22
"""At most this many tables and leaves of one tree are told: a tree may refer to one table any number of times."""


def walk_tree(read: ReadBlock, root: int, *, budget: int = BUDGET, once: set[int] | None = None) -> Iterator[Found]:
    """Everything in the tree that ``root`` (a process-table or partition-table entry) describes, in order of address.

    As the hardware does, a misaligned base loses its low bits; sizes that it refuses end that branch with an Oddity.
    With ``once``, a table whose address is in that set is passed over, and each table entered is added to it."""
    covered = tree_bits(root)
    if covered != TREE_BITS:
        yield Oddity(*oddities.tree_size(root, covered), 0)
        return
    walk = _TreeWalk(read, budget, once)
    yield from walk.table(root & RPDB_MASK, root & RPDS_MASK, 3, _Place(TREE_BITS, 0, (), oddities.root_name(root)))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a tree a table hangs: log2 of what it covers, from which EA, under which tables, and named by what."""

    covered: int
    offset: int
    above: tuple[int, ...]
    came_from: str


@dataclass(slots=True)
class _TreeWalk:
    """One walk over a whole tree."""

    read: ReadBlock
    budget: int
    once: set[int] | None

    def table(self, base: int, bits: int, level: int, place: _Place) -> Iterator[Found]:
        """The table at ``base`` and all below it."""
        came_from, offset = place.came_from, place.offset
        if level < 0:
            yield Oddity(*oddities.no_leaf(came_from), offset)
            return
        if bits not in LEVEL_BITS[level]:
            yield Oddity(*oddities.table_size(came_from, level, bits), offset)
            return
        length = 8 << bits
        if base % length:
            yield Oddity(*oddities.misaligned_base(came_from, base), offset)
            base -= base % length
        if base in place.above:
            yield Oddity(*oddities.cycle(came_from, base), offset)
            return
        if self.once is not None:
            if base in self.once:
                return
            self.once.add(base)
        if self.spent():
            yield Oddity(*oddities.too_large(came_from), offset)
            return
        try:
            data = self.read(base, length)
        except MemoryReadError as error:
            yield Table(base, length, level, readable=False)
            yield Oddity(*oddities.unreadable(came_from, base, error.slug, error.why), offset)
            return
        yield Table(base, length, level)
        if data.count(0) == length:
            return
        covered = place.covered - bits
        for index, entry in enumerate(struct.unpack(f">{1 << bits}Q", data)):
            if not entry & PTE_VALID:
                continue
            at = offset | index << covered
            if entry & PTE_LEAF:
                self.budget -= 1
                yield Leaf(at, entry & PTE_RPN & ~((1 << covered) - 1), covered, entry, level)
            else:
                name = oddities.entry_name(level, entry, base + 8 * index)
                below = _Place(covered, at, (*place.above, base), name)
                yield from self.table(entry & PDE_NLB, entry & PDE_NLS, level - 1, below)
            if self.budget < 0:
                return

    def spent(self) -> bool:
        """Whether the budget is used up; each table costs one."""
        self.budget -= 1
        return self.budget < 0
