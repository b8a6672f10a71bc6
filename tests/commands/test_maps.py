"""``maps``: every page that a walk finds is in one run, and nothing else is."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.commands.scope import ODDITIES_TOLD
from inspector.errors import UsageError
from tests.commands.asking import ask, lines, shown, told
from tests.fakes import (
    BROKEN_EA,
    BROKEN_PID,
    IO,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    SMALL_PAGES_EA,
    STACK_EA,
    TIMA,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_TEXT_EA,
    FakeTarget,
    MiB,
    bare_target,
    broken_target,
    guest,
    linux_target,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
OFFSET = (1 << 62) - 1
FIELDS = {
    *("lpid", "pid", "ea", "size", "ra", "page_shift", "count", "read", "write", "execute"),
    *("privileged", "accessed", "dirty", "attribute", "raw_flags"),
}
"""The contract."""


def runs(words: str, target: FakeTarget | None = None) -> list[tuple[int, str, int, int, str]]:
    """(pid, ea, size, page shift, ra) of each run."""
    return [
        (each["pid"], each["ea"], each["size"], each["page_shift"], each["ra"])
        for each in told(words, target)
        if "ra" in each
    ]


def test_the_kernel_and_the_process_that_runs() -> None:
    assert runs("maps") == [
        (0, f"{KERNEL:#x}", 32 * MiB, 21, "0x0"),
        (0, f"{KERNEL + 32 * MiB:#x}", 32 * MiB, 21, "0x2000000"),
        (0, f"{IO:#x}", 0x1_0000, 16, f"{TIMA:#x}"),
        (0, f"{IO + 0x2_0000:#x}", 0x1_0000, 16, "0x210000000000"),
        (0, f"{IO + 0x4_0000:#x}", 0x1_0000, 16, "0x210000000000"),
        (0, f"{IO + 0x10_0000:#x}", 0x1_0000, 16, "0x200080010000"),
        (PID, f"{USER_TEXT_EA:#x}", 0x1_0000, 16, f"{USER_PAGES_AT:#x}"),
        (PID, f"{USER_DATA_EA:#x}", 0x3_0000, 16, f"{USER_PAGES_AT + 0x1_0000:#x}"),
        (PID, f"{USER_DATA_EA + 0x3_0000:#x}", 0x1_0000, 16, f"{USER_PAGES_AT + 8 * MiB:#x}"),
        (PID, f"{SMALL_PAGES_EA:#x}", 0x2000, 12, f"{USER_PAGES_AT + MiB:#x}"),
        (PID, f"{SMALL_PAGES_EA + 0x2000:#x}", 0x2000, 12, f"{USER_PAGES_AT + MiB + 0x2000:#x}"),
        (PID, f"{STACK_EA:#x}", 0x1_0000, 16, f"{USER_PAGES_AT + 2 * MiB:#x}"),
    ]


def test_an_object_holds_what_the_contract_says() -> None:
    text, data, device, *_ = told("maps --pid 0")
    assert all(set(each) >= FIELDS for each in (text, data, device))
    wanted = {
        "lpid": 0,
        "pid": 0,
        "ea": "0xc000000000000000",
        "size": 0x200_0000,
        "ra": "0x0",
        "page_shift": 21,
        "count": 16,
        "read": True,
        "write": False,
        "execute": True,
        "privileged": True,
        "accessed": True,
        "dirty": True,
        "attribute": "normal",
        "raw_flags": "0xc00000000000018d",
    }
    assert text == text | wanted
    assert (device["attribute"], device["ra_is_ram"]) == ("non-idempotent", False)
    assert (data["read"], data["write"], data["execute"]) == (True, True, False)


@pytest.mark.parametrize("make", [linux_target, bare_target])
def test_every_page_translates_as_it_says(make: Any) -> None:
    """Against the hardware's walk, which reads the tables by itself."""
    target = make()
    at = guest(target)
    leaves = 0
    for each in told("maps --all", target):
        size = 1 << each["page_shift"]
        for n in range(each["count"]):
            ea, ra = int(each["ea"], 16) + n * size, int(each["ra"], 16) + n * size
            answer = at.translate(ea + size - 1, pid=each["pid"])
            assert (answer.ra, answer.page_shift) == (ra + size - 1, each["page_shift"])
            leaves += 1
    assert leaves == 32 + 4 + 10


@pytest.mark.parametrize("kind", ["pseries-p9", "pseries-p10", "powernv9"])
def test_a_real_guests_maps_hold_every_address_that_qemu_translated(kind: str) -> None:
    """QEMU's monitor answered these when the guest was recorded; where it said nowhere, the rights may be to blame."""
    with inspector.open_target(str(FIXTURES / f"{kind}.core.gz")) as at:
        mapped = [each for each in told("maps --all", at) if "ra" in each]
        pids = {cpu: at.registers(cpu).need("pid") for cpu in at.target.cpus}
    answered = 0
    with gzip.open(FIXTURES / f"{kind}.oracle.gz", "rt") as oracle:
        for line in oracle:
            cpu, address, said = line.split()
            ea = int(address, 16)
            if said == "-":
                continue
            answered += 1
            # A hypervisor reaches its own trees through quadrants 1 and 2 too, as long as LPIDR is 0.
            pid, offset = (0 if ea >> 63 else pids[int(cpu)]), ea & OFFSET
            (inside,) = (
                (run, offset - begin)
                for run in mapped
                if run["pid"] == pid and (begin := int(run["ea"], 16) & OFFSET) <= offset < begin + run["size"]
            )
            assert int(inside[0]["ra"], 16) + inside[1] == int(said, 16)
    assert answered > 100


