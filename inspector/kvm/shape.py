"""The shape of the second-level tree on a host of 64K or of 4K pages, and the values of entries that Linux writes.

Index sizes are those of Linux ``arch/powerpc/include/asm/book3s/64/radix-64k.h`` and ``radix-4k.h``; the entries'
values those of ``RADIX_PGD_VAL_BITS`` and its like in ``radix.h``: valid, and the index size of the table below.
"""

from __future__ import annotations

from dataclasses import dataclass

from inspector.radix.bits import ATT_NON_IDEMPOTENT, PDE_NLB, PTE_C, PTE_EXEC, PTE_LEAF, PTE_R, PTE_READ, PTE_VALID

LARGE_SHIFT, HUGE_SHIFT, ROOT_SHIFT = 21, 30, 39
"""Bits that one entry of level 1, 2 and 3 translates: 2M, 1G, 512G."""
LARGE, HUGE = 1 << LARGE_SHIFT, 1 << HUGE_SHIFT
ROOT_BITS, MIDDLE_BITS = 13, 9
ROOT_BYTES, MIDDLE_BYTES = 8 << ROOT_BITS, 8 << MIDDLE_BITS
ROOT_MASK, MIDDLE_MASK = (1 << ROOT_BITS) - 1, (1 << MIDDLE_BITS) - 1
TABLE = PTE_VALID
"""What an entry that leads on has set besides its address and size."""
NEXT = PDE_NLB
"""The address in an entry that leads on: what Linux's ``PMD_MASKED_BITS`` leaves (0xc0000000000000ff)."""
PRESENT_LEAF = PTE_VALID | PTE_LEAF | PTE_R
IO_PROTECTION = PTE_VALID | PTE_R | PTE_READ | ATT_NON_IDEMPOTENT
"""``vm_page_prot`` of a device's mapping that may be read, as ``pgprot_noncached`` makes it; no execution."""
READ_EXECUTE = PTE_READ | PTE_EXEC
DIRTY = PTE_C
AP_4K, AP_64K, AP_2M, AP_1G = 0x0, 0x5, 0x1, 0x2
"""Page sizes as ``tlbie`` takes them (``mmu_psize_defs[].ap``, with the AP encodings of POWER9)."""
AP_SHIFT = 5


@dataclass(frozen=True, slots=True)
class HostPages:
    """A host whose pages are of 2**``shift`` bytes: 16 or 12."""

    shift: int = 16

    @property
    def size(self) -> int:
        """Bytes of a page."""
        return 1 << self.shift

    @property
    def leaf_bits(self) -> int:
        """Index bits of a last-level table."""
        return LARGE_SHIFT - self.shift

    @property
    def leaf_bytes(self) -> int:
        """Bytes of one: 256 for 64K pages, 4 KiB for 4K pages (the seed's ``kvm_pte_cache``)."""
        return 8 << self.leaf_bits

    @property
    def ap(self) -> int:
        """Its size as tlbie takes it."""
        return AP_64K if self.shift == 16 else AP_4K
