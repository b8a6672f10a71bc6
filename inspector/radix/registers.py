"""The registers that decide where an address goes, and those that say why it did not: as tables of fields.

Positions are those of Linux 6.1 ``arch/powerpc/include/asm/reg.h`` and QEMU 7.2 ``target/ppc/cpu.h``, which agree; they
follow Power ISA 3.0B book III (MSR 3.2.1, LPCR 2.2, DSISR 6.5.3, SRR1 after a fetch 6.5.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from inspector.radix import bits
from inspector.radix.descriptors import PTCR
from inspector.radix.fields import Field, Format, address_text, flag
from inspector.radix.keys import KEY_FORMATS

REG_H = "Linux 6.1 asm/reg.h; QEMU 7.2 target/ppc/cpu.h"
MSR_ISA, LPCR_ISA, DSI_ISA, ISI_ISA = "3.2.1", "2.2", "6.5.3", "6.5.5"


# MSR

_MSR_HIGH = (
    flag("SF", 63, "64-bit mode", MSR_ISA, on="64-bit", off="32-bit"),
    flag("HV", 60, "hypervisor state", MSR_ISA, on="hypervisor", off="guest"),
    Field(
        "TS",
        33,
        2,
        "transaction state",
        MSR_ISA,
        MappingProxyType({0: "none", 1: "suspended", 2: "transactional", 3: "reserved"}),
    ),
    flag("TM", 32, "transactional memory available", MSR_ISA),
)
_MSR_MIDDLE = (
    flag("VEC", 25, "vector (AltiVec) available", MSR_ISA),
    flag("VSX", 23, "vector-scalar available", MSR_ISA),
    flag("S", 22, "secure state", MSR_ISA, on="secure", off="not secure"),
)
_MSR_LOW = (
    flag("EE", 15, "external interrupts enabled", MSR_ISA),
    flag("PR", 14, "problem state", MSR_ISA, on="user", off="privileged"),
    flag("FP", 13, "floating point available", MSR_ISA),
    flag("ME", 12, "machine check enabled", MSR_ISA),
    flag("FE0", 11, "floating point exception mode, high bit", MSR_ISA),
    flag("SE", 10, "single-step trace", MSR_ISA),
    flag("BE", 9, "branch trace", MSR_ISA),
    flag("FE1", 8, "floating point exception mode, low bit", MSR_ISA),
    flag("IR", 5, "instruction relocation: fetches are translated", MSR_ISA, on="translated", off="real"),
    flag("DR", 4, "data relocation: loads and stores are translated", MSR_ISA, on="translated", off="real"),
    flag("PMM", 2, "performance monitor mark", MSR_ISA),
    flag("RI", 1, "recoverable interrupt", MSR_ISA),
    flag("LE", 0, "little-endian mode", MSR_ISA, on="little-endian", off="big-endian"),
)


def describe_msr(value: int) -> str:
    """An MSR in words for a status line: "user, translation on, little-endian"."""
    user, host = bool(value & bits.MSR_PR), bool(value & bits.MSR_HV)
    fetches, data = bool(value & bits.MSR_IR), bool(value & bits.MSR_DR)
    kernel = "kernel" if fetches or data else "privileged"  # with translation off it may be firmware
    words = [("user of the host" if host else "user") if user else "hypervisor" if host else kernel]
    if fetches == data:
        words.append(f"translation {'on' if data else 'off'}")
    else:
        words.append(f"translation on for {'fetches' if fetches else 'data'} only")
    words.append("little-endian" if value & bits.MSR_LE else "big-endian")
    if not value & bits.MSR_SF:
        words.append("32-bit")
    if MSR.field("S").get(value):
        words.append("secure")
    return ", ".join(words)


MSR = Format("MSR", "machine state register", 64, (*_MSR_HIGH, *_MSR_MIDDLE, *_MSR_LOW), describe_msr, source=REG_H)


# LPCR

AIL = MappingProxyType(
    {
        0: "none: all with relocation off",
        1: "reserved",
        2: "offset 0x18000 (before ISA 3.1)",
        3: "at 0xc000000000004000",
    }
)


def _lpcr(value: int) -> str:
    words = ["radix host (HR)" if value & bits.LPCR_HR else "hash host (HR is 0)"]
    words.append("process table in use (UPRT)" if value & bits.LPCR_UPRT else "no process table (UPRT is 0)")
    words.append("the guest may tlbie (GTSE)" if value & bits.LPCR_GTSE else "tlbie by hypercall only (GTSE is 0)")
    words.append(f"interrupts {'little' if value & bits.LPCR_ILE else 'big'}-endian (ILE)")
    return ", ".join(words)


LPCR = Format(
    "LPCR",
    "logical partition control register",
    64,
    (
        flag("VPM0", 63, "virtualized partition memory with relocation off (before ISA 3.0)"),
        flag("VPM1", 62, "virtualized partition memory", LPCR_ISA),
        flag("ISL", 61, "ignore large page specification", LPCR_ISA),
        flag("KBV", 60, "key-based virtualization", LPCR_ISA),
        Field("DPFD", 52, 3, "default prefetch depth", LPCR_ISA),
        Field("VRMASD", 47, 5, "virtual real mode area segment descriptor (before ISA 3.0)"),
        flag("HVEE", 46, "hypervisor virtualization interrupt ends power saving", LPCR_ISA),
        Field("PECEU", 44, 2, "power saving exit causes, rest of the upper part", LPCR_ISA),
        flag("HAIL", 26, "hypervisor interrupts with relocation on (ISA 3.1)"),
        flag("ILE", 25, "endianness of interrupts", LPCR_ISA, on="little-endian", off="big-endian"),
        Field("AIL", 23, 2, "where interrupts with relocation on go", LPCR_ISA, AIL),
        flag("UPRT", 22, "use process table", LPCR_ISA),
        flag("EVIRT", 21, "enhanced virtualization", LPCR_ISA),
        flag("HR", 20, "host radix: must agree with the partition table entry", LPCR_ISA, on="radix", off="hash"),
        flag("ONL", 18, "online: PURR and SPURR count", LPCR_ISA),
        flag("LD", 17, "large decrementer", LPCR_ISA),
        flag("PDEE", 16, "privileged doorbell ends power saving", LPCR_ISA),
        flag("HDEE", 15, "hypervisor doorbell ends power saving", LPCR_ISA),
        flag("EEE", 14, "external interrupt ends power saving", LPCR_ISA),
        flag("DEE", 13, "decrementer ends power saving", LPCR_ISA),
        flag("OEE", 12, "others end power saving", LPCR_ISA),
        flag("MER", 11, "mediated external exception request", LPCR_ISA),
        flag("GTSE", 10, "guest translation shootdown enable: the guest may tlbie", LPCR_ISA),
        flag("TC", 9, "translation control", LPCR_ISA),
        flag("HEIC", 4, "hypervisor external interrupt control", LPCR_ISA),
        flag("LPES0", 3, "external interrupts go to the guest", LPCR_ISA),
        flag("LPES1", 2, "logical partitioning environment, low bit (before ISA 3.0)"),
        flag("HVICE", 1, "hypervisor virtualization interrupt enable", LPCR_ISA),
        flag("HDICE", 0, "hypervisor decrementer enable", LPCR_ISA),
    ),
    _lpcr,
    source=REG_H,
)


# Why it did not go

_CAUSES = {
    "DIRECT": (31, "direct-store error (obsolete)"),
    "NOPTE": (30, "no translation found"),
    "ATTR": (29, "attributes of the two stages conflict"),
    "NOEXEC": (28, "no execute, or guarded storage (fetches only)"),
    "PROT": (27, "protection: the entry does not permit the access"),
    "BADACCESS": (26, "bad access to cache-inhibited or guarded storage"),
    "STORE": (25, "the access was a store"),
    "DAWR": (22, "data watchpoint match"),
    "KEY": (21, "key: AMR or IAMR does not permit the access"),
    "EXTCTL": (20, "external-control error (obsolete)"),
    "BADCONFIG": (19, "unsupported radix tree configuration"),
    "RC": (18, "reference or change bit could not be set"),
    "PRTABLE": (17, "address of a process table or page table entry could not be translated"),
    "ICSWX": (14, "icswx: coprocessor type not available (before ISA 3.0)"),
    "COPY": (3, "copy or paste with the wrong kind of memory"),
    "AMO": (2, "atomic memory operation: bad function code"),
    "CI": (1, "bad cache-inhibited load or store of the hypervisor"),
}
_BEFORE_ISA_3 = ("DIRECT", "EXTCTL", "ICSWX", "CI")
"""Bits that Linux still names and ISA 3.0 does not."""


def describe_causes(value: int) -> str:
    """The causes that DSISR, HDSISR or the failed fetch's part of SRR1 names, in words."""
    return "; ".join(meaning for bit, meaning in _CAUSES.values() if value >> bit & 1) or "nothing said"


