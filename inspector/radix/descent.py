"""The way down through trees, level by level: which tables are entered, and what is odd about the others.

The checks, their order and their words are those of :func:`inspector.radix.tree.walk_tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inspector.errors import MemoryReadError
from inspector.radix import oddities
from inspector.radix.bits import LEVEL_BITS, PDE_NLB, PDE_NLS, RPDB_MASK, TREE_BITS, tree_bits
from inspector.radix.columns import U32, U64, Bools, Findings, Limits, Root, Rows, SweepOddity
from inspector.radix.reading import TableReader
from inspector.radix.sharing import repeats
from inspector.radix.slab import Slab

Say = Callable[[str, int, int], tuple[str, str]]
Progress = Callable[[int, int, int], None]
"""Told the level, how many of its tables are read, and how many it has; the root's level is 3, the last 0."""


@dataclass(frozen=True, slots=True)
class _Frontier:
    """Tables that are to be entered: a tree's index, the offset they begin at, the place above, the entry that leads
    there, and their base where it has been aligned."""

    root: U32
    offset: U64
    parent: NDArray[np.int32]
    entry: U64

    def __len__(self) -> int:
        return len(self.entry)

    def take(self, rows: Bools | Rows | slice) -> _Frontier:
        return _Frontier(self.root[rows], self.offset[rows], self.parent[rows], self.entry[rows])

    @property
    def base(self) -> U64:
        return self.entry & np.uint64(PDE_NLB)

    @property
    def size(self) -> U64:
        """The next-level size field: log2 of entries."""
        return self.entry & np.uint64(PDE_NLS)


