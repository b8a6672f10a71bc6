"""The operations that can be asked for, each with one answer: what commands show and a replay writes lines of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inspector.kvm import unmap as unmapping
from inspector.kvm.dirty import DirtyLog, dirty_log
from inspector.kvm.fault import Fault, page_fault
from inspector.kvm.free import free
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.slots import LOG_DIRTY_PAGES, READ_ONLY, MemorySlot
from inspector.kvm.trace import Trace

USER_FLAGS = LOG_DIRTY_PAGES | READ_ONLY
"""Those that KVM_SET_USER_MEMORY_REGION takes."""
MOST_PAGES = (1 << 31) - 1
"""Of a slot (KVM_MEM_MAX_NR_PAGES)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How operation ``op`` on the guest ``lpid`` ended: ``result`` is what the kernel's function gives, or the errno's
    name; ``trace`` what it decided and did; ``log`` the dirty log where that was asked for."""

    op: str
    lpid: int
    result: str | int
    trace: Trace
    log: DirtyLog | None = None

    def as_json(self) -> dict[str, Any]:
        """With addresses and entries as hex strings."""
        trace = self.trace
        found: dict[str, Any] = {
            "op": self.op,
            "lpid": self.lpid,
            "result": self.result,
            "path": trace.slugs,
            "installed": None,
            "tlbie": [{"rb": hex(each.rb), "lpid": each.lpid, "ric": each.ric} for each in trace.tlbie],
        }
        if trace.installed is not None:
            leaf = trace.installed
            found["installed"] = {"gpa": hex(leaf.gpa), "raw": hex(leaf.raw), "shift": leaf.shift}
        if self.log is not None:
            found["bitmap"] = self.log.bitmap.hex()
            found["pages"] = self.log.pages
        return found


def fault(machine: Machine, vm: Vm, asked: Fault) -> Answer:
    """A hypervisor storage interrupt."""
    trace = machine.begin(vm)
    return Answer("fault", vm.lpid, page_fault(machine, vm, asked), trace)


def unmap(machine: Machine, vm: Vm, gpa: int) -> Answer:
    """The host takes a page away."""
    trace = machine.begin(vm)
    return Answer("unmap", vm.lpid, unmapping.unmap(machine, vm, gpa), trace)


def age(machine: Machine, vm: Vm, gpa: int) -> Answer:
    """The host asks whether a page was referenced, and forgets that it was."""
    trace = machine.begin(vm)
    return Answer("age", vm.lpid, unmapping.age(machine, vm, gpa), trace)


def test_age(machine: Machine, vm: Vm, gpa: int) -> Answer:
    """The host asks whether a page was referenced."""
    trace = machine.begin(vm)
    return Answer("test-age", vm.lpid, unmapping.test_age(machine, vm, gpa), trace)


def read_log(machine: Machine, vm: Vm, slot: MemorySlot, *, clear: bool = True) -> Answer:
    """The dirty log of a slot, which is emptied as KVM_GET_DIRTY_LOG does; with ``clear`` False it is only looked at.
    ENOENT where none is kept."""
    trace = machine.begin(vm)
    if slot.log is None:
        trace.say("not-logged")
        return Answer("dirty-log", vm.lpid, "ENOENT", trace)
    return Answer("dirty-log", vm.lpid, 0, trace, dirty_log(machine, vm, slot, clear=clear))


def drop(machine: Machine, vm: Vm) -> Answer:
    """The guest is gone."""
    trace = machine.begin(vm)
    free(machine, vm)
    return Answer("free", vm.lpid, 0, trace)


def set_slot(machine: Machine, vm: Vm, base: int, size: int, flags: int, hva: int | None = None) -> Answer:
    """A memory slot is made, changed, or (of no size) taken away, as KVM_SET_USER_MEMORY_REGION does it. A slot is
    known by where it begins: KVM's own numbers are the VMM's affair."""
    trace = machine.begin(vm)
    return Answer("slot", vm.lpid, _set_slot(machine, vm, base, size, flags, hva), trace)


def _set_slot(machine: Machine, vm: Vm, base: int, size: int, flags: int, hva: int | None) -> str | int:
    trace = vm.tree.trace
    page = machine.pages.size
    too_large = size >> machine.pages.shift > MOST_PAGES or base + size > 1 << 60
    if flags & ~USER_FLAGS or (base | size | (hva or 0)) % page or base < 0 or too_large:
        trace.say("slot-invalid-words", base, size, flags)
        return "EINVAL"
    there = vm.slots.based(base)
    if size == 0:
        if there is None:
            trace.say("no-such-slot")
            return "EINVAL"
        unmapping.flush_slot(machine, vm, there)
        vm.slots.remove(there)
        trace.say("slot-gone", there.base, there.size)
        return 0
    if there is not None and there.size == size:
        return _change(machine, vm, there, flags, hva)
    other = vm.slots.overlapping(base, size)
    if other is not None:
        trace.say("slot-overlaps", other.base, other.size)
        return "EEXIST"
    vm.slots.add(MemorySlot(base, size, flags, hva, machine.pages.shift))
    trace.say("slot-made", base, size)
    return 0


def _change(machine: Machine, vm: Vm, slot: MemorySlot, flags: int, hva: int | None) -> str | int:
    """The same slot with other flags."""
    trace = vm.tree.trace
    if (flags ^ slot.flags) & READ_ONLY or (hva is not None and slot.hva not in (None, hva)):
        trace.say("slot-invalid-words", slot.base, slot.size, flags)
        return "EINVAL"
    toggled = (flags ^ slot.flags) & LOG_DIRTY_PAGES
    trace.say("slot-changed", slot.base, slot.size, flags)
    if toggled and "logging-does-not-flush" not in machine.old:
        unmapping.flush_slot(machine, vm, slot)  # of the slot as it was: dirty pages go into the log that it had
    slot.flags, slot.hva = flags, slot.hva if hva is None else hva
    if toggled:
        slot.log = bytearray(slot.log_bytes) if flags & LOG_DIRTY_PAGES else None
    return 0
