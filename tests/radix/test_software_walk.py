"""KVM's software walk: against the founding text told again with C's integers, and each of its checks by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.radix.software_walk import VARIANTS, translate, variant
from inspector.radix.translation import Rights
from tests.radix.against_kvm import BOTH, refused, walk
from tests.radix.broken import worlds
from tests.radix.kvm_model import NAMES, Kernel, Vcpu
from tests.radix.trees import (
    EA,
    EXEC,
    GR,
    GUARDED,
    HOLE,
    KERNEL_EA,
    LEAF,
    MASK64,
    PID,
    PR,
    PRIV,
    READ,
    RELOCATED,
    TABLE_AT,
    VALID,
    WRITE,
    C,
    R,
    World,
    flat,
)

PAST = "pid-beyond-table"
KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "kvm": Kernel(),
        BOTH: Kernel(prtb_mask=None, rpdb_mask=0x0FFF_FFFF_FFFF_F00F),
        f"{BOTH}:process-table": Kernel(prtb_mask=None),
        f"{BOTH}:rpdb-mask": Kernel(rpdb_mask=0x0FFF_FFFF_FFFF_F00F),
        "kvm@dd1": Kernel(dd1=True),
        "kvm@4.20": Kernel(split=True),
    }
)


def test_every_variant_has_a_model() -> None:
    assert set(KERNELS) == set(VARIANTS)


@settings(max_examples=1200)
@given(
    worlds(kinds=("flat",)),
    st.sampled_from(sorted(KERNELS)),
    st.sampled_from((None, None, None, 19, 20, 24, 25, 31)),
    st.sampled_from((None, None, None, 0, 1, 0x0FFF_FFFF, 1 << 28, (1 << 28) + 5, 1 << 32, (1 << 32) + 5)),
    st.booleans(),
)
def test_every_variant_walks_as_its_kernel_did_to_the_last_read(
    world: World, name: str, prts: int | None, pid: int | None, gr: bool
) -> None:
    context = world.context
    table = context.process_table or 0
    if prts is not None:
        table = table & ~0x1F | prts
    if not gr:
        table &= ~GR
    context = replace(context, process_table=table, pid=context.pid if pid is None else pid)
    for ea in world.eas:
        memory = world.memory
        vcpu = Vcpu(
            lambda address, memory=memory: memory.word(address) if memory.holds(address) else None,  # type: ignore[misc]
            table,
            context.pid or 0,
            context.msr or 0,
            context.amr or 0,
            context.iamr or 0,
            KERNELS[name],
        )
        code, gpte = vcpu.xlate(ea)
        reader = world.reader()
        answer = translate(reader, context, ea, variant(name))
        assert reader.asked == vcpu.reads
        assert answer.errno == NAMES.get(code)
        assert answer.ok == (code == 0)
        if gpte:
            assert (answer.ra, answer.page_size_index) == (gpte.raddr, gpte.page_size)
            assert answer.rights == Rights(gpte.may_read, gpte.may_write, gpte.may_execute)


# -- the checks of the founding text, in its order -----------------------------------------------------------------


@pytest.mark.parametrize("quadrant", [1, 2])
def test_1_quadrants_1_and_2_are_einval_before_anything_is_read(quadrant: int) -> None:
    world = flat()
    answer = refused(world, "EINVAL", "quadrant", EA | quadrant << 62)
    assert answer.steps == ()
    assert answer.pid is None


def test_1_quadrant_0_is_the_pid_registers_and_quadrant_3_is_pid_0s() -> None:
    assert walk(flat()).pid == PID
    kernel = walk(flat(ea=KERNEL_EA), KERNEL_EA)
    assert (kernel.ok, kernel.pid) == (True, 0)
    assert kernel.steps[0].address == TABLE_AT


def test_1_the_pid_is_32_bits_wide() -> None:
    world = flat()
    world.context = replace(world.context, pid=(1 << 32) + PID)
    assert walk(world).pid == PID


def test_1_neither_msr_hv_nor_relocation_nor_lpcr_is_asked() -> None:
    world = flat()
    for msr in (0, PR, MASK64):
        world.context = replace(world.context, msr=msr, lpcr=0)
        assert walk(world).ok


def test_2_a_pid_past_the_table_is_einval() -> None:
    world = flat(pid=4095)
    assert walk(world).ok
    world.context = replace(world.context, pid=4096)
    assert refused(world, "EINVAL", "pid-beyond-table").steps == ()


def test_2_pid_times_16_wraps_in_32_bits() -> None:
    world = flat()
    world.context = replace(world.context, pid=(1 << 28) + PID)
    answer = walk(world)
    assert answer.ok
    assert answer.steps[0].address == TABLE_AT + 16 * PID


@pytest.mark.parametrize(
    ("prts", "cause"), [(18, None), (19, None), (20, "pid-beyond-table"), (31, "pid-beyond-table")]
)
def test_2_the_size_is_shifted_as_an_int(prts: int, cause: str | None) -> None:
    """PRTS 19 gives 1 << 31, which is negative and widens with its sign; from 20 on the shift loses the bit."""
    world = flat()
    world.context = replace(world.context, process_table=GR | TABLE_AT | prts)
    assert walk(world).cause == cause
    if prts == 19:
        world.context = replace(world.context, pid=(1 << 28) - 1)
        refused(world, "EFAULT", "table-not-ram")  # no size stops it: it reads 4 GiB up


def test_3_the_tables_alignment_to_its_size_is_not_asked() -> None:
    world = flat(pid=0)
    world.memory.put(TABLE_AT + 0x1000, world.memory.word(TABLE_AT))
    world.context = replace(world.context, process_table=GR | TABLE_AT + 0x1000 | 4)
    assert walk(world).ok


def test_3_only_the_first_doubleword_is_read() -> None:
    world = flat()
    reader = world.reader()
    translate(reader, world.context, EA)
    assert reader.asked == [world.entry, *world.path.values()]


def test_3_a_process_table_outside_memory_is_efault() -> None:
    world = flat()
    world.context = replace(world.context, process_table=GR | (HOLE & ~0xFFF) | 4)
    answer = refused(world, "EFAULT", "table-not-ram")
    assert answer.steps[-1].kind == "unreadable"


def test_4_an_empty_process_entry_is_einval_not_enoent() -> None:
    world = flat()
    world.memory.put(world.entry, 0)
    assert "no process has this PID" in refused(world, "EINVAL", "tree-size").reason


@pytest.mark.parametrize("rts", [0, 20, 22, 24, 31])
def test_4_a_tree_of_another_size_is_einval(rts: int) -> None:
    world = flat()
    descriptor = world.memory.word(world.entry) & ~0x6000_0000_0000_00E0
    world.memory.put(world.entry, descriptor | rts >> 3 << 61 | (rts & 7) << 5)
    assert len(refused(world, "EINVAL", "tree-size").steps) == 1


@pytest.mark.parametrize(("level", "bits"), [(3, 12), (3, 0), (2, 13), (2, 5), (1, 5), (0, 4), (0, 8), (0, 13), (0, 0)])
def test_5a_a_level_of_another_size_is_einval_before_it_is_read(level: int, bits: int) -> None:
    world = flat()
    above = world.entry if level == 3 else world.path[level + 1]
    world.memory.put(above, world.memory.word(above) & ~0x1F | bits)
    assert len(refused(world, "EINVAL", "table-size").steps) == 4 - level


def test_5b_ea_bits_above_the_tree_are_never_looked_at() -> None:
    answer = walk(flat(), EA | 0x3FF0_0000_0000_0000)
    assert answer.ra == walk(flat()).ra


@pytest.mark.parametrize(
    ("level", "stray"),
    [(3, 0x100), (3, 0x8000), (2, 0x100), (2, 0x800), (1, 0x100), (1, 0x800), (0, 0x100), (0, 0x800)],
)
def test_5c_a_table_that_is_not_aligned_to_its_size_is_einval_before_it_is_read(level: int, stray: int) -> None:
    world = flat()
    above = world.entry if level == 3 else world.path[level + 1]
    world.memory.put(above, world.memory.word(above) | stray)
    assert len(refused(world, "EINVAL", "misaligned-base").steps) == 4 - level


def test_5c_a_last_table_of_256_bytes_may_stand_at_any_256() -> None:
    """Linux's 64K-page kernels do that: a directory entry like 0x80000000029e0105."""
    world = flat(VALID | LEAF | READ | 0x50_0000, 16)
    index = EA >> 16 & 0x1F
    base = 0x29E_0100
    world.poke(1, 0x8000_0000_029E_0105)
    world.memory.put(base + 8 * index, VALID | LEAF | READ | 0x77_0000)
    for name in ("kvm", "kvm@4.20"):
        assert walk(world, EA, name).ra == 0x77_0000 | EA & 0xFFFF
    # The founding text's wrong RPDB_MASK touches the process-table entry only; directories had a mask of their own.
    assert walk(world, EA, f"{BOTH}:rpdb-mask").cause == "misaligned-base"


