"""``lpids``, and ``pids`` of a partition: which guests a bare machine has, and which address spaces are in them."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from tests.commands.asking import ask, shown, told
from tests.fakes import (
    GR,
    GUEST_PID,
    GUEST_PROCESS_TABLE_AT,
    HASHED_LPID,
    HR,
    LPID,
    PARTITION_TABLE_AT,
    PID,
    PROCESS_TABLE_AT,
    FakeControl,
    MiB,
    firmware_target,
    guest,
    guest_to_host,
    kvm_host_target,
    linux_target,
)


def test_the_live_entries() -> None:
    target = kvm_host_target(hashed=True)
    host, radix, hashed = told("lpids", target)
    assert [each["lpid"] for each in (host, radix, hashed)] == [0, LPID, HASHED_LPID]
    assert [each["host"] for each in (host, radix, hashed)] == [True, False, False]
    assert [each["radix"] for each in (host, radix, hashed)] == [True, True, False]
    assert [each["current_on"] for each in (host, radix, hashed)] == [[0], [1], []]
    assert (host["process_table"], host["process_table_size"]) == (f"{PROCESS_TABLE_AT:#x}", 16 * MiB)
    at = PARTITION_TABLE_AT + 16 * LPID
    assert radix | {"meaning": ""} == {
        "lpid": LPID,
        "address": f"{at:#x}",
        "entry": f"{target.source.word(at):#x}",
        "second": f"{GR | GUEST_PROCESS_TABLE_AT | 4:#x}",
        "radix": True,
        "root": f"{61 * MiB:#x}",
        "bits": 52,
        "hash_table": None,
        "process_table": f"{GUEST_PROCESS_TABLE_AT:#x}",
        "process_table_size": 1 << 16,
        "meaning": "",
        "host": False,
        "current_on": [1],
    }
    assert (hashed["root"], hashed["bits"], hashed["process_table"]) == (None, None, None)
    assert hashed["hash_table"] == "0x38000000"


def test_what_a_person_reads_of_them() -> None:
    seen = shown("lpids", kvm_host_target(hashed=True))
    assert f"partition table at {PARTITION_TABLE_AT:#x}, 4096 entries" in seen
    assert "process table at guest real 0x10000, 64K" in seen
    assert "host: radix, root at 0x2200000, 2^52; process table at 0x1000000, 16M" in seen
    assert "hash, its page table at 0x38000000; no process table" in seen
    assert "vCPU 1" in seen


def test_a_guest_that_has_registered_no_process_table_yet() -> None:
    target = kvm_host_target()
    target.source.put_word(PARTITION_TABLE_AT + 16 * LPID + 8, GR)
    assert told("lpids", target)[-1]["process_table"] is None
    (note,) = told(f"pids --lpid {LPID}", target)
    assert "has registered no process table yet" in note["note"]
    assert "process table of" not in shown(f"pids --lpid {LPID}", target)


def test_a_pseries_guest_says_that_its_hypervisor_is_out_of_sight() -> None:
    (answer,) = ask("lpids", linux_target())
    assert answer.ok
    assert "out of sight" in shown("lpids", linux_target())
    for words in ("pids --lpid 1", "xlate --lpid 1 0", "maps --lpid 1"):
        with pytest.raises(UsageError, match=r"out of sight.*; leave --lpid out"):
            ask(words, linux_target())
    with pytest.raises(UsageError, match=r"out of sight.*; leave --partition out"):
        ask("maps --partition", linux_target())


def test_a_machine_without_roots_says_what_it_does_instead() -> None:
    (answer,) = ask("lpids", firmware_target())
    assert not answer.ok


def test_an_lpidr_without_a_live_entry_is_noted() -> None:
    target = kvm_host_target()
    target.set(1, lpidr=9)
    *_, note = told("lpids", target)
    assert note["note"] == "LPID 9, which vCPU 1 has in LPIDR, has no live entry in this table"


def test_nothing_runs_a_partition_that_is_known_while_the_machine_runs() -> None:
    target = kvm_host_target()
    FakeControl(target)
    at = guest(target)
    at.resume()
    note, *entries = told("lpids", at)
    assert "may be changing" in note["note"]
    assert [each["current_on"] for each in entries] == [[], []]


def test_a_partition_table_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    target = kvm_host_target()
    target.source.refused = [(PARTITION_TABLE_AT + 0x8000, 0x1000)]
    *entries, missing = told("lpids", target)
    assert [each["lpid"] for each in entries] == [0, LPID]
    assert (missing["oddity"], missing["length"]) == ("table-unreadable", 0x1000)
    seen = " ".join(shown("lpids", target).split())
    assert "4K of the partition table at 0x3c08000 and on could not be read, so LPIDs may be missing" in seen
    assert not ask("lpids", target)[-1].ok


def test_the_processes_of_a_partition() -> None:
    target = kvm_host_target()
    entries = told(f"pids --lpid {LPID}", target)
    assert [(each["lpid"], each["pid"], each["current_on"]) for each in entries] == [
        (LPID, 0, []),
        (LPID, GUEST_PID, [1]),
    ]
    at = GUEST_PROCESS_TABLE_AT + 16 * GUEST_PID
    assert (entries[1]["address"], entries[1]["entry"]) == (
        f"{at:#x}",
        f"{target.source.word(guest_to_host(at)):#x}",
    )
    assert f"process table of LPID {LPID} at guest real {GUEST_PROCESS_TABLE_AT:#x}, 4096 entries" in shown(
        f"pids --lpid {LPID}", target
    )
    assert [(each["lpid"], each["pid"], each["current_on"]) for each in told("pids", target)] == [
        (0, 0, []),
        (0, PID, [0]),
    ]
    assert told("pids --lpid 0", target) == told("pids", target)


def test_a_current_pid_of_a_partition_without_an_entry_is_noted() -> None:
    target = kvm_host_target()
    target.set(1, pid=0x33)
    *_, note = told(f"pids --lpid {LPID}", target)
    assert note["note"] == "PID 51, the current one of vCPU 1, has no live entry in this table"


def test_a_process_table_that_the_host_has_nothing_behind() -> None:
    target = kvm_host_target()
    target.source.put_word(PARTITION_TABLE_AT + 16 * LPID + 8, GR | 4 * MiB | 4)
    for words in ("pids", "maps", f"maps --pid {GUEST_PID}"):
        *_, missing = (each for each in told(f"{words} --lpid {LPID}", target) if "oddity" in each)
        assert (missing["oddity"], missing["lpid"]) == ("table-not-backed", LPID)
        assert "the host has nothing behind" in missing["reason"]
    (missing,) = told(f"pids --lpid {LPID}", target)
    assert (missing["address"], missing["length"]) == (f"{4 * MiB:#x}", 1 << 16)
    for words in ("pids", "maps"):
        seen = " ".join(shown(f"{words} --lpid {LPID}", target).split())
        assert f"64K of the process table of LPID {LPID} at guest real 0x400000 and on could not be read" in seen


def test_a_process_table_that_may_be_behind_an_unread_table_of_the_hosts() -> None:
    target = kvm_host_target()
    steps = guest(target).translate(GUEST_PROCESS_TABLE_AT, lpid=LPID, guest_real=True).steps
    table = steps[-1].address // 256 * 256
    target.source.refused = [(table, 256)]
    target.clock.tick()
    (missing,) = told(f"pids --lpid {LPID}", target)
    assert (missing["oddity"], missing["address"]) == ("table-unreadable", f"{GUEST_PROCESS_TABLE_AT:#x}")
    assert "its own table there could not be read" in missing["reason"]


def test_a_process_table_that_the_source_refuses_is_at_the_guests_address() -> None:
    target = kvm_host_target()
    target.source.refused = [(guest_to_host(GUEST_PROCESS_TABLE_AT), 4096)]
    missing = next(each for each in told(f"pids --lpid {LPID}", target) if "oddity" in each)
    assert (missing["oddity"], missing["address"]) == ("table-unreadable", f"{GUEST_PROCESS_TABLE_AT:#x}")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (f"pids --lpid {HASHED_LPID}", "hash guest"),
        ("pids --lpid 9", "is empty: no guest has this LPID"),
        ("pids --lpid 0x10000", "beyond the partition table"),
        ("pids --lpid -1", "--lpid takes an LPID"),
        ("pids --lpid so", "--lpid: "),
    ],
)
def test_a_partition_that_is_not_there(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ask(words, kvm_host_target(hashed=True))


def test_the_partition_tables_have_the_bits_that_are_meant() -> None:
    assert told("lpids", kvm_host_target())[1]["entry"] == f"{HR | 1 << 62 | 61 * MiB | 0xAD:#x}"
