"""DSISR and HDSISR: the names of their bits as users write them, and what KVM's fault handler makes of a value.

Bits are those of Linux 6.1 ``arch/powerpc/include/asm/reg.h``; what is made of them is
``kvmppc_book3s_radix_page_fault`` of ``arch/powerpc/kvm/book3s_64_mmu_radix.c``, seed to 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from inspector.kvm.history import DEFAULT, old
from inspector.radix.bits import (
    DSISR_BADACCESS,
    DSISR_BADCONFIG,
    DSISR_ISSTORE,
    DSISR_NOPTE,
    DSISR_PROTFAULT,
    DSISR_PRTABLE_FAULT,
    DSISR_SET_RC,
)
from inspector.radix.registers import HDSISR

CANARY = 0x7FFF
"""What Linux puts into HDSISR before it enters a guest on a POWER9 that may raise the interrupt without setting it
(``HDSISR_CANARY``, Linux 6.1 ``asm/kvm_book3s_64.h``)."""

LINUX_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bad_direct_st": "DIRECT",
        "nohpte": "NOPTE",
        "attr_conflict": "ATTR",
        "noexec_or_g": "NOEXEC",
        "protfault": "PROT",
        "isstore": "STORE",
        "dabrmatch": "DAWR",
        "dawrmatch": "DAWR",
        "nosegment": "KEY",
        "keyfault": "KEY",
        "bad_ext_ctrl": "EXTCTL",
        "unsupp_mmu": "BADCONFIG",
        "set_rc": "RC",
        "prtable_fault": "PRTABLE",
        "pgdirfault": "PRTABLE",
        "icswx_no_ct": "ICSWX",
        "bad_copypaste": "COPY",
        "bad_amo": "AMO",
        "bad_ci_ldst": "CI",
    }
)
"""Linux's own names without their DSISR_, and the fields they are."""
BITS: Mapping[str, int] = MappingProxyType(
    {
        **{field.name.lower(): field.mask for field in HDSISR.fields},
        **{name: HDSISR.field(field).mask for name, field in LINUX_NAMES.items()},
    }
)
"""Every name of a bit, in small letters."""

Outcome = Literal["EFAULT", "DSI", "RETRY"]
"""How the handler ends by the bits alone: the guest's run fails, the guest sees a DSI, or tries again."""


@dataclass(frozen=True, slots=True)
class Handling:
    """What KVM's handler makes of a DSISR: ``outcome`` where the bits alone decide, else None; ``says`` in sentences,
    in the order that the handler asks."""

    outcome: Outcome | None
    says: tuple[str, ...]


def named(word: str) -> int | None:
    """The bit of this name, as the decoder has it or as Linux does, with or without DSISR_; None for no name."""
    return BITS.get(word.strip().lower().removeprefix("dsisr_"))


def handling(dsisr: int, version: str = DEFAULT) -> Handling:
    """What the handler of this kernel makes of the value."""
    if dsisr == CANARY:
        return Handling(
            "RETRY",
            (
                "it is what KVM puts into HDSISR before it enters a guest (HDSISR_CANARY): the interrupt came without a"
                " cause, as some POWER9s do, and the guest runs on",
            ),
        )
    if dsisr & DSISR_BADCONFIG:
        return Handling(
            "EFAULT", ("the MMU could not use the configuration it was given: the run of the vCPU ends in EFAULT",)
        )
    if dsisr & DSISR_BADACCESS:
        return Handling("DSI", ("such an access is not allowed to such memory: the guest sees a DSI with this DSISR",))
    return Handling(None, tuple(_on_the_way(dsisr, "rc-asks-host" in old(version))))


def _on_the_way(dsisr: int, asks_host: bool) -> list[str]:
    says = []
    if dsisr & DSISR_PRTABLE_FAULT:
        says.append(
            "it was a table of the guest's own that could not be reached: the address is ASDR's alone, and outside all "
            "memory slots the guest sees a DSI"
        )
    elif dsisr & DSISR_SET_RC:
        says.append("outside all memory slots the guest sees a DSI, since only R or C was missing")
    else:
        says.append("outside all memory slots it is a device, and KVM emulates the instruction")
    store = bool(dsisr & DSISR_ISSTORE)
    says.append(
        "it is a store: the host's page must be writable, and a read-only slot gives the guest a DSI"
        if store
        else "it is no store: the host's page is looked up for reading"
    )
    if dsisr & DSISR_SET_RC:
        where = "where the host's own entry has them, and a leaf is there" if asks_host else "where a leaf is there"
        allows = " and allows stores" if store and not asks_host else ""
        says.append(f"R{' and C are' if store else ' is'} set {where}{allows}; else the page is looked up")
    if dsisr & (DSISR_NOPTE | DSISR_PROTFAULT) or not dsisr & DSISR_SET_RC:
        says.append("the host's page is looked up, and a leaf put in for it")
    return says
