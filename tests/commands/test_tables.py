"""``tables``: what it tells of guests whose tables are known."""

from __future__ import annotations

import pytest

import inspector
from inspector.errors import UsageError
from inspector.memory.physical import RamMap, Range
from tests.commands.asking import ask, shown, told
from tests.commands.test_ageing import FIXTURES
from tests.fakes import (
    BROKEN_PID,
    IO,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    SMALL_PAGES_EA,
    TABLES_AT,
    USER_DATA_EA,
    MiB,
    bare_target,
    broken_target,
    linux_target,
)
from tests.radix.trees import VALID, Bump, Tree

KIB = 1 << 10
KERNEL_BYTES = (64 + 2 * 4 + 2 * 4) * KIB + 256
"""A root, two tables of level 2 and of level 1 each (linear map and I/O), and one of 64K pages."""
USER_BYTES = (64 + 2 * 4 + 2 * 4) * KIB + 2 * 256 + 4 * KIB


def test_a_level_at_a_time_and_all() -> None:
    found = {each["level"]: each for each in told("tables") if "level" in each}
    assert list(found) == [3, 2, 1, 0, "all"]
    assert (found[3]["tables"], found[3]["bytes"], found[3]["entries"], found[3]["used"]) == (2, 128 * KIB, 16384, 4)
    assert (found[0]["tables"], found[0]["leaves"]) == (4, 14)
    assert (found["all"]["tables"], found["all"]["bytes"]) == (14, KERNEL_BYTES + USER_BYTES)
    assert (found["all"]["leaves"], found["all"]["empty"], found["all"]["unreadable"]) == (46, 0, 0)
    assert found[1]["leaves"] == 32


def test_what_they_map_and_the_process_table() -> None:
    *_, whole, table = told("tables")
    assert whole["mapped"] == 64 * MiB + 4 * 64 * KIB + 6 * 64 * KIB + 4 * 4 * KIB
    assert (whole["shared_tables"], whole["between_trees"], whole["outside_ram"]) == (0, 0, 0)
    assert whole["pages"]["64K"] <= whole["pages"]["4K"] <= (KERNEL_BYTES + USER_BYTES) // 4096 + 4
    assert table == {"process_table": f"{PROCESS_TABLE_AT:#x}", "size": 16 * MiB, "entries": 1 << 20, "live": 2}
    assert told(f"tables --pid {PID}")[-1]["live"] is None
    assert shown("tables").splitlines()[-1] == "process table: 16M at 0x1000000, 2 live of 1048576 entries"


@pytest.mark.parametrize("make", [linux_target, bare_target])
def test_by_pid_the_dearest_first(make: type) -> None:
    user, kernel = told("tables --by pid", make())
    assert (user["pid"], user["bytes"], user["tables"], user["shared_tables"]) == (PID, USER_BYTES, 8, 0)
    assert (kernel["pid"], kernel["bytes"], kernel["tables"]) == (0, KERNEL_BYTES, 6)
    assert kernel["mapped"] == 64 * MiB + 4 * 64 * KIB
    assert len(told("tables --by pid --limit 1", make())) == 2


def test_a_line_a_table() -> None:
    listed = told("tables --list")
    assert [each["ea"] for each in listed if each["pid"] == 0 and each["level"] == 0] == [f"{IO:#x}"]
    assert [
        (each["ea"], each["entries"], each["used"]) for each in listed if (each["pid"], each["level"]) == (4, 0)
    ] == [
        (f"{USER_DATA_EA & ~0x1F_FFFF:#x}", 32, 5),
        (f"{SMALL_PAGES_EA:#x}", 512, 4),
        ("0x7fffe0000000", 32, 1),
    ]
    assert listed[0]["ea"] == f"{KERNEL:#x}"
    assert listed[0]["table"] == f"{(TABLES_AT + 0xFFFF) & ~0xFFFF:#x}"
    by_address = [int(each["table"], 16) for each in told("tables --list --sort address")]
    assert by_address == sorted(by_address)
    fills = [each["used"] / each["entries"] for each in told("tables --list --sort fill")]
    assert fills == sorted(fills)
    assert told("tables --list --limit 3")[-1] == {"note": "3 of 14 tables told here; --limit N tells more"}


