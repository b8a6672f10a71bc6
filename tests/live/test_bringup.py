"""``why`` against QEMU's CPU: a guest of a few KiB makes accesses through tables of every sort, and each interrupt that
it takes is the one that was predicted, register by register; what it recorded then agrees with the tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest

import inspector
from inspector.commands.why import Why, why
from inspector.guest import Guest
from inspector.radix.bits import DSISR_ISSTORE, DSISR_PRTABLE_FAULT, EA_MASK
from inspector.radix.prediction import SRR1_CAUSES, Prediction
from inspector.radix.translation import Access
from scripts.bringup import STORE_AT, SYSTEM_CALL_VECTOR, Bringup, MachineName, Outcome
from scripts.bringup import Access as Made
from tests.live.bringup_cases import LPID, ME, Maker
from tests.radix.trees import HV, IR, SF, C, R

pytestmark = pytest.mark.live

CASES = 1000
LPCR_RADIX = 0x50_0400
RECORDING = ("dar", "dsisr", "srr0", "srr1", "hdar", "hdsisr", "hsrr0", "hsrr1", "asdr")
HYPERVISORS = {0xE00, 0xE20}
CAUSES = {
    *("not-present", "no-leaf", "table-size", "tree-size", "process-entry-empty", "pid-beyond-table"),
    *("process-table-misaligned", "ea-out-of-range", "quadrant", "privilege", "protection", "key", "guarded", None),
}
SECOND = {"partition-table-misaligned", "partition-not-radix", "lpid-beyond-table"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What an access ends in: the vector, the registers, and the last that ``why`` said on the way."""

    vector: int
    registers: dict[str, int]
    last: Why


class Oracle:
    """The inspector, looking at the guest's RAM with the registers of each access."""

    def __init__(self, guest: Guest, made: Made) -> None:
        self.guest, self.made = guest, made
        self.hypervisor = bool(made.msr & HV)

    def ask(self, ea: int, access: Access, msr: int, **recorded: int) -> Why:
        """By the tables as they are now."""
        made, guest = self.made, self.guest
        nothing = dict.fromkeys(RECORDING, 0)
        keys = {"amr": made.amr, "iamr": made.iamr, "hrmor": 0, "lpcr": LPCR_RADIX, "nip": 0}
        guest.overrides.update(msr=msr, pid=made.pid, lpidr=made.lpidr, **keys, **(nothing | recorded))
        if guest.process_table_given is not None:
            guest.process_table_given = made.table
        else:
            guest.overrides["ptcr"] = made.table
        guest.target.clock.tick()
        return why(guest, ea, access)

    def explains(self, outcome: Outcome) -> bool:
        """Whether what the CPU wrote down agrees with the tables, as ``why`` sees it in the interrupt's handler."""
        registers = {name: getattr(outcome, name) for name in RECORDING}
        if outcome.vector in HYPERVISORS:
            registers |= {"srr0": 0, "srr1": 0}
        access: Access = "x" if outcome.vector in (0x400, 0x480, 0xE20) else "r"
        place = {0x400: outcome.srr0, 0x480: outcome.srr0, 0xE20: outcome.hsrr0, 0xE00: outcome.hdar}
        state = SF | ME | (HV if self.hypervisor or outcome.vector in HYPERVISORS else 0)
        found = self.ask(place.get(outcome.vector, outcome.dar), access, state, **registers).recorded
        wanted = outcome.vector not in (SYSTEM_CALL_VECTOR, 0x480)  # of which SRR1 says nothing
        return bool(found) == wanted and all(each.verdict == "agrees" for each in found)

    def expected(self, powernv: bool) -> list[Expected]:
        """What this access may end in: one thing, or two where QEMU's versions differ. It was asked for the fetch of
        the instruction, where that is translated, the access itself, and in a guest of powernv's the fetch of the
        interrupt's vector, which goes through the second stage."""
        made = self.made
        msr, start = made.msr, made.start
        fetch = start == made.ea
        asked = []
        if msr & IR or (powernv and not self.hypervisor):
            asked.append(self.ask(start, "x", msr))
        if not fetch and all(each.ok for each in asked):
            asked.append(self.ask(made.ea, "w" if start & 0xFFFF == STORE_AT else "r", msr))
        last = asked[-1]
        predictions = [last.prediction]
        if last.prediction and last.prediction.older_qemu:
            predictions.append(last.prediction.older_qemu)
        return [self._ends(each, last, start + (4 if fetch else 8), start, powernv) for each in predictions]

    def _ends(self, prediction: Prediction | None, last: Why, after: int, start: int, powernv: bool) -> Expected:
        assert last.ok or prediction is not None, last
        vector = SYSTEM_CALL_VECTOR if prediction is None else prediction.vector
        prefix = "h" if vector in HYPERVISORS else ""
        registers = dict.fromkeys(RECORDING, 0)
        registers[f"{prefix}srr0"] = after if prediction is None else start
        registers[f"{prefix}srr1"] = self.made.msr & ~SRR1_CAUSES
        if prediction:
            registers.update(prediction.registers)
        if powernv and not self.hypervisor and not prefix:
            handler = self.ask(vector, "x", SF | ME).prediction
            if handler:
                vector = handler.vector
                registers.update(handler.registers)
        return Expected(vector, registers, last)