@pytest.mark.parametrize("level", [2, 1, 0])
def test_5d_a_table_outside_memory_is_efault_and_named(level: int) -> None:
    world = flat()
    bits = 9
    world.poke(level + 1, VALID | HOLE & ~0xFFF | bits)
    answer = refused(world, "EFAULT", "table-not-ram")
    assert f"{world.memory.word(world.path[level + 1]):#018x}" in answer.reason
    assert answer.steps[-1].value is None
    assert not world.memory.holds(answer.steps[-1].address)


@pytest.mark.parametrize("level", [3, 2, 1, 0])
@pytest.mark.parametrize("entry", [0, MASK64 & ~VALID, 0x2000_0000_0000_0000 | LEAF])
def test_5e_an_entry_that_is_not_valid_is_enoent_whatever_else_it_holds(level: int, entry: int) -> None:
    assert refused(flat().poke(level, entry), "ENOENT", "not-present").steps[-1].value == entry


def test_5f_the_reserved_bits_of_a_directory_are_not_looked_at() -> None:
    world = flat()
    for level in (3, 2, 1):
        world.flip(level, 0x3000_0000_0000_00E0)
    assert walk(world).ok


def test_6_a_directory_at_the_last_level_is_einval() -> None:
    assert len(refused(flat().flip(0, LEAF), "EINVAL", "no-leaf").steps) == 5


