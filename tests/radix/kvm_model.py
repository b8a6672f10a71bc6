"""KVM's software walk told again in Python with C's integers: the other side of a comparison.

Written from the founding text (``kvmppc_mmu_radix_xlate`` at Linux 70cd4c10b2) line by line, and from nothing of the
inspector's. ``Kernel`` holds what differed before and after.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field

EINVAL, ENOENT, EFAULT = -22, -2, -14
NAMES = {EINVAL: "EINVAL", ENOENT: "ENOENT", EFAULT: "EFAULT"}
P9_SUPPORTED_RADIX_BITS = (5, 9, 9, 13)
PSIZE_SHIFTS = (12, 0, 16, 0, 0, 0, 0, 21, 0, 0, 0, 0, 0, 30, 0, 0)
"""``mmu_psize_defs[].shift`` of a radix host, by MMU_PAGE_* of Linux 6.1; 0 where the host has no such size."""


@dataclass(frozen=True)
class Kernel:
    """One version of the function."""

    prtb_mask: int | None = 0x0FFF_FFFF_FFFF_F000
    rpdb_mask: int = 0x0FFF_FFFF_FFFF_FF00
    dd1: bool = False
    split: bool = False
    """After 4.20 split it: 64-bit size, PRTS at most 24, 16 bytes of the entry."""


@dataclass
class Gpte:
    page_size: int
    raddr: int
    may_read: bool
    may_write: bool
    may_execute: bool


def u32(value: int) -> int:
    return ctypes.c_uint32(value).value


def u64(value: int) -> int:
    return ctypes.c_uint64(value).value


def int_shift(count: int) -> int:
    """``1 << count`` of an int, by powerpc's slw (a count of 32..63 gives 0), widened to unsigned long."""
    return u64(ctypes.c_int32(1 << count).value) if count < 32 else 0


@dataclass
class Vcpu:
    """``guest`` gives eight bytes of guest memory at any address, or None where no memslot holds them."""

    guest: Callable[[int], int | None]
    process_table: int
    pid: int
    msr: int = 0
    amr: int = 0
    iamr: int = 0
    kernel: Kernel = Kernel()
    reads: list[int] = field(default_factory=list)

    def kvm_read_guest(self, address: int) -> int | None:
        self.reads.append(address)
        return self.guest(address)

    def xlate(self, eaddr: int) -> tuple[int, Gpte | None]:
        """(return code, what was filled in)."""
        kernel = self.kernel
        quadrant = eaddr >> 62
        if quadrant == 0:
            pid = u32(self.pid)
        elif quadrant == 3:
            pid = 0
        else:
            return EINVAL, None

        prts = self.process_table & 0x1F
        if kernel.split:
            if prts > 24:
                return EINVAL, None
            if pid * 16 >= 1 << (prts + 12):
                return EINVAL, None
            offset = pid * 16
        else:
            offset = u32(pid * 16)
            if offset >= int_shift(prts + 12):
                return EINVAL, None
        table = self.process_table if kernel.prtb_mask is None else self.process_table & kernel.prtb_mask
        ptbl = u64(table + offset)
        prte = self.kvm_read_guest(ptbl)
        if prte is None:
            return EFAULT, None
        if kernel.split and self.kvm_read_guest(ptbl + 8) is None:
            return EFAULT, None

        rts = ((prte & 0x6000_0000_0000_0000) >> (61 - 3)) | ((prte & 0xE0) >> 5)
        bits = prte & 0x1F
        root = prte & kernel.rpdb_mask
        left = rts + 31
        if kernel.dd1:
            left -= 3
        if left != 52:
            return EINVAL, None

        level = 3
        pte = 0
        while level >= 0:
            if level and bits != P9_SUPPORTED_RADIX_BITS[level]:
                return EINVAL, None
            if level == 0 and bits not in {5, 9}:
                return EINVAL, None
            left -= bits
            index = (eaddr >> left) & ((1 << bits) - 1)
            if root & ((1 << (bits + 3)) - 1):
                return EINVAL, None
            read = self.kvm_read_guest(root + index * 8)
            if read is None:
                return EFAULT, None
            pte = read
            if not pte & 1 << 63:
                return ENOENT, None
            if pte & 1 << 62:
                break
            bits = pte & 0x1F
            root = pte & 0x0FFF_FFFF_FFFF_FF00
            level -= 1
        if level in {-1, 3}:
            return EINVAL, None

        gpa = pte & 0x01FF_FFFF_FFFF_F000
        if gpa & ((1 << left) - 1):
            return EINVAL, None
        gpa += eaddr & ((1 << left) - 1)
        page_size = 0
        while page_size < len(PSIZE_SHIFTS) and PSIZE_SHIFTS[page_size] != left:
            page_size += 1

        gpte = Gpte(page_size, gpa, bool(pte & 4), bool(pte & 2), bool(pte & 1))
        if self.msr & 1 << 14:
            if pte & 8:
                gpte.may_read = gpte.may_write = gpte.may_execute = False
        elif not pte & 8:
            if self.amr & 1 << 62:
                gpte.may_read = False
            if self.amr & 1 << 63:
                gpte.may_write = False
            if self.iamr & 1 << 62:
                gpte.may_execute = False
        return 0, gpte
