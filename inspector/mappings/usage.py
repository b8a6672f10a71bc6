"""How many pages carry a mark (changed, referenced), of how many that are mapped, by page size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.ranges import Ranges
from inspector.radix.columns import Bools

SHIFT_BITS = 6


@dataclass(frozen=True, slots=True)
class Count:
    """Of ``of_pages`` mapped pages of 2**``shift`` bytes, ``pages`` are meant. A page that is mapped at two places
    counts twice: it has two entries, each with its own mark."""

    shift: int
    pages: int
    of_pages: int

    @property
    def size(self) -> int:
        """Bytes of the pages that are meant."""
        return self.pages << self.shift

    @property
    def of_size(self) -> int:
        """Bytes of them all."""
        return self.of_pages << self.shift


def counts(ranges: Ranges, meant: Bools) -> tuple[Count, ...]:
    """A Count for each page size that there is among ``ranges``, the smallest first. ``meant`` is a row for each."""
    key, pages, of_pages = _sums(ranges.shift.astype(np.uint64), ranges, meant)
    return tuple(map(Count, key.tolist(), pages.tolist(), of_pages.tolist()))


def counts_by_tree(ranges: Ranges, meant: Bools) -> dict[int, tuple[Count, ...]]:
    """The same of each tree that has any, by its index among ``ranges.roots``."""
    key = ranges.root.astype(np.uint64) << np.uint64(SHIFT_BITS) | ranges.shift.astype(np.uint64)
    of_tree: dict[int, list[Count]] = {}
    for both, pages, of_pages in zip(*(column.tolist() for column in _sums(key, ranges, meant)), strict=True):
        found = Count(both & ((1 << SHIFT_BITS) - 1), pages, of_pages)
        of_tree.setdefault(both >> SHIFT_BITS, []).append(found)
    return {tree: tuple(each) for tree, each in of_tree.items()}


def _sums(
    key: NDArray[np.uint64], ranges: Ranges, meant: Bools
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Each key that there is, the pages that are meant with it, and all pages with it."""
    keys, which = np.unique(key, return_inverse=True)
    # A sum in floating point is exact below 2^53, and there are fewer leaves by far.
    of_pages = np.bincount(which, ranges.count, len(keys))
    pages = np.bincount(which, np.where(meant, ranges.count, 0), len(keys))
    return keys, pages.astype(np.int64), of_pages.astype(np.int64)