def _dsisr(name: str, title: str) -> Format:
    return Format(
        name,
        title,
        64,
        tuple(
            flag(short, bit, meaning, "" if short in _BEFORE_ISA_3 else DSI_ISA)
            for short, (bit, meaning) in _CAUSES.items()
        ),
        describe_causes,
        source=REG_H,
    )


_FETCH_CAUSES = ("NOPTE", "NOEXEC", "PROT")
_PROGRAM = {
    "KEY": " (program interrupt: reserved)",
    "BADCONFIG": " (program interrupt: illegal instruction)",
    "RC": " (program interrupt: privileged instruction)",
    "PRTABLE": " (program interrupt: trap)",
}


def _from_the_top(*fields: Field) -> tuple[Field, ...]:
    return tuple(sorted(fields, key=lambda one: -one.low))


def _srr1(name: str, title: str) -> Format:
    """SRR1 is the interrupted MSR, but for IBM bits 33:36 and 42:47, which say why after some interrupts."""
    return Format(
        name,
        title,
        64,
        _from_the_top(
            *_MSR_HIGH,
            *(flag(short, _CAUSES[short][0], _CAUSES[short][1], ISI_ISA) for short in _FETCH_CAUSES),
            flag("PREFIXED", 29, "the instruction was a prefixed one (ISA 3.1)"),
            *_MSR_MIDDLE,
            *(flag(short, _CAUSES[short][0], _CAUSES[short][1] + extra, ISI_ISA) for short, extra in _PROGRAM.items()),
            flag("NEXT", 16, "program interrupt: SRR0 is not at the instruction that caused it", "6.5.9"),
            *_MSR_LOW,
        ),
        lambda value: (
            f"from {describe_msr(value)}"
            + (
                f"; if a fetch failed: {describe_causes(value & _FETCH_MASK)}"
                if value & _FETCH_MASK
                else "; no fetch failure said"
            )
        ),
        source=REG_H,
    )


