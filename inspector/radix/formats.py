"""The words of a radix tree: directories, leaves, and what Linux keeps where V is 0; and every format by its name.

Fields are those of Power ISA 3.0B book III 5.7.10; names and values agree with Linux 6.1
``arch/powerpc/include/asm/book3s/64/{pgtable,radix}.h`` and QEMU 7.2 ``target/ppc/mmu-radix64.h``. What Linux keeps in
the bits that the architecture leaves to software is kept apart from what the architecture says: it is in ``linux``.
The words that root a tree are in :mod:`inspector.radix.descriptors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from inspector.radix import bits
from inspector.radix.descriptors import PATE0, PATE1, PROCESS_TABLE, PRTE0, PRTE1, PTCR
from inspector.radix.fields import (
    Decoded,
    Field,
    Format,
    address_text,
    entries_text,
    flag,
    log2_text,
    misaligned_text,
    size_text,
)
from inspector.radix.geometry import level_shifts

TREES = "5.7.10"
PGTABLE_H = "Power ISA 3.0B book III 5.7.10; Linux 6.1 asm/book3s/64/pgtable.h"

NONE_MASK = bits.PTE_R | bits.PTE_C
"""RADIX_PTE_NONE_MASK: Linux takes an entry with nothing but these for an empty one (radix.h)."""

Kind = Literal["invalid", "directory", "leaf"]

ATTRIBUTES: Mapping[int, str] = MappingProxyType(
    {0: "normal memory", 1: "normal memory, strong access order (SAO)", 2: "non-idempotent I/O", 3: "tolerant I/O"}
)
"""What ATT says, IBM bits 58:59 of a leaf."""


# Directories and leaves


def _directory(value: int) -> str:
    log2, base = value & bits.PDE_NLS, value & bits.PDE_NLB
    text = f"directory: next table at {base:#x}, {entries_text(log2, 8)}"
    if log2 not in (5, 9):
        text += ", but below the root tables of 2^5 or 2^9 entries only are supported"
    return text + misaligned_text(base, 8 << log2)


def leaf_meaning(value: int, shift: int | None = None, stage: int = 1) -> str:
    """What a leaf says, as one sentence.

    ``shift`` is log2 of its page size where the level is known: real page number bits below it, which should be zero,
    are then told. At ``stage`` 2 (partition-scoped) the privileged bit has no meaning."""
    rpn = value & bits.PTE_RPN
    words = []
    stray = rpn & ((1 << shift) - 1) if shift is not None else 0
    size = f"{size_text(1 << shift)} page" if shift is not None else "page"
    words.append(f"leaf: real {size} {rpn & ~stray:#x}")
    rights = []
    if value & (bits.PTE_READ | bits.PTE_WRITE):
        rights.append("read")
    if value & bits.PTE_WRITE:
        rights.append("write")
    if value & bits.PTE_EXEC:
        rights.append("execute")
    words += rights or ["no access"]
    if stage == 1:
        words.append("privileged" if value & bits.PTE_PRIVILEGED else "unprivileged")
    words.append("referenced" if value & bits.PTE_R else "not referenced")
    words.append("changed" if value & bits.PTE_C else "not changed")
    words.append(ATTRIBUTES[(value & bits.PTE_ATT) >> 4])
    if stray:
        words.append(f"with real page bits {stray:#x} below the page size, which should be zero")
    return ", ".join(words)


def _leaf_linux(value: int) -> str:
    words = [text for mask, text in ((0x200, "soft dirty"), (0x400, "special"), (0x800, "devmap")) if value & mask]
    if value & (bits.PTE_READ | bits.PTE_WRITE | bits.PTE_EXEC) == 0:
        words.append("PROT_NONE, or waiting for a NUMA hint")
    return ", ".join(words)


_SOFTWARE = (
    Field("SW1", 11, 1, "software", TREES, linux="devmap: ZONE_DEVICE memory (_PAGE_DEVMAP)"),
    Field("SW2", 10, 1, "software", TREES, linux="special page (_PAGE_SPECIAL)"),
    Field("SW3", 9, 1, "software", TREES, linux="soft dirty (_PAGE_SOFT_DIRTY)"),
)
_LEAF_TAIL = (
    Field("RPN", 12, 45, "real page number", TREES, show=address_text(12)),
    *_SOFTWARE,
    flag("R", 8, "reference: the page has been accessed", TREES, on="referenced", off="not referenced"),
    flag("C", 7, "change: the page has been stored to", TREES, on="changed", off="not changed"),
    Field("ATT", 4, 2, "attributes: cacheability and ordering", TREES, ATTRIBUTES),
    flag("PRIV", 3, "EAA 0: privileged access only", TREES, on="privileged", off="unprivileged"),
    flag("READ", 2, "EAA 1: may be read", TREES, on="read", off="no read of its own"),
    flag("WRITE", 1, "EAA 2: may be read and written", TREES, on="read and write", off="no write"),
    flag("EXEC", 0, "EAA 3: may be executed", TREES, on="execute", off="no execute"),
)
_VALID = flag("V", 63, "valid", TREES, on="valid", off="invalid")

PDE = Format(
    "PDE",
    "page directory entry",
    64,
    (
        _VALID,
        flag("L", 62, "leaf", TREES, on="leaf", off="directory"),
        Field("NLB", 8, 52, "real address of the next level's table", TREES, show=address_text(8)),
        Field("NLS", 0, 5, "log2 of the entries of the next level's table", TREES, show=log2_text(3)),
    ),
    _directory,
    lambda value: "bad to Linux: reserved bits are set (RADIX_PMD_BAD_BITS)" if value & 0x6000_0000_0000_00E0 else "",
    source=PGTABLE_H,
)
PTE = Format(
    "PTE",
    "page table entry (leaf)",
    64,
    (
        _VALID,
        flag("L", 62, "leaf", TREES, on="leaf", off="directory"),
        Field("SW0", 61, 1, "software", TREES, linux="temporarily invalid, where V is 0 (_PAGE_INVALID)"),
        *_LEAF_TAIL,
    ),
    leaf_meaning,
    _leaf_linux,
    source=PGTABLE_H,
)


# Entries with V=0: the hardware looks no further, the rest is Linux's alone


def _swap(value: int) -> str:
    kind = value & 0x1F
    text = f"swapped out: swap type {kind}, offset {SWAP.field('OFFSET').text(SWAP.field('OFFSET').get(value))}"
    if kind >= 23:
        text += "; types this high are migration, device, poison or marker entries, by the kernel's configuration"
    return text


def _empty(value: int) -> str:
    if value == 0:
        return "empty"
    if value & ~NONE_MASK == 0:
        return "empty (none), with stray reference or change bits that Linux ignores"
    if value & 0x2000_0000_0000_0000:
        return "a directory entry being split (_PAGE_INVALID without _PAGE_PTE)"
    return "nothing that Linux writes into a radix tree"


def _invalid(value: int) -> str:
    return "invalid: no translation" + ("" if value == 0 else "; the other bits mean nothing to the hardware")


_NOT_VALID = flag("V", 63, "valid", TREES, on="valid", off="invalid")
INVALID = Format(
    "INVALID",
    "entry with V=0",
    64,
    (
        _NOT_VALID,
        Field("L", 62, 1, "software, as V is 0", TREES, linux="an entry, not a pointer (_PAGE_PTE)"),
        Field("SW0", 61, 1, "software", TREES, linux="temporarily invalid (_PAGE_INVALID)"),
        Field("R", 8, 1, "software, as V is 0", TREES, linux="stray reference bit, ignored"),
        Field("C", 7, 1, "software, as V is 0", TREES, linux="stray change bit, ignored"),
    ),
    _invalid,
    _empty,
    source=PGTABLE_H,
)
SWAP = Format(
    "SWAP",
    "swap entry (V=0, Linux)",
    64,
    (
        _NOT_VALID,
        Field("L", 62, 1, "software, as V is 0", linux="an entry, not a pointer (_PAGE_PTE)"),
        Field("SW0", 61, 1, "software", linux="temporarily invalid (_PAGE_INVALID): not in a swap entry"),
        Field(
            "OFFSET",
            12,
            41,
            "software, as V is 0",
            linux="offset in the swap file, in pages (_PAGE_PA_MAX limits it to bit 52)",
            show=lambda raw: f"{raw >> 4:#x} of 64K pages" + (f" ({raw:#x} of 4K pages)" if raw else ""),
        ),
        Field("SOFT", 9, 1, "software, as V is 0", linux="soft dirty (_PAGE_SWP_SOFT_DIRTY)"),
        Field("EXCL", 5, 1, "software, as V is 0", linux="exclusive to one process (_PAGE_SWP_EXCLUSIVE)"),
        Field("TYPE", 0, 5, "software, as V is 0", linux="which swap file, or a special type"),
    ),
    _invalid,
    _swap,
    source="Linux 6.1 asm/book3s/64/pgtable.h __swp_entry",
)
INVALIDATED = Format(
    "INVALIDATED",
    "leaf that Linux has made invalid for a moment (V=0)",
    64,
    (
        _NOT_VALID,
        Field("L", 62, 1, "software, as V is 0", linux="an entry, not a pointer (_PAGE_PTE)"),
        Field("SW0", 61, 1, "software", linux="temporarily invalid (_PAGE_INVALID)"),
        *_LEAF_TAIL,
    ),
    _invalid,
    lambda value: f"temporarily invalid while its rights change, then a {leaf_meaning(value)}",
    source="Linux 6.1 asm/book3s/64/pgtable.h pte_present, radix_pgtable.c radix__ptep_set_access_flags",
)

AP_ENCODING = Format(
    "AP",
    "page size with its AP encoding (ibm,processor-radix-AP-encodings, KVM_PPC_GET_RMMU_INFO)",
    32,
    (
        Field("AP", 29, 3, "what tlbie takes in RB for this page size"),
        Field("SHIFT", 0, 6, "log2 of the page size", show=log2_text()),
    ),
    lambda value: f"{size_text(1 << (value & 0x3F))} pages are encoded as AP {value >> 29}",
    source="Linux 6.1 Documentation/virt/kvm/api.rst 4.100",
)

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        f.name.lower(): f
        for f in (PATE0, PATE1, PRTE0, PRTE1, PROCESS_TABLE, PTCR, PDE, PTE, INVALID, SWAP, INVALIDATED, AP_ENCODING)
    }
)
"""Every format here, by lower-case name."""

_ALIASES = {"leaf": "pte", "directory": "pde", "patb0": "pate0", "patb1": "pate1", "prtb0": "prte0", "prtb1": "prte1"}


def format_named(name: str) -> Format | None:
    """The format called ``name`` (any case; Linux's names too), or None."""
    plain = name.lower().replace("_", "-")
    return FORMATS.get(_ALIASES.get(plain, plain))


def kind_of(entry: int) -> Kind:
    """What a radix entry is to the hardware: V and L decide, at every level.

    A leaf at level 3 (512 GiB) and a directory at level 0 are still called what they say they are: that POWER9 and
    POWER10 do not take them there is for a walk to tell."""
    if not entry & bits.PTE_VALID:
        return "invalid"
    return "leaf" if entry & bits.PTE_LEAF else "directory"


def format_of(entry: int) -> Format:
    """The format that fits a radix entry best; where V is 0, the one that Linux would read it by."""
    kind = kind_of(entry)
    if kind == "leaf":
        return PTE
    if kind == "directory":
        return PDE
    if entry & bits.PTE_LEAF:
        return INVALIDATED if entry & 0x2000_0000_0000_0000 else SWAP
    return INVALID


def entry_meaning(entry: int, level: int | None = None, shift: int | None = None, stage: int = 1) -> str:
    """What a radix entry says, as one sentence, with what its ``level`` (3, the root, to 0) adds to it.

    ``shift`` is log2 of the bytes that the entry covers; it follows from the level but at level 0."""
    kind = kind_of(entry)
    if kind == "invalid":
        return _invalid(entry)
    if kind == "leaf":
        text = leaf_meaning(entry, _LEAF_SHIFTS.get(level, shift), stage)
        return text + (", but leaves of 512 GiB are not supported" if level == 3 else "")
    if level == 0:
        return f"directory at level 0, where only a leaf may be: {_directory(entry).removeprefix('directory: ')}"
    text = _directory(entry)
    if level in (2, 3) and entry & bits.PDE_NLS == 5:
        text += ", but tables of 2^5 entries are supported at level 0 only"
    return text


_LEAF_SHIFTS: Mapping[int | None, int] = MappingProxyType(
    {level: shift for level, shift in enumerate(level_shifts(bits.LEVEL_BITS[0][0])) if level}
)


def decode_entry(entry: int, level: int | None = None, shift: int | None = None, stage: int = 1) -> Decoded:
    """A radix entry by the format that fits it; see :func:`entry_meaning`. Raises UsageError for more than 64 bits."""
    return replace(format_of(entry).decode(entry), meaning=entry_meaning(entry, level, shift, stage))
