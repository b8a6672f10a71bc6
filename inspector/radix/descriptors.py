"""The words that root a tree or name a table: PATE, PRTE, PTCR, and the process table as it is registered.

Fields are those of Power ISA 3.0B book III 5.7.6; names and values agree with Linux 6.1
``arch/powerpc/include/asm/book3s/64/mmu.h`` and QEMU 7.2 ``target/ppc/mmu-radix64.h`` and ``mmu-book3s-v3.h``.
"""

from __future__ import annotations

from inspector.radix import bits
from inspector.radix.fields import (
    Field,
    Format,
    address_text,
    entries_text,
    flag,
    log2_text,
    misaligned_text,
)

TABLES = "5.7.6"
MMU_H = "Power ISA 3.0B book III 5.7.6; Linux 6.1 asm/book3s/64/mmu.h"

MAX_TABLE_SIZE_FIELD = 24
"""The largest PRTS or PATS that KVM, QEMU and H_REGISTER_PROC_TBL take: 2**36 bytes."""


def _table(base: int, size_field: int) -> str:
    """Where a process or partition table is, how many entries it has, and what is odd about it."""
    text = f"at {base:#x}, {entries_text(size_field + 8, bits.ENTRY_BYTES)}"
    if size_field > MAX_TABLE_SIZE_FIELD:
        text += f", though a size field above {MAX_TABLE_SIZE_FIELD} is refused everywhere"
    return text + misaligned_text(base, bits.table_bytes(size_field))


def _tree(value: int) -> str:
    size, root_bits = bits.tree_bits(value), value & bits.RPDS_MASK
    root = value & bits.RPDB_MASK
    text = f"tree of 2^{size} bytes, root directory at {root:#x}, {entries_text(root_bits, 8)}"
    if size != bits.TREE_BITS or root_bits not in bits.LEVEL_BITS[3]:
        text += f", but POWER9 and POWER10 take trees of 2^{bits.TREE_BITS} bytes with 2^13 entries at the root only"
    return text + misaligned_text(root, 8 << root_bits)


def _pate0(value: int) -> str:
    if not value & bits.PATE0_HR:
        return "empty: no partition" if value == 0 else "hash partition: HR is 0, so no radix tree is rooted here"
    return f"partition-scoped {_tree(value)}"


def _pate1(value: int) -> str:
    return f"process table {_table(value & bits.PRTB_MASK, value & bits.PRTS_MASK)}"


def _process_table(value: int) -> str:
    """The states are those of QEMU's ``spapr->patb_entry`` and KVM's ``arch.process_table``."""
    if not value & bits.PATE1_GR:
        return (
            "nothing registered: the guest has not started its MMU, or uses the hash MMU"
            if value == 0
            else "a hash guest's process table (GR is 0)"
        )
    if value == bits.PATE1_GR:
        return "radix, but no process table is registered yet"
    return f"radix process table {_table(value & bits.PRTB_MASK, value & bits.PRTS_MASK)}"


def _prte0(value: int) -> str:
    return f"process-scoped {_tree(value)}" if value else "empty: no address space has this PID"


def _tree_fields(first: tuple[Field, ...]) -> tuple[Field, ...]:
    """The fields of a root descriptor, which PATE0 and PRTE0 share."""
    return (
        *first,
        Field("RTS1", 61, 2, "radix tree size, its two high bits: the tree spans 2^(RTS+31) bytes", TABLES),
        Field("RPDB", 8, 52, "real address of the root page directory", TABLES, show=address_text(8)),
        Field("RTS2", 5, 3, "radix tree size, its three low bits", TABLES),
        Field("RPDS", 0, 5, "log2 of the entries of the root page directory", TABLES, show=log2_text(3)),
    )


def _table_fields(base: str, size: str, what: str, first: tuple[Field, ...] = ()) -> tuple[Field, ...]:
    """The fields of a table descriptor, which PATE1 and PTCR share."""
    return (
        *first,
        Field(base, 12, 48, f"real address of the {what} table", TABLES, show=address_text(12)),
        Field(size, 0, 5, f"log2 of the {what} table's bytes, less 12", TABLES, show=log2_text(12)),
    )


_GR = flag(
    "GR",
    63,
    "guest radix: not in the final architecture and unused by hardware; Linux, KVM and QEMU keep it here",
    on="radix",
    off="hash, or nothing registered",
)

PATE0 = Format(
    "PATE0",
    "partition table entry, first doubleword",
    64,
    _tree_fields(
        (flag("HR", 63, "host radix: the partition-scoped tables are radix", TABLES, on="radix", off="hash"),)
    ),
    _pate0,
    source=MMU_H,
)
PATE1 = Format(
    "PATE1",
    "partition table entry, second doubleword",
    64,
    _table_fields("PRTB", "PRTS", "process", (_GR,)),
    _pate1,
    source=MMU_H,
)
PROCESS_TABLE = Format(
    "PROCESS-TABLE",
    "process table as registered (KVM arch.process_table, QEMU spapr patb_entry)",
    64,
    PATE1.fields,
    _process_table,
    source="Linux 6.1 kvm_ppc.h, QEMU 7.2 hw/ppc/spapr_hcall.c h_register_process_table",
)
PRTE0 = Format("PRTE0", "process table entry, first doubleword", 64, _tree_fields(()), _prte0, source=MMU_H)
PRTE1 = Format(
    "PRTE1",
    "process table entry, second doubleword",
    64,
    (),
    lambda value: "reserved with radix: 0" if value == 0 else f"reserved with radix, yet {value:#x}",
    source=MMU_H,
)
PTCR = Format(
    "PTCR",
    "partition table control register",
    64,
    _table_fields("PATB", "PATS", "partition"),
    lambda value: (
        f"partition table {_table(value & bits.PTCR_PATB, value & bits.PTCR_PATS)}"
        if value
        else "no partition table: a guest of a hypervisor, or one that has not set it yet"
    ),
    source=MMU_H,
)
