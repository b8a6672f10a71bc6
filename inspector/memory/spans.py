"""Sets of addresses as arrays: put together, cut to each other and taken from each other in bulk.

A set is told by spans that are disjoint, ascending and do not touch. Addresses are unsigned 64-bit, and the very last
byte of the address space, 2**64 - 1, is in no set: no real address is as long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
Bools = NDArray[np.bool_]
LAST = (1 << 64) - 1


def merged(first: U64, end: U64) -> tuple[U64, U64]:
    """(first, end) of the disjoint stretches, ascending, that together hold what these hold. None is empty; ``end`` is
    one past the last. Stretches that touch become one."""
    if not len(first):
        return first, end
    first, end = np.sort(first), np.sort(end)
    # So many have begun by the i-th beginning, and none goes on there: then all that began before have ended before.
    apart = first[1:] > end[:-1]
    return first[np.append(True, apart)], end[np.append(apart, True)]


@dataclass(frozen=True, slots=True)
class Spans:
    """A set: the bytes from ``start`` up to ``end`` of every row."""

    start: U64
    end: U64

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> Spans:
        """The union of (first address, one past the last), in any order; they may touch and overlap."""
        kept = [(min(max(start, 0), LAST), min(max(end, 0), LAST)) for start, end in pairs]
        both = np.array(kept, np.uint64).reshape(-1, 2)
        return cls.union(both[:, 0], both[:, 1])

    @classmethod
    def union(cls, start: U64, end: U64) -> Spans:
        """The same of two columns."""
        some = start < end
        return cls(*(merged(start, end) if some.all() else merged(start[some], end[some])))

    def __len__(self) -> int:
        return len(self.start)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self.start.tolist(), self.end.tolist(), strict=True))

    @property
    def total(self) -> int:
        """Its bytes."""
        return int((self.end - self.start).sum(dtype=np.uint64))

    def within(self, other: Spans) -> Spans:
        """What is in both."""
        return self._where(other, 3)

    def without(self, other: Spans) -> Spans:
        """What is in this and not in the other."""
        return self._where(other, 1)

    def place(self, addresses: U64) -> NDArray[np.intp]:
        """The row that holds each address, or the last one before it; -1 where there is none."""
        return np.searchsorted(self.start, addresses, side="right") - 1

    def covers(self, address: int, length: int) -> bool:
        """Whether one row holds all of these bytes."""
        row = int(np.searchsorted(self.start, np.uint64(address), side="right")) - 1
        return row >= 0 and address + length <= int(self.end[row])

    def _where(self, other: Spans, wanted: int) -> Spans:
        """Where the state is ``wanted``: 1 is in this set, 2 in the other, 3 in both."""
        at = np.concatenate([self.start, self.end, other.start, other.end])
        step = np.repeat(np.array([1, -1, 2, -2], np.int8), [len(self)] * 2 + [len(other)] * 2)
        order = np.argsort(at, kind="stable")
        at, state = at[order], np.cumsum(step[order], dtype=np.int64)
        last = np.ones(len(at), np.bool_)
        last[:-1] = at[1:] != at[:-1]
        at, inside = at[last], state[last] == wanted
        before = np.zeros(len(at), np.bool_)
        before[1:] = inside[:-1]
        return Spans(at[inside & ~before], at[before & ~inside])
