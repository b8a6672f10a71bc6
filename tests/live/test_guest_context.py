"""In a KVM guest's own context, machine stopped while it runs: our walk through both stages against QEMU's, with the
tables of both as they are and broken."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import inspector
from inspector.guest import Guest
from inspector.radix.translation import Step, Translation
from scripts.incontext import COUNTERS, HV, RELOCATION, places, running
from scripts.monitor import REAL, USER, VIRTUAL
from scripts.oracle import disagreements, gva2gpa, ours
from scripts.scene import KERNEL, Scene
from tests.live.tables import Tables, broken

pytestmark = pytest.mark.live

TABLE = 0x2_0000
"""The bit of HDSISR that tells that it was a table that could not be reached."""
ADDRESSES = 3000
CHANGES = 2500
DEVICES = 0x6_0000_0000_0000
"""Where the devices of a powernv machine begin: what is read there may be acted upon (QEMU 7.2, hw/ppc/pnv.h)."""


@contextmanager
def attached(scene: Scene, cpu: int) -> Iterator[Guest]:
    with inspector.open_target(scene.machine.target, ram=str(scene.machine.ram_file), cpu=cpu) as seen:
        yield seen


@pytest.mark.parametrize(
    ("which", "msr"),
    [
        pytest.param(*each[:2], id=each[2])
        for each in (
            (0, VIRTUAL, "first"),
            (0, USER, "first-user"),
            (0, REAL, "first-real"),
            (1, VIRTUAL, "second"),
            (2, REAL, "third-real"),
        )
    ],
)
def test_thousands_of_addresses_go_where_qemu_says(scene: Scene, which: int, msr: int) -> None:
    guest = scene.guests[which]
    with running(scene.machine, guest, msr) as cpu, attached(scene, cpu) as seen:
        known = seen.registers(cpu)
        assert (known.need("lpidr"), known.need("msr") & HV) == (guest.lpid, 0)
        asked = [COUNTERS[msr], *places(guest, ADDRESSES, seed=guest.lpid, real=not msr & RELOCATION)]
        assert gva2gpa(scene.machine, asked[0], cpu) is not None
        assert sum(ours(seen, ea, cpu) is not None for ea in asked) > (10 if msr == REAL else 200)
        assert disagreements(scene.machine, seen, asked, cpu) == []


def test_the_two_guests_at_once(scene: Scene) -> None:
    """Whichever vCPU is in whichever guest: each has its own context."""
    first, second = scene.guests[:2]
    second.monitor.tell(f"spin 5 20000100 0 {VIRTUAL:x}")
    try:
        second.monitor.computes()
        with running(scene.machine, first, VIRTUAL) as cpu, attached(scene, cpu) as seen:
            one = seen.translate(0x2000_0100)
            other = seen.translate(0x2000_0100, lpid=second.lpid, pid=5)
            assert (one.lpid, other.lpid) == (first.lpid, second.lpid)
            assert one.ok
            assert other.ok
            assert one.ra != other.ra
            assert seen.memory.read(other.ra or 0, 8) != bytes(8), "the second guest did not count"
    finally:
        second.monitor.stop()


def entries(answer: Translation) -> Iterator[Step]:
    """Every doubleword that the answer hangs on, as a step with its address."""
    for step in answer.steps:
        yield step
        if step.table == "partition-table" and step.second is not None:
            yield replace(step, address=step.address + 8, value=step.second)


def dangerous(answer: Translation) -> bool:
    """Whether the walk came to a device, which QEMU would read: it can crash it."""
    return any(step.kind == "unreadable" and step.address >= DEVICES for step in answer.steps)


def test_broken_tables_end_as_they_do_in_qemu(scene: Scene) -> None:
    """QEMU 7.2 takes the root of a guest's tree as it stands, where it drops the low bits of every other table that is
    misaligned (``ppc_radix64_process_scoped_xlate``); processors want them zero. Such roots are left out here."""
    rng = random.Random(41)
    guest = scene.guests[0]
    with running(scene.machine, guest, VIRTUAL) as cpu, attached(scene, cpu) as seen:
        tables = Tables(scene.machine)
        try:
            asked = [ea for ea in places(guest, 400, seed=7, real=False) if seen.translate(ea).ok]
            walked = [(ea, step) for ea in asked for step in entries(seen.translate(ea))]
            others = [step.value or 0 for _, step in walked]
            ends: dict[tuple[int | None, str | None], int] = {}
            wrong = []
            for _ in range(CHANGES):
                ea, step = rng.choice(walked)
                value = broken(rng, step, others, scene.machine.ram_size)
                if step.table == "process-table" and value & 0xFF00:
                    continue
                with tables.holding(step.address, value):
                    seen.target.clock.tick()
                    answer = seen.translate(ea, access="r")
                    if dangerous(answer) or dangerous(seen.translate(ea, access="x")):
                        continue
                    theirs, mine = gva2gpa(scene.machine, ea, cpu), ours(seen, ea, cpu)
                ends[answer.stage, answer.cause] = ends.get((answer.stage, answer.cause), 0) + 1
                if theirs != mine:
                    wrong.append(
                        f"{ea:#x} with {value:#018x} at {step.address:#x} ({step.kind} of stage {step.stage}): "
                        f"QEMU {theirs}, ours {mine} {answer.cause}"
                    )
            assert wrong == []
            causes = ("not-present", "table-size", "no-leaf", "protection")
            both = {(stage, cause) for stage in (1, 2) for cause in causes}
            assert {*both, (None, None), (1, "tree-size"), (2, "tree-size"), (2, "partition-not-radix")} <= set(ends), (
                ends
            )
            seen.target.clock.tick()
            assert disagreements(scene.machine, seen, asked, cpu) == [], "the tables were not put back as they were"
        finally:
            tables.close()


def test_where_qemu_takes_a_misaligned_root_as_it_stands(scene: Scene) -> None:
    """What the test above leaves out: here the hardware walker drops the low bits and says so."""
    guest = scene.guests[0]
    with running(scene.machine, guest, VIRTUAL) as cpu, attached(scene, cpu) as seen:
        tables = Tables(scene.machine)
        try:
            before = seen.translate(0x2000_0100)
            entry = next(step for step in before.steps if step.table == "process-table")
            with tables.holding(entry.address, (entry.value or 0) | 0x100):
                seen.target.clock.tick()
                after = seen.translate(0x2000_0100)
                assert after.ra == before.ra
                assert any("not aligned" in note for note in after.notes)
                assert gva2gpa(scene.machine, 0x2000_0100, cpu) is None
        finally:
            tables.close()


def test_each_sides_fault_is_told_with_its_stage(scene: Scene) -> None:
    """An entry made empty: the guest's own is the first stage's fault, the host's the second's, whatever it served."""
    guest = scene.guests[0]
    eas = [stored.ea for stored in guest.stored if stored.pid == 5 and stored.msr == VIRTUAL] + [KERNEL | 0x100_8000]
    with running(scene.machine, guest, VIRTUAL) as cpu, attached(scene, cpu) as seen:
        tables = Tables(scene.machine)
        seen_purposes = set()
        try:
            for ea in eas:
                for step in seen.translate(ea).steps:
                    if step.table == "partition-table":
                        continue
                    with tables.holding(step.address, 0):
                        seen.target.clock.tick()
                        answer = seen.translate(ea, access="r")
                        assert gva2gpa(scene.machine, ea, cpu) is None
                    assert answer.interrupt is not None
                    told = (answer.status, answer.stage, answer.interrupt.name, answer.steps[-1].address)
                    assert told == ("fault", step.stage, {1: "DSI", 2: "HDSI"}[step.stage], step.address)
                    purpose = answer.steps[-1].purpose  # of the entry's first use
                    assert bool(answer.interrupt.bits & TABLE) == (purpose not in (None, "access itself"))
                    seen_purposes.add(purpose)
                    seen.target.clock.tick()
        finally:
            tables.close()
        # Lower tables share a page of the host's with those above them, whose fault it then is.
        assert seen_purposes >= {None, "process-table entry", "level 3 entry", "level 2 entry", "access itself"}
