"""``fault``: what KVM does with a hypervisor storage interrupt, run on an overlay, and what the guest sees next."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.dsisr import dsisr_value
from inspector.commands.faulting import Instruction, Where, instruction_at, next_seen, reflected, where_of
from inspector.commands.hostwords import HOST, SLOT, HostWords, host_of, slot_of
from inspector.commands.lifecycle import ON_OVERLAY, Operated, guest_of, life_arguments, operated
from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Command, Example, Parser, Session
from inspector.commands.whose import number, vmm_pid
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.kvm import operations
from inspector.kvm.dsisr import CANARY
from inspector.kvm.fault import Fault, guest_real
from inspector.kvm.history import VERSIONS
from inspector.kvm.host import HostPage
from inspector.kvm.machine import Vm
from inspector.kvm.operations import Answer
from inspector.kvm.slots import MemorySlot, Slots
from inspector.radix.bits import DSISR_BADACCESS, DSISR_BADCONFIG, DSISR_ISSTORE
from inspector.radix.software_walk import variant

if TYPE_CHECKING:
    from inspector.vmm import Vmm
    from inspector.whatif import WhatIf

ALIKE = 1 << 30
"""So far a host virtual address lies as the guest real one does, where nobody says what it is."""
SOMEWHERE = 0x7F00_0000_0000
UNTOUCHED = (
    f"{CANARY:#x} is what KVM puts into HDSISR before it enters a guest: kernels with the workaround for it let the "
    "guest try again, and never come to the handler that is run here"
)
WAY_OUT = "say what is there: --slot BASE:SIZE with --host base=ADDR, or --mmio for no memory slot"
BEFORE_4_20 = VERSIONS[: VERSIONS.index("6.1")]
"""Kernels that have the software walk as it was mended in 4.11."""
ENDS_BY_BITS = DSISR_BADCONFIG | DSISR_BADACCESS


@dataclass(frozen=True, slots=True)
class Faulted:
    """How the fault was handled. ``gpa`` is None where the bits of DSISR decided alone; ``known_from`` says how it is
    known. ``host`` is what the host had behind it where KVM looked, and ``host_from`` how that is known. ``next_seen``
    is what the guest sees next, ``reflected`` the DSISR of the interrupt that it gets."""

    topic: ClassVar[str] = "fault"
    operated: Operated
    asked: Fault
    gpa: int | None
    known_from: str
    slot: MemorySlot | None
    host: HostPage | None
    host_from: str
    instruction: Instruction | None
    next_seen: str
    reflected: int | None

    @property
    def ok(self) -> bool:
        """Whether the guest goes on by itself: no interrupt for it, no error, and no instruction that is not found."""
        lost = self.instruction is not None and self.instruction.found is False
        return self.operated.ok and not lost


@dataclass(slots=True)
class _Behind:
    """What the address lies in. ``slots`` are the guest's for this one fault; ``host`` gives the host's page there, and
    the words for where it is known from, only if KVM asks for it. ``said`` is what was taken for granted."""

    slots: Slots
    host: Callable[[], tuple[HostPage | None, str]]
    said: list[str]


def _fault(session: Session, arguments: Namespace) -> Iterator[Faulted | Aside]:
    guest = session.at
    ea = session.value(arguments.ea)
    dsisr = dsisr_value(session, arguments.dsisr)
    pid = None if arguments.pid is None else number(session, arguments.pid, "--pid", "a PID", "'pids' lists them")
    nip = None if arguments.nip is None else session.value(arguments.nip)
    vmm = None if arguments.vmm is None else vmm_pid(session, arguments.vmm)
    if arguments.mmio and (arguments.slot or arguments.host or vmm is not None):
        raise UsageError("--mmio says that no memory slot holds the address; leave --slot, --host and --vmm out")
    if arguments.host is not None and not arguments.host.strip():
        raise UsageError(f"--host says nothing; write {HOST}")
    if arguments.walker is not None:
        variant(arguments.walker)  # refused, if it is, before anything is done
    if dsisr == CANARY:
        yield Aside(Note(UNTOUCHED))
    whatif, vm = yield from guest_of(session, arguments)
    where = None
    behind = _Behind(vm.slots, lambda: (None, ""), [])
    if not dsisr & ENDS_BY_BITS:
        where = _where(session, arguments, guest, vm.lpid, ea, dsisr, pid)
        gpa = guest_real(Fault(ea, where.gpa, dsisr))
        _add_slots(session, arguments, whatif, vm)
        behind = _behind(session, arguments, whatif, vm, gpa, vmm, bool(dsisr & DSISR_ISSTORE))
        for said in behind.said:
            yield Aside(Note(said))
    asked = Fault(ea, 0 if where is None else where.gpa, dsisr, None, arguments.invalidated)
    with _slots(vm, behind.slots):
        answer, asked, host_from = _run(whatif, vm, asked, behind)
        told = None if where is None else guest_real(asked)
        slot = None if told is None else vm.slots.at(told)
        instruction = None
        if answer.result == "MMIO":
            walker = arguments.walker or _walker(whatif)
            instruction = instruction_at(guest, vm.lpid, nip, pid, walker)
        seen = next_seen(vm, asked, told, answer, instruction)
    yield Faulted(
        operated(whatif, answer, gpa=told, ea=ea),
        asked,
        told,
        "" if where is None else where.known_from,
        slot,
        asked.host,
        host_from,
        instruction,
        seen,
        reflected(answer, asked),
    )


def _run(whatif: WhatIf, vm: Vm, asked: Fault, behind: _Behind) -> tuple[Answer, Fault, str]:
    """Handle it. KVM asks for the host's page only on some of its ways, and changes nothing for good before it does: so
    it is run without one first, and anew if it asked."""
    answer = operations.fault(whatif.machine, vm, asked)
    if "host-none" not in answer.trace.slugs:
        return answer, asked, ""
    host, host_from = behind.host()
    if host is not None:
        asked = replace(asked, host=host)
        answer = operations.fault(whatif.machine, vm, asked)
    return answer, asked, host_from


def _walker(whatif: WhatIf) -> str:
    """The software walk that the kernel has."""
    machine = whatif.machine
    return "kvm@dd1" if machine.dd1 else "kvm" if machine.version in BEFORE_4_20 else "kvm@4.20"


@contextmanager
def _slots(vm: Vm, slots: Slots) -> Iterator[None]:
    """Let the guest have these slots for a while."""
    before, vm.slots = vm.slots, slots
    try:
        yield
    finally:
        vm.slots = before


def _where(
    session: Session, arguments: Namespace, guest: Guest, lpid: int, ea: int, dsisr: int, pid: int | None
) -> Where:
    if arguments.gpa is not None:
        return Where(session.value(arguments.gpa), "--gpa")
    return where_of(guest, lpid, ea, dsisr, pid)


# -- slots and the host's page -----------------------------------------------------------------------------------------


def _add_slots(session: Session, arguments: Namespace, whatif: WhatIf, vm: Vm) -> None:
    """Make the slots that were named; one that is there already stays as it is."""
    for text in arguments.slot:
        words = slot_of(text, session)
        there = vm.slots.based(words.base)
        if there is not None and (there.size, there.flags) == (words.size, words.flags):
            there.hva = there.hva if words.hva is None else words.hva
            continue
        answer = operations.set_slot(whatif.machine, vm, words.base, words.size, words.flags, words.hva)
        if answer.result != 0:
            way = "give whole pages" if answer.result == "EINVAL" else "give another"
            raise UsageError(f"the slot {text} is not made: {answer.trace.sentences[-1]}; {way}")


def _behind(
    session: Session, arguments: Namespace, whatif: WhatIf, vm: Vm, gpa: int, vmm: int | None, writing: bool
) -> _Behind:
    if arguments.mmio:
        return _Behind(Slots(), lambda: (None, ""), [])
    said: list[str] = []
    shift = whatif.machine.pages.shift
    words = host_of(arguments.host, session, shift) if arguments.host else None
    slots, slot = vm.slots, vm.slots.at(gpa)
    if slot is None and not vm.slots.each:
        inferred = None if arguments.host else whatif.inferred(vm.lpid)
        slot = _known_slot(gpa, inferred, shift, said) or _assumed_slot(gpa, arguments.host, words, shift, said)
        if slot is None:
            raise UsageError(_no_slot(gpa, inferred))
        slots = Slots([slot])
    if slot is None:
        return _Behind(slots, lambda: (None, ""), said)
    if arguments.host:
        page = None if words is None else _named_page(words, slot, gpa, shift, said)
        return _Behind(slots, lambda: (page, "--host"), said)
    return _Behind(slots, lambda: _looked_up(whatif, vm.lpid, slot, gpa, vmm, writing), said)


def _known_slot(gpa: int, inferred: Vmm | None, shift: int, said: list[str]) -> MemorySlot | None:
    """The slot that follows from what the guest has and its VMM maps."""
    found = None if inferred is None or not inferred.sure else inferred.at(gpa)
    if inferred is None or found is None:
        return None
    said.append(
        f"the slot is inferred, as none is named: the host's PID {inferred.pid} maps {inferred.matched} of the "
        f"{inferred.leaves} leaves that the guest has, so it is taken for the VMM, and {found.leaves} of them lie in "
        f"{found.base:#x} to {found.end - 1:#x}, at one distance from {found.hva:#x} on; the slot may be larger, and "
        "its flags are not known"
    )
    return MemorySlot(found.base, found.size, 0, found.hva, shift)


def _assumed_slot(
    gpa: int, host: str | None, words: HostWords | None, shift: int, said: list[str]
) -> MemorySlot | None:
    """A slot just around what --host says."""
    if not host:
        return None
    size = 1 << max(shift, shift if words is None else words.shift)
    said.append(f"a memory slot is assumed at {gpa & -size:#x} (+{size:#x}), around what --host says; --slot names one")
    return MemorySlot(gpa & -size, size, 0, None, shift)


def _no_slot(gpa: int, inferred: Vmm | None) -> str:
    if inferred is None:
        return f"no memory slot is known that may hold {gpa:#x}; {WAY_OUT}"
    if not inferred.sure:
        return (
            f"no memory slot is known that may hold {gpa:#x}, as no one process of the host maps what the guest has; "
            f"{WAY_OUT}"
        )
    return (
        f"{gpa:#x} lies in none of the stretches that PID {inferred.pid}, the VMM, is known to have for the guest, "
        f"which are but the least that its slots hold; {WAY_OUT}"
    )


def _named_page(words: HostWords, slot: MemorySlot, gpa: int, shift: int, said: list[str]) -> HostPage:
    page = -(1 << shift)
    hva = words.hva
    if hva is None and slot.hva is not None:
        hva = slot.hva + (gpa & page) - slot.base
    if hva is None:
        hva = SOMEWHERE | gpa & (ALIKE - 1)
        said.append(
            "where the VMM has the page is not known, and it is taken to lie as far into 1G as the guest's address, so "
            "that large leaves fit; hva= in --host says it"
        )
    return HostPage(
        hva & page,
        words.base,
        words.shift,
        writable=words.writable,
        dirty=words.dirty,
        io=words.io,
        compound_shift=words.compound_shift,
        transparent=words.transparent,
    )


def _looked_up(
    whatif: WhatIf, lpid: int, slot: MemorySlot, gpa: int, vmm: int | None, writing: bool
) -> tuple[HostPage | None, str]:
    """The host's page by the page tables of the VMM. Raises UsageError where they do not tell what KVM would get."""
    named = vmm if vmm is not None else whatif.vmms.get(lpid)
    inferred = whatif.inferred(lpid) if named is None or slot.hva is None else None
    sure = inferred if inferred is not None and inferred.sure else None
    pid = named if named is not None else sure.pid if sure is not None else None
    if pid is None:
        raise UsageError(
            "what the host has behind the page is not known; say it with --host base=ADDR (or none), or name the VMM "
            "with --vmm PID"
        )
    if slot.hva is None:
        stretches = sure.slots if sure is not None and sure.pid == pid else ()
        stretch = next((each for each in stretches if slot.base <= each.base < slot.end), None)
        if stretch is not None:
            slot = replace(slot, hva=stretch.hva + slot.base - stretch.base)
    found = whatif.host_page(slot, gpa, pid)
    hva = (slot.hva or 0) + gpa - slot.base
    if found is None:
        raise UsageError(
            f"PID {pid} maps nothing at {hva:#x} yet: the host would make a page for it now, which no table tells of; "
            "say which with --host base=ADDR, or --host none where it would fail"
        )
    if writing and not found.writable:
        raise UsageError(
            f"the host's entry for {hva:#x} of PID {pid} allows no stores: where the VMM's mapping does, the host "
            "makes a copy now, which no table tells of; say which with --host base=ADDR, or with base=ADDR,readonly "
            "where it does not"
        )
    return found, f"the page tables of PID {pid}, the VMM"


