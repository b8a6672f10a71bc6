"""A replay: operations run in order on guests that are made as they are met, and what each answers.

What a line can make this take is bounded before it is taken: dirty logs by their pages, slots by their number, guests
by the pool that their roots lie in.
"""

from __future__ import annotations

from typing import Any, Protocol

from inspector.errors import UsageError
from inspector.kvm import operations
from inspector.kvm.fault import Fault
from inspector.kvm.lines import Request, Stretch
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.operations import Answer
from inspector.kvm.slots import LOG_DIRTY_PAGES, MemorySlot
from inspector.kvm.trace import Trace

MOST_LOGGED = 1 << 29
"""Pages of all slots whose dirty pages are logged: 64 MiB of logs, of 32 TiB in pages of 64K."""
MOST_SLOTS = 1 << 12
"""Slots of one guest."""


class Guests(Protocol):
    """Where a replay's guests come from and go to."""

    def begin(self, lpid: int) -> Vm:
        """A guest that is met for the first time, or again after it was freed. Raises UsageError for one that cannot
        be, MemoryReadError where what leads to its tree cannot be read."""

    def there(self, lpid: int) -> bool:
        """Whether there is one that was not met yet."""

    def free(self, vm: Vm) -> None:
        """It is gone. Raises MemoryReadError where its tables cannot be read."""


class Replay:
    """Runs requests on ``machine``. ``met`` are the guests that are there by now, by LPID, ``logged`` how many pages
    the logs of all the machine's guests are of: counted on, since there may be millions of slots."""

    def __init__(self, machine: Machine, guests: Guests) -> None:
        self.machine = machine
        self.guests = guests
        self.met: dict[int, Vm] = {}
        self.logged = sum(_logged(slot) for vm in machine.vms.values() for slot in vm.slots.each)

    def run(self, request: Request) -> dict[str, Any]:
        """The answer, as a line of JSON has it. Raises UsageError for what may not be asked, MemoryReadError where
        tables cannot be read: then nothing has changed."""
        op, lpid, asked = request
        machine = self.machine
        if op == "free":
            return self._free(lpid).as_json()
        vm = self.met.get(lpid)
        if vm is None:
            vm = self.met[lpid] = self.guests.begin(lpid)
        if isinstance(asked, Fault):
            return operations.fault(machine, vm, asked).as_json()
        if isinstance(asked, Stretch):
            return self._slot(vm, asked).as_json() if op == "slot" else self._log(vm, asked)
        assert isinstance(asked, int)
        return _OF_PAGE[op](machine, vm, asked).as_json()

    def _slot(self, vm: Vm, asked: Stretch) -> Answer:
        if asked.flags & LOG_DIRTY_PAGES:
            self._bound(vm, asked)
        if len(vm.slots.each) >= MOST_SLOTS and asked.size and vm.slots.based(asked.base) is None:
            raise UsageError(f"a guest has {MOST_SLOTS:,} slots at most here; take one away first")
        before = _logged(vm.slots.based(asked.base))
        answer = operations.set_slot(self.machine, vm, asked.base, asked.size, asked.flags, asked.hva)
        self.logged += _logged(vm.slots.based(asked.base)) - before
        return answer

    def _bound(self, vm: Vm, asked: Stretch) -> None:
        """Raises UsageError where logs would take too much with this one."""
        there = self.logged - _logged(vm.slots.based(asked.base))
        if there + (asked.size >> self.machine.pages.shift) > MOST_LOGGED:
            raise UsageError(f"slots of {MOST_LOGGED:,} pages in all may be logged here; log smaller ones")

    def _log(self, vm: Vm, asked: Stretch) -> dict[str, Any]:
        """The log of a slot that these words are of; where nothing was ever said of slots, of the pages that they
        name."""
        machine = self.machine
        slot = vm.slots.based(asked.base)
        if slot is not None and slot.size == asked.size:
            return operations.read_log(machine, vm, slot).as_json()
        if vm.slots.each:
            trace = machine.begin(vm)
            trace.say("slot-unknown")
            return Answer("dirty-log", vm.lpid, "ENOENT", trace).as_json()
        self._bound(vm, asked)
        if (asked.base | asked.size) % machine.pages.size or not asked.size or asked.base + asked.size > 1 << 60:
            raise UsageError(f'"base" and "size" are whole pages of {machine.pages.size >> 10}K below 2**60')
        assumed = MemorySlot(asked.base, asked.size, LOG_DIRTY_PAGES, None, machine.pages.shift)
        return {**operations.read_log(machine, vm, assumed).as_json(), "assumed": True}

    def _free(self, lpid: int) -> Answer:
        vm = self.met.get(lpid)
        if vm is None and self.guests.there(lpid):
            vm = self.guests.begin(lpid)
        if vm is None:
            trace = Trace()
            trace.say("no-tree")
            return Answer("free", lpid, 0, trace)
        trace = self.machine.begin(vm)
        self.guests.free(vm)
        self.logged -= sum(map(_logged, vm.slots.each))
        self.met.pop(lpid, None)
        return Answer("free", lpid, 0, trace)


def _logged(slot: MemorySlot | None) -> int:
    """Pages of its log."""
    return 0 if slot is None or slot.log is None else slot.pages


_OF_PAGE = {"unmap": operations.unmap, "age": operations.age, "test-age": operations.test_age}