def agrees(outcome: Outcome, expected: Expected) -> bool:
    """Whether it is just this that happened, in every register."""
    if expected.vector != outcome.vector:
        return False
    mine = expected.registers
    if outcome.vector in HYPERVISORS:  # SRR0 and SRR1 are then of what was before
        mine = mine | {"srr0": outcome.srr0, "srr1": outcome.srr1}
    return all(getattr(outcome, name) == value for name, value in mine.items())


def led_on_first(guest: Guest, outcome: Outcome, expected: Expected) -> bool:
    """QEMU 7.2 leads the address of a guest's table on through the second stage before it looks at whether the table's
    size, which stands beside the address, is one that there can be; the order is nobody's but its own."""
    return (
        expected.last.answer.cause in ("table-size", "no-leaf", "tree-size")
        and outcome.vector in HYPERVISORS
        and bool((outcome.hdsisr | outcome.hsrr1) & DSISR_PRTABLE_FAULT)
        and not guest.translate(outcome.asdr & EA_MASK, guest_real=True, lpid=LPID, access="r").ok
    )


def _marked(bringup: Bringup, expected: list[Expected], outcomes: list[Outcome]) -> int:
    """How many leaves of accesses that went well the CPU has marked with R or C: those of which ``why`` said so."""
    marked = 0
    for outcome, each in zip(outcomes, expected, strict=True):
        answer = each.last.answer
        if outcome.vector != SYSTEM_CALL_VECTOR or not answer.relocation:
            continue
        wanted = R | C if answer.access == "w" else R
        (leaf,) = [step for step in answer.steps if step.kind == "leaf" and step.stage == 1]
        assert leaf.value is not None
        noted = any("clear in the leaf" in note for note in answer.notes)
        assert noted == bool(wanted & ~leaf.value), each
        assert bringup.word(leaf.address) == leaf.value | wanted, each
        marked += noted
    return marked


@pytest.mark.parametrize("machine", ["pseries", "powernv9"])
def test_what_was_recorded_last_is_read_through_the_gdbstub(machine: MachineName) -> None:
    powernv = machine == "powernv9"
    with Bringup(machine) as bringup:
        maker = Maker(bringup.put, bringup.word, Random(3), powernv=powernv)
        vector = 0xE00 if powernv else 0x300
        with inspector.open_target(
            f"raw:{bringup.machine.ram_file}", process_table=None if powernv else 1 << 63
        ) as guest:
            while True:
                made = maker.case().made
                (first, *others) = Oracle(guest, made).expected(powernv)
                if not others and first.vector == vector and first.registers[f"{'h' * powernv}dsisr"] & DSISR_ISSTORE:
                    break
        (outcome,) = bringup.run([made])
        assert outcome.vector == vector
        ea = outcome.hdar if powernv else outcome.dar
        with inspector.open_target(
            bringup.machine.target, ram=bringup.machine.ram_file, process_table=None if powernv else made.table
        ) as live:
            answer = why(live, ea)
        assert answer.chosen == f"as {'H' * powernv}DSISR records it"
        assert [each.verdict for each in answer.recorded] == ["agrees"]
        assert answer.answer.access == "w"


@pytest.mark.parametrize("machine", ["pseries", "powernv9"])
def test_why_predicts_what_the_cpu_does(machine: MachineName) -> None:
    powernv = machine == "powernv9"
    with Bringup(machine) as bringup:
        maker = Maker(bringup.put, bringup.word, Random(6), powernv=powernv)
        cases = [maker.case() for _ in range(CASES)]
        with inspector.open_target(
            f"raw:{bringup.machine.ram_file}", process_table=None if powernv else 1 << 63
        ) as guest:
            oracles = [Oracle(guest, case.made) for case in cases]
            expected = [oracle.expected(powernv) for oracle in oracles]
            outcomes = bringup.run([case.made for case in cases])
            excused = 0
            for case, oracle, outcome, any_of in zip(cases, oracles, outcomes, expected, strict=True):
                told = f"{case.spoilt}: {case.made}, {outcome}, {any_of}"
                if not any(agrees(outcome, each) for each in any_of):
                    oracle.ask(case.made.ea, "r", case.made.msr)
                    assert powernv, told
                    assert led_on_first(guest, outcome, any_of[0]), told
                    excused += 1
                else:
                    assert oracle.explains(outcome), told
            assert excused < CASES // 20
            assert _marked(bringup, [each[0] for each in expected], outcomes) > CASES // 50
    vectors = Counter(outcome.vector for outcome in outcomes)
    causes = Counter(each[0].last.answer.cause for each in expected)
    assert set(vectors) >= {0x300, 0x380, 0x400, 0x480, SYSTEM_CALL_VECTOR} | (HYPERVISORS if powernv else set())
    assert set(causes) >= CAUSES | (SECOND if powernv else set())
    assert min(vectors.values()) >= 3