_FETCH_MASK = sum(1 << _CAUSES[name][0] for name in (*_FETCH_CAUSES, *_PROGRAM))

DSISR = _dsisr("DSISR", "data storage interrupt status register")
HDSISR = _dsisr("HDSISR", "hypervisor data storage interrupt status register")
SRR1 = _srr1("SRR1", "machine status save/restore register 1")
HSRR1 = _srr1("HSRR1", "hypervisor machine status save/restore register 1")


# Identities and addresses

QUADRANTS = MappingProxyType(
    {
        0: "0: PIDR's process",
        1: "1: LPIDR's guest, PIDR's process (hypervisor only)",
        2: "2: LPIDR's guest, PID 0 (hypervisor only)",
        3: "3: PID 0, the kernel",
    }
)


def _ea(value: int) -> str:
    text = f"quadrant {value >> bits.QUADRANT_SHIFT}, {value & ((1 << bits.TREE_BITS) - 1):#x} in it"
    if value & ~bits.EA_VALID_MASK:
        return f"{text}; with bits 61:52 set it is a segment interrupt when relocation is on"
    return text


EA = Format(
    "EA",
    "effective address",
    64,
    (
        Field("QUADRANT", 62, 2, "whose tree translates it", "", QUADRANTS),
        Field("L3", 39, 13, "index into the root directory (level 3)", "5.7.10"),
        Field("L2", 30, 9, "index at level 2", "5.7.10"),
        Field("L1", 21, 9, "index at level 1", "5.7.10"),
        Field("LOW", 0, 21, "index at level 0 and offset in the page", "5.7.10"),
    ),
    _ea,
    source="QEMU 7.2 target/ppc/mmu-radix64.h",
)


def _number(name: str, title: str, what: str) -> Format:
    """A register that holds a number of 32 bits."""
    return Format(
        name, title, 64, (Field(name, 0, 32, title),), lambda value: f"{what} {value & 0xFFFF_FFFF}", source=REG_H
    )


