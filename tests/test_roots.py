"""Where the tables begin, by every way there is to find it, and what a guest is doing that has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from inspector.errors import TargetLost, UnknownSymbol
from inspector.guest import Guest
from inspector.memory.physical import RamMap, Range
from inspector.roots import SLOW_SEARCH_STEP, Roots
from inspector.targets.base import KnownRoots
from tests.fakes import (
    PROCESS_TABLE_AT,
    PTCR,
    REGISTERED,
    FakeControl,
    FakeTarget,
    MiB,
    bare_target,
    firmware_target,
    guest,
    linux_target,
)

POINTER_AT = 0xC000_0000_0200_1000
BITS_AT = 0xC000_0000_0200_1008
ENTRY = 0x4000_0000_0000_00AD


@dataclass
class Named:
    """A kernel's symbols, as far as roots look at them."""

    addresses: dict[str, int] = field(default_factory=lambda: {"process_tb": POINTER_AT, "mmu_pid_bits": BITS_AT})
    byte_order: Literal["little", "big"] = "little"
    byte_order_known: bool = True

    def address(self, name: str) -> int:
        try:
            return self.addresses[name]
        except KeyError:
            raise UnknownSymbol(name, "vmlinux") from None


def with_symbols(target: FakeTarget, pointer: int, bits: int = 20, order: Literal["little", "big"] = "little") -> Guest:
    """A guest whose kernel image names a process_tb that holds ``pointer``."""
    memory = target.source
    memory.put(POINTER_AT & 0xFFF_FFFF, pointer.to_bytes(8, order))
    memory.put(BITS_AT & 0xFFF_FFFF, bits.to_bytes(4, order))
    return guest(target, symbols=Named())


def outcome(roots: Roots, way: str) -> str:
    return next(attempt.outcome for attempt in roots.attempts if way in attempt.way)


def test_what_the_user_gives_comes_first() -> None:
    roots = guest(bare_target(), process_table=0x8000_0000_0100_000B).roots
    assert (roots.process_table, roots.flat, roots.sure) == (0x8000_0000_0100_000B, True, "given")
    assert "--process-table" in roots.how


def test_ptcr_of_a_bare_machine_is_certain() -> None:
    roots = guest(bare_target()).roots
    assert (roots.flat, roots.ptcr, roots.how, roots.sure) == (False, PTCR, "PTCR", "certain")


def test_a_bare_machine_that_has_set_nothing_up_is_told_as_such() -> None:
    target = bare_target()
    for cpu in target.cpus:
        target.set(cpu, ptcr=0, msr=0x9000_0000_0000_0000)
    found = guest(target)
    assert (found.roots.flat, found.roots.state) == (False, "mmu-off")
    assert "PTCR is 0" in found.roots.explanation
    assert found.translate(0x3000).ra == 0x3000


def test_a_snapshot_says_who_found_it_and_how_sure_that_was() -> None:
    target = linux_target(registered=None)
    target.known_roots = KnownRoots(REGISTERED, "the snapshot, recorded from a search of RAM", "likely")
    roots = guest(target).roots
    assert (roots.process_table, roots.sure) == (REGISTERED, "likely")
    target.known_roots = KnownRoots(REGISTERED, "the snapshot", "sworn")
    assert guest(target).roots.sure == "likely", "an unknown word is no proof"


def test_the_kernels_own_variable() -> None:
    roots = with_symbols(linux_target(registered=None), 0xC000_0000_0000_0000 | PROCESS_TABLE_AT).roots
    assert roots.process_table == REGISTERED
    assert roots.sure == "confirmed"
    assert "process_tb" in roots.how
    assert "NIP" in roots.how


def test_the_kernels_variable_in_the_order_of_a_list_that_does_not_say_it() -> None:
    target = linux_target(registered=None)
    memory = target.source
    memory.put(POINTER_AT & 0xFFF_FFFF, (0xC000_0000_0000_0000 | PROCESS_TABLE_AT).to_bytes(8, "little"))
    roots = guest(target, symbols=Named(byte_order="big", byte_order_known=False)).roots
    assert roots.process_table == REGISTERED


def test_a_kernel_that_has_allocated_none_yet() -> None:
    target = firmware_target()
    roots = with_symbols(target, 0).roots
    assert roots.state == "nothing-registered"
    assert "not allocated" in roots.explanation


def test_another_kernels_symbols_do_not_mislead() -> None:
    """A pointer to nowhere: the search takes over, and both are told."""
    roots = with_symbols(linux_target(registered=None), 0x1234_5678_9ABC_DEF0).roots
    assert roots.process_table == REGISTERED
    assert "is this the kernel that runs?" in outcome(roots, "process_tb")
    assert "search of RAM" in roots.how


def test_a_plausible_but_wrong_pointer_is_not_confirmed() -> None:
    roots = with_symbols(linux_target(registered=None), 0xC000_0000_0200_0000).roots
    assert roots.process_table == REGISTERED
    assert "does not translate" in outcome(roots, "walking from 0x2000000")


