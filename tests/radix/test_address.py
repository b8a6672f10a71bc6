"""Whose tree an address belongs to, and what is done about registers that are not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import UnknownRegister
from inspector.radix.address import Context, in_range, quadrant, qualify
from inspector.radix.translation import Access
from inspector.radix.walk import translate
from tests.radix.qemu_model import Cpu
from tests.radix.trees import (
    DR,
    EA,
    HV,
    IR,
    KERNEL_EA,
    LEAF,
    LPCR_RADIX,
    LPID,
    PID,
    PR,
    PRIV,
    READ,
    RELOCATED,
    SF,
    VALID,
    World,
    flat,
    partitioned,
)


@given(st.integers(0, (1 << 64) - 1), st.booleans(), st.booleans())
def test_every_address_is_qualified_as_qemu_qualifies_it(ea: int, hv: bool, pseries: bool) -> None:
    msr = RELOCATED | (HV if hv else 0)
    lpidr = 0 if pseries else LPID
    context = Context(msr=msr, pid=PID, lpidr=lpidr, flat=pseries)
    cpu = Cpu(lambda _: None, msr, pid=PID, lpidr=lpidr, patb_entry=0 if pseries else None)
    for candidate in (ea, ea & 0xC00F_FFFF_FFFF_FFFF):
        whose = qualify(context, candidate) if in_range(candidate) else None
        assert (whose and (whose.lpid, whose.pid)) == cpu.qualified(candidate)


@pytest.mark.parametrize(("ea", "number"), [(0, 0), (1 << 62, 1), (1 << 63, 2), (3 << 62, 3), ((1 << 64) - 1, 3)])
def test_the_quadrant_is_the_top_two_bits(ea: int, number: int) -> None:
    assert quadrant(ea) == number


def test_an_address_of_65_bits_is_out_of_range() -> None:
    assert not in_range(1 << 64)
    assert translate(flat().reader(), flat().context, 1 << 64).cause == "ea-out-of-range"


@pytest.mark.parametrize(
    ("msr", "access", "on"),
    [
        (IR, "x", True),
        (IR, "r", False),
        (IR, None, False),
        (DR, "r", True),
        (DR, "w", True),
        (DR, None, True),
        (DR, "x", False),
        (None, "x", True),
    ],
)
def test_relocation_is_ir_for_fetches_and_dr_for_data(msr: int | None, access: Access | None, on: bool) -> None:
    assert Context(msr=msr).relocation(access) is on


@pytest.mark.parametrize(
    ("msr", "lpidr", "is_flat", "hypervisor"),
    [
        (HV, 3, False, True),
        (0, 0, False, False),
        (HV, 0, True, False),
        (None, None, False, True),
        (None, 0, False, True),
        (None, 3, False, False),
        (None, 0, True, False),
    ],
)
def test_hypervisor_state(msr: int | None, lpidr: int | None, is_flat: bool, hypervisor: bool) -> None:
    assert Context(msr=msr, lpidr=lpidr, flat=is_flat).hypervisor is hypervisor


class TestAsIf:
    def test_a_process_is_in_user_state_for_its_own_addresses_and_privileged_for_the_kernels(self) -> None:
        stopped = Context(msr=SF | HV, pid=1)
        user, kernel = stopped.as_process(9, EA), stopped.as_process(9, KERNEL_EA)
        assert (user.pid, user.msr) == (9, SF | HV | IR | DR | PR)
        assert (kernel.pid, kernel.msr) == (9, SF | HV | IR | DR)
        assert replace(stopped, msr=PR).as_process(9, KERNEL_EA).problem_state is False
        assert stopped.as_process(0, EA).problem_state is False

    @pytest.mark.parametrize("lpidr", [None, 0, LPID])
    def test_a_process_stays_in_the_partition_that_an_unknown_msr_was_taken_to_be_in(self, lpidr: int | None) -> None:
        unknown = Context(pid=1, lpidr=lpidr)
        assert unknown.as_process(9, EA).hypervisor is unknown.hypervisor
        assert unknown.untranslated().hypervisor is unknown.hypervisor

    def test_a_process_of_a_bare_machine_is_walked_though_its_msr_is_not_known(self) -> None:
        world, _ = partitioned(VALID | LEAF | READ | 0x1F_5000, lpid=0)
        world.context = replace(world.context, msr=None)
        answer = translate(world.reader(), world.context.as_process(PID, EA), EA)
        assert (answer.status, answer.lpid, answer.pid, answer.ra) == ("ok", 0, PID, 0x1F_5000 | EA & 0xFFF)

    def test_a_partition_has_hv_for_lpid_0_only(self) -> None:
        assert Context(msr=SF | HV).as_partition(3) == Context(msr=RELOCATED, lpidr=3)
        assert Context(msr=SF).as_partition(0) == Context(msr=RELOCATED | HV, lpidr=0)
        assert Context(msr=SF, flat=True).as_partition(0).msr == RELOCATED

    def test_untranslated_turns_both_off(self) -> None:
        context = Context(msr=RELOCATED | PR).untranslated()
        assert (context.relocation("x"), context.relocation("r"), context.msr) == (False, False, SF | PR)


class TestUnknownRegisters:
    """The answer that hangs on an unknown register is not given; the one that does not, is."""

    def asked(self, world: World, name: str, ea: int = EA) -> None:
        with pytest.raises(UnknownRegister) as told:
            translate(world.reader(), world.context, ea)
        assert (told.value.name, told.value.known) == (name, True)
        assert f"--set {name}=" in str(told.value)

    def without(self, world: World, *names: str) -> World:
        world.context = replace(world.context, **cast("dict[str, Any]", dict.fromkeys(names)))
        return world

    def test_pid_for_the_users_quadrant_only(self) -> None:
        self.asked(self.without(flat(), "pid"), "pid")
        world = self.without(flat(VALID | LEAF | PRIV | READ, ea=KERNEL_EA, msr=RELOCATED), "pid")
        assert translate(world.reader(), world.context, KERNEL_EA).ok

    def test_lpidr_for_what_is_not_the_hypervisors_own(self) -> None:
        self.asked(self.without(partitioned()[0], "lpidr"), "lpidr")
        self.asked(self.without(partitioned(msr=RELOCATED | HV)[0], "lpidr"), "lpidr", 1 << 62 | EA)
        own = self.without(partitioned(lpid=0, msr=RELOCATED | HV)[0], "lpidr")
        assert translate(own.reader(), own.context, EA).ok
        assert translate(flat().reader(), self.without(flat(), "lpidr").context, EA).steps

    def test_ptcr_where_there_is_a_partition_table(self) -> None:
        self.asked(self.without(partitioned()[0], "ptcr"), "ptcr")
        world = self.without(flat(), "ptcr")
        assert translate(world.reader(), world.context, EA).ok

    def test_the_process_table_where_there_is_no_partition_table(self) -> None:
        self.asked(self.without(flat(), "process_table"), "process_table")

    def test_none_of_them_with_translation_off(self) -> None:
        world = self.without(flat(msr=SF), "pid", "lpidr", "ptcr", "process_table", "amr", "iamr", "hrmor", "lpcr")
        assert translate(world.reader(), world.context, 0x1000).ra == 0x1000

    def test_none_of_them_for_an_address_that_no_tree_covers(self) -> None:
        world = self.without(flat(), "pid", "process_table")
        assert translate(world.reader(), world.context, EA | 1 << 60).cause == "ea-out-of-range"

    def test_msr_is_taken_for_translated_and_privileged_and_that_is_told(self) -> None:
        world = self.without(flat(VALID | LEAF | PRIV | READ), "msr")
        answer = translate(world.reader(), world.context, EA)
        assert (answer.relocation, str(answer.rights)) == (True, "r--")
        assert any("MSR is not known" in note and "privileged" in note for note in answer.notes)
        bare = self.without(partitioned(lpid=0)[0], "msr")
        assert any("hypervisor" in note for note in translate(bare.reader(), bare.context, EA).notes)

    def test_lpcr_is_taken_for_radix_and_that_is_told(self) -> None:
        world = self.without(flat(), "lpcr")
        answer = translate(world.reader(), world.context, EA)
        assert answer.ok
        assert any("LPCR is not known" in note for note in answer.notes)
        assert world.context.lpcr != LPCR_RADIX

    def test_amr_and_iamr_are_taken_for_open_and_that_is_told(self) -> None:
        world = self.without(flat(VALID | LEAF | 7 | 0x100, msr=RELOCATED), "amr", "iamr")
        for access in (None, "r", "x"):
            answer = translate(world.reader(), world.context, EA, access)
            assert answer.ok
            assert any("AMR and IAMR are not known" in note for note in answer.notes)
        settled = self.without(flat(VALID | LEAF | 7 | 0x180), "amr", "iamr")
        assert translate(settled.reader(), settled.context, EA).notes == ()
