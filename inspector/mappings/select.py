"""Which mappings are meant: conditions that compose, asked of leaves or of ranges in bulk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inspector.errors import UsageError
from inspector.mappings.rights import any_of, parse
from inspector.radix.bits import ATT_NAMES, PTE_ATT, PTE_C, PTE_PRIVILEGED, PTE_R, QUADRANT_SHIFT, TREE_BITS
from inspector.radix.columns import U8, U64, Bools

Span = tuple[int, int]
"""(first address, one past the last)."""

ATTRIBUTES: dict[str, int] = {name: value for value, name in ATT_NAMES.items()}
"""The memory attribute of a leaf by name."""
PAGE_SIZES: dict[str, int] = {"4k": 12, "64k": 16, "2m": 21, "1g": 30, "512g": 39}
"""log2 of the page sizes that a leaf may have, by name."""


class Mapped(Protocol):
    """What can be asked: :class:`~inspector.radix.columns.Columns` and :class:`~inspector.mappings.ranges.Ranges`."""

    def __len__(self) -> int: ...

    @property
    def ea(self) -> U64: ...
    @property
    def ra(self) -> U64: ...
    @property
    def size(self) -> U64: ...
    @property
    def shift(self) -> U8: ...
    @property
    def flags(self) -> U64: ...
    @property
    def pid(self) -> NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Conditions, all of which must hold; None or empty where nothing is asked.

    ``ea`` and ``ra`` are spans, any of which the mapping touches; ``shifts`` log2 of page sizes; ``rights`` an
    expression (:mod:`inspector.mappings.rights`); ``attributes`` of ATTRIBUTES' values; ``pids`` radix PIDs."""

    ea: Sequence[Span] = ()
    ra: Sequence[Span] = ()
    shifts: Collection[int] = ()
    rights: str | None = None
    privileged: bool | None = None
    attributes: Collection[int] = ()
    referenced: bool | None = None
    changed: bool | None = None
    pids: Collection[int] = ()

    def mask(self, mapped: Mapped) -> Bools:
        """Which rows are meant. Raises ExpressionError where the rights cannot be read."""
        meant = np.ones(len(mapped), np.bool_)
        if self.pids:
            meant &= np.isin(mapped.pid, np.array(sorted(self.pids), np.int64))
        if self.shifts:
            meant &= np.isin(mapped.shift, np.array(sorted(self.shifts), np.uint8))
        if self.ea:
            meant &= _touches(mapped.ea, mapped.size, self.ea)
        if self.ra:
            meant &= _touches(mapped.ra, mapped.size, self.ra)
        bits = ((self.privileged, PTE_PRIVILEGED), (self.referenced, PTE_R), (self.changed, PTE_C))
        if self.rights is None and not self.attributes and all(wanted is None for wanted, _ in bits):
            return meant
        flags = mapped.flags
        if self.rights is not None:
            meant &= parse(self.rights)(flags)
        if self.attributes:
            meant &= np.isin(flags & np.uint64(PTE_ATT), np.array(sorted(self.attributes), np.uint64))
        for wanted, bit in bits:
            if wanted is not None:
                meant &= any_of(bit)(flags) == wanted
        return meant

    @property
    def everything(self) -> bool:
        """Whether nothing is asked."""
        told = (self.ea, self.ra, self.shifts, self.attributes, self.pids)
        asked = (self.rights, self.privileged, self.referenced, self.changed)
        return not any(told) and all(each is None for each in asked)


def _touches(start: U64, size: U64, spans: Sequence[Span]) -> Bools:
    """Which of these mappings have a byte in any of the spans."""
    last = start + size - np.uint64(1)
    touches = np.zeros(len(start), np.bool_)
    for low, end in spans:
        if max(low, 0) < min(end, 1 << 64):
            touches |= (start <= np.uint64(min(end - 1, (1 << 64) - 1))) & (last >= np.uint64(max(low, 0)))
    return touches


def both(ones: Sequence[Span], others: Sequence[Span]) -> Sequence[Span]:
    """What lies in one of ``ones`` and in one of ``others``, where no spans at all ask for nothing."""
    if not ones or not others:
        return ones or others
    met = [(max(low, first), min(high, end)) for low, high in ones for first, end in others]
    return [(low, high) for low, high in met if low < high]


def covered(start: U64, size: U64, spans: Sequence[Span]) -> Bools:
    """Which of these mappings (of at least a byte each) lie in one of the spans whole; they are disjoint and in order,
    as :meth:`inspector.memory.physical.RamMap.spans` has them."""
    if not spans:
        return np.zeros(len(start), np.bool_)
    starts = np.array([low for low, _ in spans], np.uint64)
    lasts = np.array([end - 1 for _, end in spans], np.uint64)
    at = np.searchsorted(starts, start, side="right") - 1
    inside: Bools = (at >= 0) & (start + (size - np.uint64(1)) <= lasts[at])
    return inside


TREES = ((0, 1 << TREE_BITS), (3 << QUADRANT_SHIFT, 3 << QUADRANT_SHIFT | 1 << TREE_BITS))
"""The effective addresses that a process's tree reaches, and the kernel's."""


def can_be_mapped(span: Span) -> bool:
    """Whether any process's or the kernel's tree reaches any of these effective addresses."""
    return any(span[0] < end and first < span[1] for first, end in TREES)


def containing(address: int) -> Span:
    """The span of one address."""
    return address, address + 1


def page_shift(text: str) -> int:
    """log2 of a page size by its name (``64K``). Raises UsageError."""
    shift = PAGE_SIZES.get(text.strip().lower().removesuffix("ib").removesuffix("b"))
    if shift is None:
        raise UsageError(f"{text!r} is no page size of the radix MMU; there are {', '.join(PAGE_SIZES).upper()}")
    return shift


def attribute(text: str) -> int:
    """A memory attribute by its name. Raises UsageError."""
    found = ATTRIBUTES.get(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is no memory attribute; there are {', '.join(ATTRIBUTES)}")
    return found
