"""Where KVM's software walk and the hardware's answer one address differently, and where they agree: a row a test.

The facts are those of Linux 6.1 ``arch/powerpc/kvm/book3s_64_mmu_radix.c`` and QEMU 7.2 ``target/ppc/mmu-radix64.c``;
the hardware's column is held against QEMU's, told again in ``qemu_model``.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from inspector.radix import software_walk, walk
from inspector.radix.translation import Access, Translation
from tests.radix.against_qemu import faults, hardware
from tests.radix.qemu_model import BADCONFIG, NOEXEC_GUARD, NOPTE, PROTFAULT
from tests.radix.trees import (
    EA,
    EXEC,
    GR,
    GUARDED,
    HOLE,
    HV,
    IR,
    KERNEL_EA,
    LEAF,
    LPCR_RADIX,
    LPID,
    PRIV,
    READ,
    RELOCATED,
    SAO,
    SF,
    TABLE_AT,
    TOLERANT,
    VALID,
    WRITE,
    C,
    R,
    World,
    flat,
    partitioned,
)

PAGE = VALID | LEAF | 0x1F_5000


def kvm(world: World, ea: int = EA) -> Translation:
    return software_walk.translate(world.reader(), world.context, ea)


@pytest.mark.parametrize("bit", range(52, 62))
def test_ea_bits_above_the_tree(bit: int) -> None:
    world = flat(PAGE | READ)
    assert kvm(world, EA | 1 << bit).ra == kvm(world).ra
    faults(hardware(world, EA | 1 << bit), "ea-out-of-range", "DSEG")
    faults(hardware(world, EA | 1 << bit, "x"), "ea-out-of-range", "ISEG")


@pytest.mark.parametrize("quadrant", [1, 2])
def test_quadrants_1_and_2_without_hv(quadrant: int) -> None:
    world = flat(PAGE | READ)
    ea = quadrant << 62 | EA
    assert kvm(world, ea).errno == "EINVAL"
    faults(hardware(world, ea), "quadrant", "DSEG")
    faults(hardware(world, ea, "x"), "quadrant", "ISEG")
    faults(hardware(partitioned(PAGE | READ)[0], ea), "quadrant", "DSEG")


@pytest.mark.parametrize(
    ("ea", "lpid", "pid"),
    [(EA, 0, 5), (1 << 62 | EA, LPID, 5), (2 << 62 | EA, LPID, 0), (3 << 62 | EA, 0, 0)],
)
def test_hv_chooses_the_partition_and_process_by_quadrant(ea: int, lpid: int, pid: int) -> None:
    world, _ = partitioned(PAGE | READ, lpid=lpid, ea=ea, msr=RELOCATED | HV)
    world.context = replace(world.context, lpidr=LPID)
    ours = walk.translate(world.reader(), world.context, ea, "r")
    assert (ours.lpid, ours.pid) == (lpid, pid)
    assert ours.steps[0].index == lpid
    stages = {step.stage for step in ours.steps if step.level is not None and step.purpose != "process-table entry"}
    assert stages == ({1} if lpid == 0 else {1, 2})


@pytest.mark.parametrize(("ea", "pid"), [(EA, 5), (KERNEL_EA, 0)])
def test_without_hv_it_is_lpidr_and_the_quadrant_chooses_the_process(ea: int, pid: int) -> None:
    world, space = partitioned(PAGE | READ, ea=ea)
    space.at(0x1F_5000)
    ours = hardware(world, ea)
    assert (ours.ok, ours.lpid, ours.pid) == (True, LPID, pid)
    assert ours.gra == 0x1F_5000 | ea & 0xFFF


class TestRelocationOff:
    def test_on_pseries_the_top_4_bits_go_and_all_is_allowed(self) -> None:
        world = flat(msr=SF)
        world.context = replace(world.context, hrmor=0x800_0000)
        for access in ("r", "w", "x"):
            ours = hardware(world, 0xC000_0000_0001_2345, access)
            assert (ours.ra, ours.page_shift, str(ours.rights), ours.relocation) == (0x1_2345, 12, "rwx", False)
            assert ours.steps == ()

    def test_with_hv_hrmor_is_in_where_ea_bit_63_is_clear(self) -> None:
        world, _ = partitioned(msr=SF | HV)
        world.context = replace(world.context, hrmor=0x800_0000)
        assert hardware(world, 0x1_2345).ra == 0x801_2345
        assert hardware(world, 1 << 63 | 0x1_2345).ra == 0x1_2345
        assert hardware(world, 0x7000_0000_0001_2345).ra == 0x801_2345

    def test_with_hv_an_unknown_hrmor_is_told(self) -> None:
        world, _ = partitioned(msr=SF | HV)
        world.context = replace(world.context, hrmor=None)
        ours = walk.translate(world.reader(), world.context, 0x1000)
        assert ours.ra == 0x1000
        assert any("HRMOR" in note for note in ours.notes)
        assert walk.translate(world.reader(), world.context, 1 << 63 | 0x1000).notes == ()

    def test_a_guests_goes_through_the_second_stage(self) -> None:
        world, space = partitioned(msr=SF)
        host = space.at(0x12_3456)
        for ea in (0x12_3456, 3 << 62 | 0x12_3456):
            ours = hardware(world, ea)
            assert (ours.ra, ours.gra, ours.page_shift) == (host, 0x12_3456, 16)
            assert ours.pid is None
        faults(hardware(world, 1 << 62 | 0x12_3456), "quadrant", "DSEG")
        faults(hardware(world, 0x7000_0000), "not-present", "HDSI", NOPTE)

    def test_ir_and_dr_are_asked_each_for_its_own(self) -> None:
        world = flat(PAGE | READ, msr=SF | IR)
        assert hardware(world, EA, "r").relocation is False
        faults(hardware(world, EA, "x"), "protection", "ISI", NOEXEC_GUARD)

    def test_kvms_walk_does_not_ask(self) -> None:
        assert kvm(flat(PAGE | READ, msr=0)).ok


def test_lpcr_hr_clear_is_the_hashed_page_tables_and_not_asked_by_kvm() -> None:
    world = flat(PAGE | READ)
    world.context = replace(world.context, lpcr=0)
    ours = walk.translate(world.reader(), world.context, EA, "r")
    assert (ours.cause, ours.interrupt, ours.steps) == ("hash-mmu", None, ())
    assert kvm(world).ok
    world.context = replace(world.context, msr=SF)
    assert walk.translate(world.reader(), world.context, EA, "r").ok


def test_lpcr_uprt_clear_is_only_told() -> None:
    world = flat(PAGE | READ)
    assert hardware(world).notes == (
        "R clear in the leaf: the hardware sets them, or raises DSISR_SET_RC (QEMU sets "
        "them up to 9.x, and raises from 10.0)",
    )
    world.context = replace(world.context, lpcr=0x10_0000)
    assert hardware(world).ok
    assert any("UPRT" in note for note in hardware(world).notes)
    world.context = replace(world.context, lpcr=LPCR_RADIX)
    assert not any("UPRT" in note for note in hardware(world).notes)


class TestPartitionTable:
    def test_pseries_has_none_and_the_registered_value_is_the_table(self) -> None:
        assert hardware(flat(PAGE | READ)).steps[0].table == "process-table"

    def test_a_table_that_is_not_aligned_to_its_size(self) -> None:
        world, _ = partitioned()
        world.context = replace(world.context, ptcr=0x2_1000 | 4)
        faults(hardware(world), "partition-table-misaligned", "HDSI", BADCONFIG)
        faults(hardware(world, access="x"), "partition-table-misaligned", "HISI", BADCONFIG)

    def test_an_lpid_past_the_table(self) -> None:
        world, _ = partitioned()
        world.context = replace(world.context, lpidr=4095)
        faults(hardware(world), "partition-not-radix", "HDSI", BADCONFIG)
        world.context = replace(world.context, lpidr=4096)
        faults(hardware(world), "lpid-beyond-table", "HDSI", BADCONFIG)

    def test_an_entry_without_hr(self) -> None:
        world, _ = partitioned()
        world.memory.put(world.pate, world.memory.word(world.pate) & ~VALID)
        faults(hardware(world), "partition-not-radix", "HDSI", BADCONFIG)

    def test_lpid_0_without_hv(self) -> None:
        world, _ = partitioned(lpid=0)
        faults(hardware(world), "lpid-zero", "HDSI", BADCONFIG)


def test_a_process_table_that_is_not_aligned_to_its_size() -> None:
    world = flat(PAGE | READ, pid=0)
    world.memory.put(TABLE_AT + 0x1000, world.memory.word(TABLE_AT))
    world.context = replace(world.context, process_table=GR | TABLE_AT + 0x1000 | 4)
    assert kvm(world).ok
    faults(hardware(world), "process-table-misaligned", "DSI", BADCONFIG)


def test_a_pid_past_the_table() -> None:
    world = flat(PAGE | READ)
    world.context = replace(world.context, pid=4096)
    assert kvm(world).errno == "EINVAL"
    faults(hardware(world), "pid-beyond-table", "DSI", NOPTE)
    faults(hardware(world, access="x"), "pid-beyond-table", "ISI", NOPTE)


def test_an_empty_process_entry() -> None:
    world = flat(PAGE | READ)
    world.memory.put(world.entry, 0)
    assert kvm(world).errno == "EINVAL"
    faults(hardware(world), "process-entry-empty", "DSI", BADCONFIG)


@pytest.mark.parametrize("rts", [20, 22, 5, 29, 0])
def test_a_tree_of_another_size(rts: int) -> None:
    world = flat(PAGE | READ)
    rest = world.memory.word(world.entry) & ~0x6000_0000_0000_00E0
    world.memory.put(world.entry, rest | rts >> 3 << 61 | (rts & 7) << 5)
    assert kvm(world).errno == "EINVAL"
    faults(hardware(world), "tree-size", "DSI", BADCONFIG)
    assert str(rts + 31) in hardware(world).reason


@pytest.mark.parametrize(
    ("level", "bits"), [(3, 9), (3, 14), (2, 5), (2, 13), (1, 5), (1, 0), (0, 8), (0, 13), (0, 31)]
)
def test_a_level_of_another_size(level: int, bits: int) -> None:
    world = flat(PAGE | READ)
    above = world.entry if level == 3 else world.path[level + 1]
    world.memory.put(above, world.memory.word(above) & ~0x1F | bits)
    assert kvm(world).errno == "EINVAL"
    faults(hardware(world), "table-size", "DSI", BADCONFIG)


@pytest.mark.parametrize("shift", [12, 16, 21, 30])
def test_every_page_size_is_the_same_to_both(shift: int) -> None:
    leaf = VALID | LEAF | READ | R | 0x40_0000_0000
    for world in (flat(leaf, shift), flat(leaf, shift, ea=KERNEL_EA, msr=RELOCATED)):
        for inside in (0, 1, (1 << shift) - 1):
            ea = world.eas[0] >> shift << shift | inside
            ours, theirs = hardware(world, ea), kvm(world, ea)
            assert ours.ra == theirs.ra == 0x40_0000_0000 | inside
            assert ours.page_shift == theirs.page_shift == shift
            assert ours.notes == theirs.notes == ()
            assert [step.address for step in ours.steps] == [step.address for step in theirs.steps]


@pytest.mark.parametrize("level", [3, 2, 1, 0])
def test_a_misaligned_table_base(level: int) -> None:
    world = flat(PAGE | READ)
    above = world.entry if level == 3 else world.path[level + 1]
    world.memory.put(above, world.memory.word(above) | 0x300)
    assert kvm(world).errno == "EINVAL"
    ours = hardware(world)
    assert ours.ok
    assert any("not aligned" in note and "0x300" in note for note in ours.notes)


@pytest.mark.parametrize("level", [3, 2, 1, 0])
def test_an_entry_that_is_not_valid(level: int) -> None:
    world = flat(PAGE | READ).flip(level, VALID)
    assert kvm(world).errno == "ENOENT"
    faults(hardware(world), "not-present", "DSI", NOPTE)
    faults(hardware(world, access="x"), "not-present", "ISI", NOPTE)
    assert f"{world.path[level]:#x}" in hardware(world).reason


def test_a_leaf_at_the_root() -> None:
    world = flat(VALID | LEAF | READ | 1 << 45, 39)
    assert kvm(world).errno == "EINVAL"
    ours = hardware(world)
    assert (ours.ra, ours.page_shift) == (1 << 45 | EA & (1 << 39) - 1, 39)
    assert any("512 GiB" in note for note in ours.notes)


def test_a_directory_at_the_last_level() -> None:
    world = flat(PAGE | READ).flip(0, LEAF)
    assert kvm(world).errno == "EINVAL"
    faults(hardware(world), "no-leaf", "DSI", BADCONFIG)


@pytest.mark.parametrize(("shift", "stray"), [(16, 0xF000), (21, 0x1F_F000), (30, 0x3FFF_F000)])
def test_page_number_bits_below_the_page(shift: int, stray: int) -> None:
    world = flat(VALID | LEAF | READ | 0x40_0000_0000 | stray, shift)
    assert kvm(world).errno == "EINVAL"
    ours = hardware(world)
    assert ours.ra == 0x40_0000_0000 | EA & (1 << shift) - 1
    assert any(f"{stray:#x}" in note for note in ours.notes)


def test_write_means_read_too_to_the_hardware_only() -> None:
    world = flat(PAGE | WRITE)
    assert str(kvm(world).rights) == "-w-"
    assert str(hardware(world).rights) == "rw-"


def test_a_privileged_page_in_user_state() -> None:
    world = flat(PAGE | PRIV | 7)
    assert (kvm(world).ok, str(kvm(world).rights)) == (True, "---")
    faults(hardware(world), "privilege", "DSI", PROTFAULT)
    faults(hardware(world, access="x"), "privilege", "ISI", NOEXEC_GUARD)
    assert str(hardware(world, access=None).rights) == "---"


@pytest.mark.parametrize("hypervisor", [False, True])
def test_a_users_page_in_privileged_state_is_under_key_0(hypervisor: bool) -> None:
    shut = {"amr": 0xFCFF_FFFF_FFFF_FFFF, "iamr": 0x5455_5555_5555_5555}
    if hypervisor:
        world, _ = partitioned(PAGE | 7, lpid=0, msr=RELOCATED | HV, **shut)
    else:
        world = flat(PAGE | 7, msr=RELOCATED, **shut)
        assert str(kvm(world).rights) == "---"
    faults(hardware(world), "key", "DSI", PROTFAULT)
    faults(hardware(world, access="x"), "key", "ISI", NOEXEC_GUARD)
    assert "KUAP" in hardware(world).reason


@pytest.mark.parametrize("attribute", [0, SAO, GUARDED, TOLERANT])
def test_what_is_guarded_is_not_executed_by_the_hardware_only(attribute: int) -> None:
    world = flat(PAGE | EXEC | READ | attribute)
    assert kvm(world).rights.execute
    ours = hardware(world, access="x")
    assert ours.ok == (attribute != GUARDED)
    if not ours.ok:
        faults(ours, "guarded", "ISI", NOEXEC_GUARD)


@pytest.mark.parametrize(
    ("bits", "access", "missing"),
    [
        (0, "r", "R clear"),
        (0, "w", "R and C clear"),
        (R, "r", ""),
        (R, "w", "C clear"),
        (C, "r", "R clear"),
        (R | C, "w", ""),
    ],
)
def test_r_and_c_are_told_and_never_written(bits: int, access: Access, missing: str) -> None:
    world = flat(PAGE | READ | WRITE | bits)
    before = dict(world.memory.words)
    ours = hardware(world, access=access)
    assert ours.ok
    assert any(note.startswith(missing) for note in ours.notes) if missing else ours.notes == ()
    assert kvm(world).notes == ()
    assert world.memory.words == before


def test_a_table_outside_ram() -> None:
    world = flat(PAGE | READ).poke(1, VALID | HOLE & ~0xFFF | 9)
    assert (kvm(world).errno, kvm(world).cause) == ("EFAULT", "table-not-ram")
    faults(hardware(world), "table-not-ram", "DSI", NOPTE)