@dataclass
class Descent:
    """The way down: what a sweep has found and may still spend. ``stream_tables`` cuts the last level into slabs of so
    many tables."""

    roots: tuple[Root, ...]
    limits: Limits
    reader: TableReader
    progress: Progress | None
    keep_partial: bool
    stream_tables: int | None = None
    above: list[Slab] = field(default_factory=list)
    """The slab of each level above this one, the root's first."""

    def __post_init__(self) -> None:
        self.findings = Findings(self.limits.oddities)
        self.interrupted = False
        self.tables_left = self.limits.tables
        self.leaves_left = self.limits.leaves
        self.uncounted: list[Slab] = []
        self.bytes_left = self.limits.table_bytes
        self.level_tables = self.level_read = 0

    # -- oddities --------------------------------------------------------------------------------------------------

    def odd(
        self, frontier: _Frontier, level: int, which: Rows, say: Callable[[str, int, int], tuple[str, str]]
    ) -> None:
        """Tell of the tables led to by these rows. ``say`` makes (cause, reason) of the name of the entry that leads
        there, the base it gives and its size field."""
        for told, row in enumerate(which.tolist()):
            entry, offset, parent = (int(each[row]) for each in (frontier.entry, frontier.offset, frontier.parent))
            address = None
            came_from = oddities.root_name(entry)
            if level < 3:
                upper = self.above[2 - level]
                index = (offset - int(upper.offset[parent])) >> upper.shift
                address = int(upper.address[upper.table_at(np.array([parent]))[0]]) + 8 * index
                came_from = oddities.entry_name(level + 1, entry, address)
            cause, reason = say(came_from, entry & PDE_NLB, entry & PDE_NLS)
            root = int(frontier.root[row])
            if not self.findings.add(SweepOddity(cause, reason, root, offset, level, entry, address)):
                self.findings.counts[cause] += len(which) - told - 1
                return

    # -- levels ----------------------------------------------------------------------------------------------------

    def slabs(self) -> Iterator[Slab]:
        """The slabs, from the root down; each is read when it is given."""
        frontier = self._roots()
        for level in (3, 2, 1, 0):
            frontier = self._judge(frontier, level)
            if not len(frontier) or self.interrupted:
                return
            self.level_tables, self.level_read = len(frontier), 0
            self._tell_read(level, 0)
            bits = frontier.size
            for size in LEVEL_BITS[level]:
                mine = bits == np.uint64(size)
                part = frontier if mine.all() else frontier.take(mine)
                if len(part):
                    yield from self._groups(part, level, size)
            if level:
                if len(self.above) < 4 - level:
                    return
                frontier = self._below(self.above[3 - level], level - 1, self.tables_left)

    def _tell_read(self, level: int, more: int) -> None:
        """Count tables of this level that were read. Shared ones are read once, so the level may end before all."""
        self.level_read += more
        if self.progress is not None:
            self.progress(level, self.level_read, self.level_tables)

    def _groups(self, frontier: _Frontier, level: int, bits: int) -> Iterator[Slab]:
        """The slab of these tables, or several of the last level's where they are streamed."""
        shift = (self.above[-1].shift if self.above else TREE_BITS) - bits
        base = frontier.base & ~np.uint64((8 << bits) - 1)
        for address, table, where in _distinct(base, None if level else self.stream_tables):
            here = frontier if where is None else frontier.take(where)
            slab = Slab(self.roots, level, bits, shift, here.root, here.offset, here.parent, table, address)
            afford = self.bytes_left // (8 << bits)
            if afford < len(address):
                kept = slab.cut_tables(afford)
                self.odd(here, level, np.flatnonzero(~kept)[:1], _too_large)
                here = here.take(kept)
            self.bytes_left -= len(slab.address) * (8 << bits)
            left = slab.read(self.reader, self.keep_partial, partial(self._tell_read, level))
            if left is not None:
                here = here.take(left)
                self.interrupted = True
            self._judge_read(slab, here, level)
            self.above.append(slab)
            if level == 0 and slab.directories.any():
                below = self._below(slab, -1, self.limits.oddities)
                self.odd(below, -1, np.arange(len(below)), _no_leaf)
                count = slab.directories if slab.table is None else slab.directories[slab.table]
                self.findings.counts["no-leaf"] += int(count.sum()) - len(below)
            if level == 0:
                self.above.pop()
            yield slab
            if self.interrupted:
                return

    def _roots(self) -> _Frontier:
        """The root tables of the trees that have the size that the processors take."""
        fine = []
        for index, each in enumerate(self.roots):
            covered = tree_bits(each.descriptor)
            if covered == TREE_BITS:
                fine.append(index)
                continue
            cause, reason = oddities.tree_size(each.descriptor, covered)
            self.findings.add(SweepOddity(cause, reason, index, 0, 3, each.descriptor, None))
        assert RPDB_MASK == PDE_NLB, "roots and directories are read alike"
        return _Frontier(
            np.array(fine, np.uint32),
            np.zeros(len(fine), np.uint64),
            np.full(len(fine), -1, np.int32),
            np.array([self.roots[index].descriptor for index in fine], np.uint64),
        )

    def _judge(self, frontier: _Frontier, level: int) -> _Frontier:
        """Those that may be entered; oddities for the others. The checks and their order are those of walk_tree."""
        sizes = frontier.size
        fits = np.isin(sizes, np.array(LEVEL_BITS[level], np.uint64))
        if not fits.all():
            self.odd(
                frontier,
                level,
                np.flatnonzero(~fits),
                lambda came_from, _base, size: oddities.table_size(came_from, level, size),
            )
            frontier = frontier.take(fits)
        low = (np.uint64(8) << frontier.size) - np.uint64(1)
        base = frontier.base
        stray = base & low != 0
        if stray.any():
            self.odd(frontier, level, np.flatnonzero(stray), _misaligned)
            base &= ~low
        again = self._again(base, frontier.parent)
        if again.any():
            self.odd(frontier, level, np.flatnonzero(again), _cycle)
            frontier = frontier.take(~again)
        if len(frontier) > self.tables_left:
            self.odd(frontier, level, np.array([self.tables_left]), _too_large)
            frontier = frontier.take(slice(self.tables_left))
        self.tables_left -= len(frontier)
        return frontier

    def _again(self, base: U64, parent: NDArray[np.int32]) -> Bools:
        """Which of these tables stand below themselves."""
        again = np.zeros(len(base), np.bool_)
        at: Rows = parent.astype(np.intp)
        for upper in reversed(self.above):
            again |= upper.address[upper.table_at(at)] == base
            at = upper.parent[at].astype(np.intp)
        return again

    def _judge_read(self, slab: Slab, frontier: _Frontier, level: int) -> None:
        """Tell of tables that could not be read, and leave out what is beyond the limit of leaves."""
        if slab.errors:
            places = np.flatnonzero(~(slab.readable if slab.table is None else slab.readable[slab.table]))
            for place, table in zip(places.tolist(), slab.table_at(places).tolist(), strict=True):
                error, base = slab.errors[table], int(slab.address[table])
                if self.findings.counts[f"table-{error.slug}"] < self.limits.oddities:
                    self.odd(frontier, level, np.array([place]), partial(_unreadable, error, base))
                else:
                    self.findings.counts[f"table-{error.slug}"] += 1
        self._afford(slab, frontier, level)

    def _afford(self, slab: Slab, frontier: _Frontier, level: int) -> None:
        """Leave out the places whose leaves are beyond the limit. They are counted only where they might be too many,
        for that costs a pass over the tables."""
        most = len(slab.offset) << slab.bits
        if most <= self.leaves_left and self.stream_tables is None:
            self.uncounted.append(slab)
            self.leaves_left -= most
            return
        self.leaves_left += sum((len(each.offset) << each.bits) - each.leaf_count for each in self.uncounted)
        self.uncounted.clear()
        ends = np.cumsum(slab.leaves_at)
        total = int(ends[-1]) if len(ends) else 0
        if total > self.leaves_left:
            keep = int(np.searchsorted(ends, self.leaves_left, side="right"))
            self.odd(frontier, level, np.array([keep]), _too_large)
            slab.cut_places(keep)
            total = int(ends[keep - 1]) if keep else 0
        self.leaves_left -= total

    def _below(self, slab: Slab, level: int, most: int) -> _Frontier:
        """What the directories of this slab lead to at every place that it stands at, ``most`` of them; that there are
        more is told, but of the last level's, which are told anyway."""
        place, index, entry = slab.directory_entries(most + 1)
        offset = slab.offset[place] + (index.astype(np.uint64) << np.uint64(slab.shift))
        found = _Frontier(slab.root[place], offset, place.astype(np.int32), entry)
        if len(found) > most:
            if level >= 0:
                self.odd(found, level, np.array([most]), _too_large)
            found = found.take(slice(most))
        return found


