"""``kvmppc_book3s_radix_page_fault``: what KVM does with a hypervisor storage interrupt, decision by decision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from inspector.kvm.create import create_pte
from inspector.kvm.host import HostPage
from inspector.kvm.leaf import leaf_for
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.shape import DIRTY
from inspector.kvm.slots import INVALID, READ_ONLY, MemorySlot
from inspector.radix.bits import (
    DSISR_ATTR_CONFLICT,
    DSISR_BADACCESS,
    DSISR_BADCONFIG,
    DSISR_ISSTORE,
    DSISR_KEYFAULT,
    DSISR_NOEXEC_OR_GUARDED,
    DSISR_NOPTE,
    DSISR_PROTFAULT,
    DSISR_PRTABLE_FAULT,
    DSISR_SET_RC,
    PTE_R,
    PTE_VALID,
    PTE_WRITE,
)

Result = Literal["RESUME_GUEST", "MMIO", "DSI", "EFAULT", "ENOMEM"]
"""How a fault ends: the guest goes on (and may fault again), an instruction is emulated, the guest gets a data storage
interrupt, or its vCPU's run ends in an error."""

FAULT_GPA = 0x0FFF_FFFF_FFFF_F000
"""What of ASDR the handler takes."""
BAD_BESIDES_RC = (
    0x8000_0000
    | DSISR_ATTR_CONFLICT
    | DSISR_BADACCESS
    | 0x0010_0000
    | DSISR_BADCONFIG
    | DSISR_PRTABLE_FAULT
    | 0x400E
    | DSISR_NOPTE
    | DSISR_PROTFAULT
    | DSISR_SET_RC
)
"""``DSISR_BAD_FAULT_64S``, NOHPTE, PROTFAULT and SET_RC: what sends a fault on to the look-up of the host's page after
R and C were set (Linux 6.1 ``arch/powerpc/include/asm/reg.h``)."""


SRR1_MATCH = (
    DSISR_NOPTE
    | DSISR_NOEXEC_OR_GUARDED
    | DSISR_PROTFAULT
    | DSISR_KEYFAULT
    | DSISR_BADCONFIG
    | DSISR_SET_RC
    | DSISR_PRTABLE_FAULT
)
"""``DSISR_SRR1_MATCH_64S``: the bits that mean the same in HSRR1 of a fetch as in HDSISR."""
HISI_WRITE = 0x0001_0000
"""Of HSRR1: the entry of a table of the guest's own could not be updated."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One hypervisor storage interrupt: ``asdr`` is what the CPU left there, ``dsisr`` HDSISR, or for a ``fetch`` what
    :func:`dsisr_of_fetch` makes of HSRR1. ``host`` is the host's page there, None where the host has none.
    ``invalidated`` says that the host takes pages away while the fault is handled."""

    ea: int
    asdr: int
    dsisr: int
    host: HostPage | None = None
    invalidated: bool = False
    fetch: bool = False

    @property
    def writing(self) -> bool:
        """Whether it is a store."""
        return bool(self.dsisr & DSISR_ISSTORE)


def dsisr_of_fetch(hsrr1: int) -> int:
    """What KVM hands on of a hypervisor instruction storage interrupt (Linux 6.1 ``kvmppc_handle_exit_hv``)."""
    return hsrr1 & SRR1_MATCH | (DSISR_ISSTORE if hsrr1 & HISI_WRITE else 0)


def guest_real(fault: Fault) -> int:
    """The guest real address that the handler makes of ASDR and the EA."""
    gpa = fault.asdr & FAULT_GPA
    return gpa if fault.dsisr & DSISR_PRTABLE_FAULT else gpa | fault.ea & 0xFFF


