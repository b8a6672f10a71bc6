"""Many addresses of one tree translated at once, through what a sweep kept of it.

What the tables say is answered, as in :func:`inspector.radix.walk.translate` with no access asked about: quadrants and
registers are the caller's business. A table that the sweep did not enter ends the walk; which of the causes it was is
told by the sweep's oddities.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspector.radix.bits import EA_VALID_MASK, LEVEL_BITS, PDE_NLS, PTE_RPN, TREE_BITS, tree_bits
from inspector.radix.columns import LEAF, U8, U64, Rows
from inspector.radix.slab import Slab
from inspector.radix.sweep import Sweep

ROOT_LEVEL = 3
NOWHERE = -1
"""In place of a table: the sweep has none there."""
BLOCK = 1 << 16
"""So many addresses are walked at a time, so that what a level gives stays in the cache for the next."""


class Status(IntEnum):
    """How the walk of one address ended. ``slug`` is the cause as ``xlate`` names it."""

    OK = 0
    NOT_PRESENT = 1
    EA_OUT_OF_RANGE = 2
    TREE_SIZE = 3
    TABLE_SIZE = 4
    NO_LEAF = 5
    UNREADABLE = 6
    NOT_SWEPT = 7
    """The entry leads back to a table above it, or beyond the sweep's limits."""

    @property
    def slug(self) -> str:
        """``not-present`` and the like."""
        return self.name.lower().replace("_", "-")


@dataclass(frozen=True, slots=True)
class Translations:
    """A row for each address, in the order asked: real address (0 where there is none), log2 of the page size (of what
    the last entry covers, where there is no page), the last entry read (0 where it is not valid), and
    :class:`Status`."""

    ra: U64
    shift: U8
    entry: U64
    status: U8

    def __len__(self) -> int:
        return len(self.ra)


@dataclass(frozen=True, slots=True)
class _Down:
    """A level of a slab: for each slot (table << bits | index) the number of the next table below, or NOWHERE, and the
    entry where it is valid, else 0.

    Tables are counted from ``first``. At level 1 numbers from ``split`` on are those of the second slab below."""

    slab: Slab
    first: int
    below: NDArray[np.int32]
    entry: U64
    split: int


