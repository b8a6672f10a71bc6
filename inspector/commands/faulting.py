"""What goes around a fault that KVM handles: where its guest real address is from, whether KVM would find the
instruction that is to be emulated, and what the guest sees next."""

from __future__ import annotations

from dataclasses import dataclass

from inspector import partitions
from inspector.errors import InspectorError, TargetError, UsageError
from inspector.guest import Guest
from inspector.kvm.fault import Fault
from inspector.kvm.machine import Vm
from inspector.kvm.operations import Answer
from inspector.kvm.shape import DIRTY
from inspector.radix.bits import (
    DSISR_ISSTORE,
    DSISR_NOEXEC_OR_GUARDED,
    DSISR_PROTFAULT,
    DSISR_PRTABLE_FAULT,
    MSR_DR,
    MSR_HV,
    MSR_IR,
    PTE_EXEC,
    PTE_LEAF,
    PTE_R,
    PTE_READ,
    PTE_VALID,
    PTE_WRITE,
    REAL_MODE_MASK,
)
from inspector.radix.translation import Rights, Translation

KVM_PAM = REAL_MODE_MASK
"""The part of an address that KVM keeps with relocation off (``KVM_PAM``)."""
READABLE = PTE_READ | PTE_WRITE
"""Either lets a load through the partition-scoped tree (Power ISA 3.0B, book III, 5.7.10.2: 0b01 is read and write)."""


@dataclass(frozen=True, slots=True)
class Where:
    """A guest real address, and where it is known from."""

    gpa: int
    known_from: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """Whether KVM's software walk finds the instruction at ``nip`` to emulate it. ``found`` is None where no NIP is
    known. ``gpa`` is where the walk ended; ``errno`` why it is not found, ``reason`` its sentence."""

    nip: int | None
    walker: str
    found: bool | None
    gpa: int | None = None
    rights: Rights | None = None
    errno: str | None = None
    reason: str = ""


def vcpus_in(guest: Guest, lpid: int) -> list[int]:
    """The vCPUs that run this guest, the chosen one first: all of a machine whose hypervisor is out of sight."""
    cpus = sorted(guest.target.cpus, key=lambda cpu: cpu != guest.cpu)
    if guest.running:
        return []
    if not partitions.in_sight(guest):
        return cpus
    return [cpu for cpu in cpus if _runs(guest, cpu, lpid)]


def _runs(guest: Guest, cpu: int, lpid: int) -> bool:
    known = guest.registers(cpu, ("lpidr", "msr"))
    msr = known.get("msr")
    return known.get("lpidr") == lpid and msr is not None and not msr & MSR_HV


def where_of(guest: Guest, lpid: int, ea: int, dsisr: int, pid: int | None) -> Where:
    """The guest real address of the fault: what the guest's own tables say of ``ea``, or else what a vCPU has in ASDR
    that has this EA in HDAR. Raises UsageError where neither is known."""
    found = None if dsisr & DSISR_PRTABLE_FAULT else _by_tables(guest, lpid, ea, pid)
    found = found or _by_asdr(guest, ea)
    if found is not None:
        return found
    if dsisr & DSISR_PRTABLE_FAULT:
        raise UsageError(
            "the guest real address of the table that could not be reached is not known; give it with --gpa"
        )
    raise UsageError(
        f"what guest real address {ea:#x} is does not follow from the guest's own tables; "
        "name its process with --pid N, or give the address with --gpa"
    )


def _by_tables(guest: Guest, lpid: int, ea: int, pid: int | None) -> Where | None:
    if partitions.in_sight(guest):
        try:
            if not guest.partition(lpid).registered:
                return Where(ea & KVM_PAM, "the EA, as the guest has no tables yet")
        except UsageError:
            return None
    cpus = vcpus_in(guest, lpid)
    if pid is None:
        if not cpus and ea >> 62 == 0:
            return None
        msr = guest.registers(cpus[0], ("msr",)).get("msr") if cpus else None
        if msr is not None and not msr & MSR_DR:
            return Where(ea & KVM_PAM, "the EA, as the vCPU's relocation is off")
    try:
        found = ask(guest, lpid, ea, pid, cpu=cpus[0] if cpus else None)
    except TargetError:
        raise
    except InspectorError:
        return None
    gpa = found.gra if found.gra is not None or partitions.in_sight(guest) else found.ra
    if gpa is None:
        return None
    whose = f" of PID {found.pid}" if found.pid is not None else ""
    return Where(gpa, f"the guest's own tables{whose}")


def _by_asdr(guest: Guest, ea: int) -> Where | None:
    if guest.running:
        return None
    for cpu in sorted(guest.target.cpus, key=lambda cpu: cpu != guest.cpu):
        known = guest.registers(cpu, ("hdar", "asdr"))
        asdr = known.get("asdr")
        if known.get("hdar") == ea and asdr is not None:
            return Where(asdr, f"ASDR of vCPU {cpu}, whose HDAR has this EA")
    return None


