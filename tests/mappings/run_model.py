"""Leaves put together into runs one by one: the plain model that ranges made in bulk are held to.

A run is pages of one size with the same flags, whose addresses and whose real addresses both go on where the page
before ended. Nothing of an entry is lost: :meth:`Run.leaves` gives back the very leaves that it was made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from inspector.radix.bits import PTE_ATT, PTE_C, PTE_EXEC, PTE_PRIVILEGED, PTE_R, PTE_READ, PTE_RPN, PTE_WRITE
from inspector.radix.formats import PTE
from inspector.radix.translation import Rights
from inspector.radix.tree import Leaf

Other = TypeVar("Other")


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` leaves of ``level``, each 2**``shift`` bytes, from ``offset`` (an EA below its quadrant) and real
    address ``ra`` on.

    ``flags`` is what their entries have in common: all but the real page number, and of that the bits below the page
    size too, which should be zero and are not part of the address."""

    offset: int
    ra: int
    shift: int
    level: int
    flags: int
    count: int

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
        return self.flags & ~PTE.mask | self.flags & PTE_RPN

    def leaves(self) -> Iterator[Leaf]:
        """The leaves, in order."""
        for at in range(0, self.size, 1 << self.shift):
            yield Leaf(self.offset + at, self.ra + at, self.shift, self.ra + at | self.flags, self.level)


def run_of(leaf: Leaf) -> Run:
    """A run of one leaf."""
    stray = leaf.entry & PTE_RPN & ((1 << leaf.shift) - 1)
    return Run(leaf.offset, leaf.ra, leaf.shift, leaf.level, leaf.entry & ~PTE_RPN | stray, 1)


def coalesce(found: Iterable[Leaf | Other]) -> Iterator[Run | Other]:
    """The leaves as runs, in order. Whatever else is among them is passed on at once, and ends no run."""
    run: Run | None = None
    for each in found:
        if not isinstance(each, Leaf):
            yield each
            continue
        one = run_of(each)
        if run is not None and _continues(run, one):
            run = Run(run.offset, run.ra, run.shift, run.level, run.flags, run.count + 1)
            continue
        if run is not None:
            yield run
        run = one
    if run is not None:
        yield run


def _continues(run: Run, one: Run) -> bool:
    """Whether ``one`` goes on where ``run`` ends."""
    return (
        one.offset == run.offset + run.size
        and one.ra == run.ra + run.size
        and (one.shift, one.level, one.flags) == (run.shift, run.level, run.flags)
    )
