"""From real addresses back to all that maps them: an index over leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from inspector.mappings.ranges import Ranges, single
from inspector.radix.bits import PTE_RPN
from inspector.radix.columns import U32, U64, Columns, Rows


@dataclass(frozen=True, slots=True)
class _OfSize:
    """The leaves of one page size by page number: ``keys`` are (page number << ``row_bits`` | place in ``rows``),
    ascending, where that fits in 64 bits; else ``keys`` are page numbers and ``rows`` is in their order."""

    shift: int
    keys: U64
    row_bits: int
    rows: U32

    def lookup(self, start: int, end: int) -> Rows:
        """The rows whose pages have a byte from ``start`` to ``end``."""
        low, high = start >> self.shift, (end - 1 >> self.shift) + 1
        first, last = (self._before(number) for number in (low, high))
        if not self.row_bits:
            return self.rows[first:last].astype(np.intp)
        places = self.keys[first:last] & np.uint64((1 << self.row_bits) - 1)
        return self.rows[places.astype(np.intp)].astype(np.intp)

    def _before(self, number: int) -> int:
        """How many leaves have a page number below this."""
        key = number << self.row_bits
        if key >> 64:
            return len(self.keys)
        return int(np.searchsorted(self.keys, np.uint64(key)))


@dataclass(frozen=True, slots=True)
class Index:
    """Leaves by real address. Pages are aligned to their size, so that one order for each page size does."""

    sizes: tuple[_OfSize, ...]

    @classmethod
    def build(cls, columns: Columns) -> Index:
        """An index over these leaves. It costs a sort, and 12 bytes a leaf. There are at most 2**32 leaves."""
        sizes = []
        for shift in np.unique(columns.shift).tolist():
            mine = columns.shift == shift
            rows = np.flatnonzero(mine).astype(np.uint32)
            entry = columns.entry if len(rows) == len(columns) else columns.entry[rows]
            number = (entry & np.uint64(PTE_RPN)) >> np.uint64(shift)
            sizes.append(_of_size(shift, number, rows))
        return cls(tuple(sizes))

    def lookup(self, start: int, end: int | None = None) -> Rows:
        """The rows of the leaves that map the real address ``start``, or any byte from there up to ``end``, ascending.
        They are rows of the columns that the index was built from."""
        end = start + 1 if end is None else end
        if end <= start or start >= 1 << 64 or end <= 0:
            return np.zeros(0, np.intp)
        found = [each.lookup(max(start, 0), end) for each in self.sizes]
        return np.sort(np.concatenate([np.zeros(0, np.intp), *found]))

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps."""
        return sum(each.keys.nbytes + each.rows.nbytes for each in self.sizes)


def _of_size(shift: int, number: U64, rows: U32) -> _OfSize:
    """The leaves of one page size, ordered."""
    row_bits = max(len(rows) - 1, 1).bit_length()
    if int(number.max()).bit_length() + row_bits <= 64:
        # One sort of keys that hold both is many times as fast as a sort of places by number.
        keys = number << np.uint64(row_bits)
        keys |= np.arange(len(rows), dtype=np.uint64)
        keys.sort()
        return _OfSize(shift, keys, row_bits, rows)
    order = np.argsort(number, kind="stable")
    return _OfSize(shift, number[order], 0, rows[order])


def reaching(leaves: Columns, ra: int) -> Ranges:
    """Leaves all of which map the real address ``ra``, each as a range of its one page, but with ``ra`` itself for its
    real address and the very address that reaches it (and the guest real one between, where there is)."""
    pages = single(leaves)
    inside = np.uint64(ra) - pages.ra
    gra = None if pages.gra is None else pages.gra + inside
    return replace(pages, offset=pages.offset + inside, ra=pages.ra + inside, gra=gra)
