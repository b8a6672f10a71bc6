"""Which pages of a memory slot are mapped by some of these leaves: a bit a page, laid out as KVM's dirty log is.

The layout is that of KVM_GET_DIRTY_LOG: Linux 6.1 ``kvm_dirty_bitmap_bytes`` rounds it up to whole 64-bit longs, and
``kvmppc_hv_get_dirty_log_radix`` sets bits with ``__set_bit_le``: bit n of byte m is page 8m+n, on a host of either
byte order. A large page sets the bits of all its pages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from inspector.errors import UsageError
from inspector.mappings.ranges import Ranges
from inspector.memory.spans import merged
from inspector.radix.columns import NO_PID, U64

LONG_BITS = 64
MOST_PAGES = (1 << 31) - 1
"""Pages that KVM takes in a slot (KVM_MEM_MAX_NR_PAGES, Linux 6.1 ``include/linux/kvm_host.h``): 256 MiB of bitmap."""
PIECE_BITS = 1 << 23
"""A bitmap is made of so many bits at a time."""


@dataclass(frozen=True, slots=True)
class Slot:
    """``size`` bytes from real (guest real) address ``base`` on, in pages of 2**``page_shift`` bytes: the host's.

    Raises UsageError where that is not a whole number of pages, and for more than KVM takes."""

    base: int
    size: int
    page_shift: int = 16

    def __post_init__(self) -> None:
        page = 1 << self.page_shift
        if self.base < 0 or self.size <= 0 or self.base + self.size > 1 << 64:
            raise UsageError(f"a slot of {self.size:#x} bytes at {self.base:#x} is not within 64 bits; give another")
        if (self.base | self.size) & (page - 1):
            low = self.base & -page
            size = -(-(self.base + self.size) // page) * page - low
            way = f"{low:#x}:{size:#x} holds it" if low + size <= 1 << 64 else "take whole pages"
            raise UsageError(
                f"a slot of {self.size:#x} bytes at {self.base:#x} is not of whole {page >> 10}K pages; "
                f"{way}{', or take smaller pages' if page > 4096 else ''}"
            )
        if self.pages > MOST_PAGES:
            raise UsageError(
                f"a slot of {self.pages} pages of {page >> 10}K is larger than KVM takes, which is {MOST_PAGES} "
                f"(its bitmap would take {self.nbytes} bytes); give a smaller one"
            )

    @property
    def pages(self) -> int:
        """Its pages, and the bits that mean something."""
        return self.size >> self.page_shift

    @property
    def nbytes(self) -> int:
        """Bytes of its bitmap, whole longs."""
        return -(-self.pages // LONG_BITS) * (LONG_BITS // 8)


@dataclass(frozen=True, slots=True)
class PageLog:
    """The pages of ``slot`` that are marked: from ``first`` up to ``end`` by number within the slot, disjoint stretches
    that do not touch, ascending."""

    slot: Slot
    first: U64
    end: U64

    @property
    def count(self) -> int:
        """How many pages are marked."""
        return int((self.end - self.first).sum())

    def pieces(self) -> Iterator[bytes]:
        """The bitmap, PIECE_BITS at a time: ``slot.nbytes`` bytes in all."""
        bits = 8 * self.slot.nbytes
        for begin in range(0, bits, PIECE_BITS):
            yield self._piece(begin, min(begin + PIECE_BITS, bits))

    def bitmap(self) -> bytes:
        """The whole bitmap."""
        return b"".join(self.pieces())

    def _piece(self, begin: int, upto: int) -> bytes:
        length = (upto - begin) // 8
        here = slice(int(np.searchsorted(self.end, begin, side="right")), int(np.searchsorted(self.first, upto)))
        first = np.maximum(self.first[here], np.uint64(begin)) - np.uint64(begin)
        end = np.minimum(self.end[here], np.uint64(upto)) - np.uint64(begin)
        if not len(first):
            return bytes(length)
        if first[0] == 0 and end[0] == upto - begin:
            return b"\xff" * length
        # No two stretches begin, end, or meet at the same page.
        change = np.zeros(upto - begin + 1, np.int8)
        change[first] = 1
        change[end] = -1
        marked = np.cumsum(change[:-1], dtype=np.int8)
        return np.packbits(marked, bitorder="little").tobytes()


def page_log(address: U64, size: U64, slot: Slot) -> PageLog:
    """Which pages of ``slot`` have a byte in any of these mappings (or runs of them): ``size`` bytes, not 0, from
    ``address`` on, a row each. What lies outside the slot is left out.

    ``address`` is of the slot's kind: real addresses, or a KVM guest's real ones."""
    last = address + (size - np.uint64(1))
    base, final = np.uint64(slot.base), np.uint64(slot.base + slot.size - 1)
    inside = (address <= final) & (last >= base)
    shift = np.uint64(slot.page_shift)
    first = (np.maximum(address[inside], base) - base) >> shift
    end = ((np.minimum(last[inside], final) - base) >> shift) + np.uint64(1)
    return PageLog(slot, *merged(first, end))


def slot_address(ranges: Ranges) -> U64:
    """Where each range begins among the addresses that slots are of: the real address; the guest real one of a KVM
    guest, which is ``ea`` where the tree is partition-scoped, and ``gra`` where its own was led on to the host's."""
    if ranges.gra is not None:
        return ranges.gra
    return np.where(ranges.pid == NO_PID, ranges.ea, ranges.ra)
