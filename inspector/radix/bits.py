"""The masks and shapes of the radix tables, as integers.

Bits are counted as Linux and QEMU count them: bit 0 is the least significant. Power ISA counts from
the other end (IBM bit n of a doubleword is bit 63 - n). Values are those of Linux 6.1
``arch/powerpc/include/asm/book3s/64/{pgtable,mmu,radix}.h`` and QEMU 7.2 ``target/ppc/mmu-radix64.h``.
:mod:`inspector.radix.formats` says what each bit means.
"""

from __future__ import annotations

MASK64 = (1 << 64) - 1

# Leaf and directory entries (Power ISA 3.0B, book III, 5.7.10)
PTE_VALID = 1 << 63
PTE_LEAF = 1 << 62
PTE_RPN = 0x01FF_FFFF_FFFF_F000
PTE_R = 0x100
PTE_C = 0x080
PTE_ATT = 0x030
ATT_NORMAL, ATT_SAO, ATT_NON_IDEMPOTENT, ATT_TOLERANT = 0x00, 0x10, 0x20, 0x30
ATT_NAMES = {ATT_NORMAL: "normal", ATT_SAO: "sao", ATT_NON_IDEMPOTENT: "non-idempotent", ATT_TOLERANT: "tolerant"}
"""Memory attributes as users write them and JSON names them: normal, strong access order, and the two kinds of I/O."""
PTE_PRIVILEGED = 0x008
PTE_READ = 0x004
PTE_WRITE = 0x002
PTE_EXEC = 0x001
PDE_NLB = 0x0FFF_FFFF_FFFF_FF00
PDE_NLS = 0x1F

# Process-table and partition-table entries (5.7.6)
PATE0_HR = 1 << 63
PATE1_GR = 1 << 63
RTS1_MASK, RTS1_DOWN = 0x6000_0000_0000_0000, 58
RTS2_MASK, RTS2_DOWN = 0xE0, 5
RTS_BIAS = 31
"""A tree translates 2**(RTS + 31) bytes."""
RPDB_MASK = 0x0FFF_FFFF_FFFF_FF00
RPDB_MASK_BEFORE_FIX = 0x0FFF_FFFF_FFFF_F00F
"""RPDB_MASK as it stood before Linux 70cd4c10b2: keeps bits 0..3, loses bits 4..11."""
RPDS_MASK = 0x1F
PRTB_MASK = 0x0FFF_FFFF_FFFF_F000
PRTS_MASK = 0x1F
PTCR_PATB = 0x0FFF_FFFF_FFFF_F000
PTCR_PATS = 0x1F
ENTRY_BYTES = 16
"""Bytes of a process-table or partition-table entry."""

# Effective addresses
QUADRANT_SHIFT = 62
KERNEL_PID = 0
"""Quadrant 3 is translated by the tree of this PID, whatever PIDR holds (ISA 3.0B book III, 5.7.5.1)."""
EA_VALID_MASK = 0xC00F_FFFF_FFFF_FFFF
"""Quadrant and the 52 bits below it; any other bit set is a segment interrupt (QEMU R_EADDR_VALID_MASK)."""
EA_MASK = 0x3FFF_FFFF_FFFF_FFFF
"""EA without its quadrant (QEMU R_EADDR_MASK)."""
REAL_MODE_MASK = 0x0FFF_FFFF_FFFF_FFFF
"""What relocation off leaves of an EA: the top 4 bits are ignored (Linux KVM_PAM, QEMU)."""

TREE_BITS = 52
LEVEL_BITS: tuple[tuple[int, ...], ...] = ((5, 9), (9,), (9,), (13,))
"""Index bits that POWER9 and POWER10 accept at level 0 (last) to 3 (root): ``p9_supported_radix_bits``
of the seed, and the processors' user manuals, 4.10.4.1 and 5.10.6.1."""

# MSR
MSR_SF = 1 << 63
MSR_HV = 1 << 60
MSR_EE = 1 << 15
MSR_PR = 1 << 14
MSR_IR = 1 << 5
MSR_DR = 1 << 4
MSR_LE = 1 << 0

# LPCR
LPCR_ILE = 0x200_0000
LPCR_UPRT = 0x40_0000
LPCR_HR = 0x10_0000
LPCR_GTSE = 0x400

# AMR and IAMR: radix always uses key 0, the top two bits
AMR_NO_WRITE = 1 << 63
AMR_NO_READ = 1 << 62
IAMR_NO_EXECUTE = 1 << 62

# DSISR, HDSISR and, for fetches, SRR1
DSISR_NOPTE = 0x4000_0000
DSISR_ATTR_CONFLICT = 0x2000_0000
DSISR_NOEXEC_OR_GUARDED = 0x1000_0000
DSISR_PROTFAULT = 0x0800_0000
DSISR_BADACCESS = 0x0400_0000
DSISR_ISSTORE = 0x0200_0000
DSISR_KEYFAULT = 0x0020_0000
DSISR_BADCONFIG = 0x0008_0000
DSISR_SET_RC = 0x0004_0000
DSISR_PRTABLE_FAULT = 0x0002_0000


def tree_bits(descriptor: int) -> int:
    """Bits of address space of the tree that ``descriptor`` (PATE0 or PRTE0) roots: RTS + 31."""
    return (((descriptor & RTS1_MASK) >> RTS1_DOWN) | ((descriptor & RTS2_MASK) >> RTS2_DOWN)) + RTS_BIAS


def table_bytes(size_field: int) -> int:
    """Bytes of a process or partition table with this PRTS or PATS: 2**(12 + field)."""
    return 1 << (12 + (size_field & 0x1F))
