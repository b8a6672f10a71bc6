"""QEMU 7.2's radix translation, told again in Python: the other side of a comparison.

Written from ``target/ppc/mmu-radix64.c`` and ``mmu-book3s-v3.c`` of QEMU 7.2.0 in the shape of the C, and from nothing
of the inspector's. ``Quirks`` names each place where that C is known to leave the ISA (or where the walker chooses to
say more); with a quirk off the model does what the walker promises instead, so that everything else can be compared
to the last bit. Bits are the C's: 0 is the least significant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

NOPTE = 0x4000_0000
PROTFAULT = 0x0800_0000
NOEXEC_GUARD = 0x1000_0000
ISSTORE = 0x0200_0000
BADCONFIG = 0x0008_0000
PRTABLE_FAULT = 0x0002_0000

LOAD, STORE, FETCH = "r", "w", "x"
HV_INDEX, REAL_INDEX, PRIV_INDEX = 4, 2, 1
MASK64 = (1 << 64) - 1


@dataclass(frozen=True)
class Quirks:
    """What 7.2 does that the ISA does not say, or that later versions do otherwise."""

    unmasked_nested_root: bool = True
    """A misaligned root of a guest's tree keeps its low bits under two stages, and loses them under one."""
    untranslated_directories: bool = True
    """With HV=1, directories behind quadrants 1 and 2 are read as host real addresses."""
    table_access_is_load: bool = True
    """A second stage that fails on a table's address raises HDSI without ISSTORE, even for a fetch or a store."""
    check_after_second_stage: bool = True
    """Under two stages an entry's address is translated before its level is checked."""
    pate_rpds_check: bool = True
    """``validate_pate`` means PRTS and tests RPDS: below 5 is BADCONFIG without the cause bit of a table's address."""


AS_IS = Quirks()
AS_PROMISED = Quirks(False, False, False, False, False)


class Raised(Exception):
    """An interrupt."""

    def __init__(self, name: str, bits: int) -> None:
        self.name = name
        self.bits = bits
        super().__init__(f"{name} {bits:#x}")


@dataclass(frozen=True)
class Pate:
    dw0: int
    dw1: int


def mask(bits: int) -> int:
    return (1 << bits) - 1


def shifted(value: int, count: int) -> int:
    """``value >> count`` as an x86-64 host computes it: a count outside 0..63 is undefined in C, and wraps there."""
    return value >> (count & 63)


