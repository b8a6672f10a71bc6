"""What the CPU writes down when an access faults, and what may be told from the registers in which it did.

Vectors and registers are those of Power ISA 3.0B book III, 6.5.3 to 6.5.6 and 6.5.16 to 6.5.17, as QEMU 7.2
``powerpc_excp_books`` and ``mmu-radix64.c`` have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from inspector.radix.address import Context
from inspector.radix.bits import (
    DSISR_BADCONFIG,
    DSISR_ISSTORE,
    DSISR_NOEXEC_OR_GUARDED,
    DSISR_NOPTE,
    DSISR_PROTFAULT,
    DSISR_PRTABLE_FAULT,
    DSISR_SET_RC,
)
from inspector.radix.translation import Access, Translation

VECTORS: Mapping[str, int] = {"DSI": 0x300, "DSEG": 0x380, "ISI": 0x400, "ISEG": 0x480, "HDSI": 0xE00, "HISI": 0xE20}
TITLES: Mapping[str, str] = {
    "DSI": "data storage interrupt",
    "DSEG": "data segment interrupt",
    "ISI": "instruction storage interrupt",
    "ISEG": "instruction segment interrupt",
    "HDSI": "hypervisor data storage interrupt",
    "HISI": "hypervisor instruction storage interrupt",
}
SRR1_CAUSES = 0x783F_0000
"""Bits 33:36 and 42:47 of SRR1 and HSRR1 (IBM): causes, or 0; the others are the interrupted MSR's."""
FETCH_ONLY = DSISR_NOPTE | DSISR_NOEXEC_OR_GUARDED | DSISR_PROTFAULT
"""Causes that tell an instruction storage interrupt's SRR1 from a program interrupt's, which has the others too."""
SHARED = DSISR_BADCONFIG | DSISR_SET_RC | DSISR_PRTABLE_FAULT
RADIX_CAUSES = FETCH_ONLY | DSISR_ISSTORE | DSISR_BADCONFIG | DSISR_SET_RC | DSISR_PRTABLE_FAULT
"""What the radix MMU of POWER9 and POWER10 may say of an access."""
LEAST_PAGE = 0xFFF
HDSISR_CANARY = 0x7FFF
"""What KVM puts into HDSISR before it enters a guest (Linux 6.1 asm/kvm_book3s_64.h): none was taken since. It does so
on POWER9 to DD2.1 only (book3s_hv_p9_entry.c, CPU_FTR_P9_RADIX_PREFETCH_BUG), as QEMU 7.2's POWER9 is."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The interrupt that an access raises: its vector (a real address, whatever LPCR[AIL] makes of it) and the
    registers that it writes, but for those that do not depend on the access. ``bits`` are its causes, as DSISR,
    HDSISR, SRR1 or HSRR1 has them. What it takes an unknown register to know is left out. ``older_qemu`` is what QEMU
    before 8.1 raises instead, where that is not the same."""

    name: str
    vector: int
    bits: int
    registers: Mapping[str, int] = field(default_factory=dict)
    older_qemu: Prediction | None = None

    @property
    def title(self) -> str:
        """Its name in full."""
        return TITLES[self.name]


def predict(answer: Translation, context: Context) -> Prediction | None:
    """What the access that ``answer`` is of raises on a vCPU in this ``context``; None where it does not fault, or the
    walk ended where what the guest finds is not known.

    ASDR is the guest real address in full, as QEMU has it; hardware leaves its low 12 bits undefined. Where the
    partition-table entry itself is at fault QEMU puts the EA there, and nothing else is known to."""
    if answer.interrupt is None:
        return None
    name, bits = answer.interrupt.name, answer.interrupt.bits
    predicted = _predicted(answer, context, name, bits)
    if answer.table_gra is not None and bits & DSISR_PRTABLE_FAULT and answer.access in ("w", "x"):
        # it takes the table's entry for what is loaded (7.2, ppc_radix64_partition_scoped_xlate with access 0)
        return replace(predicted, older_qemu=_predicted(answer, context, "HDSI", bits & ~DSISR_ISSTORE))
    return predicted


def _predicted(answer: Translation, context: Context, name: str, bits: int) -> Prediction:
    registers: dict[str, int] = {}
    prefix = "h" if name in ("HDSI", "HISI") else ""
    if name in ("ISI", "ISEG", "HISI"):
        registers[f"{prefix}srr0"] = answer.ea
        if context.msr is not None:
            registers[f"{prefix}srr1"] = context.msr & ~SRR1_CAUSES | bits
    else:
        registers[f"{prefix}dar"] = answer.ea
        if name != "DSEG":
            registers[f"{prefix}dsisr"] = bits
    if prefix:
        registers["asdr"] = next((at for at in (answer.table_gra, answer.gra) if at is not None), answer.ea)
    return Prediction(name, VECTORS[name], bits, registers)


@dataclass(frozen=True, slots=True)
class Record:
    """What a vCPU's registers say of the last interrupt of one kind: where, and why (``bits``). ``access`` is None
    where they do not tell, as after a data segment interrupt; ``guest_real`` is ASDR."""

    registers: tuple[str, str]
    ea: int
    bits: int
    access: Access | None
    hypervisor: bool = False
    guest_real: int | None = None

    @property
    def doubtful(self) -> bool:
        """Whether it may be a program interrupt's, which says why in the same bits of SRR1."""
        return self.access == "x" and not self.bits & FETCH_ONLY


def records(known: Mapping[str, int]) -> Iterator[Record]:
    """What the registers that are known (by their canonical names) record. Registers that hold 0 record nothing, and
    SRR1 and HSRR1 only where they say why a fetch failed; nor does KVM's canary in HDSISR."""
    for prefix in ("", "h"):
        asdr = known.get("asdr") if prefix else None
        dar, dsisr = known.get(f"{prefix}dar"), known.get(f"{prefix}dsisr")
        if dar is not None and dsisr is not None and (dar or dsisr) and dsisr != HDSISR_CANARY:
            access: Access | None = None if not dsisr else "w" if dsisr & DSISR_ISSTORE else "r"
            names = (f"{prefix}dar".upper(), f"{prefix}dsisr".upper())
            yield Record(names, dar, dsisr, access, bool(prefix), asdr)
        srr0, srr1 = known.get(f"{prefix}srr0"), known.get(f"{prefix}srr1")
        if srr0 is not None and srr1 is not None and srr1 & (FETCH_ONLY | SHARED):
            names = (f"{prefix}srr0".upper(), f"{prefix}srr1".upper())
            yield Record(names, srr0, srr1 & SRR1_CAUSES, "x", bool(prefix), asdr)


def same_page(record: Record, ea: int) -> bool:
    """Whether it is of the smallest page that ``ea`` lies in: an access may begin a few bytes before."""
    return record.ea & ~LEAST_PAGE == ea & ~LEAST_PAGE


def interrupted(context: Context, srr1: int) -> Context:
    """The vCPU as it was when it took the interrupt that SRR1 (or HSRR1) is of: that has its MSR."""
    return replace(context, msr=srr1 & ~SRR1_CAUSES)
