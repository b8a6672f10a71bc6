"""A guest's own guest (L2), which KVM runs by a tree that it makes of its hypervisor's and the host's: where three
stages lead, against what the L2's CPU stored and ran into, and against that tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest

import inspector
from inspector.guest import Guest
from inspector.partitions import entry_of
from inspector.radix.access import encoded_rights
from inspector.radix.bits import PTE_RPN, RPDB_MASK
from inspector.radix.prediction import VECTORS
from inspector.radix.translation import Translation
from scripts.guests import Machine
from scripts.monitor import VIRTUAL
from scripts.nested import DSI, HDSI, LOAD, LOST_EA, NOT_MAPPED_EA, SYSTEM_CALL, UNTOUCHED_EA, Nested, to_l1
from scripts.scene import KERNEL, KIND
from tests.live.conftest import Kept
from tests.live.image import Image

pytestmark = [pytest.mark.live, pytest.mark.guests(KIND)]

PID = 6


@pytest.fixture(scope="module")
def running(kept: Kept) -> Iterator[tuple[Machine, Nested]]:
    """The host of the scene with an L1 and an L2 more."""
    machine = kept.ready()
    assert kept.scene is not None
    with closing(Nested.start(machine, len(kept.scene.guests) + 1)) as l2:
        yield machine, l2


@pytest.fixture
def l2(running: tuple[Machine, Nested]) -> Nested:
    """The L2."""
    return running[1]


@pytest.fixture
def image(running: tuple[Machine, Nested]) -> Iterator[Image]:
    """The RAM file as it is at each moment."""
    with closing(Image(running[0])) as image:
        yield image


@pytest.fixture
def seen(running: tuple[Machine, Nested]) -> Iterator[Guest]:
    """The host, stopped and attached to."""
    with inspector.open_target(running[0].target, ram=str(running[0].ram_file)) as guest:
        yield guest


def ask(image: Image, l2: Nested, ea: int, pid: int = PID, *, real: bool = False) -> Translation:
    """Where ``ea`` of the L2 goes at this moment."""
    return image.translate(ea, VIRTUAL, pid=pid, lpid=l2.outer.lpid, nested=(l2.ptcr, l2.lpid), guest_real=real)


@dataclass(frozen=True)
class Shadow:
    """The tree that KVM runs the L2 by: its root, and (L2 real, entry, log2 of the size) of each leaf."""

    root: int
    leaves: list[tuple[int, int, int]]


def shadow(machine: Machine, l2: Nested) -> Shadow:
    """It, as KVM lists it in the L1's file."""
    text = machine.shell(f"cat {l2.outer.monitor.debugfs}/radix")
    head, _, rest = text.partition(f"Nested LPID {l2.lpid}: ")
    assert head, "the L1's own tree comes first"
    first, *lines = [line for line in rest.splitlines() if line]
    found = re.fullmatch(r"pgdir: ([0-9a-f]+)", first)
    assert found is not None
    leaves = []
    for line in lines:
        parts = re.fullmatch(r" ([0-9a-f]+): ([0-9a-f]+) (\d+)", line)
        assert parts is not None
        leaves.append((int(parts[1], 16), int(parts[2], 16), int(parts[3])))
    return Shadow(int(found[1], 16) & ~KERNEL, leaves)


def test_what_the_l2_stored_lies_where_three_stages_lead(seen: Guest, l2: Nested) -> None:
    whom = {"lpid": l2.outer.lpid, "nested": (l2.ptcr, l2.lpid)}
    shifts = set()
    for stored in l2.stored:
        answer = seen.translate(stored.ea, pid=stored.pid, **whom)  # type: ignore[arg-type]
        assert answer.ok, (hex(stored.ea), answer.reason)
        assert answer.ra is not None
        assert int.from_bytes(seen.memory.read(answer.ra, 8), "little") == stored.value
        behind = to_l1(stored.gpa)
        assert behind is not None
        assert (answer.gra, answer.outer_gra, answer.page_shift) == (stored.gpa, behind[0], stored.shift)
        assert (answer.lpid, answer.outer_lpid) == (l2.lpid, l2.outer.lpid)
        by_real = seen.translate(stored.gpa, guest_real=True, **whom)  # type: ignore[arg-type]
        assert by_real.ra == answer.ra
        kvms = seen.translate(stored.ea, pid=stored.pid, walker="kvm", **whom)  # type: ignore[arg-type]
        assert kvms.ra == stored.gpa
        shifts.add(stored.shift)
    assert shifts == {12, 16, 21}


