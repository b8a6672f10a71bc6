"""KVM's software walk as it stood before and after the founding text, and what is done about unknown registers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inspector.errors import NotCaptured, UnknownRegister, UsageError
from inspector.radix.software_walk import translate, variant
from tests.radix.against_kvm import BOTH, refused, walk
from tests.radix.trees import (
    EA,
    GR,
    KERNEL_EA,
    LEAF,
    PID,
    PRIV,
    RAM,
    RELOCATED,
    TABLE_AT,
    VALID,
    MiB,
    flat,
)


def test_before_the_mend_both_bugs_ask_for_an_address_that_no_guest_has() -> None:
    """The GR bit and the size field are taken for a part of the base: 0x8000000000010004 and so on."""
    for name in (BOTH, f"{BOTH}:process-table"):
        answer = refused(flat(), "EFAULT", "table-not-ram", name=name)
        assert answer.steps[-1].address == (GR | TABLE_AT | 4) + 16 * PID


def test_before_the_mend_the_first_bug_alone_walks_where_the_value_was_a_bare_base() -> None:
    world = flat(pid=0)
    world.context = replace(world.context, process_table=TABLE_AT)
    assert walk(world, EA, f"{BOTH}:process-table").ok
    refused(world, "EINVAL", "misaligned-base", name=BOTH)


def test_before_the_mend_the_second_bug_alone_always_finds_the_root_misaligned() -> None:
    """RPDS is 13 or the walk ends sooner, and its low 4 bits stay in the base."""
    answer = refused(flat(), "EINVAL", "misaligned-base", name=f"{BOTH}:rpdb-mask")
    assert len(answer.steps) == 1
    assert "d" in answer.reason


def test_dd1_takes_52_bits_for_49_and_55_for_52() -> None:
    refused(flat(), "EINVAL", "tree-size", name="kvm@dd1")
    world = flat()
    world.memory.put(world.entry, world.memory.word(world.entry) & ~0x6000_0000_0000_00E0 | 0x6000_0000_0000_0000)
    assert walk(world, EA, "kvm@dd1").ok
    refused(world, "EINVAL", "tree-size")


def test_4_20_refuses_a_size_field_above_24() -> None:
    world = flat()
    for prts, cause in ((24, None), (25, "process-table-size"), (31, "process-table-size")):
        world.context = replace(world.context, process_table=GR | TABLE_AT | prts)
        assert walk(world, EA, "kvm@4.20").cause == cause
        assert walk(world, EA, "kvm@4.20").errno == (cause and "EINVAL")


def test_4_20_computes_in_64_bits() -> None:
    world = flat()
    world.context = replace(world.context, pid=(1 << 28) + PID)
    refused(world, "EINVAL", "pid-beyond-table", name="kvm@4.20")
    world = flat()
    world.context = replace(world.context, process_table=GR | TABLE_AT | 20)
    refused(world, "EINVAL", "pid-beyond-table")
    assert walk(world, EA, "kvm@4.20").ok


def test_4_20_reads_16_bytes_and_keeps_the_second() -> None:
    world = flat()
    world.memory.put(world.entry + 8, 0x1234)
    reader = world.reader()
    answer = translate(reader, world.context, EA, variant("kvm@4.20"))
    assert reader.asked[:2] == [world.entry, world.entry + 8]
    assert answer.steps[0].second == 0x1234
    assert walk(world).steps[0].second is None


def test_4_20_faults_where_only_the_first_half_of_the_entry_is_memory() -> None:
    world = flat(pid=0)
    end = 0xF_0000
    world.memory.ram = ((0, end + 8), (MiB, RAM[0][1]))
    world.memory.words[end] = world.memory.word(TABLE_AT)
    world.context = replace(world.context, process_table=GR | end | 4)
    assert walk(world).steps[0].address == end
    refused(world, "EFAULT", "table-not-ram", name="kvm@4.20")


# -- what is not known -----------------------------------------------------------------------------------------------


def test_an_unknown_pid_or_process_table_is_asked_for_and_not_guessed() -> None:
    world = flat()
    world.context = replace(world.context, pid=None)
    with pytest.raises(UnknownRegister, match="pid"):
        walk(world)
    assert walk(flat(ea=KERNEL_EA), KERNEL_EA).ok
    world.context = replace(world.context, pid=PID, process_table=None)
    with pytest.raises(UnknownRegister, match="process_table"):
        walk(world)


def test_unknown_amr_iamr_and_msr_are_told_where_the_rights_hang_on_them() -> None:
    open_page = VALID | LEAF | 7
    answer = walk(flat(open_page, msr=RELOCATED, amr=None, iamr=None))
    assert str(answer.rights) == "rwx"
    assert any("AMR" in note and "IAMR" in note for note in answer.notes)
    for settled in (flat(open_page, amr=None, iamr=None), flat(open_page | PRIV, msr=RELOCATED, amr=None, iamr=None)):
        assert walk(settled).notes == ()
    world = flat(open_page)
    world.context = replace(world.context, msr=None)
    assert any("MSR" in note for note in walk(world).notes)


def test_memory_that_a_snapshot_lacks_is_told_apart_from_memory_that_is_not_there() -> None:
    world = flat()

    def read(address: int) -> int:
        if address == world.path[1]:
            raise NotCaptured(address, 8)
        return world.memory.word(address)

    answer = translate(read, world.context, EA)
    assert (answer.errno, answer.cause) == ("EFAULT", "table-not-captured")


def test_a_variant_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"kvm@4\.20"):
        variant("kvm@5.0")