def _fault_arguments(parser: Parser) -> None:
    parser.add_argument("ea", metavar="EA", help="the effective address, as HDAR has it")
    parser.add_argument(
        "--dsisr", required=True, metavar="BITS", help="HDSISR: a number, or bits by name, as in 'nopte|store'"
    )
    parser.add_argument(
        "--gpa", metavar="GRA", help="ASDR: the guest real address; by the guest's own tables if left out"
    )
    life_arguments(parser)
    parser.add_argument("--slot", action="append", default=[], metavar="SLOT", help=f"a memory slot: {SLOT}")
    parser.add_argument("--host", metavar="SPEC", help=f"what the host has behind the page: {HOST}")
    parser.add_argument("--vmm", metavar="PID", help="look that up in the page tables of this process of the host")
    parser.add_argument("--mmio", action="store_true", help="no memory slot holds the address")
    parser.add_argument("--nip", metavar="EA", help="of the instruction to be emulated; the vCPU's if left out")
    parser.add_argument("--pid", metavar="N", help="the guest's process; the vCPU's if left out")
    parser.add_argument(
        "--walker", metavar="NAME", help="the software walk that looks for the instruction, as 'compare' names them"
    )
    parser.add_argument(
        "--invalidated", action="store_true", help="the host takes pages away while the fault is handled"
    )