def test_leaf_by_leaf_is_the_same_in_pieces() -> None:
    leaves = told(f"maps --pid {PID} --leaves")
    assert len(leaves) == 10
    assert all(each["count"] == 1 for each in leaves)
    assert sum(each["size"] for each in leaves) == sum(each["size"] for each in told(f"maps --pid {PID}"))


def test_one_process_and_all_of_them() -> None:
    assert {each[0] for each in runs(f"maps --pid {PID}")} == {PID}
    assert {each[0] for each in runs("maps --pid 0x0")} == {0}
    assert [each[0] for each in runs("maps --all")] == [0] * 6 + [PID] * 6
    assert {each[0] for each in runs("maps --all", broken_target())} == {0, PID, BROKEN_PID}


def test_a_limit_is_told() -> None:
    *three, note = told("maps --all --limit 3")
    assert len(three) == 3
    assert note == {"note": "3 of 12 ranges told here; --limit N tells more"}
    assert "note" not in told("maps --pid 4 --limit 6")[-1], "six are all there are"
    assert told("maps --limit 0") == [{"note": "0 of 12 ranges told here; --limit N tells more"}]
    with pytest.raises(UsageError, match="--limit takes a count"):
        ask("maps --limit -1")


def test_oddities_come_after_the_maps_and_are_findings() -> None:
    results = ask(f"maps --pid {BROKEN_PID}", broken_target())
    assert [each.ok for each in results] == [True, True, False, False, False]
    assert f"PID {BROKEN_PID}, {BROKEN_EA + 2 * MiB:#x}: table-not-ram" in "\n".join(lines(results))
    page, *odd = told(f"maps --pid {BROKEN_PID}", broken_target())
    assert (page["ea"], page["unknown_flags"]) == (f"{BROKEN_EA:#x}", "0x40")
    assert [(each["oddity"], each["ea"]) for each in odd] == [
        ("table-not-ram", f"{BROKEN_EA + 2 * MiB:#x}"),
        ("cycle", f"{BROKEN_EA + 4 * MiB:#x}"),
        ("table-size", f"{BROKEN_EA + 6 * MiB:#x}"),
    ]
    text = shown(f"maps --pid {BROKEN_PID}", broken_target())
    assert "unknown bits set: 0x40" in text
    assert f"{TIMA:#x}" in text


def test_oddities_without_end_are_counted() -> None:
    target = linux_target()
    root = 58 * MiB
    target.source.put_word(PROCESS_TABLE_AT + 16 * 8, 0x4000_0000_0000_00AD | root)
    for index in range(100):
        target.source.put_word(root + 8 * index, 1 << 63 | root | 3)
    note, *odd = told("maps --pid 8", target)
    assert note == {"note": "no mapping was found: PID 8"}
    assert [each["oddity"] for each in odd] == ["table-size"] * ODDITIES_TOLD
    assert [each["more"] for each in odd][-2:] == [0, 100 - ODDITIES_TOLD]
    assert "68 more like this" in shown("maps --pid 8", target).replace("\n", " ")


def test_nothing_outside_ram_is_read_whatever_the_tables_say() -> None:
    target = broken_target()
    ask("maps --all", target)
    assert target.source.asked
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_a_process_that_is_not_there_is_a_finding() -> None:
    (result,) = ask("maps --pid 3")
    assert not result.ok
    assert told("maps --pid 3")[0]["oddity"] == "no-process"


def test_an_entry_that_the_snapshot_lacks_is_a_finding_of_that_process_alone() -> None:
    target = linux_target()
    target.set(0, pid=0x1000)
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (34 * MiB, MiB)]
    *kernel, odd = told("maps", target)
    assert len(kernel) == 6
    assert (odd["oddity"], odd["pid"]) == ("table-not-captured", 0x1000)


def test_a_table_that_the_snapshot_lacks_is_told_with_the_entry_that_leads_there() -> None:
    target = linux_target()
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (34 * MiB, 0x1_0000)]
    _, *odd = told("maps --pid 0", target)
    assert {each["oddity"] for each in odd} == {"table-not-captured"}
    assert "level 3 entry" in odd[0]["reason"]


def test_without_a_known_pid_the_kernel_alone_is_told_and_that_is_said() -> None:
    target = linux_target()
    target.set(0, pid=None)
    note, *mapped = told("maps", target)
    assert "only the kernel's" in note["note"]
    assert {each["pid"] for each in mapped} == {0}


def test_pid_0_is_told_once() -> None:
    target = linux_target()
    target.set(0, pid=0)
    assert len(told("maps", target)) == 6


def test_wrong_words_are_told() -> None:
    for words, says in (
        ("maps --pid 0x100000", "1048576 entries"),
        ("maps --pid 4 --all", "not allowed with"),
        ("maps 4", "4"),
        ("maps --pid nosuch", "neither a number nor a register"),
    ):
        with pytest.raises(UsageError, match=says):
            ask(words)
