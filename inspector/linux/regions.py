"""Linux's regions of the kernel's address space, Book3S-64 radix.

Linux 6.1 ``arch/powerpc/include/asm/book3s/64/radix.h``, the same in 6.12, for kernels of 4K and of 64K pages alike.
The hashed MMU with 4K pages has others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.errors import UsageError

if TYPE_CHECKING:
    from inspector.radix.columns import U64


@dataclass(frozen=True, slots=True)
class Region:
    """Effective addresses from ``start`` up to ``end``, called ``name``."""

    name: str
    start: int
    end: int


REGIONS: tuple[Region, ...] = (
    Region("user", 0, 1 << 52),
    Region("linear map", 0xC000_0000_0000_0000, 0xC008_0000_0000_0000),
    Region("vmalloc", 0xC008_0000_0000_0000, 0xC00A_0000_0000_0000),
    Region("ISA I/O", 0xC00A_0000_0000_0000, 0xC00A_0000_0001_0000),
    Region("PHB I/O", 0xC00A_0000_0001_0000, 0xC00A_0000_8000_0000),
    Region("ioremap", 0xC00A_0000_8000_0000, 0xC00B_FFFF_FE00_0000),
    Region("fixmap", 0xC00B_FFFF_FE00_0000, 0xC00C_0000_0000_0000),
    Region("vmemmap", 0xC00C_0000_0000_0000, 0xC00E_0000_0000_0000),
    Region("KASAN shadow", 0xC00E_0000_0000_0000, 0xC00F_C000_0000_0000),
)
"""In order of address. vmalloc holds modules too; user addresses end at 2**52 with 64K pages, at 2**46 with 4K."""

IO_REGIONS = frozenset({"ISA I/O", "PHB I/O", "ioremap"})
"""What is mapped there are devices: from IO_START up to IO_END."""
IO_START = min(region.start for region in REGIONS if region.name in IO_REGIONS)
IO_END = max(region.end for region in REGIONS if region.name in IO_REGIONS)

STARTS = [region.start for region in REGIONS]


def region_of(ea: int) -> Region | None:
    """The region that holds ``ea``, or None."""
    at = bisect_right(STARTS, ea) - 1
    return REGIONS[at] if at >= 0 and ea < REGIONS[at].end else None


def by_region(eas: U64) -> Iterator[tuple[Region | None, int, int]]:
    """Ascending addresses in groups of one region each: (the region or None, the first row, one past the last)."""
    import numpy as np

    at = 0
    for region in REGIONS:
        first, end = np.searchsorted(eas, np.array((region.start, region.end), np.uint64)).tolist()
        if at < first:
            yield None, at, first
        if first < end:
            yield region, first, end
        at = end
    if at < len(eas):
        yield None, at, len(eas)


def region_named(name: str) -> Region:
    """The region of this name, or the only one whose name begins so; case, blanks and hyphens do not matter. Raises
    UsageError."""

    def plain(text: str) -> str:
        return "".join(c for c in text.lower() if c.isalnum())

    wanted = plain(name)
    begin_so = [region for region in REGIONS if wanted and plain(region.name).startswith(wanted)]
    for region in begin_so:
        if plain(region.name) == wanted or len(begin_so) == 1:
            return region
    raise UsageError(f"there is no region {name!r}; there are {', '.join(region.name for region in REGIONS)}")
