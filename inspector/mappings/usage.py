"""How many pages carry a mark (changed, referenced), of how many that are mapped, by page size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    return _counted(*_sums(ranges.shift, ranges, meant, 1 << SHIFT_BITS))


def counts_by_tree(ranges: Ranges, meant: Bools) -> dict[int, tuple[Count, ...]]:
    """The same of each tree that has any, by its index among ``ranges.roots``."""
    trees, which = np.unique(ranges.root, return_inverse=True)
    key = which << SHIFT_BITS | ranges.shift
    sums = _sums(key, ranges, meant, len(trees) << SHIFT_BITS)
    pages, of_pages = (each.reshape(-1, 1 << SHIFT_BITS) for each in sums)
    return {tree: _counted(pages[at], of_pages[at]) for at, tree in enumerate(trees.tolist())}


def _sums(key: NDArray[Any], ranges: Ranges, meant: Bools, keys: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The pages that are meant, and all pages, of each key below ``keys``."""
    # A sum in floating point is exact below 2^53, and there are fewer leaves by far.
    return np.bincount(key, np.where(meant, ranges.count, 0), keys), np.bincount(key, ranges.count, keys)


def _counted(pages: NDArray[Any], of_pages: NDArray[Any]) -> tuple[Count, ...]:
    """A Count of each shift that any page has."""
    there = np.flatnonzero(of_pages).tolist()
    return tuple(Count(shift, int(pages[shift]), int(of_pages[shift])) for shift in there)
