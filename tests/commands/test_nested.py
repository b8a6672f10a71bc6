"""A guest's own guest (L2), by the partition table that the guest itself has written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from inspector.errors import UsageError
from tests.commands.asking import ask, lines, objects, told
from tests.fakes import (
    GUEST_READ_ONLY,
    LPID,
    USER_DATA,
    FakeTarget,
    KiB,
    MiB,
    guest_to_host,
    kvm_host_target,
    linux_target,
)
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


MORE: Mapping[int, tuple[int, int]] = {
    0x2000_0000: (4 * MiB, 0),
    0x2001_0000: (6 * MiB, 4 * MiB),
    0x2002_0000: (8 * MiB, GUEST_READ_ONLY),
    0x2003_0000: (10 * MiB, 3 * MiB),
}
"""EA -> (L2 real, L1 real): a page that the L1's tree has nothing for, one that the host has nothing behind, one that
the host lets be read only, and one that the L1 does."""
LOST_BY_L1, LOST_BY_HOST, HOST_READ_ONLY, L1_READ_ONLY = MORE


def nested_target(*, more: bool = False) -> FakeTarget:
    """The KVM host whose guest has one of its own, of 2M and with one process; ``more`` adds the pages of MORE."""
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
    for ea, (real, l1_real) in MORE.items() if more else ():
        user.map(ea, real | USER_DATA, 16)
        if ea != LOST_BY_L1:
            behind.map(real, l1_real | VALID | LEAF | (0x105 if ea == L1_READ_ONLY else 0x387), 16)
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


# -- one address, through three stages ---------------------------------------------------------------------------------

XLATE = f"xlate {WORDS} --pid {L2_PID}"


def translated(words: str, target: FakeTarget | None = None) -> dict[str, Any]:
    (found,) = told(words, target or nested_target())
    return dict(found)


def place(stage: int, level: int | None, purpose: str | None) -> int:
    """Host real: where the entry is that this walk reads at this level for this purpose."""
    return next(
        int(step["address"], 16)
        for step in translated(f"{XLATE} {EA:#x}")["steps"]
        if (step["stage"], step["level"], step["purpose"]) == (stage, level, purpose)
    )


def test_an_address_goes_through_three_stages() -> None:
    found = translated(f"{XLATE} {EA + 0x123:#x}")
    assert (found["status"], found["lpid"], found["outer_lpid"], found["pid"]) == ("ok", L2, LPID, L2_PID)
    assert found["ra"] == hex(l2_to_host(PAGE_AT + 0x123))
    assert (found["gra"], found["outer_gra"]) == (hex(PAGE_AT + 0x123), hex(L2_RAM_AT + PAGE_AT + 0x123))
    assert found["page_shift"] == 16
    own = [step for step in found["steps"] if step["stage"] == 1]
    assert [step["level"] for step in own] == [None, 3, 2, 1, 0]
    assert [int(step["address"], 16) for step in own] == [l2_to_host(int(step["guest_address"], 16)) for step in own]
    outer = [step for step in found["steps"] if step["stage"] == 2]
    assert all(int(each["address"], 16) == guest_to_host(int(each["guest_address"], 16)) for each in outer)
    assert len(outer) == 1 + 6 * 3  # the L1's partition-table entry, and each of six addresses through its 2M leaf
    assert {step["guest_address"] for step in found["steps"] if step["stage"] == 3} == {None}


def test_a_real_address_of_its_own_goes_through_two_of_them() -> None:
    found = translated(f"xlate {WORDS} --guest-real {PAGE_AT:#x}")
    assert (found["ra"], found["gra"], found["relocation"]) == (hex(l2_to_host(PAGE_AT)), hex(PAGE_AT), False)
    assert {step["stage"] for step in found["steps"]} == {2, 3}


def test_kvms_walk_reads_what_it_calls_real() -> None:
    found = translated(f"{XLATE} --walker kvm {EA:#x}")
    assert (found["status"], found["ra"], found["disagreement"]) == ("ok", hex(PAGE_AT), None)
    assert [step["stage"] for step in found["steps"]] == [1] * 5
    assert "software walks differ" in told(f"compare {WORDS} --pid {L2_PID} {EA:#x}", nested_target())[0]["verdict"]


@pytest.mark.parametrize(
    ("stage", "level", "purpose", "said"),
    [
        (1, 0, None, "in the L2's own tables"),
        (2, 3, "process-table entry", "the L1's tables: they do not lead on to the L2's own process-table entry"),
        (2, None, None, "the L1's partition table"),
        (
            3,
            0,
            "L1's partition-table entry",
            "the host's tables: they do not lead on to the L1's partition-table entry",
        ),
        (3, 1, "level 3 entry", "the host's tables: they do not lead on to the L2's own process-table entry"),
        (3, None, None, "the host's partition table"),
    ],
)
def test_which_of_the_three_failed_on_the_way_is_told(
    stage: int, level: int | None, purpose: str | None, said: str
) -> None:
    target = nested_target()
    target.source.put_word(place(stage, level, purpose), 0)
    results = ask(f"{XLATE} {EA:#x}", target)
    (found,) = objects(results)
    assert (found["status"], found["stage"]) == ("fault", stage)
    assert found["gra"] is found["outer_gra"] is None
    assert said in " ".join(" ".join(lines(results)).split())


@pytest.mark.parametrize(
    ("ea", "access", "stage", "said"),
    [
        (LOST_BY_L1, "r", 2, "the L2's own tables lead to L2 real 0x400000, and the L1's do not lead on"),
        (LOST_BY_HOST, "r", 3, "the L1's tables lead on to L1 real 0x400000, and the host's do not lead on"),
        (HOST_READ_ONLY, "w", 3, "lead on to L1 real 0x170000, and the host's do not allow a store"),
        (L1_READ_ONLY, "w", 2, "lead to L2 real 0xa00000, and the L1's do not allow a store"),
    ],
)
def test_which_of_the_three_refused_the_access_is_told(ea: int, access: str, stage: int, said: str) -> None:
    results = ask(f"{XLATE} --access {access} {ea:#x}", nested_target(more=True))
    (found,) = objects(results)
    assert (found["status"], found["stage"], found["interrupt"]["name"]) == ("fault", stage, "HDSI")
    assert found["gra"] == hex(MORE[ea][0])
    assert found["outer_gra"] == (hex(MORE[ea][1]) if stage == 3 else None)
    assert said in " ".join(" ".join(lines(results)).split())


@pytest.mark.parametrize(
    ("ea", "verdict"),
    [
        (LOST_BY_L1, "the L2's tables lead to L2 real 0x400000; the L1 has nothing there"),
        (
            LOST_BY_HOST,
            "the L2's tables lead to L2 real 0x600000, and the L1's to L1 real 0x400000; the host has nothing there",
        ),
    ],
)
def test_the_verdict_says_who_has_nothing_where_its_own_tables_lead(ea: int, verdict: str) -> None:
    (found,) = told(f"compare {WORDS} --pid {L2_PID} {ea:#x}", nested_target(more=True))
    assert found["verdict"] == verdict


def test_the_rights_are_those_that_all_three_grant() -> None:
    results = ask(f"{XLATE} {HOST_READ_ONLY:#x}", nested_target(more=True))
    (found,) = objects(results)
    assert (found["may_read"], found["may_write"], found["ra"]) == (True, False, hex(guest_to_host(GUEST_READ_ONLY)))
    told_of = " ".join(" ".join(lines(results)).split())
    assert "the L2's leaf grants rw-, the L1's grants rwx, the host's grants r-x" in told_of


def test_the_trace_folds_the_host_where_it_led_on_and_says_whose_each_table_is() -> None:
    shown = [each.strip() for each in lines(ask(f"{XLATE} {EA:#x}", nested_target()))]
    assert sum("the host's" in each for each in shown) == 1 + 1 + 6 * 4
    assert not any("the host's" in each and each.startswith(("level 3", "level 2")) for each in shown)
    assert sum(each.partition("  the ")[2].startswith("L1's") for each in shown) == 1 + 6 * 3
    assert sum("the L2's own" in each for each in shown) == 5


def test_only_a_guest_has_guests() -> None:
    for words in (f"--lpid {LPID} --nested {TABLE_AT:#x}:0", f"--lpid 0 --nested {TABLE_AT:#x}:{L2}"):
        with pytest.raises(UsageError):
            ask(f"xlate {words} {EA:#x}", nested_target())


# -- its processes -----------------------------------------------------------------------------------------------------


def test_its_process_table_is_listed() -> None:
    results = ask(f"pids {WORDS}", nested_target())
    (entry,) = (each for each in objects(results) if "pid" in each)
    assert (entry["pid"], entry["lpid"], entry["current_on"]) == (L2_PID, L2, [])
    shown = " ".join(lines(results))
    assert f"the guest of LPID {LPID}" in shown
    assert f"process table of LPID {L2} at guest real {L2_PROCESS_TABLE_AT:#x}" in shown


@pytest.mark.parametrize("pid", ["--all", f"--pid {L2_PID}"])
def test_what_is_mapped_is_where_the_walk_leads(pid: str) -> None:
    target = nested_target(more=True)
    found = [each for each in told(f"maps {WORDS} {pid}", target) if "ea" in each]
    assert {int(each["ea"], 16) for each in found} == {EA, HOST_READ_ONLY, L1_READ_ONLY}
    for each in found:
        ea = int(each["ea"], 16)
        for inside in (0, each["size"] - 8):
            answer = translated(f"{XLATE} {ea + inside:#x}", target)
            assert int(answer["ra"], 16) == int(each["ra"], 16) + inside
            assert int(answer["gra"], 16) == int(each["gra"], 16) + inside
        rights = [each[right] for right in ("read", "write", "execute")]
        assert rights == [answer[f"may_{right}"] for right in ("read", "write", "execute")]