@dataclass
class Cpu:
    """As much of CPUPPCState as counts. ``patb_entry`` makes it a pseries vCPU, whose hypervisor is QEMU itself."""

    ram: Callable[[int], int | None]
    msr: int
    pid: int = 0
    lpidr: int = 0
    ptcr: int = 0
    amr: int = 0
    iamr: int = 0
    hrmor: int = 0
    patb_entry: int | None = None
    quirks: Quirks = AS_IS
    reads: list[int] = field(default_factory=list)

    def msr_bit(self, bit: int) -> bool:
        return bool(self.msr >> bit & 1)

    @property
    def hv(self) -> bool:
        return self.msr_bit(60) and self.patb_entry is None

    @property
    def vhyp(self) -> bool:
        return self.patb_entry is not None

    def ldq(self, address: int) -> int:
        """Space that nothing backs reads as zeros."""
        self.reads.append(address)
        value = self.ram(address)
        return 0 if value is None else value

    def mmu_index(self, access: str) -> int:
        index = 0 if self.msr_bit(14) else PRIV_INDEX
        if self.hv:
            index |= HV_INDEX
        if not self.msr_bit(5 if access == FETCH else 4):
            index |= REAL_INDEX
        return index

    # -- interrupts

    def raise_si(self, access: str, cause: int) -> Raised:
        if access == FETCH:
            return Raised("ISI", cause)
        return Raised("DSI", cause | (ISSTORE if access == STORE else 0))

    def raise_hsi(self, access: str, cause: int) -> Raised:
        if access == FETCH:
            return Raised("HISI", cause)
        return Raised("HDSI", cause | (ISSTORE if access == STORE else 0))

    # -- rights

    def check_prot(self, access: str, pte: int, index: int, partition_scoped: bool) -> tuple[int, str]:
        """(cause, what may be done); a cause of 0 is no refusal."""
        if pte & 0x30 == 0x20 and access == FETCH:
            return NOEXEC_GUARD, ""
        allowed = set()
        if pte & 4:
            allowed.add("r")
        if pte & 2:
            allowed |= {"r", "w"}
        if pte & 1:
            allowed.add("x")
        if not partition_scoped and pte & 8 and self.msr_bit(14):
            allowed = set()
        elif not (not index & PRIV_INDEX or pte & 8 or partition_scoped):
            amr, iamr = self.amr >> 62, self.iamr >> 62
            if amr & 2:
                allowed.discard("w")
            if amr & 1:
                allowed.discard("r")
            if iamr & 1:
                allowed.discard("x")
        if access not in allowed:
            return (NOEXEC_GUARD if access == FETCH else PROTFAULT), ""
        return 0, "".join(sorted(allowed))

    # -- trees

    @staticmethod
    def valid_level(level: int, psize: int, nls: int) -> bool:
        if level == 0:
            return psize == 52 and nls == 13
        if level in (1, 2):
            return nls == 9
        return level == 3 and nls in (5, 9)

    def next_level(self, ea: int, at: int, nls: int, psize: int) -> tuple[int, int, int, int, int]:
        """(cause, entry, where the next is, its table's nls, psize)."""
        pde = self.ldq(at)
        if not pde >> 63:
            return NOPTE, pde, at, nls, psize
        psize -= nls
        if not pde >> 62 & 1:
            nls = pde & 0x1F
            index = shifted(ea, psize - nls) & mask(nls)
            nlb = pde & 0x0FFF_FFFF_FFFF_FF00 & ~mask(nls + 3)
            at = nlb + index * 8
        return 0, pde, at, nls, psize

    def walk_tree(self, ea: int, root: int) -> tuple[int, int, int, int]:
        """(cause, real address, psize, leaf)."""
        psize = ((root >> 58 & 0x18) | (root >> 5 & 7)) + 31
        nls = root & 0x1F
        base = root & 0x0FFF_FFFF_FFFF_FF00 & ~mask(nls + 3)
        at = base + (shifted(ea, psize - nls) & mask(nls)) * 8
        level = 0
        while True:
            if not self.valid_level(level, psize, nls):
                return BADCONFIG, 0, 0, 0
            level += 1
            cause, pte, at, nls, psize = self.next_level(ea, at, nls, psize)
            if cause:
                return cause, 0, 0, 0
            if pte >> 62 & 1:
                break
        rpn = pte & 0x01FF_FFFF_FFFF_F000
        return 0, (rpn & ~mask(psize)) | (ea & mask(psize)), psize, pte

    # -- stages

    def partition_scoped(
        self, access: str, g_raddr: int, pate: Pate, pde_addr: bool, index: int, original: str
    ) -> tuple[int, str, int]:
        """(host real address, rights, psize)."""
        cause, raddr, psize, pte = self.walk_tree(g_raddr, pate.dw0)
        rights = ""
        if not cause:
            cause, rights = self.check_prot(access, pte, index, True)
        if cause:
            if pde_addr:
                cause |= PRTABLE_FAULT
            raise self.raise_hsi(access if self.quirks.table_access_is_load else original, cause)
        return raddr, rights, psize

    def process_scoped(self, access: str, ea: int, lpid: int, pid: int, pate: Pate, index: int) -> tuple[int, str, int]:
        """((guest) real address, rights, psize)."""
        prtb = pate.dw1 & 0x0FFF_FFFF_FFFF_F000
        size = 1 << ((pate.dw1 & 0x1F) + 12)
        if prtb & (size - 1):
            raise self.raise_si(access, BADCONFIG)
        offset = pid * 16
        if offset >= size:
            raise self.raise_si(access, NOPTE)
        if self.vhyp:
            prtbe0 = self.ldq(prtb + offset)
        else:
            h_raddr, _, _ = self.partition_scoped(LOAD, prtb + offset, pate, True, 5, access)
            prtbe0 = self.ldq(h_raddr)
        target = ea & 0x3FFF_FFFF_FFFF_FFFF
        one_stage = self.hv or self.vhyp if self.quirks.untranslated_directories else self.vhyp or lpid == 0
        if one_stage:
            cause, raddr, psize, pte = self.walk_tree(target, prtbe0)
            if cause:
                raise self.raise_si(access, cause)
        else:
            raddr, psize, pte = self.nested_walk(access, target, prtbe0, pate)
        cause, rights = self.check_prot(access, pte, index, False)
        if cause:
            raise self.raise_si(access, cause)
        return raddr, rights, psize

    def nested_walk(self, access: str, target: int, prtbe0: int, pate: Pate) -> tuple[int, int, int]:
        """(guest real address, psize, leaf): every entry's address goes through the second stage."""
        psize = ((prtbe0 >> 58 & 0x18) | (prtbe0 >> 5 & 7)) + 31
        nls = prtbe0 & 0x1F
        base = prtbe0 & 0x0FFF_FFFF_FFFF_FF00
        if not self.quirks.unmasked_nested_root:
            base &= ~mask(nls + 3)
        at = base + (shifted(target, psize - nls) & mask(nls)) * 8
        level = 0
        while True:
            if not self.quirks.check_after_second_stage and not self.valid_level(level, psize, nls):
                raise self.raise_si(access, BADCONFIG)
            h_raddr, _, _ = self.partition_scoped(LOAD, at, pate, True, 5, access)
            if not self.valid_level(level, psize, nls):
                raise self.raise_si(access, BADCONFIG)
            level += 1
            cause, pte, at, nls, psize = self.next_level(target, h_raddr, nls, psize)
            if cause:
                raise self.raise_si(access, cause)
            if pte >> 62 & 1:
                break
        rpn = pte & 0x01FF_FFFF_FFFF_F000
        return (rpn & ~mask(psize)) | (target & mask(psize)), psize, pte

    # -- the whole

    def qualified(self, ea: int) -> tuple[int, int] | None:
        if ea & ~0xC00F_FFFF_FFFF_FFFF:
            return None
        quadrant = ea >> 62
        if self.hv:
            return [(0, self.pid), (self.lpidr, self.pid), (self.lpidr, 0), (0, 0)][quadrant]
        if quadrant in (1, 2):
            return None
        return self.lpidr, self.pid if quadrant == 0 else 0

    def get_pate(self, access: str, lpid: int) -> Pate:
        if self.patb_entry is not None:
            assert lpid == 0
            return Pate(self.patb_entry & 1 << 63, self.patb_entry)
        patb, pats = self.ptcr & 0x0FFF_FFFF_FFFF_F000, self.ptcr & 0x1F
        if patb & mask(pats + 12) or 1 << (pats + 12 - 4) <= lpid:
            raise self.raise_hsi(access, BADCONFIG)
        at = patb + 16 * lpid
        pate = Pate(self.ldq(at), self.ldq(at + 8))
        if not pate.dw0 >> 63 or (lpid == 0 and not self.hv):
            raise self.raise_hsi(access, BADCONFIG)
        if self.quirks.pate_rpds_check and pate.dw0 & 0x1F < 5:
            raise self.raise_hsi(access, BADCONFIG)
        return pate

    def xlate(self, ea: int, access: str) -> tuple[int, int, str]:
        """(real address, psize, rights). Raises Raised."""
        index = self.mmu_index(access)
        relocation = not index & REAL_INDEX
        if not relocation and (index & HV_INDEX or self.vhyp):
            raddr = ea & 0x0FFF_FFFF_FFFF_FFFF
            if index & HV_INDEX and not ea >> 63:
                raddr |= self.hrmor
            return raddr, 12, "rwx"
        whose = self.qualified(ea)
        if whose is None:
            raise Raised("ISEG" if access == FETCH else "DSEG", 0)
        lpid, pid = whose
        pate = self.get_pate(access, lpid)
        psize, rights = (1 << 31) - 1, set("rwx")
        if relocation:
            g_raddr, granted, g_psize = self.process_scoped(access, ea, lpid, pid, pate, index)
            psize = min(psize, g_psize)
            rights &= set(granted)
        else:
            g_raddr = ea & 0x3FFF_FFFF_FFFF_FFFF
        if self.vhyp or not (lpid or not index & HV_INDEX):
            return g_raddr, psize, "".join(sorted(rights))
        raddr, granted, h_psize = self.partition_scoped(access, g_raddr, pate, False, index, access)
        return raddr, min(psize, h_psize), "".join(sorted(rights & set(granted)))