def test_6_a_leaf_at_the_root_is_einval() -> None:
    assert len(refused(flat(VALID | LEAF | READ, 39), "EINVAL", "leaf-too-large").steps) == 2


@pytest.mark.parametrize(("shift", "stray"), [(16, 0x1000), (16, 0x8000), (21, 0x10_0000), (30, 0x2000_0000)])
def test_7_page_number_bits_below_the_page_are_einval(shift: int, stray: int) -> None:
    refused(flat(VALID | LEAF | READ | stray, shift), "EINVAL", "stray-page-bits")


def test_7_all_bits_of_a_4k_page_number_count() -> None:
    assert walk(flat(VALID | LEAF | READ | 0x01FF_FFFF_FFFF_F000)).ra == 0x01FF_FFFF_FFFF_F000 | EA & 0xFFF


@pytest.mark.parametrize(("shift", "index"), [(12, 0), (16, 2), (21, 7), (30, 13)])
def test_8_and_9_the_page_gives_its_bits_and_its_index(shift: int, index: int) -> None:
    answer = walk(flat(VALID | LEAF | READ | 0x40_0000_0000, shift))
    assert answer.ra == 0x40_0000_0000 | EA & (1 << shift) - 1
    assert (answer.page_shift, answer.page_size_index) == (shift, index)


@pytest.mark.parametrize("bits", range(8))
def test_10_the_rights_are_the_three_bits_and_write_is_not_read(bits: int) -> None:
    for attributes in (0, 0x10, GUARDED, 0x30, R, C):
        rights = walk(flat(VALID | LEAF | bits | attributes)).rights
        assert rights == Rights(bool(bits & READ), bool(bits & WRITE), bool(bits & EXEC))


def test_11_a_privileged_page_gives_user_state_nothing_and_amr_is_not_asked_there() -> None:
    shut = {"amr": MASK64, "iamr": MASK64}
    assert walk(flat(VALID | LEAF | PRIV | 7, msr=PR, **shut)).rights == Rights(False, False, False)
    assert walk(flat(VALID | LEAF | 7, msr=PR, **shut)).rights == Rights(True, True, True)


@pytest.mark.parametrize(
    ("amr", "iamr", "left"),
    [(1 << 62, 0, "-wx"), (1 << 63, 0, "r-x"), (0, 1 << 62, "rw-"), (0, 1 << 63, "rwx"), (3 << 62, 3 << 62, "---")],
)
def test_12_key_0_shuts_user_pages_to_privileged_state_only(amr: int, iamr: int, left: str) -> None:
    assert str(walk(flat(VALID | LEAF | 7, msr=RELOCATED, amr=amr, iamr=iamr)).rights) == left
    assert str(walk(flat(VALID | LEAF | PRIV | 7, msr=RELOCATED, amr=amr, iamr=iamr)).rights) == "rwx"
    below = {"amr": MASK64 >> 2, "iamr": MASK64 >> 2}
    assert str(walk(flat(VALID | LEAF | 7, msr=RELOCATED, **below)).rights) == "rwx"


def test_13_no_right_at_all_is_still_0() -> None:
    answer = walk(flat(VALID | LEAF))
    assert (answer.status, answer.errno, str(answer.rights)) == ("ok", None, "---")
    assert answer.cause is None