def ask(
    guest: Guest, lpid: int, ea: int, pid: int | None, *, walker: str = "hardware", cpu: int | None = None
) -> Translation:
    """Where the guest's ``ea`` goes, through what is to be seen of it: on a machine whose hypervisor is out of sight
    all is the guest's own. Raises what :meth:`Guest.translate` does."""
    of = lpid if partitions.in_sight(guest) else None
    return guest.translate(ea, pid=pid, lpid=of, walker=walker, cpu=cpu)


# -- the instruction ---------------------------------------------------------------------------------------------------


def instruction_at(guest: Guest, lpid: int, nip: int | None, pid: int | None, walker: str) -> Instruction:
    """Whether KVM fetches the instruction that is to be emulated (``kvmppc_load_last_inst`` and ``kvmppc_ld``): its
    software walk must reach it, and allow reading and executing. Any failure sends the guest back to try again, which
    ends the same way each time.

    NIP, PID and MSR are those of a vCPU that runs this guest where nothing is said. Raises UsageError for a walker that
    is not there."""
    cpus = vcpus_in(guest, lpid)
    cpu = cpus[0] if cpus else None
    if nip is None:
        known = None if cpu is None else guest.registers(cpu, ("nip",)).get("nip")
        if known is None:
            return Instruction(None, walker, None, reason="no vCPU runs this guest; name its NIP with --nip")
        nip = known
    known_here = None if cpu is None else guest.registers(cpu, ("msr", "pid"))
    msr = None if known_here is None else known_here.get("msr")
    if known_here is not None and known_here.get("pid") == pid:
        pid = None  # it runs there: in the state that its MSR says, which need not be problem state
    if pid is None and msr is not None and not msr & MSR_IR:
        return Instruction(nip, walker, True, nip & KVM_PAM, Rights(True, True, True))
    try:
        found = ask(guest, lpid, nip, pid, walker=walker, cpu=cpu)
    except UsageError as error:
        return Instruction(nip, walker, None, reason=str(error))
    if not found.ok:
        return Instruction(nip, walker, False, errno=found.errno, reason=found.reason)
    rights = found.rights
    errno = "EPERM" if not rights.read else "ENOEXEC" if not rights.execute else None
    what = "read" if not rights.read else "executed"
    reason = f"the leaf does not let it be {what}" if errno else ""
    return Instruction(nip, walker, errno is None, found.ra, rights, errno, reason)


# -- what comes next ---------------------------------------------------------------------------------------------------

READ_ONLY_DSI = DSISR_ISSTORE | DSISR_PROTFAULT
"""What DSISR says of a store to a read-only slot."""


def reflected(answer: Answer, asked: Fault) -> int | None:
    """The DSISR that the guest's data storage interrupt has; None where it gets none."""
    if answer.result != "DSI":
        return None
    return READ_ONLY_DSI if "read-only-slot" in answer.trace.slugs else asked.dsisr


def next_seen(vm: Vm, asked: Fault, gpa: int | None, answer: Answer, instruction: Instruction | None) -> str:
    """In one sentence what the guest sees next: for a guest that goes on by walking the tree as it is now."""
    result = answer.result
    if result == "DSI":
        return (
            f"the guest takes a data storage interrupt with DAR {asked.ea:#x} and DSISR {reflected(answer, asked):#x}"
        )
    if result == "MMIO":
        return _emulated(instruction)
    if result != "RESUME_GUEST":
        return f"KVM_RUN ends with {result}: the guest stops, unless its VMM knows better"
    slugs = answer.trace.slugs
    why = _refused(vm, asked, gpa or 0)
    again = "the MMU reads the guest's table again" if asked.dsisr & DSISR_PRTABLE_FAULT else ""
    again = again or "the guest runs the instruction again"
    if why is None:
        return f"{again}, and the leaf allows it"
    ever = ", for ever: this kernel never replaces a large leaf" if "large-there" in slugs else ""
    return f"the same fault comes again{ever}: {why}"


def _emulated(instruction: Instruction | None) -> str:
    if instruction is None or instruction.found is None:
        return "KVM emulates the instruction if its software walk finds it, and else the guest would retry for ever"
    if not instruction.found:
        return (
            f"the guest would retry for ever: KVM does not find the instruction that it is to emulate "
            f"({instruction.errno})"
        )
    return "KVM emulates the instruction, for which the VMM may be asked, and the guest goes on after it"


def _refused(vm: Vm, asked: Fault, gpa: int) -> str | None:
    """Why the tree does not let the access through; None where it does."""
    found = vm.tree.find(gpa)
    if found is None or not found.value:
        return "no leaf is there"
    leaf = found.value
    if not leaf & PTE_VALID:
        return f"the entry {leaf:#x} is not valid{', and looks like a large page' if found.shift else ''}"
    if not leaf & PTE_LEAF:
        return f"the entry {leaf:#x} is no leaf"
    if asked.writing and not leaf & PTE_WRITE:
        return "the leaf does not allow stores"
    if not leaf & READABLE:
        return "the leaf does not allow loads"
    if asked.dsisr & DSISR_NOEXEC_OR_GUARDED and not leaf & PTE_EXEC:
        return "the leaf does not allow execution"
    if not leaf & PTE_R or (asked.writing and not leaf & DIRTY):
        return f"{'R' if not leaf & PTE_R else 'C'} is not set in the leaf"
    return None
