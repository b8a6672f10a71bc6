"""Radix trees read by the ISA's layout alone, sharing nothing with the inspector.

Power ISA 3.0B, book III, 5.7.10: doublewords are big-endian; the two top bits of an entry are V and L; a directory
entry holds the next table's base (bits 4:55) and the log2 of its entries (59:63); a leaf the real page number."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TREE = 52
"""Bits of a tree that Linux makes."""
PAGE = 1 << 16
"""The kernel's page, which pagemap counts in."""


@dataclass(frozen=True, order=True)
class Leaf:
    """A page of 2**shift bytes: its address below the quadrant, its real address, and the entry."""

    offset: int
    ra: int
    shift: int
    entry: int

    def pages(self) -> Iterator[tuple[int, int]]:
        """Its kernel pages, as (address, page frame number)."""
        for inside in range(0, 1 << self.shift, PAGE):
            yield self.offset + inside, (self.ra + inside) // PAGE


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """The RAM file, to be read."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as ram:
        yield ram


def leaves(ram: mmap.mmap, descriptor: int) -> Iterator[Leaf]:
    """Every leaf of the tree of this process-table entry, by address."""
    yield from _table(ram, descriptor, TREE, 0)


def _table(ram: mmap.mmap, leads_here: int, reach: int, offset: int) -> Iterator[Leaf]:
    bits = leads_here & 0x1F
    base = leads_here & 0x0FFF_FFFF_FFFF_FF00
    shift = reach - bits
    for index, entry in enumerate(struct.unpack_from(f">{1 << bits}Q", ram, base)):
        at = offset + (index << shift)
        if entry >> 62 == 3:
            yield Leaf(at, entry & 0x01FF_FFFF_FFFF_F000 & -(1 << shift), shift, entry)
        elif entry >> 62 == 2:
            yield from _table(ram, entry, shift, at)


def trees(ram: mmap.mmap, table: int, size: int) -> dict[int, int]:
    """The first doubleword of every entry of a process table that is not empty, by PID."""
    data = ram[table : table + size]
    return {
        at // 16: int.from_bytes(data[at : at + 8], "big")
        for block in range(0, size, PAGE)
        if data.count(0, block, block + PAGE) != PAGE
        for at in range(block, block + PAGE, 16)
        if any(data[at : at + 16])
    }