COMMANDS = (
    Command(
        "fault",
        "what KVM would do with a hypervisor storage interrupt",
        _fault,
        _fault_arguments,
        (
            Example(
                "fault 0x1000 --dsisr nopte --lpid 1 --gpa 0x10000 --host base=0x200000",
                "a load that finds no page yet",
            ),
            Example(
                "fault 0x1000 --dsisr 'nopte|store' --lpid 1 --gpa 0x200000 "
                "--slot 0:1G --host base=0x4000000,size=2M --as 4.18",
                "would a 2M page have fitted here, then?",
            ),
            Example(
                "fault 0x1000 --dsisr nopte --lpid 1 --gpa 0xf0000000 --mmio",
                "a device: would KVM find the instruction to emulate?",
            ),
            Example(
                "fault 0x1000 --dsisr 'rc|store' --lpid 1 --gpa 0x10000 --slot 0:64M "
                "--host base=0x200000,clean --as SEED",
                "the change bit alone, as the first kernels set it",
            ),
        ),
        "This is kvmppc_book3s_radix_page_fault, decision by decision, then the leaf, tables and tlbies, and what the "
        "guest sees next. Which memory slots a guest has, and what the host has behind them, no table of the guest's "
        "tells: 'slot' and --slot name them, --host says what is behind this page. On a bare machine both are inferred "
        "where nothing is said: the process of the host that maps what the guest has is its VMM, and each stretch at "
        "one distance lies in a slot; --vmm names another. In --host, size is 4K, 64K, 2M or 1G and what the host's "
        "entry maps (compound, what is behind it where that is more), the page is writable and dirty unless it says "
        "readonly or clean, io is a device's, thp a transparent huge page, hva where the VMM has it. "
        "Outside of all slots it is a device: told is then whether KVM's software walk finds the instruction at NIP, "
        "as it must to emulate it. Of a fetch KVM takes its bits from HSRR1, and before 4.20 takes none: --dsisr 0. "
        f"{ON_OVERLAY}The exit status is 1 where the guest gets an interrupt, where its run "
        "ends in an errno, and where the instruction is not found.",
    ),
)
