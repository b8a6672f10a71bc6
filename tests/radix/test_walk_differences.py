"""Each place where the hardware's walk is known to differ from QEMU 7.2's, by name: the model with its quirks on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inspector.errors import NotCaptured, Unreadable
from inspector.radix.translation import Access
from inspector.radix.walk import guest_reader, translate
from tests.radix.against_qemu import answer, cpu_of, outcome
from tests.radix.qemu_model import AS_IS, BADCONFIG, ISSTORE, NOPTE, PRTABLE_FAULT
from tests.radix.trees import (
    EA,
    GR,
    HOLE,
    HV,
    LEAF,
    LPID,
    PR,
    RELOCATED,
    VALID,
    World,
    flat,
    partitioned,
)

QUADRANT_1 = 1 << 62 | EA


def both(world: World, ea: int = EA, access: Access = "r") -> tuple[tuple[object, ...], tuple[object, ...]]:
    """What the walker says, and what QEMU 7.2 as it is says."""
    ours = translate(world.reader(), world.context, ea, access)
    return answer(ours), outcome(cpu_of(world.memory, world.context, AS_IS), ea, access)


def reads_of(world: World, ea: int, access: Access = "r") -> tuple[list[int], list[int]]:
    """The addresses that the walker and QEMU read."""
    reader, cpu = world.reader(), cpu_of(world.memory, world.context, AS_IS)
    translate(reader, world.context, ea, access)
    outcome(cpu, ea, access)
    return reader.asked, cpu.reads


@pytest.mark.parametrize("level", [2, 1, 0])
def test_a_table_outside_ram_is_a_fault_that_names_its_entry_where_qemu_reads_zeros(level: int) -> None:
    world = flat().poke(level + 1, VALID | HOLE & ~0xFFF | 9)
    ours = translate(world.reader(), world.context, EA, "r")
    assert ours.cause == "table-not-ram"
    assert f"level {level + 1} entry {world.memory.word(world.path[level + 1]):#018x}" in ours.reason
    assert "ram" in ours.reason.lower()
    assert ours.steps[-1].value is None
    assert answer(ours) == outcome(cpu_of(world.memory, world.context), EA, "r") == ("fault", "DSI", NOPTE)


def test_a_process_table_outside_ram_likewise_and_zeros_there_are_a_bad_configuration() -> None:
    world = flat()
    world.context = replace(world.context, process_table=GR | 0x2000_0000 | 4)
    ours = translate(world.reader(), world.context, EA, "w")
    assert ours.cause == "table-not-ram"
    assert (
        answer(ours) == outcome(cpu_of(world.memory, world.context), EA, "w") == ("fault", "DSI", BADCONFIG | ISSTORE)
    )


def test_a_partition_table_outside_ram_likewise() -> None:
    world, _ = partitioned()
    world.context = replace(world.context, ptcr=0x2000_0000 | 4)
    ours = translate(world.reader(), world.context, EA, "r")
    assert (ours.cause, ours.stage) == ("table-not-ram", 2)
    assert answer(ours) == outcome(cpu_of(world.memory, world.context), EA, "r") == ("fault", "HDSI", BADCONFIG)


@pytest.mark.parametrize("error", [NotCaptured, Unreadable])
def test_ram_that_the_target_cannot_give_says_nothing_of_what_the_guest_finds(error: type[NotCaptured]) -> None:
    world = flat()

    def read(address: int) -> int:
        if address == world.path[0]:
            raise NotCaptured(address, 8) if error is NotCaptured else Unreadable(address, 8, "refused")
        return world.memory.word(address)

    ours = translate(read, world.context, EA, "r")
    assert (ours.status, ours.cause, ours.interrupt) == ("fault", f"table-{error.slug}", None)


def test_an_empty_process_entry_is_named_as_such_and_raises_what_qemu_raises() -> None:
    world = flat()
    world.memory.put(world.entry, 0)
    assert translate(world.reader(), world.context, EA, "r").cause == "process-entry-empty"
    assert both(world) == (("fault", "DSI", BADCONFIG), ("fault", "DSI", BADCONFIG))


def test_under_two_stages_qemu_translates_an_entrys_address_before_it_checks_the_level() -> None:
    world, _ = partitioned()
    world.flip(3, 0x1F)  # NLS 9 becomes 22
    ours, theirs = both(world)
    assert ours == ("fault", "DSI", BADCONFIG)
    assert theirs[0] == "fault"
    asked, read = reads_of(world, EA)
    assert read[: len(asked)] == asked
    assert len(read) > len(asked)


def test_under_two_stages_an_empty_process_entry_sends_qemu_after_guest_real_0() -> None:
    world, space = partitioned()
    world.memory.put(world.entry, 0)
    ours, theirs = both(world)
    assert ours == ("fault", "DSI", BADCONFIG)
    assert theirs == ("fault", "HDSI", NOPTE | PRTABLE_FAULT)
    space.at(0)  # backed, it comes to the same
    assert both(world) == (("fault", "DSI", BADCONFIG),) * 2


def test_under_two_stages_qemu_keeps_the_low_bits_of_a_misaligned_root() -> None:
    world, space = partitioned()
    space.at(0x1F_5000)
    root = world.memory.word(world.entry)
    index = EA >> 39
    # A slot 0x100 on in the guest's root leads elsewhere for QEMU; the walker drops the bits as QEMU does at one stage.
    space.put((root & ~0xFF & (1 << 52) - 1) + 0x100 + 8 * index, 0)
    world.memory.put(world.entry, root | 0x100)
    ours, theirs = both(world)
    assert ours[0] == "ok"
    assert theirs == ("fault", "DSI", NOPTE)
    assert any("aligned" in note for note in translate(world.reader(), world.context, EA, "r").notes)


def test_behind_quadrants_1_and_2_qemu_reads_directories_as_host_real_and_the_isa_translates_them() -> None:
    world, space = partitioned(ea=QUADRANT_1, msr=RELOCATED | HV)
    space.at(0x1F_5000)
    ours, theirs = both(world, QUADRANT_1)
    assert ours == ("ok", space.at(0x1F_5000) | QUADRANT_1 & 0xFFF, 12)
    assert theirs == ("fault", "DSI", NOPTE)
    # Where guest real and host real are the same, the two agree again.
    same, space = partitioned(ea=QUADRANT_1, msr=RELOCATED | HV)
    for page, path in space.paths.items():
        same.memory.put(path[0], VALID | LEAF | 0x187 | page << 16)
        for at in range(space.pages[page], space.pages[page] + (1 << 16), 8):
            if at in same.memory.words:
                same.memory.put(page << 16 | at & 0xFFFF, same.memory.words[at])
    space.tree.map(0x1F_0000, VALID | LEAF | 0x187 | 0x1F_0000, 16)
    ours, theirs = both(same, QUADRANT_1)
    assert ours == theirs == ("ok", 0x1F_5000 | QUADRANT_1 & 0xFFF, 12)


@pytest.mark.parametrize(
    ("access", "ours", "theirs"),
    [
        ("r", ("HDSI", NOPTE | PRTABLE_FAULT), ("HDSI", NOPTE | PRTABLE_FAULT)),
        ("w", ("HDSI", NOPTE | PRTABLE_FAULT | ISSTORE), ("HDSI", NOPTE | PRTABLE_FAULT)),
        ("x", ("HISI", NOPTE | PRTABLE_FAULT), ("HDSI", NOPTE | PRTABLE_FAULT)),
    ],
)
def test_a_second_stage_that_fails_on_a_table_is_always_a_load_to_qemu(
    access: Access, ours: tuple[str, int], theirs: tuple[str, int]
) -> None:
    """Linux masks DSISR_PRTABLE_FAULT out of HSRR1 too (DSISR_SRR1_MATCH_64S), so a fetch may raise HISI with it."""
    world, space = partitioned()
    table = space.paths[0x80_0000 >> 16]  # where the tree's tables begin
    world.memory.put(table[0], 0)
    assert both(world, access=access) == (("fault", *ours), ("fault", *theirs))


def test_qemu_tests_rpds_for_prts_in_a_partition_entry() -> None:
    """Both refuse; QEMU before the tree is looked at, so that no cause bit says that a table was being reached."""
    world, _ = partitioned()
    world.memory.put(world.pate, world.memory.word(world.pate) & ~0x1F | 4)
    ours, theirs = both(world)
    assert ours == ("fault", "HDSI", BADCONFIG | PRTABLE_FAULT)
    assert theirs == ("fault", "HDSI", BADCONFIG)
    small, _ = partitioned(pid=0)  # and a table that is too small by its words is none to either
    small.memory.put(small.pate + 8, small.memory.word(small.pate + 8) & ~0x1F)
    ours, theirs = both(small)
    assert ours == theirs


def test_a_pseries_value_without_the_gr_bit_walks_all_the_same_in_both() -> None:
    world = flat()
    assert world.context.process_table is not None
    world.context = replace(world.context, process_table=world.context.process_table & ~GR)
    ours, theirs = both(world)
    assert ours == theirs
    assert ours[0] == "ok"


def test_a_guest_real_address_above_52_bits_comes_round_in_both() -> None:
    """The ISA gives no such address a translation; QEMU 7.2 ignores the bits above the tree, and so does the walker."""
    beyond = 1 << 53 | 0x1F_5000
    world, space = partitioned(VALID | LEAF | 6 | beyond)
    host = space.at(0x1F_5000)
    ours, theirs = both(world)
    assert ours == theirs == ("ok", host | EA & 0xFFF, 12)


def test_a_guests_memory_is_read_through_its_partition_scoped_tree() -> None:
    world, space = partitioned()
    read = guest_reader(world.reader(), world.context, LPID)
    space.put(0x60_0008, 0x1122_3344_5566_7788)
    assert read(0x60_0008) == 0x1122_3344_5566_7788
    with pytest.raises(Unreadable, match="not valid"):
        read(0x7000_0000)
    outside = 0x70_0000
    space.tree.map(outside, VALID | LEAF | 6 | 0x7000_0000, 16)
    with pytest.raises(Exception, match="not in the guest's RAM"):
        read(outside)
    assert guest_reader(read, world.context, 0) is read
    assert guest_reader(read, flat().context, LPID) is read


def test_a_flat_guest_ignores_hv_and_its_own_ram_is_the_only_one() -> None:
    world = flat(msr=RELOCATED | PR | HV)
    ours, theirs = both(world)
    assert ours == theirs