HRMOR = Format(
    "HRMOR",
    "hypervisor real mode offset register",
    64,
    (Field("HRMO", 0, 60, "or'ed into the hypervisor's real addresses whose top bit is 0", show=address_text(0)),),
    lambda value: f"offset {value & bits.REAL_MODE_MASK:#x} of the hypervisor's real mode",
    source=REG_H,
)
ASDR = Format(
    "ASDR",
    "access segment descriptor register",
    64,
    (
        Field("GRA", 12, 48, "guest real page that the partition-scoped tree lacks", show=address_text(12)),
        Field("OFFSET", 0, 12, "offset in it: left undefined by hardware, filled by QEMU"),
    ),
    lambda value: f"guest real page {value & 0x0FFF_FFFF_FFFF_F000:#x} (with radix)",
    source="Linux 6.1 book3s_64_mmu_radix.c (fault_gpa); QEMU 7.2 mmu-radix64.c ppc_radix64_raise_hsi",
)

PROCESSORS: Mapping[int, str] = MappingProxyType(
    {
        0x003F: "POWER7",
        0x004A: "POWER7+",
        0x004B: "POWER8E",
        0x004C: "POWER8NVL",
        0x004D: "POWER8",
        0x004E: "POWER9",
        0x0080: "POWER10",
        0x0F00: "architected (a compatibility mode)",
    }
)
"""PVR versions of QEMU 7.2 ``target/ppc/cpu-models.h``."""

ARCHITECTED: Mapping[int, str] = MappingProxyType({2: "2.05", 3: "2.06", 4: "2.07", 5: "3.00", 6: "3.1"})
RADIX_PROCESSORS = frozenset({0x004E, 0x0080})


def _pvr(value: int) -> str:
    version, revision = value >> 16 & 0xFFFF, value & 0xFFFF
    name = PROCESSORS.get(version)
    if name is None:
        return f"unknown processor {version:#06x}, revision {revision:#06x}"
    if version == 0x0F00:
        return f"architected processor of ISA {ARCHITECTED.get(revision, f'level {revision:#x}')}"
    text = f"{name} v{revision >> 8 & 0xF}.{revision & 0xFF:x}"
    return text if version in RADIX_PROCESSORS else f"{text}, which has no radix MMU"


PVR = Format(
    "PVR",
    "processor version register",
    64,
    (
        Field("VERSION", 16, 16, "processor", "", PROCESSORS),
        Field("TYPE", 12, 4, "kind of chip or core (POWER9, POWER10)"),
        Field("MAJOR", 8, 4, "major revision"),
        Field("MINOR", 0, 8, "minor revision"),
    ),
    _pvr,
    source="QEMU 7.2 target/ppc/cpu-models.h; Linux 6.1 kernel/setup-common.c show_cpuinfo",
)
CR = Format(
    "CR",
    "condition register",
    64,
    tuple(
        Field(
            f"CR{n}",
            28 - 4 * n,
            4,
            "LT GT EQ SO",
            show=lambda raw: "".join("lgeo"[b] for b in range(4) if raw >> (3 - b) & 1) or "-",
        )
        for n in range(8)
    ),
    source="Power ISA 3.0B book I 2.3.1",
)
XER = Format(
    "XER",
    "fixed-point exception register",
    64,
    (
        flag("SO", 31, "summary overflow"),
        flag("OV", 30, "overflow"),
        flag("CA", 29, "carry"),
        flag("OV32", 19, "overflow of the low 32 bits"),
        flag("CA32", 18, "carry of the low 32 bits"),
        Field("LENGTH", 0, 7, "bytes for string instructions"),
    ),
    source="Power ISA 3.0B book I 3.2.2; QEMU 7.2 target/ppc/cpu.c cpu_read_xer",
)
PID = _number("PID", "process identification register (PIDR)", "radix PID")
LPIDR = _number("LPIDR", "logical partition identification register", "LPID")

_ADDRESSES = ("nip", "lr", "ctr", "dar", "hdar", "srr0", "hsrr0")
_FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        **{
            f.name.lower(): f
            for f in (MSR, LPCR, PTCR, LPIDR, PID, DSISR, HDSISR, SRR1, HSRR1, PVR, HRMOR, ASDR, CR, XER, EA)
        },
        **KEY_FORMATS,
        **dict.fromkeys(_ADDRESSES, EA),
        "pidr": PID,
        "lpid": LPIDR,
    }
)


def register_format(name: str) -> Format | None:
    """The table of the register called ``name`` (any case, ``$`` dropped), or None for one that is a plain number.

    Registers that hold an effective address (nip, lr, ctr, dar, hdar, srr0, hsrr0) have the table of one."""
    return _FORMATS.get(name.removeprefix("$").lower())
