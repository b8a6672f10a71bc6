"""A guest's own guest (L2), by the partition table that the guest itself has written."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from tests.commands.asking import ask, lines, objects, told
from tests.fakes import LPID, USER_DATA, FakeTarget, KiB, MiB, guest_to_host, kvm_host_target, linux_target
from tests.radix.trees import LEAF, VALID, Bump, Tree

L2, L2_PID = 7, 6
TABLE_AT = 0x8_0000
"""L1 real: its partition table, of 4K."""
L2_RAM_AT = 6 * MiB
"""L1 real: what the L2 calls 0, in a page of 2M."""
L2_PROCESS_TABLE_AT, L2_TABLES_AT = 0x1_0000, 0x2_0000
EA, PAGE_AT = 0x1000_0000, 0x10_0000
WORDS = f"--lpid {LPID} --nested {TABLE_AT:#x}:{L2}"


def l2_to_host(address: int) -> int:
    assert address < 2 * MiB
    return guest_to_host(L2_RAM_AT + address)


def nested_target() -> FakeTarget:
    """The KVM host whose guest has one of its own, of 2M and with one process."""
    target = kvm_host_target()

    def to_l1(address: int, value: int) -> None:
        target.source.put_word(guest_to_host(address), value)

    def to_l2(address: int, value: int) -> None:
        target.source.put_word(l2_to_host(address), value)

    behind = Tree(to_l1, Bump(0x9_0000))
    behind.map(0, L2_RAM_AT | VALID | LEAF | 0x387, 21)
    to_l1(TABLE_AT + 16 * L2, 1 << 63 | behind.descriptor)
    to_l1(TABLE_AT + 16 * L2 + 8, 1 << 63 | L2_PROCESS_TABLE_AT | 4)
    user = Tree(to_l2, Bump(L2_TABLES_AT))
    user.map(EA, PAGE_AT | USER_DATA, 16)
    to_l2(L2_PROCESS_TABLE_AT + 16 * L2_PID, user.descriptor)
    return target


def test_what_the_guest_has_behind_its_own_is_led_on_to_the_host() -> None:
    results = ask(f"maps {WORDS} --partition", nested_target())
    (found,) = (each for each in objects(results) if "ea" in each)
    assert (found["lpid"], found["pid"], found["ea"], found["gra"]) == (L2, None, "0x0", hex(L2_RAM_AT))
    assert (found["ra"], found["size"]) == (hex(guest_to_host(L2_RAM_AT)), 2 * MiB)
    assert f"the guest of LPID {LPID}" in " ".join(lines(results))


def test_its_processes_are_led_through_three_trees() -> None:
    (found,) = (each for each in told(f"maps {WORDS} --all", nested_target()) if "ea" in each)
    assert (found["lpid"], found["pid"], found["ea"], found["gra"]) == (L2, L2_PID, hex(EA), hex(PAGE_AT))
    assert (found["ra"], found["size"]) == (hex(l2_to_host(PAGE_AT)), 64 * KiB)
    (back,) = (each for each in told(f"rmap {l2_to_host(PAGE_AT):#x} {WORDS}", nested_target()) if "ea" in each)
    assert (back["pid"], back["ea"]) == (L2_PID, hex(EA))


@pytest.mark.parametrize("more", ["", "--partition"])
def test_its_trees_are_judged_by_its_own_addresses(more: str) -> None:
    results = objects(ask(f"audit {WORDS} {more}", nested_target()))
    assert [each["rule"] for each in results if "rule" in each] == []
    assert next(each["leaves"] for each in results if "summary" in each) == 1
    tables = [each for each in told(f"tables {WORDS} {more} --list", nested_target()) if "table" in each]
    assert len(tables) == (3 if more else 4)
    assert all(each["in_ram"] for each in tables)
    seen = " ".join(lines(ask(f"audit {WORDS} {more}", nested_target())))
    assert f"what LPID {LPID if more else L2} calls so" in seen


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (f"--lpid {LPID} --nested {TABLE_AT:#x}:3", "is empty"),
        (f"--lpid {LPID} --nested {TABLE_AT:#x}:256", "256 entries"),
        (f"--lpid {LPID} --nested {4 * MiB:#x}:{L2}", "cannot be read"),
        (f"--lpid {LPID} --nested {TABLE_AT:#x}", "PTCR:N"),
        (f"--nested {TABLE_AT:#x}:{L2}", "--lpid"),
    ],
)
def test_what_is_not_there_is_said(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ask(f"maps {words}", nested_target())


def test_a_hypervisor_out_of_sight_has_no_such_thing() -> None:
    with pytest.raises(UsageError, match="out of sight"):
        ask(f"maps {WORDS}", linux_target())