def page_fault(machine: Machine, vm: Vm, fault: Fault) -> Result:
    """What KVM does with this fault, told to the tree's trace."""
    trace = vm.tree.trace
    if fault.fetch and "fetch-without-reason" in machine.old:
        trace.say("fetch-without-reason")
        fault = replace(fault, dsisr=0)
    dsisr = fault.dsisr
    if dsisr & DSISR_BADCONFIG:
        trace.say("unsupported-mmu")
        return "EFAULT"
    if dsisr & DSISR_BADACCESS:
        trace.say("bad-access")
        return "DSI"
    gpa = guest_real(fault)
    trace.say("guest-real-of-table" if dsisr & DSISR_PRTABLE_FAULT else "guest-real", gpa, fault.asdr)
    slot = vm.slots.at(gpa)
    if slot is None or slot.flags & INVALID:
        return _no_memory_there(vm, slot, dsisr)
    trace.say("slot", slot.base, slot.size)
    trace.say("write" if dsisr & DSISR_ISSTORE else "read")
    if slot.flags & READ_ONLY and fault.writing and "read-only-ignored" not in machine.old:
        trace.say("read-only-slot", DSISR_ISSTORE | DSISR_PROTFAULT)
        return "DSI"
    if dsisr & DSISR_SET_RC:
        done = _set_rc_by_host if "rc-asks-host" in machine.old else _set_rc
        if done(vm, fault, gpa):
            return "RESUME_GUEST"
    return _map(machine, vm, fault, gpa, slot)


def _no_memory_there(vm: Vm, slot: MemorySlot | None, dsisr: int) -> Result:
    trace = vm.tree.trace
    if slot is None:
        trace.say("no-slot")
    else:
        trace.say("slot-invalid", slot.base, slot.size)
    if dsisr & DSISR_PRTABLE_FAULT:
        trace.say("table-outside-memory")
        return "DSI"
    if dsisr & DSISR_SET_RC:
        trace.say("set-rc-outside-memory")
        return "DSI"
    trace.say("emulate-mmio")
    return "MMIO"


# -- reference and change bits -----------------------------------------------------------------------------------------


def _set_rc_by_host(vm: Vm, fault: Fault, gpa: int) -> bool:
    """The seed's way: only where the host's own entry has them already; whether that was all."""
    trace = vm.tree.trace
    trace.say("set-rc")
    bits = PTE_R | DIRTY if fault.writing else PTE_R
    host = fault.host
    has = 0 if host is None else (PTE_R if host.accessed else 0) | (DIRTY if host.dirty else 0)
    if has & bits != bits:
        trace.say("host-lacks-rc", bits)
        return False
    trace.say("host-has-rc", bits)
    if fault.invalidated:
        trace.say("invalidated")
        return True
    found = vm.tree.find(gpa)
    if found is None or not found.value & PTE_VALID:
        trace.say("set-rc-absent")
        return False
    vm.tree.update(found.address, 0, bits, gpa, found.shift)
    trace.say("set-rc-done", bits, found.address)
    return True


def _set_rc(vm: Vm, fault: Fault, gpa: int) -> bool:
    """The later way (``kvmppc_hv_handle_set_rc``): what the MMU itself would do, and the other reasons are seen to as
    well; whether that was all."""
    trace = vm.tree.trace
    trace.say("set-rc")
    bits = PTE_R | DIRTY if fault.writing else PTE_R
    found = vm.tree.find(gpa)
    left = fault.dsisr
    if found is None or not found.value & PTE_VALID:
        trace.say("set-rc-absent")
    elif fault.writing and not found.value & PTE_WRITE:
        trace.say("set-rc-read-only", found.address)
    else:
        vm.tree.update(found.address, 0, bits, gpa, found.shift)
        trace.say("set-rc-done", bits, found.address)
        left &= ~DSISR_SET_RC
    return not left & BAD_BESIDES_RC


# -- the host's page ---------------------------------------------------------------------------------------------------


def _map(machine: Machine, vm: Vm, fault: Fault, gpa: int, slot: MemorySlot) -> Result:
    """Look up the host's page, and put a leaf for it into the tree."""
    trace = vm.tree.trace
    made = leaf_for(machine, trace, fault.host, gpa, slot, fault.writing)
    if made is None:
        return "EFAULT"
    trace.say("pte", made.value)
    errno = create_pte(machine, vm, made.value, gpa, made.level, invalidated=fault.invalidated)
    if errno == "EBUSY":
        trace.say("fall-back")
        errno = create_pte(machine, vm, made.small, gpa, 0, invalidated=fault.invalidated)
    return "ENOMEM" if errno == "ENOMEM" else "RESUME_GUEST"
