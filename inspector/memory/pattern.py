"""Where bytes occur in a piece of memory, aligned or not, at the rate of a pass over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | memoryview
UNITS = (8, 4, 2)
"""Widths of words that are compared many at a time."""
FEW = 64
"""So few places are looked at one by one."""
COMMON = b"\x00\xff"
"""What memory is full of: to look for these bytes stops at every one."""


@dataclass(frozen=True)
class Pattern:
    """``data``, at real addresses that are multiples of ``align`` (a power of two)."""

    data: bytes
    align: int = 1

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("a pattern has at least a byte")
        if self.align < 1 or self.align & (self.align - 1):
            raise ValueError(f"an alignment is a power of two, not {self.align}")

    def __len__(self) -> int:
        return len(self.data)

    @property
    def zero(self) -> bool:
        """Whether it is nothing but zeros."""
        return not self.data.strip(b"\0")

    def places(self, piece: Buffer, address: int) -> Iterator[int]:
        """Every real address at which it lies whole in ``piece``, whose first byte is at real ``address``; ascending.

        Occurrences that overlap each other are all told."""
        first = -address % self.align
        if len(piece) - first < len(self.data):
            return iter(())
        if self._unit:
            return (address + at for at in self._by_words(piece, first))
        return (address + at for at in self._by_bytes(bytes(piece), address, first))

    # -- aligned: words compared in bulk ---------------------------------------------------------------------------

    @cached_property
    def _unit(self) -> int:
        """Width of the words that can be compared, 0 where it is not aligned."""
        return next((unit for unit in UNITS if self.align % unit == 0 and unit <= len(self.data)), 0)

    @cached_property
    def _lead(self) -> int:
        """Which of its words is compared first, as an offset: one that is not as common as zeros."""
        offsets = range(0, len(self.data) - self._unit + 1, self._unit)
        return max(offsets, key=lambda at: len(set(self.data[at : at + self._unit]) - set(COMMON)))

    def _by_words(self, piece: Buffer, first: int) -> Iterator[int]:
        unit, lead = self._unit, self._lead
        kind = f"u{unit}"
        rows = (len(piece) - first - len(self.data)) // self.align + 1
        words = np.frombuffer(piece, kind, (rows - 1) * (self.align // unit) + 1, first + lead)[:: self.align // unit]
        wanted = np.frombuffer(self.data, kind, 1, lead)[0]
        at = np.flatnonzero(words == wanted)
        if not len(at):
            return
        at = at * self.align + first
        if len(self.data) > unit:
            at = self._whole(piece, at)
        yield from at.tolist()

    def _whole(self, piece: Buffer, at: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the places at which all of it lies."""
        content = np.frombuffer(piece, np.uint8)
        for offset, byte in enumerate(self.data):
            if len(at) <= FEW:
                break
            at = at[content[at + offset] == byte]
        good = [place for place in at.tolist() if piece[place : place + len(self.data)] == self.data]
        return np.array(good, np.intp) if len(at) <= FEW else at

    # -- anywhere: the longest part that is not common sought ------------------------------------------------------

    @cached_property
    def _anchor(self) -> tuple[int, bytes]:
        """The part that is looked for, and where in the whole it is.

        ``bytes.find`` steps on by the whole pattern over bytes that do not occur in it, and byte by byte else: 15 times
        as slow through zeros with a zero in the pattern."""
        best, start = (0, 0), 0
        for at in range(len(self.data) + 1):
            if at == len(self.data) or self.data[at] in COMMON:
                best, start = max(best, (at - start, -start)), at + 1
        return (-best[1], self.data[-best[1] : -best[1] + best[0]]) if best[0] else (0, self.data)

    def _by_bytes(self, piece: bytes, address: int, first: int) -> Iterator[int]:
        ahead, anchor = self._anchor
        whole = anchor == self.data
        last = len(piece) - len(self.data)
        at = first
        while at <= last:
            found = piece.find(anchor, at + ahead, last + ahead + len(anchor))
            if found < 0:
                return
            at = found - ahead
            over = (address + at) % self.align
            if over:
                at += self.align - over
                continue
            if whole or piece.startswith(self.data, at):
                yield at
            at += self.align
