"""A what-if over a guest: whoever looks sees the overlay, and the guest itself stays as it is."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from inspector.kvm import operations
from inspector.kvm.fault import Fault
from inspector.kvm.host import HostPage
from inspector.kvm.slots import MemorySlot
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.whatif import FAR, POOL_SIZE, WhatIf, default_pool
from tests.fakes import LPID, PARTITION_TABLE_AT, FakeTarget, GiB, guest, kvm_host_target, linux_target

STORE = 0x4200_0000
NEW_GPA = 0x2_0000_0000


def fault(whatif: WhatIf, lpid: int, *, make: bool = False) -> str | int:
    """A store to a page that has no leaf."""
    vm = whatif.vm(lpid, make=make)
    if vm.slots.at(NEW_GPA) is None:
        vm.slots.add(MemorySlot(NEW_GPA, 1 << 20))
    page = HostPage(0x7FFF_0000_0000, 0x10_0000, 16)
    return operations.fault(whatif.machine, vm, Fault(NEW_GPA, NEW_GPA, STORE, page)).result


def content(target: FakeTarget) -> dict[int, bytes]:
    return {at: bytes(chunk) for at, chunk in target.source.chunks.items()}


def test_a_guests_own_tree_is_changed_for_whoever_looks_and_for_nobody_else() -> None:
    target = kvm_host_target()
    before = content(target)
    with guest(target) as opened:
        there = opened.translate(NEW_GPA, lpid=LPID, guest_real=True)
        assert there.status == "fault"
        whatif = opened.lay_over()
        assert fault(whatif, LPID) == "RESUME_GUEST"
        found = opened.translate(NEW_GPA, lpid=LPID, guest_real=True)
        assert found.ra == 0x10_0000
        assert [each for each in whatif.overlay.changes() if each.address < GiB], "an entry in the guest's own RAM"
        opened.lift()
        assert opened.translate(NEW_GPA, lpid=LPID, guest_real=True).status == "fault"
    assert content(target) == before


def test_a_guest_is_made_by_its_partition_table_entry_and_freed() -> None:
    with guest(kvm_host_target()) as opened:
        whatif = opened.lay_over()
        with pytest.raises(UsageError):
            whatif.vm(LPID + 1)
        vm = whatif.vm(LPID + 1, make=True)
        entry = PARTITION_TABLE_AT + 16 * (LPID + 1)
        assert whatif.overlay.read_u64(entry) == 0xC000_0000_0000_00AD | vm.tree.root
        assert fault(whatif, LPID + 1) == "RESUME_GUEST"
        assert whatif.vm(LPID + 1) is vm
        assert opened.translate(NEW_GPA, lpid=LPID + 1, guest_real=True).ra == 0x10_0000
        whatif.free(vm)
        assert whatif.overlay.read(entry, 16) == bytes(16)
        assert whatif.machine.pool.tables == 0
        with pytest.raises(UsageError):
            whatif.vm(LPID + 1)


@pytest.mark.parametrize("bare", [True, False])
def test_a_pool_does_not_lie_over_tables_in_use(bare: bool) -> None:
    with guest(kvm_host_target() if bare else linux_target()) as opened:
        process_table = opened.process_table()
        trees = opened.spaces(guests=bare).sweep.tables()
        used = [process_table, *zip(trees.address.tolist(), trees.length.tolist(), strict=True)]
        if bare:
            used += [(PARTITION_TABLE_AT, 1 << 16)]
        for at, size in used:
            for start in {at & -4096, (at + size - 1) & -4096}:
                with pytest.raises(UsageError, match="lies over a table in use"):
                    opened.lay_over(Range(start, 4096, "pool"))
                assert opened.whatif is None
        free = next(at for at in range(0, GiB, 1 << 16) if all(at + 4096 <= s or s + n <= at for s, n in used))
        assert opened.lay_over(Range(free, 4096, "pool")).pool_range.start == free


def test_an_lpid_beyond_the_partition_table_takes_no_table() -> None:
    with guest(kvm_host_target()) as opened:
        whatif = opened.lay_over()
        with pytest.raises(UsageError, match="beyond the partition table"):
            whatif.empty(1 << 20)
        assert whatif.machine.pool.tables == 0
        for ask in (whatif.vm, whatif.empty):
            with pytest.raises(UsageError, match="LPID 0 is the host itself"):
                ask(0)


def test_where_the_hypervisor_is_out_of_sight_a_tree_is_made_beside_the_guest() -> None:
    target = linux_target()
    with guest(target) as opened:
        whatif = opened.lay_over()
        assert fault(whatif, 7, make=True) == "RESUME_GUEST"
        vm = whatif.vm(7)
        assert whatif.made[7].root == vm.tree.root
        assert all(each.address >= FAR for each in whatif.overlay.changes()), "in the pool alone"
        whatif.free(vm)
        assert whatif.made == {}
        assert whatif.machine.pool.tables == 0


def test_an_empty_tree_takes_the_place_of_what_is_there_and_keeps_the_slots() -> None:
    with guest(kvm_host_target()) as opened:
        whatif = opened.lay_over()
        fault(whatif, LPID)
        slots, old = whatif.vm(LPID).slots, whatif.vm(LPID).tree.root
        vm = whatif.empty(LPID)
        assert vm.slots is slots
        assert vm.tree.root != old
        assert whatif.vm(LPID) is vm
        assert fault(whatif, LPID) == "RESUME_GUEST"
        assert whatif.empty(LPID).slots is slots
        tables = whatif.machine.pool.tables
        assert whatif.empty(LPID).slots is slots
        assert whatif.machine.pool.tables == tables, "what was laid in the pool is freed first"


def test_reset_forgets_all_but_how_to_behave() -> None:
    with guest(kvm_host_target()) as opened:
        whatif = opened.lay_over()
        whatif.machine.behave_as("SEED", True)
        fault(whatif, LPID)
        version, pool = whatif.version, whatif.pool_range
        whatif.reset()
        assert whatif.version > version, "so that what was made of the memory is made anew"
        assert list(whatif.overlay.changes()) == []
        assert whatif.vm(LPID).slots.each == []
        assert (whatif.machine.version, whatif.machine.dd1) == ("SEED", True)
        assert whatif.vm(LPID).tree.clear_first
        assert whatif.pool_range == pool
        assert opened.translate(NEW_GPA, lpid=LPID, guest_real=True).status == "fault"


@pytest.mark.parametrize(
    "pool", [Range(FAR + 8, 1 << 20), Range(FAR, 0), Range((1 << 52) - 4096, 8192)], ids=["odd", "empty", "far"]
)
def test_a_pool_that_cannot_hold_tables(pool: Range) -> None:
    with guest(kvm_host_target()) as opened:
        with pytest.raises(UsageError, match="pool"):
            opened.lay_over(pool)
        assert opened.whatif is None


def test_a_pool_that_is_too_small_for_a_root_says_so() -> None:
    with guest(kvm_host_target()) as opened:
        whatif = opened.lay_over(Range(FAR, 4096, "small"))
        with pytest.raises(UsageError, match="64 KiB"):
            whatif.empty(LPID)
        assert list(whatif.overlay.changes()) == []


@pytest.mark.parametrize(("ram", "start"), [(0, FAR), (GiB, FAR), (FAR, FAR), (FAR + 1, 2 * FAR)])
def test_the_pool_lies_above_all_ram(ram: int, start: int) -> None:
    ranges = [Range(0, ram, "ram")] if ram else []
    memory = PhysicalMemory(linux_target().source, RamMap(ranges))
    assert default_pool(memory) == Range(start, POOL_SIZE, "what-if pool")