@pytest.mark.parametrize("cheap", [True, False])
def test_a_search_finds_the_one_table_among_lookalikes(cheap: bool) -> None:
    target = linux_target(registered=None, cheap=cheap)
    memory = target.source
    for decoy in (0, 8 * MiB, 32 * MiB):  # found earlier or as coarsely aligned, and each wrong in its own way
        memory.put_word(decoy, ENTRY | 0x7000000)
    memory.put_word(24 * MiB, ENTRY | 0x100)
    found = guest(target)
    assert found.roots.process_table == REGISTERED
    assert found.roots.sure == "confirmed"
    assert "alignment" in outcome(found.roots, "search")


def test_a_slow_source_is_not_searched_byte_by_byte() -> None:
    target = linux_target(registered=None, cheap=False)
    target.source.put_word(PROCESS_TABLE_AT, 0)
    found = guest(target)
    assert found.roots.state == "not-found"
    assert found.roots.explanation.startswith("the guest says that it uses radix")
    assert "--process-table" in found.roots.explanation
    assert len(target.source.asked) <= target.ram.total // SLOW_SEARCH_STEP + 8


@pytest.mark.parametrize("value", [0, 1 << 63])
def test_a_value_that_registers_nothing_is_no_table_at_0(value: int) -> None:
    roots = guest(linux_target(), process_table=value).roots
    assert roots.state == "nothing-registered"
    assert "registers nothing" in roots.explanation


def test_a_guest_of_no_registers_says_nothing_of_radix() -> None:
    target = linux_target(registered=None)
    target.source.put_word(PROCESS_TABLE_AT, 0)
    for cpu in target.cpus:
        target.set(cpu, lpcr=None, msr=None)
    assert "no register is known that says whether" in guest(target).roots.explanation


def test_nothing_outside_ram_is_searched() -> None:
    target = linux_target(registered=None)
    target.ram = RamMap([Range(0, 40 * MiB), Range(50 * MiB, 14 * MiB)])
    target.source.put_word(PROCESS_TABLE_AT, 0)
    assert guest(target).roots.state == "not-found"
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_firmware_is_told_from_a_broken_guest() -> None:
    found = guest(firmware_target())
    assert found.roots.state == "mmu-off"
    assert "firmware" in found.roots.explanation
    assert found.translate(0x100).ra == 0x100
    fault = found.translate(0xC000_0000_0000_0000, pid=0)
    assert (fault.ok, fault.cause) == (False, "no-root")
    assert fault.reason == found.roots.explanation


@pytest.mark.parametrize("named", [True, False])
def test_the_hash_mmu_is_told_whatever_else_is_known(named: bool) -> None:
    target = linux_target(registered=None)
    for cpu in target.cpus:
        target.set(cpu, lpcr=0x2_D408)
    found = with_symbols(target, 0) if named else guest(target)
    assert found.roots.state == "hash-mmu"
    assert "hashed page table" in found.roots.explanation
    assert found.translate(0xC000_0000_0000_0000).cause == "hash-mmu"
    assert found.translate(0xC000_0000_0000_0000, walker="kvm").errno == "EINVAL"


def test_roots_are_confirmed_anew_when_the_guest_has_run_and_not_before() -> None:
    target = linux_target(registered=None)
    found = guest(target)
    first = found.roots
    memory = target.source
    asked = len(memory.asked)
    assert found.roots is first
    assert len(memory.asked) == asked, "asked again though the guest stood still"
    target.clock.tick()
    assert found.roots == first, "still there: not searched for again"
    assert asked < len(memory.asked) <= asked + 16
    kernel = memory.word(PROCESS_TABLE_AT)
    root = memory.word(kernel & 0x0FFF_FFFF_FFFF_FF00)
    memory.put_word(kernel & 0x0FFF_FFFF_FFFF_FF00, 0)
    target.clock.tick()
    assert (found.roots.process_table, found.roots.sure) == (REGISTERED, "likely"), "a broken tree is held on to"
    assert "does not translate" in outcome(found.roots, "anew")
    memory.put_word(kernel & 0x0FFF_FFFF_FFFF_FF00, root)
    target.clock.tick()
    assert found.roots == first, "whole again, and nothing is said of what was"
    memory.put_word(PROCESS_TABLE_AT, 0)
    target.clock.tick()
    assert found.roots.state == "not-found", "a table that is gone is not held on to"


def test_while_it_runs_what_was_found_before_holds() -> None:
    target = linux_target(registered=None)
    target.control = FakeControl(target)
    found = guest(target)
    found.resume()
    target.source.put_word(PROCESS_TABLE_AT + 0x40, 0)
    answer = found.translate(0xC000_0000_0000_0000)
    assert answer.ra == 0
    assert any("running" in note for note in answer.notes)


def test_a_target_that_is_lost_while_roots_are_looked_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    target = linux_target(registered=None)
    plain = target.source.read

    def read(address: int, length: int) -> bytes:
        if length == 8:
            raise TargetLost("the guest is gone; start it again")
        return plain(address, length)

    monkeypatch.setattr(target.source, "read", read)
    with guest(target) as opened, pytest.raises(TargetLost, match="gone"):
        _ = opened.roots
