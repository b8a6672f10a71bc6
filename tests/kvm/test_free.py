"""``kvmppc_free_radix``."""

from __future__ import annotations

import pytest

from inspector.errors import MemoryReadError
from inspector.kvm.history import VERSIONS
from inspector.kvm.operations import drop
from tests.kvm.scene import HUGE, LARGE, PAGE, POOL, PRESENT, RWX, RX, scene
from tests.kvm.test_create import entry_of


@pytest.mark.parametrize("version", VERSIONS)
def test_all_tables_go_back_the_lowest_first_and_are_zeros(version: str) -> None:
    made = scene(version)
    slot = made.slot(flags=1)
    made.create(RWX, 0)
    made.create(RWX, 3 * HUGE + PAGE)
    made.create(RX, LARGE, 1)
    made.create(RX, 1 << 40, 1)
    root = made.vm.tree.root
    tables = made.tables()
    answer = drop(made.machine, made.vm)
    assert answer.result == 0
    assert [each.level for each in answer.trace.freed] == [0, 1, 0, 1, 2, 1, 2, 3]
    assert answer.trace.path[-1] == ("freed", (8, 2))
    assert sorted((each.address, each.level) for each in answer.trace.freed) == sorted(tables)
    assert made.machine.pool.tables == 0
    assert made.machine.vms == {}
    assert not answer.trace.tlbie, "nobody runs by it any more"
    assert not any(slot.log or b""), "and nothing is logged"
    for at, level in tables:
        size = {3: 65536, 0: 256}.get(level, 4096)
        assert not any(made.overlay.read(at, size))
    assert made.machine.make(5).tree.root == root, "what was freed last is taken next"


@pytest.mark.parametrize("version", VERSIONS)
def test_leaves_that_an_earlier_kernel_left_behind(version: str) -> None:
    made = scene("SEED")
    made.create(RX & ~PRESENT, 0, 1)
    at = entry_of(made, 0)
    made.machine.behave_as(version)
    drop(made.machine, made.vm)
    assert made.machine.pool.tables == 0
    assert made.word(at) == (RX & ~PRESENT if version == "6.1" else 0)


def test_a_table_that_is_not_of_the_pool_is_cleared_as_well() -> None:
    made = scene()
    made.put(0x1000, PRESENT | 0x2000 | 9)
    made.put(0x2000, RX)
    made.put(made.vm.tree.root, PRESENT | 0x1000 | 9)
    drop(made.machine, made.vm)
    assert [made.word(at) for at in (0x1000, 0x2000, POOL)] == [0, 0, 0]
    assert made.machine.pool.tables == 0
    assert not any(made.base.data), "on the overlay alone"


@pytest.mark.parametrize("level", [0, 1, 2])
def test_nothing_is_freed_where_a_table_cannot_be_read(level: int) -> None:
    made = scene()
    made.create(RX, 0)
    made.create(RX, HUGE + LARGE)
    middle = made.word(made.vm.tree.root) & 0xFFFF_FFFF_FF00
    at = {0: entry_of(made, HUGE) + 16, 1: middle + 24, 2: made.vm.tree.root + 8}[level]
    made.put(at, PRESENT | 0x7000_0000 | 9)
    before, tables = list(made.overlay.changes()), made.machine.pool.tables
    with pytest.raises(MemoryReadError):
        drop(made.machine, made.vm)
    assert list(made.overlay.changes()) == before
    assert made.machine.pool.tables == tables
    assert made.machine.vms == {5: made.vm}
