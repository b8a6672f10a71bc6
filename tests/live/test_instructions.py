"""Instructions as they are decoded, against what a CPU does with them.

A busy Linux guest is stepped, an instruction at a time: what it loads is what lies where the decoder said, with the
size and sign that it said; an update form leaves the address in its register; what is stored is there afterwards; a
branch goes where it should. And a guest's own accesses of what is not mapped leave their address in DAR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

import inspector
from inspector.errors import MemoryReadError
from inspector.fetching import Fetched, fetched
from inspector.guest import Guest
from inspector.instructions.decode import Instruction
from inspector.instructions.effective import Reach, reach
from inspector.instructions.operations import Kind
from scripts.guests import Machine
from scripts.monitor import USER, VIRTUAL, outcome
from scripts.scene import USER_CODE, Scene

pytestmark = pytest.mark.live

STEPS = 1200
BUSY = "while :; do ls -l /proc; n=0; while [ $n -lt 500 ]; do n=$((n+1)); done; done"
ALGEBRAIC = ("lha", "lwa", "lhau", "lhax", "lhaux", "lwax", "lwaux")
REVERSED = ("lhbrx", "lwbrx", "ldbrx")
INSTRUCTION_STORAGE = 0x400
"""Where that interrupt goes (ISA v3.0 III 6.4), above the base that LPCR[AIL] chooses, 0xc000_0000_0000_4000."""


class Checker:
    """One guest that stands still between steps; ``seen`` counts what was checked."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.seen: Counter[str] = Counter()
        self.names: set[str] = set()

    def step(self) -> None:
        """Run an instruction of the chosen vCPU and hold it to what was foretold."""
        before = self.guest.registers()
        found = fetched(self.guest, before.need("nip"))
        assert self.guest.target.control is not None
        self.guest.target.control.step(self.guest.cpu)
        after = self.guest.registers()
        if found.instruction is None:
            self.not_there(found, after.need("nip"))
            return
        told = reach(found.instruction, before.get)
        following = (before.need("nip") + found.instruction.size) % (1 << 64)
        self.branch(found.instruction, before.values, after.need("nip"), following)
        if told is not None and not told.hint and after.need("nip") == following:
            self.access(found.instruction, told, before.values, after.values)

    def not_there(self, found: Fetched, nip: int) -> None:
        """Code that a program came to for the first time is not mapped yet: the CPU fetches nothing either."""
        assert found.translation is not None, found.why
        assert found.translation.status == "fault", found.why
        assert nip & 0x3FFF == INSTRUCTION_STORAGE, f"{nip:#x}: {found.why}"
        self.seen["not there"] += 1

    def branch(self, instruction: Instruction, before: Mapping[str, int], nip: int, following: int) -> None:
        """A branch goes to its target, or on."""
        if instruction.kind is not Kind.BRANCH:
            return
        target = instruction.target
        goal = before.get(target) if isinstance(target, str) else target
        if goal is not None and nip != following:
            assert nip == goal & ~3, instruction.text
            self.seen["branch"] += 1

    def access(
        self, instruction: Instruction, told: Reach, before: Mapping[str, int], after: Mapping[str, int]
    ) -> None:
        """What was loaded or stored is what lies there."""
        operation = instruction.operation
        assert operation is not None
        assert told.ea is not None, told.why
        if operation.update:
            assert after[f"r{instruction.ra}"] == told.ea, instruction.text
            self.seen["update"] += 1
        if operation.registers != "r" or operation.atomic or told.size not in (1, 2, 4, 8):
            return
        if operation.name.endswith("."):
            return  # it may not have stored
        where = self.guest.translate(told.ea).ra
        if where is None:
            return
        try:
            there = self.guest.memory.read(where, told.size)
        except MemoryReadError:
            return  # a device
        register = after if operation.kind is Kind.LOAD else before
        value = register[f"r{instruction.rt}"]
        if operation.kind is Kind.LOAD:
            signed = operation.name in ALGEBRAIC
            order = "big" if operation.name in REVERSED else "little"
            loaded = int.from_bytes(there, "big" if order == "big" else "little", signed=signed) % (1 << 64)
            assert value == loaded, instruction.text
        else:
            order = "big" if "br" in operation.name else "little"
            stored = (value % (1 << 8 * told.size)).to_bytes(told.size, "big" if order == "big" else "little")
            assert there == stored, instruction.text
        self.seen[operation.kind.value] += 1
        self.names.add(operation.name)


@pytest.mark.guests("pseries-p9")
def test_a_busy_guest_does_as_foretold(guest: Machine) -> None:
    each = "taskset $on setsid sh -c"  # a vCPU that is halted executes nothing
    tasks = guest.shell(f"for on in 1 2; do {each} '{BUSY}' >/dev/null 2>&1 & echo $!; done").split()
    try:
        for task in tasks:
            guest.computes(int(task))
        with inspector.open_target(guest.target, ram=str(guest.ram_file)) as seen:
            checker = Checker(seen)
            for part in range(6):
                seen.choose_cpu(part % 2)
                for _ in range(STEPS // 6):
                    checker.step()
                control = seen.target.control
                assert control is not None
                control.resume()
                control.wait(0.05)
                control.interrupt()
        assert checker.seen["load"] > 40, checker.seen
        assert checker.seen["store"] > 20, checker.seen
        assert checker.seen["branch"] > 40, checker.seen
        assert len(checker.names) > 6, checker.names
    finally:
        for task in tasks:
            guest.kill_group(task)


@pytest.mark.parametrize(("msr", "base"), [(VIRTUAL, 0), (USER, USER_CODE)], ids=["kernel", "user"])
@pytest.mark.parametrize("word", ["load", "store"])
def test_dar_is_the_address_that_the_instruction_reaches(scene: Scene, msr: int, base: int, word: str) -> None:
    guest = scene.guests[0]
    eas = [0x7123_4560_0000 + 0x1_0008 * n for n in range(12)]
    said = guest.monitor.ask(*(f"{word} 5 {ea:x} 0 {msr:x} {base:x}" for ea in eas))
    with inspector.open_target(scene.machine.target, ram=str(scene.machine.ram_file)) as seen:
        for ea, line in zip(eas, said, strict=True):
            came = outcome(line)
            assert (came.word, came.value) == ("interrupt", 0x300)
            found = fetched(seen, came.fields["srr0"], lpid=guest.lpid, pid=5, little=True)
            assert found.instruction is not None, found.why
            told = reach(found.instruction, {"r4": ea, "msr": msr}.get)
            assert told is not None
            assert told.ea == came.fields["dar"]
            assert (told.way == "w") is bool(came.fields["dsisr"] >> 25 & 1)
