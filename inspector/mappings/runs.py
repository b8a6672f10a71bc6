"""One range at a time, as plain numbers: what is shown, and what Python callers get who ask for rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.radix.bits import PTE_ATT, PTE_C, PTE_EXEC, PTE_PRIVILEGED, PTE_R, PTE_READ, PTE_RPN, PTE_WRITE
from inspector.radix.formats import PTE
from inspector.radix.translation import Rights

if TYPE_CHECKING:
    from inspector.mappings.ranges import Ranges

UNKNOWN = ~PTE.mask | PTE_RPN
"""Bits that are no flags: those which no field of an entry claims, and those of the page number below the page size."""
AT_A_TIME = 1 << 12
"""Rows that are turned into plain numbers together."""


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` pages of 2**``shift`` bytes each, from effective address ``ea`` (quadrant included; guest real for a
    partition-scoped tree, whose ``pid`` is None) and real address ``ra`` on.

    ``flags`` is what their entries have in common: all but the real page number, and of that the bits below the page
    size too, which should be zero and are not part of the address. ``gra`` is the first guest real address where a KVM
    guest's mapping was led on to the host's memory."""

    lpid: int
    pid: int | None
    ea: int
    ra: int
    shift: int
    flags: int
    count: int
    gra: int | None = None

    @property
    def size(self) -> int:
        """Bytes that it maps."""
        return self.count << self.shift

    @property
    def rights(self) -> Rights:
        """What the leaves themselves allow (EAA 1 to 3), whoever asks: write implies read, as the hardware has it."""
        return Rights(
            bool(self.flags & (PTE_READ | PTE_WRITE)), bool(self.flags & PTE_WRITE), bool(self.flags & PTE_EXEC)
        )

    @property
    def privileged(self) -> bool:
        """EAA 0: for privileged code only."""
        return bool(self.flags & PTE_PRIVILEGED)

    @property
    def accessed(self) -> bool:
        """R is set in every leaf."""
        return bool(self.flags & PTE_R)

    @property
    def dirty(self) -> bool:
        """C is set in every leaf."""
        return bool(self.flags & PTE_C)

    @property
    def attribute(self) -> int:
        """ATT, in place."""
        return self.flags & PTE_ATT

    @property
    def unknown_flags(self) -> int:
        """Bits that are set and should be zero: reserved ones, and real page bits below the page size."""
        return self.flags & UNKNOWN


def runs_of(ranges: Ranges) -> Iterator[Run]:
    """Every range, in order."""
    trees = [(each.lpid, each.pid, each.base) for each in ranges.roots]
    for at in range(0, len(ranges), AT_A_TIME):
        part = ranges.take(slice(at, at + AT_A_TIME))
        columns = (part.root, part.offset, part.ra, part.shift, part.flags, part.count)
        gras = [None] * len(part) if part.gra is None else part.gra.tolist()
        for root, offset, ra, shift, flags, count, gra in zip(
            *(column.tolist() for column in columns), gras, strict=True
        ):
            lpid, pid, base = trees[root]
            yield Run(lpid, pid, base | offset, ra, shift, flags, count, gra)