def _too_large(came_from: str, _base: int, _size: int) -> tuple[str, str]:
    return oddities.too_large(came_from)


def _no_leaf(came_from: str, _base: int, _size: int) -> tuple[str, str]:
    return oddities.no_leaf(came_from)


def _misaligned(came_from: str, base: int, _size: int) -> tuple[str, str]:
    return oddities.misaligned_base(came_from, base)


def _cycle(came_from: str, base: int, size: int) -> tuple[str, str]:
    return oddities.cycle(came_from, base & ~((8 << size) - 1))


def _unreadable(error: MemoryReadError, base: int, came_from: str, _base: int, _size: int) -> tuple[str, str]:
    return oddities.unreadable(came_from, base, error.slug, error.why)


def _distinct(base: U64, most: int | None) -> Iterator[tuple[U64, Rows | None, Rows | None]]:
    """The distinct bases, in groups of ``most`` at most (None: of any number): (their addresses, the table of each row
    or None where row i is table i, the rows or None for all)."""
    if most is None:
        most = max(len(base), 1)
    if not repeats(base):
        for first in range(0, len(base), most):
            if len(base) <= most:
                yield base, None, None
            else:
                yield base[first : first + most], None, np.arange(first, min(first + most, len(base)))
        return
    address, table = np.unique(base, return_inverse=True)
    if len(address) <= most:
        yield address, table, None
        return
    order = np.argsort(table, kind="stable")
    ends = np.searchsorted(table[order], np.arange(0, len(address) + most, most))
    for group, (begin, end) in enumerate(pairwise(ends.tolist())):
        rows = order[begin:end]
        yield address[group * most : (group + 1) * most], table[rows] - group * most, rows
