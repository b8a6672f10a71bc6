"""Sets of real addresses, and which mappings touch them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.memory.spans import merged
from inspector.radix.columns import U64, Bools

COARSE_FROM = 64
"""From so many stretches on, a coarse map of them is looked at first."""
COARSE_BITS = 20
"""It has at most 2**20 marks."""
MANY = 1 << 12


@dataclass(frozen=True, slots=True)
class _Coarse:
    """Real addresses from ``low`` on in pieces of 2**``shift`` bytes: how many before each piece hold any stretch."""

    low: int
    shift: int
    before: NDArray[np.int32]

    def may(self, first: U64, last: U64) -> Bools:
        """Which of these, from a first to a last byte, lie in a piece that holds any."""
        top = np.uint64(len(self.before) - 2)
        low = np.uint64(self.low)
        begin = np.minimum((np.maximum(first, low) - low) >> np.uint64(self.shift), top)
        until = np.minimum((np.maximum(last, low) - low) >> np.uint64(self.shift), top)
        found: Bools = self.before[until.view(np.int64) + 1] > self.before[begin.view(np.int64)]
        return found


@dataclass(frozen=True, slots=True)
class Stretches:
    """Disjoint stretches of real addresses, ascending; ``end`` is one past the last byte of each."""

    first: U64
    end: U64
    coarse: _Coarse | None = None

    @classmethod
    def of(cls, first: U64, end: U64) -> Stretches:
        """Those that these make together; none of them is empty."""
        first, end = merged(first, end)
        return cls(first, end, _coarse(first, end) if len(first) >= COARSE_FROM else None)

    @classmethod
    def spans(cls, spans: Iterable[tuple[int, int]]) -> Stretches:
        """The same of (start, end) each."""
        there = [span for span in spans if span[0] < span[1]]
        return cls.of(
            np.array([first for first, _ in there], np.uint64), np.array([end for _, end in there], np.uint64)
        )

    def __len__(self) -> int:
        return len(self.first)

    def touched(self, first: U64, end: U64) -> Bools:
        """Which of these, none of them empty, have a byte of it."""
        found = np.zeros(len(first), np.bool_)
        if not len(self.first):
            return found
        if self.coarse is None:
            return self._exactly(first, end)
        maybe = np.flatnonzero(self.coarse.may(first, end - np.uint64(1)))
        found[maybe] = self._exactly(first[maybe], end[maybe])
        return found

    def _exactly(self, first: U64, end: U64) -> Bools:
        if len(self.end) >= MANY and len(first) >= MANY:  # in order, they are looked up many times as fast
            order = np.argsort(first)
            at = np.empty(len(first), np.intp)
            at[order] = np.searchsorted(self.end, first[order], side="right")
        else:
            at = np.searchsorted(self.end, first, side="right")  # the first that ends beyond where they begin
        found: Bools = self.first[np.minimum(at, len(self.first) - 1)] < end
        found &= at < len(self.first)
        return found

    def holds(self, first: U64, end: U64) -> Bools:
        """Which of these, none of them empty, lie in it whole: it is one stretch where they are."""
        if not len(self.first):
            return np.zeros(len(first), np.bool_)
        at = np.searchsorted(self.first, first, side="right") - 1  # the last that begins no later
        found: Bools = self.end[at] >= end
        found &= at >= 0
        return found


def _coarse(first: U64, end: U64) -> _Coarse:
    low, reach = int(first[0]), int(end[-1]) - int(first[0])
    shift = max(reach.bit_length() - COARSE_BITS, 0)
    pieces = (reach - 1 >> shift) + 1
    begin = ((first - np.uint64(low)) >> np.uint64(shift)).view(np.int64)
    until = ((end - np.uint64(low + 1)) >> np.uint64(shift)).view(np.int64) + 1
    # A stretch opens at its first piece and closes after its last.
    open_at = np.bincount(begin, minlength=pieces + 1) - np.bincount(until, minlength=pieces + 1)
    marks = np.cumsum(open_at)[:pieces] > 0
    return _Coarse(low, shift, np.concatenate([[0], np.cumsum(marks)]).astype(np.int32))
