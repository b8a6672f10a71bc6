"""``roots`` and ``pids``."""

from __future__ import annotations

from inspector.commands.roots import current_pids
from tests.commands.asking import ask, shown, told
from tests.fakes import (
    HR,
    LINUX_LPCR,
    PARTITION_TABLE_AT,
    PID,
    PROCESS_TABLE_AT,
    PTCR,
    REGISTERED,
    FakeControl,
    bare_target,
    broken_target,
    firmware_target,
    guest,
    linux_target,
)


def test_what_a_recorded_guest_knows_of_its_process_table() -> None:
    (answer,) = told("roots")
    assert answer["state"] == "radix"
    assert answer["process_table"] == f"{REGISTERED:#x}"
    assert (answer["flat"], answer["ptcr"]) == (True, None)
    assert (answer["how"], answer["sure"]) == ("recorded in the snapshot", "confirmed")
    table, kernel = answer["words"]
    assert (table["format"], table["address"], table["value"]) == ("PROCESS-TABLE", None, f"{REGISTERED:#x}")
    assert (kernel["format"], kernel["address"]) == ("PRTE0", f"{PROCESS_TABLE_AT:#x}")


def test_a_table_found_by_search_says_what_was_tried() -> None:
    (answer,) = told("roots", linux_target(registered=None))
    assert answer["sure"] == "confirmed"
    assert "search of RAM" in answer["how"]
    assert [each["way"] for each in answer["attempts"]][-2] == "a search of RAM"
    assert "tried" in shown("roots", linux_target(registered=None))


def test_a_bare_machine_shows_the_way_through_its_partition_table() -> None:
    (answer,) = told("roots", bare_target())
    assert (answer["flat"], answer["ptcr"], answer["process_table"]) == (False, f"{PTCR:#x}", None)
    assert [(each["format"], each["address"]) for each in answer["words"]] == [
        ("PTCR", None),
        ("PATE0", f"{PARTITION_TABLE_AT:#x}"),
        ("PATE1", f"{PARTITION_TABLE_AT + 8:#x}"),
        ("PRTE0", f"{PROCESS_TABLE_AT:#x}"),
    ]


def test_the_partition_that_runs_is_shown_beside_the_hosts_own() -> None:
    target = bare_target()
    target.source.put_word(PARTITION_TABLE_AT + 16 * 3, HR | 0x4000_0000_0220_00AD)
    target.set(0, lpidr=3)
    names = [each["name"] for each in told("roots", target)[0]["words"]]
    assert names[-2:] == ["PATE0 of LPID 3", "PATE1 of LPID 3"]


def test_an_entry_that_cannot_be_read_is_a_finding() -> None:
    target = bare_target()
    target.set(0, ptcr=1 << 40 | 4)
    (result,) = ask("roots", target)
    assert not result.ok
    words = told("roots", target)[0]["words"]
    assert "not in the guest's RAM" in words[1]["problem"]
    assert "value" not in words[1]
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_a_guest_without_roots_says_what_it_does_instead() -> None:
    for words in ("roots", "pids", "maps"):
        (result,) = ask(words, firmware_target())
        assert not result.ok, words
        (answer,) = told(words, firmware_target())
        assert answer["state"] == "mmu-off"
        assert "translation is off" in answer["explanation"]


def test_the_live_entries() -> None:
    entries = told("pids")
    assert [each["pid"] for each in entries] == [0, PID]
    kernel, user = entries
    assert (kernel["kernel"], kernel["address"], kernel["current_on"]) == (True, f"{PROCESS_TABLE_AT:#x}", [])
    assert (user["kernel"], user["current_on"], user["bits"]) == (False, [0, 1], 52)
    assert user["address"] == f"{PROCESS_TABLE_AT + 16 * PID:#x}"
    assert int(user["root"], 16) == int(user["entry"], 16) & 0x0FFF_FFFF_FFFF_FF00


def test_a_second_doubleword_is_shown() -> None:
    target = linux_target()
    target.source.put_word(PROCESS_TABLE_AT + 16 * 9 + 8, 0xABC)
    assert told("pids", target)[-1] | {"root": ""} == {
        "lpid": 0,
        "pid": 9,
        "address": f"{PROCESS_TABLE_AT + 16 * 9:#x}",
        "entry": "0x0",
        "second": "0xabc",
        "root": "",
        "bits": 31,
        "size": 2 << 30,
        "kernel": False,
        "current_on": [],
    }
    assert "0x0000000000000abc" in shown("pids", target)


def test_a_current_pid_without_an_entry_is_noted() -> None:
    target = linux_target()
    target.set(1, pid=0x33)
    *entries, note = told("pids", target)
    assert [each["current_on"] for each in entries] == [[], [0]]
    assert note["note"] == "PID 51, the current one of vCPU 1, has no live entry in this table"


def test_a_pid_that_is_not_known_is_nobodys() -> None:
    target = linux_target()
    target.set(0, pid=None)
    assert current_pids(guest(target)) == {PID: (1,)}


def test_a_running_guest_has_no_current_pid_to_tell() -> None:
    target = linux_target()
    FakeControl(target).resume()
    note, *entries = told("pids", target)
    assert "may be changing" in note["note"]
    assert [(each["pid"], each["current_on"]) for each in entries] == [(0, []), (PID, [])]
    first, second, *mapped = told("maps", target)
    assert ["may be changing" in first["note"], "only the kernel's" in second["note"]] == [True, True]
    assert {each["pid"] for each in mapped} == {0}


def test_the_pid_of_a_guest_of_this_machine_is_not_of_its_own_table() -> None:
    target = bare_target()
    target.set(0, lpidr=3, lpcr=LINUX_LPCR)
    assert current_pids(guest(target)) == {}
    assert [each["current_on"] for each in told("pids", target)] == [[], []]


def test_all_entries_of_a_table_that_a_snapshot_holds_in_part() -> None:
    target = broken_target()
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (PROCESS_TABLE_AT + 0x2000, 0x1000)]
    *entries, missing = told("pids", target)
    assert [each["pid"] for each in entries] == [0, 4, 7]
    size = 1 << (REGISTERED & 0x1F) + 12
    first = f"{PROCESS_TABLE_AT + 0x1000:#x}"
    assert (missing["oddity"], missing["address"], missing["length"]) == ("table-not-captured", first, size - 0x2000)
    assert "did not capture" in missing["reason"]


def test_a_table_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    target = linux_target()
    target.source.refused = [(PROCESS_TABLE_AT, 1 << 30)]
    for words in ("pids", "maps --all"):
        *_, result = ask(words, target)
        assert not result.ok, words
        answer = told(words, target)[-1]
        assert (answer["oddity"], answer["address"]) == ("table-unreadable", f"{PROCESS_TABLE_AT:#x}")
        assert "PIDs may be missing: the source refused it" in " ".join(shown(words, target).split())


def test_a_table_that_goes_on_past_ram_says_so() -> None:
    target = linux_target()
    with guest(target, process_table=REGISTERED | 0x1F) as opened:
        answer = told("pids", opened)[-1]
    assert answer["oddity"] == "table-not-ram"
    assert answer["length"] == (1 << 43) - (target.ram.total - PROCESS_TABLE_AT)
