"""Memory slots: which guest real addresses a guest has memory at, and the log of what was written there."""

from __future__ import annotations

from dataclasses import dataclass, field

LOG_DIRTY_PAGES, READ_ONLY, INVALID = 1 << 0, 1 << 1, 1 << 16
"""Flags as KVM_SET_USER_MEMORY_REGION takes them, and the one of a slot that is being taken away (Linux 6.1
``include/uapi/linux/kvm.h``, ``include/linux/kvm_host.h``)."""
FLAG_NAMES = {"log": LOG_DIRTY_PAGES, "readonly": READ_ONLY, "invalid": INVALID}
LONG = 64


@dataclass(slots=True)
class MemorySlot:
    """``size`` bytes from guest real address ``base`` on, in pages of 2**``page_shift`` bytes; ``hva`` is where the
    VMM has it, None where nobody said. ``log`` is ``dirty_bitmap``: bit n of byte m is page 8m+n of the slot, in whole
    64-bit longs; None while dirty pages are not logged."""

    base: int
    size: int
    flags: int = 0
    hva: int | None = None
    page_shift: int = 16
    log: bytearray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.flags & LOG_DIRTY_PAGES and self.log is None:
            self.log = bytearray(self.log_bytes)

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.base + self.size

    @property
    def pages(self) -> int:
        """How many it has."""
        return self.size >> self.page_shift

    @property
    def first(self) -> int:
        """The number of its first page in guest real memory (``base_gfn``)."""
        return self.base >> self.page_shift

    @property
    def log_bytes(self) -> int:
        """Bytes of its log (``kvm_dirty_bitmap_bytes``)."""
        return -(-self.pages // LONG) * (LONG // 8)

    def mark(self, page: int) -> None:
        """Put page ``page`` of guest real memory into the log (``mark_page_dirty``): nothing where none is kept."""
        if self.log is not None:
            at = page - self.first
            if 0 <= at < self.pages:
                self.log[at >> 3] |= 1 << (at & 7)

    def mark_pages(self, page: int, count: int) -> None:
        """The same of ``count`` pages from one of the slot's on (``kvmppc_update_dirty_map``)."""
        if self.log is not None:
            set_dirty_bits(self.log, page - self.first, count)

    def take_log(self) -> bytearray | None:
        """The log, which is empty from then on."""
        taken = self.log
        if taken is not None:
            self.log = bytearray(len(taken))
        return taken


def set_bits(bitmap: bytearray, first: int, end: int) -> None:
    """Set bits from ``first`` up to ``end``, low bits of each byte first; those past the bitmap's end are left out."""
    end = min(end, 8 * len(bitmap))
    if first >= end:
        return
    low, high = first >> 3, end >> 3
    if low == high:
        bitmap[low] |= (1 << (end & 7)) - (1 << (first & 7))
        return
    if first & 7:
        bitmap[low] |= 0xFF & -(1 << (first & 7))
        low += 1
    if high > low:
        bitmap[low:high] = b"\xff" * (high - low)
    if end & 7:
        bitmap[high] |= (1 << (end & 7)) - 1


def set_dirty_bits(bitmap: bytearray, first: int, count: int) -> None:
    """``set_dirty_bits`` (Linux 6.1 ``kvm_book3s_64.h``): eight and more are set as whole bytes, from the byte on that
    holds the first."""
    if count < 8:
        set_bits(bitmap, first, first + count)
    else:
        set_bits(bitmap, first & ~7, (first & ~7) + (count & ~7))


@dataclass(slots=True)
class Slots:
    """Those of one guest; no two overlap."""

    each: list[MemorySlot] = field(default_factory=list)
    _last: MemorySlot | None = None

    def at(self, address: int) -> MemorySlot | None:
        """The one that holds this guest real address (``gfn_to_memslot``)."""
        last = self._last
        if last is not None and last.base <= address < last.base + last.size:
            return last
        for slot in self.each:
            if slot.base <= address < slot.base + slot.size:
                self._last = slot
                return slot
        return None

    def based(self, base: int) -> MemorySlot | None:
        """The one that begins there."""
        return next((slot for slot in self.each if slot.base == base), None)

    def overlapping(self, base: int, size: int) -> MemorySlot | None:
        """One that has bytes among these."""
        return next((slot for slot in self.each if slot.base < base + size and base < slot.end), None)

    def add(self, slot: MemorySlot) -> None:
        """One more, by address."""
        self.each.append(slot)
        self.each.sort(key=lambda each: each.base)
        self._last = None

    def remove(self, slot: MemorySlot) -> None:
        """One less."""
        self.each.remove(slot)
        self._last = None
