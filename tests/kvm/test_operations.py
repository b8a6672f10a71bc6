"""Answers, and memory slots as KVM_SET_USER_MEMORY_REGION makes them."""

from __future__ import annotations

import json

import pytest

from inspector.errors import MemoryReadError
from inspector.kvm import operations
from inspector.kvm.fault import Fault
from inspector.kvm.operations import set_slot
from inspector.kvm.slots import LOG_DIRTY_PAGES, READ_ONLY
from tests.kvm.scene import LARGE, NOPTE, PAGE, PRESENT, RWX, STORE, host, pages_of, scene
from tests.kvm.test_create import entry_of


def test_an_answer_in_json() -> None:
    made = scene("SEED")
    made.slot()
    made.create(RWX, PAGE)
    answer = operations.fault(made.machine, made.vm, Fault(0xC000_0000_0001_0123, PAGE, STORE | NOPTE, host(PAGE)))
    told = json.loads(json.dumps(answer.as_json()))
    assert told["op"] == "fault"
    assert (told["lpid"], told["result"]) == (5, "RESUME_GUEST")
    assert told["path"][:3] == ["guest-real", "slot", "write"]
    assert told["installed"] == {"gpa": "0x10000", "raw": "0xc000000100010187", "shift": 16}
    assert told["tlbie"] == [{"rb": "0x100a0", "lpid": 5, "ric": 0}]
    assert len(answer.trace.sentences) == len(told["path"])


def test_each_operation_has_a_trace_of_its_own() -> None:
    made = scene()
    made.create(RWX, 0)
    first = operations.age(made.machine, made.vm, 0)
    second = operations.age(made.machine, made.vm, 0)
    assert (first.result, second.result) == (1, 0)
    assert first.trace.slugs == ["young", "aged"]
    assert second.trace.slugs == ["old"]


def test_a_slot_is_made_changed_and_taken_away() -> None:
    made = scene()
    assert set_slot(made.machine, made.vm, 0, LARGE, 0, 0x7FFF_0000_0000).result == 0
    made.create(RWX, PAGE)
    made.create(RWX, LARGE)
    answer = set_slot(made.machine, made.vm, 0, LARGE, LOG_DIRTY_PAGES)
    assert answer.result == 0
    assert set(made.tree()) == {(LARGE, 16)}, "the slot's leaves are flushed, and no others"
    slot = made.vm.slots.based(0)
    assert slot is not None
    assert slot.hva == 0x7FFF_0000_0000
    assert pages_of(slot.log) == set(), "its pages were written to before the log was"
    made.create(RWX, PAGE)
    assert set_slot(made.machine, made.vm, 0, LARGE, LOG_DIRTY_PAGES).trace.slugs == ["slot-changed"]
    assert len(made.tree()) == 2
    assert set_slot(made.machine, made.vm, 0, LARGE, 0).result == 0
    assert slot.log is None
    made.create(RWX, PAGE)
    assert set_slot(made.machine, made.vm, 0, 0, 0).result == 0
    assert made.vm.slots.each == []
    assert set(made.tree()) == {(LARGE, 16)}
    assert set_slot(made.machine, made.vm, 0, 0, 0).result == "EINVAL"


@pytest.mark.parametrize(
    ("base", "size", "flags", "result"),
    [
        (0, LARGE, LOG_DIRTY_PAGES | READ_ONLY, "EINVAL"),  # READ_ONLY is for good
        (0, LARGE, 4, "EINVAL"),
        (0x1000, PAGE, 0, "EINVAL"),
        (LARGE, PAGE + 0x1000, 0, "EINVAL"),
        (-PAGE, PAGE, 0, "EINVAL"),
        (PAGE, PAGE, 0, "EEXIST"),
        (0, 2 * LARGE, 0, "EEXIST"),
        (LARGE, PAGE, READ_ONLY, 0),
    ],
)
def test_slots_that_kvm_takes_and_does_not(base: int, size: int, flags: int, result: str | int) -> None:
    made = scene()
    set_slot(made.machine, made.vm, 0, LARGE, 0)
    assert set_slot(made.machine, made.vm, base, size, flags).result == result
    assert len(made.vm.slots.each) == (2 if result == 0 else 1)


def test_another_host_address_is_refused() -> None:
    made = scene()
    set_slot(made.machine, made.vm, 0, LARGE, 0, 1 << 40)
    assert set_slot(made.machine, made.vm, 0, LARGE, 0, 1 << 41).result == "EINVAL"
    assert set_slot(made.machine, made.vm, 0, LARGE, 0, 1 << 40).result == 0


@pytest.mark.parametrize(("version", "left"), [("SEED", {RWX & ~PRESENT}), ("4.19", set()), ("6.1", set())])
def test_flushing_takes_each_leaf_once(version: str, left: set[int]) -> None:
    made = scene(version)
    made.create(RWX, 0, 1)
    made.create(RWX, LARGE)
    made.create(RWX, LARGE + 3 * PAGE)
    set_slot(made.machine, made.vm, PAGE, 2 * LARGE, 0)
    answer = set_slot(made.machine, made.vm, PAGE, 0, 0)
    assert ("flushed", (3,)) in answer.trace.path
    assert [each.rb & ~0xFFF for each in answer.trace.tlbie] == [
        PAGE if version == "SEED" else 0,
        LARGE,
        LARGE + 3 * PAGE,
    ]
    assert set(made.tree().values()) == left


@pytest.mark.parametrize(("size", "flags"), [(0, 0), (4 * LARGE, LOG_DIRTY_PAGES)])
def test_a_slot_stays_as_it_is_where_a_table_cannot_be_read(size: int, flags: int) -> None:
    made = scene()
    set_slot(made.machine, made.vm, 0, 4 * LARGE, 0)
    made.create(RWX, 0)
    made.put(entry_of(made, 0) + 8, PRESENT | 0x7000_0000 | 5)
    before = list(made.overlay.changes())
    with pytest.raises(MemoryReadError):
        set_slot(made.machine, made.vm, 0, size, flags)
    assert list(made.overlay.changes()) == before
    slot = made.vm.slots.based(0)
    assert slot is not None
    assert (slot.flags, slot.log) == (0, None)


@pytest.mark.parametrize("level", [1, 2])
def test_no_table_makes_room_where_one_below_it_cannot_be_read(level: int) -> None:
    made = scene()
    made.create(RWX, 0)
    if level == 1:
        made.put(entry_of(made, 0), PRESENT | 0x7000_0000 | 5)
    else:
        made.put(entry_of(made, 0) + 8 * 77, PRESENT | 0x7000_0000 | 5)
    before, tables = list(made.overlay.changes()), made.machine.pool.tables
    with pytest.raises(MemoryReadError):
        made.create(RWX, 0, level)
    assert list(made.overlay.changes()) == before
    assert made.machine.pool.tables == tables


def test_the_log_can_be_looked_at_alone() -> None:
    made = scene("4.19")
    slot = made.slot(0, LARGE, LOG_DIRTY_PAGES)
    made.create(RWX, 0, 1)
    for clear, pages in ((False, 32), (False, 32), (True, 32), (True, 0)):
        log = operations.read_log(made.machine, made.vm, slot, clear=clear).log
        assert log is not None
        assert log.pages == pages