def test_the_tree_that_kvm_runs_it_by_is_both_stages_in_one(
    running: tuple[Machine, Nested], image: Image, l2: Nested
) -> None:
    told = shadow(running[0], l2)
    for real, entry, shift in told.leaves:
        answer = ask(image, l2, real, real=True)
        assert (answer.ra, answer.page_shift) == (entry & PTE_RPN, shift)
        assert encoded_rights(entry) & answer.rights == encoded_rights(entry)
        assert encoded_rights(entry).read
    listed = {real + n for real, _, shift in told.leaves for n in range(0, 1 << shift, 1 << 16)}
    assert {stored.gpa >> 16 << 16 for stored in l2.stored} <= listed
    assert {shift for *_, shift in told.leaves} == {16, 21}


def test_the_partition_that_the_host_made_for_it_leads_to_the_same(
    running: tuple[Machine, Nested], image: Image, l2: Nested
) -> None:
    """KVM gives LPIDs in order, so that the L2 runs under the one after the L1's."""
    lpid = l2.outer.lpid + 1
    entry = entry_of(image.guest, lpid)
    assert entry is not None
    assert entry.entry & RPDB_MASK == shadow(running[0], l2).root
    for stored in l2.stored:
        by_host = image.translate(stored.ea, VIRTUAL, pid=stored.pid, lpid=lpid)
        assert by_host.ok
        assert (by_host.ra, by_host.gra) == (ask(image, l2, stored.ea, stored.pid).ra, stored.gpa)


def test_each_stages_fault_is_what_its_cpu_ran_into(image: Image, l2: Nested) -> None:
    for ea, stage, interrupt in ((NOT_MAPPED_EA, 1, DSI), (LOST_EA, 2, HDSI)):
        answer = ask(image, l2, ea)
        assert (answer.status, answer.stage, answer.cause) == ("fault", stage, "not-present")
        assert answer.interrupt is not None
        assert l2.run(LOAD, PID, ea, 0) == interrupt == VECTORS[answer.interrupt.name]
        assert ask(image, l2, ea).stage == stage
    before = ask(image, l2, UNTOUCHED_EA)
    assert (before.status, before.stage) == ("fault", 3)
    assert before.gra is not None
    assert to_l1(before.gra) == (before.outer_gra, 16)
    assert l2.run(LOAD, PID, UNTOUCHED_EA, 0) == SYSTEM_CALL
    assert ask(image, l2, UNTOUCHED_EA).ok


@contextmanager
def cleared(machine: Machine, address: int) -> Iterator[None]:
    """The doubleword at a real address, zero for the while."""
    with open(machine.ram_file, "r+b", buffering=0) as ram:
        ram.seek(address)
        before = ram.read(8)
        ram.seek(address)
        ram.write(bytes(8))
        try:
            yield
        finally:
            ram.seek(address)
            ram.write(before)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_table_that_was_broken_is_told_by_its_stage(
    running: tuple[Machine, Nested], image: Image, l2: Nested, stage: int
) -> None:
    stored = l2.stored[0]
    whole = ask(image, l2, stored.ea, stored.pid)
    last = [step for step in whole.steps if step.stage == stage][-1]
    assert last.kind == "leaf"
    with cleared(running[0], last.address):
        broken = ask(image, l2, stored.ea, stored.pid)
        assert (broken.status, broken.stage, broken.cause) == ("fault", stage, "not-present")
        assert (broken.gra, broken.outer_gra) == (
            None if stage == 1 else whole.gra,
            whole.outer_gra if stage == 3 else None,
        )
        if stage == 1:
            assert l2.run(LOAD, stored.pid, stored.ea, 0) == DSI
    assert ask(image, l2, stored.ea, stored.pid).ra == whole.ra


def test_its_processes_and_all_that_they_map_are_found(seen: Guest, l2: Nested) -> None:
    nested = (l2.ptcr, l2.lpid)
    assert [each.pid for each in seen.partition(l2.outer.lpid, nested).processes()] == [0, PID]
    columns = seen.spaces(lpid=l2.outer.lpid, nested=nested).columns
    leaves = list(zip(columns.ea.tolist(), columns.ra.tolist(), columns.size.tolist(), strict=True))
    for stored in l2.stored:
        answer = seen.translate(stored.ea, pid=stored.pid, lpid=l2.outer.lpid, nested=nested)
        assert answer.ra in {ra + stored.ea - ea for ea, ra, size in leaves if 0 <= stored.ea - ea < size}