def test_where_they_lie() -> None:
    places = told("tables --where")
    assert sum(each["size"] for each in places) == KERNEL_BYTES + USER_BYTES
    assert sum(each["tables"] for each in places) == 14
    assert {tuple(each["blocks"]) for each in places} == {("ppc_spapr.ram",)}
    assert "ppc_spapr.ram" in shown("tables --where --limit 1")


def test_blocks_that_a_place_spans() -> None:
    target = linux_target()
    at = (TABLES_AT + 0xFFFF) & ~0xFFFF
    target.ram = RamMap([Range(0, at + 4096, "low"), Range(at + 4096, 64 * MiB - at - 4096, "")])
    assert told("tables --where", target)[0]["blocks"] == ["low", "RAM"]


def test_a_table_that_two_processes_share_is_told_and_no_fault() -> None:
    target = linux_target()
    memory = target.source
    tree = Tree(memory.put_word, Bump(56 * MiB))
    memory.put_word(PROCESS_TABLE_AT + 16 * 5, tree.descriptor)
    path = tree.map(USER_DATA_EA, 0, 16)
    theirs = next(int(each["table"], 16) for each in told("tables --list") if (each["pid"], each["level"]) == (PID, 0))
    memory.put_word(path[1], VALID | theirs | 5)
    results = ask("tables", target)
    assert all(each.ok for each in results)
    (shared,) = [each for each in told("tables", target) if "shared" in each]
    assert (shared["shared"], shared["table"]) == ("shared-table", f"{theirs:#x}")
    assert "PID 4, PID 5" in shared["reason"]
    assert "1 table at several places, 1 of them in several trees" in shown("tables", target)
    assert [each["shared_tables"] for each in told("tables --by pid", target)] == [1, 0, 1]
    assert "2 places" in shown("tables --list", target)


def test_a_table_outside_ram_is_told_and_a_finding() -> None:
    results = ask("tables", broken_target())
    assert not all(each.ok for each in results)
    text = shown("tables", broken_target())
    assert "1 table not read" in text
    assert "1 table not in RAM" in text
    last = [each for each in told(f"tables --list --pid {BROKEN_PID}", broken_target()) if "table" in each]
    assert [(each["readable"], each["in_ram"]) for each in last].count((False, False)) == 1
    assert "not in RAM" in shown("tables --list", broken_target())
    assert "not RAM" in shown("tables --where", broken_target())


def test_many_shared_tables_are_counted() -> None:
    target = linux_target()
    memory = target.source
    tree = Tree(memory.put_word, Bump(56 * MiB))
    memory.put_word(PROCESS_TABLE_AT + 16 * 5, tree.descriptor)
    for n in range(12):
        path = tree.map(n << 21, 0, 16)
        memory.put_word(path[1] + 8 * 100, memory.word(path[1]))
    found = told("tables", target)
    assert sum(1 for each in found if "shared" in each) == 8
    assert any("4 more of such tables" in each.get("note", "") for each in found)


@pytest.mark.parametrize("kind", ["pseries-p9", "pseries-p10", "powernv9"])
def test_a_recorded_guests_levels_and_trees_add_up(kind: str) -> None:
    with inspector.open_target(str(FIXTURES / f"{kind}.core.gz")) as at:
        (whole,) = [each for each in told("tables", at) if each.get("level") == "all"]
        by_pid = told("tables --by pid", at)
        listed = told("tables --list", at)
        places = told("tables --where", at)
        leaves = sum(1 for _ in told("maps --all --leaves", at))
    assert whole["tables"] == len(listed) == sum(each["tables"] for each in places)
    assert whole["bytes"] == sum(8 * each["entries"] for each in listed) == sum(each["size"] for each in places)
    assert whole["tables"] == sum(each["tables"] for each in by_pid), "nothing is shared"
    assert whole["leaves"] == sum(each["leaves"] for each in listed) == leaves


def test_wrong_words_are_told() -> None:
    for words, says in (
        ("tables --sort fill", "add that"),
        ("tables --limit 3", "add one of them"),
        ("tables --list --sort size", "size"),
        ("tables --by lpid", "lpid"),
    ):
        with pytest.raises(UsageError, match=says):
            ask(words)
