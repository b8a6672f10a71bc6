"""What lies behind guest real addresses: a partition-scoped tree as a map that is asked in bulk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inspector.errors import BehindUnread, MemoryReadError, NotBacked
from inspector.mappings.ranges import Ranges
from inspector.radix.bits import ATT_NON_IDEMPOTENT, PTE_ATT, PTE_EXEC, PTE_READ, PTE_WRITE, TREE_BITS
from inspector.radix.columns import U64, Bools, Rows

DENSE = 64
"""A direct index is kept where it has at most so many places for each range, or FEW_PLACES in all."""
FEW_PLACES = 1 << 22
LEAST_SHIFT = 12
ENCODED = PTE_READ | PTE_WRITE | PTE_EXEC
WITHIN = (1 << TREE_BITS) - 1
"""The bits of a guest real address that the tree is walked by: the hardware leaves the others out."""


def allowed(flags: U64) -> U64:
    """The rights in these flags, as bits: write implies read, as the hardware has it (QEMU 7.2, mmu-radix64.h)."""
    writes = flags & np.uint64(PTE_WRITE)
    return flags & np.uint64(ENCODED) | writes << np.uint64(1)


@dataclass(frozen=True)
class Behind:
    """The ranges of one partition-scoped tree, by guest real address: ``ranges.offset`` is where each begins, and
    ``ranges.ra`` the host real address behind it. ``unread`` are the (first, one past the last) that the host may have
    something behind all the same: its tables there could not be read."""

    ranges: Ranges
    unread: tuple[tuple[int, int], ...] = ()

    @cached_property
    def begin(self) -> U64:
        """Guest real address of each range."""
        return np.ascontiguousarray(self.ranges.offset)

    @cached_property
    def end(self) -> U64:
        """One past the last of each."""
        return self.begin + self.ranges.size

    @cached_property
    def page(self) -> int:
        """log2 of the smallest page: a table of no more than so many bytes, aligned to its size, lies in one."""
        return int(self.ranges.shift.min()) if len(self.ranges) else LEAST_SHIFT

    @cached_property
    def mask(self) -> U64:
        """All bits but the rights that each range does not allow. Non-idempotent I/O is never executed."""
        flags = self.ranges.flags
        guarded = flags & np.uint64(PTE_ATT) == np.uint64(ATT_NON_IDEMPOTENT)
        return (~np.uint64(ENCODED) | allowed(flags)) & ~np.where(guarded, np.uint64(PTE_EXEC), np.uint64(0))

    @cached_property
    def together(self) -> U64:
        """For each range, and one that begins beyond all addresses, a row of what leads on from it: where it begins,
        what is added to get to the host real address (wrapping round), and ``mask``. A row is in one line of the
        cache."""
        rows = np.zeros((len(self.ranges) + 1, 4), np.uint64)
        rows[:-1, 0], rows[-1, 0] = self.begin, ~np.uint64(0)
        np.subtract(self.ranges.ra, self.begin, out=rows[:-1, 1])
        rows[:-1, 2] = self.mask
        return rows

    @cached_property
    def _direct(self) -> NDArray[np.int32] | None:
        """For each page of guest real space the first range that ends beyond it; None where that would be too much."""
        if not len(self.ranges):
            return None
        places = int(self.end[-1]) >> self.page
        if places > max(DENSE * len(self.ranges), FEW_PLACES):
            return None
        ends = (self.end >> np.uint64(self.page)).view(np.int64)
        if bool((np.diff(ends) == 1).all()) and ends[0] == 1:  # each page is a range of its own
            return np.arange(places + 1, dtype=np.int32)
        marks = np.zeros(places + 1, np.int32)
        marks[ends] = 1  # no two ranges end at one address
        return np.cumsum(marks, dtype=np.int32)

    def first(self, addresses: U64) -> Rows:
        """The first range that ends beyond each address, which may begin beyond it too; their number where none."""
        direct = self._direct
        if direct is None:
            found: Rows = np.searchsorted(self.end, addresses, side="right")
            return found
        page = np.minimum(addresses >> np.uint64(self.page), np.uint64(len(direct) - 1))
        at: Rows = direct[page.astype(np.intp)].astype(np.intp)
        return at

    def translate(self, addresses: U64) -> tuple[U64, Bools]:
        """The host real address behind each, and whether there is any (0 where not) that the hardware may read tables
        from."""
        if not len(self.ranges):
            return np.zeros(len(addresses), np.uint64), np.zeros(len(addresses), np.bool_)
        addresses = addresses & np.uint64(WITHIN)
        at = np.minimum(self.first(addresses), len(self.ranges) - 1)
        inside = addresses - self.begin[at]  # wraps round where the range begins beyond
        there: Bools = (inside < self.ranges.size[at]) & (self.mask[at] & np.uint64(PTE_READ) != 0)
        return np.where(there, self.ranges.ra[at] + inside, np.uint64(0)), there

    def span(self, address: int) -> tuple[int, int] | None:
        """(host real address, bytes from there to the end of its range) of one address, or None."""
        at = int(np.searchsorted(self.end, np.uint64(address), side="right"))
        if at == len(self.ranges) or address < self.begin[at]:
            return None
        inside = address - int(self.begin[at])
        return int(self.ranges.ra[at]) + inside, int(self.end[at]) - address

    def lacking(self, address: int, length: int) -> MemoryReadError:
        """Why there is nothing to be read there, in all or in part."""
        if any(begin < address + length and address < end for begin, end in self.unread):
            return BehindUnread(address, length)
        return NotBacked(address, length)

    def within(self, address: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Every (guest real address, host real address, bytes) of ``length`` bytes at ``address`` that something is
        behind, a range at a time, in order."""
        stop = address + length
        first = int(np.searchsorted(self.end, np.uint64(address), side="right"))
        for at in range(first, len(self.ranges)):
            begin, end = int(self.begin[at]), int(self.end[at])
            if begin >= stop:
                return
            start = max(begin, address)
            yield start, int(self.ranges.ra[at]) + (start - begin), min(end, stop) - start

    def spans(self) -> list[tuple[int, int]]:
        """(guest real address, bytes) of all that something is behind, what touches put together, in order."""
        if not len(self.ranges):
            return []
        apart = np.ones(len(self.ranges), np.bool_)
        apart[1:] = self.begin[1:] != self.end[:-1]
        first = np.flatnonzero(apart)
        begin, end = self.begin[first], self.end[np.append(first[1:] - 1, len(self.end) - 1)]
        return list(zip(begin.tolist(), (end - begin).tolist(), strict=True))