class Translator:
    """Translates addresses of one tree of a sweep. To make one costs one and a half times the size of the directories
    above the last level; keep it for further calls."""

    def __init__(self, sweep: Sweep, root: int = 0) -> None:
        """``root`` is an index into the sweep's roots. Raises IndexError where there is no such tree."""
        self.descriptor = sweep.roots[root].descriptor
        self.root: int | None = None
        self.levels: list[_Down] = []
        self.last: list[Slab] = [slab for slab in sweep.slabs if slab.level == 0]
        uppers = [slab for slab in sweep.slabs if slab.level > 0]
        if uppers:
            at = np.flatnonzero(uppers[0].root == root)
            self.root = int(uppers[0].table_at(at)[0]) if len(at) else None
        if self.root is None:
            return
        for upper in uppers:
            lowers = [slab for slab in sweep.slabs if slab.level == upper.level - 1]
            self.levels.append(_down(upper, lowers, self.root if upper.level == ROOT_LEVEL else None))

    def translate(self, eas: ArrayLike) -> Translations:
        """Where these addresses go. Their quadrants are not looked at."""
        asked = np.asarray(eas, np.uint64).reshape(-1)
        count = len(asked)
        found = Translations(
            np.empty(count, np.uint64), np.empty(count, np.uint8), np.empty(count, np.uint64), np.empty(count, np.uint8)
        )
        for first in range(0, count, BLOCK):
            part = slice(first, first + BLOCK)
            self._block(
                asked[part], Translations(found.ra[part], found.shift[part], found.entry[part], found.status[part])
            )
        return found

    def _block(self, eas: U64, out: Translations) -> None:
        out.ra[:], out.entry[:], out.shift[:], out.status[:] = 0, 0, TREE_BITS, Status.OK
        if tree_bits(self.descriptor) != TREE_BITS:
            out.status[:] = Status.TREE_SIZE
        elif self.root is None:
            out.status[:] = self._why_no_root()
        else:
            self._walk(eas & np.uint64((1 << TREE_BITS) - 1), out)
        outside = eas & np.uint64(~EA_VALID_MASK & ((1 << 64) - 1)) != 0
        if outside.any():
            out.ra[outside], out.entry[outside], out.shift[outside] = 0, 0, TREE_BITS
            out.status[outside] = Status.EA_OUT_OF_RANGE

    def _why_no_root(self) -> Status:
        return Status.NOT_SWEPT if self.descriptor & PDE_NLS in LEVEL_BITS[3] else Status.TABLE_SIZE

    def _walk(self, offset: U64, out: Translations) -> None:
        """From the root down, all addresses a level at a time; those that end early are told as they do."""
        rows: Rows | None = None  # None: all of them
        table: Rows = np.zeros(len(offset), np.intp)
        place = offset
        for down in self.levels:
            slab = down.slab
            slot = table << slab.bits | _index(place, slab)
            below = down.below[slot]
            stop = below == NOWHERE
            if stop.any():
                self._ended(down, rows, np.flatnonzero(stop), slot, place, out)
                keep = np.flatnonzero(~stop)
                rows = keep if rows is None else rows[keep]
                below, place = below[keep], place[keep]
            if not len(below):
                return
            table = below.astype(np.intp)
        split = self.levels[-1].split
        for number, slab in enumerate(self.last):
            mine: Rows | None = None
            if len(self.last) > 1:
                mine = np.flatnonzero((table >= split) == bool(number))
            here = table if mine is None else table[mine]
            here = here - split if number else here
            if not len(here):
                continue
            inside = place if mine is None else place[mine]
            entry = slab.entries(here, _index(inside, slab))
            to = rows if mine is None else mine if rows is None else rows[mine]
            self._finish(slab, to, inside, entry, here, out)

    def _ended(self, down: _Down, rows: Rows | None, at: Rows, slot: Rows, place: U64, out: Translations) -> None:
        """Tell of the addresses that go no further than this level."""
        here = slot[at]
        to = at if rows is None else rows[at]
        self._finish(down.slab, to, place[at], down.entry[here], (here >> down.slab.bits) + down.first, out)

    def _finish(self, slab: Slab, to: Rows | None, place: U64, entry: U64, table: Rows, out: Translations) -> None:
        """Tell of addresses by the last entry that each reached."""
        inside = np.uint64((1 << slab.shift) - 1)
        leaf = entry >= LEAF
        ra = entry & np.uint64(PTE_RPN) & ~inside | place & inside
        if leaf.all():
            status = np.zeros(len(entry), np.uint8)
        else:
            ra[~leaf] = 0
            status = np.where(leaf, np.uint8(Status.OK), np.uint8(Status.NOT_PRESENT))
            down = ~leaf & (entry != 0)
            if down.any():
                status[down] = self._not_entered(slab.level, entry[down])
            if slab.errors:
                status[~slab.readable[table]] = Status.UNREADABLE
        where = slice(None) if to is None else to
        out.ra[where], out.entry[where], out.shift[where], out.status[where] = ra, entry, slab.shift, status

    @staticmethod
    def _not_entered(level: int, entry: U64) -> U8:
        """Why these directories were not entered, as far as they themselves say."""
        if level == 0:
            return np.full(len(entry), Status.NO_LEAF, np.uint8)
        fits = np.isin(entry & np.uint64(PDE_NLS), np.array(LEVEL_BITS[level - 1], np.uint64))
        return np.where(fits, np.uint8(Status.NOT_SWEPT), np.uint8(Status.TABLE_SIZE))


def translate_many(sweep: Sweep, root: int, eas: ArrayLike) -> Translations:
    """Where addresses (any sequence of integers below 2**64, or an array) of one of a sweep's trees go."""
    return Translator(sweep, root).translate(eas)


def _index(place: U64, slab: Slab) -> NDArray[np.intp]:
    """The index of these offsets in their tables."""
    # Offsets have 52 bits, so that they are the same as signed numbers, which index without a conversion.
    return place.view(np.int64) >> slab.shift & ((1 << slab.bits) - 1)


def _down(upper: Slab, lowers: list[Slab], only: int | None) -> _Down:
    """Where each slot of a slab leads; of one table of it alone where that is given, for root tables are many."""
    first, count = (0, len(upper.address)) if only is None else (only, 1)
    below = np.full(count << upper.bits, NOWHERE, np.int32)
    ahead = split = 0
    for number, lower in enumerate(lowers):
        split = ahead if number else 0
        parent = lower.parent.astype(np.intp)
        table = upper.table_at(parent) - first
        index = (lower.offset - upper.offset[parent]) >> np.uint64(upper.shift)
        slot = table << upper.bits | index.astype(np.intp)
        number_below = lower.table_at(np.arange(len(parent))) + ahead
        if only is not None:
            mine = table == 0
            slot, number_below = slot[mine], number_below[mine]
        below[slot] = number_below
        ahead += len(lower.address)
    return _Down(upper, first, below, _entries(upper, first, count), split)


def _entries(slab: Slab, first: int, count: int) -> U64:
    """The entries of these tables of a slab that keeps the valid ones alone, all in their slots: addresses that end
    here look theirs up, and a search for each would cost more than the walk."""
    begin, end = slab.starts[[first, first + count]]
    entry = np.zeros(count << slab.bits, np.uint64)
    entry[slab.slots[begin:end] - (first << slab.bits)] = slab.values[begin:end]
    return entry
