"""What trees cost themselves: their tables by level and by tree, how full they are, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.runs import AT_A_TIME
from inspector.mappings.select import covered
from inspector.memory.spans import merged
from inspector.radix.columns import U64, Root, Rows, Tables
from inspector.radix.slab import Slab
from inspector.radix.sweep import Sweep

PAGES = (12, 16)
"""log2 of the pages that a kernel takes memory by: of these tables are made, or many small ones in each."""


@dataclass(frozen=True, slots=True)
class LevelCost:
    """The tables of ``level`` (3 is the root): how many, their bytes, ``entries`` in those that could be read, how many
    of these are ``used`` (valid) and how many are leaves. ``empty`` tables have none in use; ``unreadable`` ones could
    not be read."""

    level: int
    tables: int
    nbytes: int
    entries: int
    used: int
    leaves: int
    empty: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class TreeCost:
    """The tables of one tree, each once a level however often it stands there. ``shared`` of them stand in other trees
    too; ``mapped`` is the bytes of address space that its leaves map."""

    root: Root
    tables: int
    nbytes: int
    shared: int
    mapped: int


@dataclass(frozen=True, slots=True)
class Cost:
    """All trees together. ``shared`` tables stand at several places, ``between`` of them in several trees, and
    ``outside`` not wholly in RAM. ``pages`` is how many pages the tables lie in, by log2 of the page size. ``mapped``
    is the bytes that all leaves map, at all their places."""

    levels: tuple[LevelCost, ...]
    mapped: int
    shared: int
    between: int
    outside: int
    pages: Mapping[int, int]

    @property
    def tables(self) -> int:
        """All tables."""
        return sum(each.tables for each in self.levels)

    @property
    def nbytes(self) -> int:
        """Their bytes."""
        return sum(each.nbytes for each in self.levels)


@dataclass(frozen=True, slots=True)
class Table:
    """One table at real ``address``: its level, how many entries it has, are valid, and are leaves.

    ``root`` is the tree in which it was found first and ``ea`` where it begins there, None where its places were left
    out of the sweep; ``references`` counts the places that it stands at."""

    address: int
    level: int
    entries: int
    used: int
    leaves: int
    references: int
    root: Root
    ea: int | None
    readable: bool


def cost(sweep: Sweep, ram: Sequence[tuple[int, int]]) -> Cost:
    """What the trees of a sweep cost. ``ram`` is the unbroken (start, end) of RAM, ascending."""
    tables = sweep.tables()
    shared = int(np.count_nonzero(tables.references > 1))
    return Cost(
        levels=tuple(_level(tables, level) for level in np.unique(tables.level)[::-1].tolist()),
        mapped=sum(slab.leaf_count << slab.shift for slab in sweep.slabs),
        shared=shared,
        between=sum(int(np.count_nonzero(_trees_of(slab) > 1)) for slab in sweep.slabs) if shared else 0,
        outside=int(np.count_nonzero(~covered(tables.address, tables.length.astype(np.uint64), ram))),
        pages={shift: _pages(tables, shift) for shift in PAGES},
    )


def by_tree(sweep: Sweep) -> list[TreeCost]:
    """The cost of each tree, the dearest first."""
    trees = len(sweep.roots)
    tables, nbytes, shared = (np.zeros(trees, np.int64) for _ in range(3))
    mapped = [0] * trees
    for slab in sweep.slabs:
        root, table = _stands(slab)
        here = np.bincount(root, minlength=trees)
        tables += here
        nbytes += here * (8 << slab.bits)
        shared += np.bincount(root[_trees_of(slab)[table] > 1], minlength=trees)
        # Exact below 2^53, and there are fewer leaves by far.
        leaves = np.bincount(slab.root, slab.leaves_at, trees).astype(np.int64)
        for tree in np.flatnonzero(leaves).tolist():
            mapped[tree] += int(leaves[tree]) << slab.shift
    order = np.lexsort((np.arange(trees), -nbytes)).tolist()
    return [
        TreeCost(sweep.roots[tree], int(tables[tree]), int(nbytes[tree]), int(shared[tree]), mapped[tree])
        for tree in order
    ]


def where(tables: Tables) -> tuple[U64, U64, NDArray[np.int64]]:
    """Where the tables lie: (start, end, how many tables begin there) of each unbroken stretch, ascending."""
    start, end = merged(tables.address, _end(tables))
    at = np.sort(tables.address)
    return start, end, np.searchsorted(at, end) - np.searchsorted(at, start)


def in_order(tables: Tables, by: str) -> Rows:
    """The rows in order of ``ea`` (and tree, the higher level first), real ``address``, or ``fill``, emptiest first."""
    down = -tables.level.astype(np.int8)
    if by == "address":
        return np.lexsort((down, tables.address))
    if by == "fill":
        return np.lexsort((tables.address, tables.fill / (tables.length >> np.uint32(3))))
    return np.lexsort((down, tables.offset, tables.root))


def rows(tables: Tables, order: Rows) -> Iterator[Table]:
    """These rows of the tables, one at a time."""
    for at in range(0, len(order), AT_A_TIME):
        part = order[at : at + AT_A_TIME]
        columns = (tables.address, tables.level, tables.length, tables.fill, tables.leaves, tables.references)
        more = (tables.root, tables.offset, tables.readable)
        for address, level, length, fill, leaves, references, root, offset, readable in zip(
            *(column[part].tolist() for column in (*columns, *more)), strict=True
        ):
            tree = tables.roots[root]
            ea = tree.base | offset if references else None
            yield Table(address, level, length >> 3, fill, leaves, references, tree, ea, readable)


def _level(tables: Tables, level: int) -> LevelCost:
    mine = tables.level == level
    length, fill, fine = tables.length[mine], tables.fill[mine], tables.readable[mine]
    return LevelCost(
        level,
        tables=len(length),
        nbytes=int(length.sum(dtype=np.uint64)),
        entries=int(length[fine].sum(dtype=np.uint64)) >> 3,
        used=int(fill.sum(dtype=np.uint64)),
        leaves=int(tables.leaves[mine].sum(dtype=np.uint64)),
        empty=int(np.count_nonzero(fine & (fill == 0))),
        unreadable=int(np.count_nonzero(~fine)),
    )


def _end(tables: Tables) -> U64:
    return tables.address + tables.length.astype(np.uint64)


def _pages(tables: Tables, shift: int) -> int:
    """How many pages of this size the tables have bytes in."""
    by = np.uint64(shift)
    first, end = merged(tables.address >> by, ((_end(tables) - np.uint64(1)) >> by) + np.uint64(1))
    return int((end - first).sum())


def _stands(slab: Slab) -> tuple[Rows, Rows]:
    """(tree, table) of each table in each tree that it stands in, once, however often it stands there."""
    if slab.table is None:
        return slab.root.astype(np.intp), np.arange(len(slab.address))
    both = np.unique(slab.table.astype(np.uint64) << np.uint64(32) | slab.root.astype(np.uint64))
    return (both & np.uint64(0xFFFF_FFFF)).astype(np.intp), (both >> np.uint64(32)).astype(np.intp)


def _trees_of(slab: Slab) -> NDArray[np.int64]:
    """In how many trees each table stands."""
    if slab.table is None:
        return np.ones(len(slab.address), np.int64)
    return np.bincount(_stands(slab)[1], minlength=len(slab.address))
