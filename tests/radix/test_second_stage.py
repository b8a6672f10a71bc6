"""Two stages: every address of a guest's own tables goes through the partition-scoped tree, and so does the access."""

from __future__ import annotations

import pytest

from inspector.errors import Unreadable
from inspector.radix import walk
from tests.radix.against_qemu import faults, hardware
from tests.radix.qemu_model import NOEXEC_GUARD
from tests.radix.trees import (
    EA,
    EXEC,
    GUARDED,
    HV,
    LEAF,
    PR,
    PRIV,
    READ,
    RELOCATED,
    VALID,
    WRITE,
    R,
    partitioned,
)

PAGE = VALID | LEAF | 0x1F_5000


class TestSecondStage:
    def test_every_table_address_of_a_guest_is_itself_translated(self) -> None:
        world, space = partitioned(PAGE | READ | R)
        host = space.at(0x1F_5000)
        ours = hardware(world)
        assert ours.ra == host | EA & 0xFFF
        assert ours.gra == 0x1F_5000 | EA & 0xFFF
        first = [step for step in ours.steps if step.stage == 1]
        assert [step.address for step in first] == [world.entry, *world.path.values()]
        assert all(step.guest_address != step.address for step in first)
        # The partition entry, then four partition-scoped entries before each of five reads, and before the access.
        assert len(ours.steps) == 1 + 5 * (4 + 1) + 4
        purposes = [step.purpose for step in ours.steps if step.depth == 1 and step.level == 3]
        assert purposes == ["process-table entry", *(f"level {n} entry" for n in (3, 2, 1, 0)), "access itself"]

    @pytest.mark.parametrize("host_shift", [12, 16, 21, 30])
    @pytest.mark.parametrize("shift", [12, 16, 21, 30])
    def test_the_smaller_page_counts(self, shift: int, host_shift: int) -> None:
        world, space = partitioned(VALID | LEAF | READ | 0x4000_0000, shift, host_shift=host_shift)
        host = space.at(0x4000_0000 | EA & (1 << shift) - 1)
        ours = hardware(world)
        assert (ours.ra, ours.page_shift) == (host, min(shift, host_shift))

    @pytest.mark.parametrize("second", [READ, READ | WRITE, WRITE, EXEC, READ | EXEC, 0, READ | EXEC | GUARDED])
    @pytest.mark.parametrize("first", [READ, READ | WRITE, EXEC, 7])
    def test_the_rights_are_those_of_both(self, first: int, second: int) -> None:
        world, space = partitioned(PAGE | first)
        space.rights = second
        space.at(0x1F_5000)
        mapping = walk.translate(world.reader(), world.context, EA)
        for access in ("r", "w", "x"):
            assert hardware(world, access=access).ok == mapping.rights.allows(access)

    def test_neither_privilege_nor_keys_are_asked_there(self) -> None:
        for msr in (RELOCATED, RELOCATED | PR):
            world, space = partitioned(PAGE | 7, msr=msr)
            space.rights = 7 | PRIV
            space.at(0x1F_5000)
            assert hardware(world, access="w").ok

    def test_a_refusal_of_the_first_stage_comes_before_the_second_is_walked(self) -> None:
        world, _ = partitioned(PAGE | READ)
        faults(hardware(world, access="x"), "protection", "ISI", NOEXEC_GUARD)

    def test_a_bare_machines_partition_entry_only_reaches_its_process_table(self) -> None:
        world, _ = partitioned(PAGE | READ | R, lpid=0, msr=RELOCATED | PR | HV)
        ours = hardware(world)
        assert (ours.ok, ours.gra) == (True, None)
        assert [(step.stage, step.depth) for step in ours.steps] == [(2, 0), *[(2, 1)] * 4, *[(1, 0)] * 5]
        assert ours.steps[-1].address == world.path[0]

    def test_what_the_first_stage_reached_is_told_where_the_second_fails(self) -> None:
        world, space = partitioned(PAGE | READ | R)
        space.at(0x1F_5000)
        last = space.paths[0x1F_5000 >> 16]
        world.memory.put(last[min(last)], 0)
        ours = hardware(world, access="r")
        assert (ours.status, ours.stage, ours.gra) == ("fault", 2, 0x1F_5000 | EA & 0xFFF)
        assert ours.ra is None
        empty, _ = partitioned(0)
        ours = hardware(empty, access="r")
        assert (ours.stage, ours.gra) == (1, None)

    def test_guest_memory_ends_at_52_bits_for_kvm_and_not_for_the_hardware(self) -> None:
        world, space = partitioned()
        host = space.at(0x1F_5000)
        read = walk.guest_reader(world.reader(), world.context, world.context.need("lpidr"))
        world.memory.put(host, 0x1234)
        assert read(0x1F_5000) == 0x1234
        with pytest.raises(Unreadable, match="52 bits"):
            read(1 << 57 | 0x1F_5000)
