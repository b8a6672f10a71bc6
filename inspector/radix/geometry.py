"""The shapes of radix trees that POWER9 and POWER10 take: levels, page sizes and their encodings.

Levels count down from 3 (the root directory) to 0. Sources: the seed, Linux 70cd4c10b2 ``arch/powerpc/kvm/
book3s_64_mmu_radix.c``; Linux 6.1 ``arch/powerpc/include/asm/mmu.h``; QEMU 7.2 ``target/ppc/cpu_init.c``
(``POWER9_radix_page_info``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from inspector.radix.bits import LEVEL_BITS, TREE_BITS

ROOT_LEVEL = 3
PAGE_SHIFT_4K, PAGE_SHIFT_64K, PAGE_SHIFT_2M, PAGE_SHIFT_1G = 12, 16, 21, 30


@dataclass(frozen=True, slots=True)
class Geometry:
    """One tree shape: log2 of the base page, and the index bits of each level from 0 (last) to 3 (root)."""

    page_shift: int
    level_bits: tuple[int, int, int, int]

    def shift(self, level: int) -> int:
        """log2 of the bytes that one entry at ``level`` covers: the page size of a leaf there."""
        return self.page_shift + sum(self.level_bits[:level])

    def index(self, ea: int, level: int) -> int:
        """The index that ``ea`` has in its table at ``level``."""
        return ea >> self.shift(level) & ((1 << self.level_bits[level]) - 1)

    def table_bytes(self, level: int) -> int:
        """Bytes of a table at ``level``."""
        return 8 << self.level_bits[level]


GEOMETRIES: tuple[Geometry, ...] = (
    Geometry(PAGE_SHIFT_4K, (9, 9, 9, 13)),
    Geometry(PAGE_SHIFT_64K, (5, 9, 9, 13)),
)
"""Those that KVM reports, in its order: base pages of 4K, then 64K. Both span 52 bits."""


def level_shifts(level_0_bits: int) -> tuple[int, int, int, int]:
    """log2 of the bytes an entry covers at level 0 to 3, in a tree whose last tables have ``level_0_bits`` (5 or 9).

    Raises ValueError for another number of bits."""
    if level_0_bits not in LEVEL_BITS[0]:
        raise ValueError(f"tables at level 0 have 2^5 or 2^9 entries, not 2^{level_0_bits}")
    return (PAGE_SHIFT_2M - level_0_bits, PAGE_SHIFT_2M, PAGE_SHIFT_1G, TREE_BITS - LEVEL_BITS[3][0])


@dataclass(frozen=True, slots=True)
class PageSize:
    """One entry of Linux's ``mmu_psize_defs``: log2 of the page size, 0 where the MMU lacks it, and its AP encoding."""

    shift: int
    ap: int = 0


PSIZE_NAMES: tuple[str, ...] = (
    *("4K", "16K", "64K", "64K_AP", "256K", "512K", "1M", "2M"),
    *("4M", "8M", "16M", "64M", "256M", "1G", "16G", "64G"),
)
"""Names of the indexes of ``mmu_psize_defs`` (MMU_PAGE_4K is 0)."""

MMU_PAGE_COUNT = len(PSIZE_NAMES)
MMU_PAGE_4K, MMU_PAGE_64K, MMU_PAGE_2M, MMU_PAGE_1G = (PSIZE_NAMES.index(name) for name in ("4K", "64K", "2M", "1G"))

PSIZE_DEFS: Mapping[int, PageSize] = MappingProxyType(
    {
        MMU_PAGE_4K: PageSize(PAGE_SHIFT_4K, 0),
        MMU_PAGE_64K: PageSize(PAGE_SHIFT_64K, 5),
        MMU_PAGE_2M: PageSize(PAGE_SHIFT_2M, 1),
        MMU_PAGE_1G: PageSize(PAGE_SHIFT_1G, 2),
    }
)
"""``mmu_psize_defs`` of a radix kernel told ``ibm,processor-radix-AP-encodings``; an index not here has shift 0."""

PSIZE_DEFS_WITHOUT_PROPERTY: Mapping[int, PageSize] = MappingProxyType(
    {index: PSIZE_DEFS[index] for index in (MMU_PAGE_4K, MMU_PAGE_64K)}
)
"""The same where the device tree lacks that property (QEMU 7.2 powernv): Linux then assumes 4K and 64K alone."""


def psize_index(shift: int, psize_defs: Mapping[int, PageSize] = PSIZE_DEFS) -> int:
    """The first index of ``mmu_psize_defs`` with this shift, or MMU_PAGE_COUNT (16) where none has: no error, as in the
    seed."""
    for index in range(MMU_PAGE_COUNT):
        found = psize_defs.get(index)
        if found is not None and found.shift == shift:
            return index
    return MMU_PAGE_COUNT


def psize_name(index: int) -> str:
    """The name of an index of ``mmu_psize_defs``, "unknown" for MMU_PAGE_COUNT and beyond."""
    return PSIZE_NAMES[index] if 0 <= index < MMU_PAGE_COUNT else "unknown"


def encode_ap(size: PageSize) -> int:
    """A page size as the device tree and KVM give it: ``shift | ap << 29``, kept to 32 bits as a __u32 is."""
    return (size.shift | size.ap << 29) & 0xFFFF_FFFF


def decode_ap(word: int) -> PageSize:
    """The page size that an AP encoding word gives: shift in bits 5:0, AP in 31:29."""
    return PageSize(word & 0x3F, word >> 29 & 7)


@dataclass(frozen=True, slots=True)
class RmmuInfo:
    """What ``KVM_PPC_GET_RMMU_INFO`` returns: the used parts of its ``geometries[8]`` and ``ap_encodings[8]``, which
    are otherwise zero. ``level_bits`` count from level 0 up, as there."""

    geometries: tuple[Geometry, ...]
    ap_encodings: tuple[int, ...]


def rmmu_info(psize_defs: Mapping[int, PageSize] = PSIZE_DEFS) -> RmmuInfo:
    """What the seed's ``kvmhv_get_rmmu_info`` reports on a host with these ``mmu_psize_defs``.

    Both geometries are always reported. The encodings are those of 4K, 64K, 2M and 1G in this order; a size whose shift
    is 0 is passed over and leaves no gap, and no other size is reported, defined or not."""
    sizes = (psize_defs.get(index) for index in (MMU_PAGE_4K, MMU_PAGE_64K, MMU_PAGE_2M, MMU_PAGE_1G))
    return RmmuInfo(GEOMETRIES, tuple(encode_ap(size) for size in sizes if size is not None and size.shift))
