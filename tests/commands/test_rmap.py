"""``rmap``: every address that reaches a real one, and nothing else."""

from __future__ import annotations

from random import Random

import pytest

import inspector
from inspector.commands.registry import Session, run
from inspector.commands.rmap import _any_of
from inspector.errors import UsageError
from inspector.trees import Tree
from tests.commands.asking import ask, objects, session, shown, told
from tests.commands.test_maps import FIELDS
from tests.fakes import (
    BROKEN_PID,
    GUEST_RAM_AT,
    IO,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    RAM_BYTES,
    SMALL_PAGES_EA,
    TABLES_AT,
    TIMA,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_TEXT_EA,
    FakeTarget,
    GiB,
    KiB,
    MiB,
    broken_target,
    firmware_target,
    guest,
    kvm_host_target,
    linux_target,
)

DATA_AT = USER_PAGES_AT + 64 * KiB
OFFSET = (1 << 62) - 1


def where(words: str, target: FakeTarget | None = None) -> list[tuple[int, str, str, int]]:
    """PID, EA, RA and size of every mapping."""
    return [(each["pid"], each["ea"], each["ra"], each["size"]) for each in told(words, target)]


def test_every_mapping_by_the_address_that_reaches_it() -> None:
    ra = DATA_AT + 0x1234
    assert where(f"rmap {ra:#x}") == [
        (0, f"{KERNEL + ra:#x}", f"{ra:#x}", 2 * MiB),
        (PID, f"{USER_DATA_EA + 0x1234:#x}", f"{ra:#x}", 64 * KiB),
    ]
    assert all(each.ok for each in ask(f"rmap {ra:#x}")), "aliases are told, and judged by another"


def test_an_object_is_that_of_maps() -> None:
    kernel, user = told(f"rmap {DATA_AT:#x}")
    assert all(set(each) >= FIELDS for each in (kernel, user))
    assert (kernel["write"], kernel["execute"], kernel["privileged"], kernel["count"]) == (True, False, True, 1)
    assert (user["privileged"], user["page_shift"], user["region"], user["ra_is_ram"]) == (False, 16, "user", True)
    assert {each["asked"] for each in (kernel, user)} == {f"{DATA_AT:#x}"}


def test_each_address_translates_to_it_in_a_recorded_guest() -> None:
    """Against the hardware's walk; and every leaf's own address is among those of its real address."""
    with inspector.open_target("demo") as demo:
        leaves = Random(1).sample(told("maps --all --leaves", demo), 40)
        for leaf in leaves:
            inside = Random(leaf["ea"]).randrange(leaf["size"])
            ra = int(leaf["ra"], 16) + inside
            found = told(f"rmap {ra:#x}", demo)
            assert (leaf["pid"], f"{int(leaf['ea'], 16) + inside:#x}") in {(each["pid"], each["ea"]) for each in found}
            for each in found:
                answer = demo.translate(int(each["ea"], 16), pid=each["pid"])
                assert (answer.ra, answer.page_shift) == (ra, each["page_shift"])


def test_a_page_that_is_written_here_and_executed_there_is_seen() -> None:
    kernel, user = told(f"rmap {USER_PAGES_AT:#x}")
    kinds = {each["kind"]: each for each in user["aliases"]}
    assert kernel["aliases"] == user["aliases"]
    assert set(kinds) == {"writable-executable", "user-privileged"}
    assert kinds["writable-executable"]["mappings"] == [
        {"is": "writable", "pid": 0, "ea": f"{KERNEL + USER_PAGES_AT:#x}"},
        {"is": "executable", "pid": PID, "ea": f"{USER_TEXT_EA:#x}"},
    ]
    text = shown(f"rmap {USER_PAGES_AT + 0x10:#x}")
    assert f"writable at {KERNEL + USER_PAGES_AT + 0x10:#x} (PID 0), executable at" in " ".join(text.split())
    assert f"{USER_TEXT_EA + 0x10:#x}" in text


def test_attributes_that_differ_are_seen_and_what_agrees_is_not() -> None:
    target = linux_target()
    entry = next(
        at for at in range(TABLES_AT, TABLES_AT + MiB, 8) if target.source.word(at) & 0x3F_FFFF_FFFF_F030 == TIMA | 0x20
    )
    target.source.put_word(entry, USER_PAGES_AT | target.source.word(entry) & ~0x1FF_FFFF_FFFF_F000)
    found = told(f"rmap {USER_PAGES_AT:#x}", target)
    assert [each["attribute"] for each in found] == ["normal", "non-idempotent", "normal"]
    (attributes,) = (each for each in found[0]["aliases"] if each["kind"] == "attributes")
    assert attributes["mappings"][1] == {"is": "non-idempotent", "pid": 0, "ea": f"{IO:#x}"}
    assert told("rmap 0")[0]["aliases"] == []
    assert "aliases" not in shown("rmap 0")


def test_a_range_has_whole_pages_in_runs() -> None:
    start = DATA_AT + 0x8000
    assert where(f"rmap {start:#x}:64K") == [
        (0, f"{KERNEL + USER_PAGES_AT:#x}", f"{USER_PAGES_AT:#x}", 2 * MiB),
        (PID, f"{USER_DATA_EA:#x}", f"{DATA_AT:#x}", 128 * KiB),
    ]
    assert where(f"rmap {start:#x}:64K") == where(f"rmap {start:#x}..{start + 64 * KiB:#x}")
    (alias,) = told(f"rmap {USER_PAGES_AT + 0xF000:#x}:0x2000 --rights w|x")[0]["aliases"][:1]
    assert (alias["kind"], alias["ra"], alias["size"]) == (
        "writable-executable",
        f"{USER_PAGES_AT + 0xF000:#x}",
        0x1000,
    )
    text = shown(f"rmap {USER_PAGES_AT:#x}..{USER_PAGES_AT + 16 * MiB:#x}")
    assert "not mapped" not in text
    assert "3M of it not mapped" in shown(f"rmap {RAM_BYTES - MiB:#x}:4M")


def test_what_is_not_mapped_is_a_fault_with_what_is_known() -> None:
    (result,) = ask(f"rmap {GiB:#x}")
    assert not result.ok
    (fault,) = told(f"rmap {GiB:#x}")
    assert (fault["status"], fault["cause"], fault["ra"], fault["ra_is_ram"]) == (
        "fault",
        "not-mapped",
        f"{GiB:#x}",
        True,
    )
    assert "it is RAM" in fault["reason"]
    (beyond,) = told("rmap 0x8000000")
    assert "it is not RAM" in beyond["reason"]
    assert beyond["ra_is_ram"] is False


def test_a_table_page_and_the_process_table_are_named() -> None:
    target = linux_target()
    root = target.source.word(PROCESS_TABLE_AT + 16 * PID) & 0x0FFF_FFFF_FFFF_FF00
    (table,) = told(f"rmap {root + 8:#x}", target)[0]["holds"]
    assert table | {"kind": "page-table", "pid": PID, "level": 3, "address": f"{root:#x}", "size": 64 * KiB} == table
    (entry,) = told(f"rmap {PROCESS_TABLE_AT + 16 * PID + 8:#x}")[0]["holds"]
    assert entry == {"kind": "process-table", "pid": PID}
    (fault,) = told(f"rmap {root:#x} --pid {PID}", target)
    assert (fault["cause"], fault["holds"][0]["level"]) == ("not-mapped", 3)
    assert f"the root table of PID {PID}" in shown(f"rmap {root:#x}", target)
    assert "page-table pages in it" in shown(f"rmap {TABLES_AT:#x}:1M", target)


def test_an_effective_address_is_known_for_one() -> None:
    (fault,) = told(f"rmap {KERNEL + 0x1000:#x}")
    assert f"'xlate {KERNEL + 0x1000:#x}'" in fault["reason"]
    assert "xlate" in told("rmap $nip")[0]["reason"]
    assert "xlate" not in told(f"rmap {GiB:#x}")[0]["reason"]


def test_processes_and_conditions_restrict() -> None:
    assert [pid for pid, *_ in where(f"rmap {DATA_AT:#x} --pid {PID}")] == [PID]
    assert [pid for pid, *_ in where(f"rmap {DATA_AT:#x} --user --rights w")] == [PID]
    (fault,) = told(f"rmap {DATA_AT:#x} --rights x")
    assert "2 mappings reach it, and none is as was asked" in fault["reason"]
    assert where(f"rmap {USER_PAGES_AT + MiB:#x} --page 4K") == [
        (PID, f"{SMALL_PAGES_EA:#x}", f"{USER_PAGES_AT + MiB:#x}", 4 * KiB)
    ]


def test_lines_of_standard_input_may_be_ranges_and_wrong() -> None:
    wrong: list[int] = []
    asked = session(stdin=f"{DATA_AT:#x}\n\nnosuch\n{DATA_AT:#x}:4K\n")
    asked.on_wrong_line = lambda _error, number: wrong.append(number)
    found = objects(list(run(asked, ["rmap", "-"])))
    assert [each["asked"] for each in found] == [f"{DATA_AT:#x}"] * 2 + [f"{DATA_AT:#x}..{DATA_AT + 4 * KiB:#x}"] * 2
    assert wrong == [3]


def test_a_limit_is_told() -> None:
    one, note = told(f"rmap {DATA_AT:#x} --limit 1")
    assert one["pid"] == 0
    assert "1 of 2" in note["note"]


def test_what_is_wrong_with_the_trees_is_told_after_the_answers() -> None:
    *found, last = told(f"rmap {USER_PAGES_AT:#x}", broken_target())
    assert {each["pid"] for each in found if "count" in each} == {0, PID, BROKEN_PID}
    assert last["oddity"] == "table-size"


def test_a_guest_without_tables_and_wrong_words() -> None:
    (result,) = ask("rmap 0", firmware_target())
    assert not result.ok
    for words, says in (
        ("rmap 0x10..0x10", "empty range"),
        ("rmap nosuch", "neither a number"),
        ("rmap 0 --limit -1", "--limit takes a count"),
        ("rmap", "required"),
    ):
        with pytest.raises(UsageError, match=says):
            ask(words)
    with pytest.raises(UsageError, match="needs a target"):
        list(run(Session(), ["rmap", "0"]))


def test_nothing_outside_ram_is_read() -> None:
    target = broken_target()
    at = guest(target)
    ask(f"rmap {TIMA:#x} 0..{1 << 52:#x}", at)
    assert target.source.asked
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_what_is_behind_guests_stands_under_the_words_for_it() -> None:
    target = kvm_host_target()
    head = shown(f"rmap --partition {GUEST_RAM_AT + 8 * MiB:#x}", target).splitlines()[0]
    assert head.split() == ["LPID", "guest", "real", "size", "real", "address", "page", "rights"]
    assert shown(f"rmap {GUEST_RAM_AT + 8 * MiB:#x}", target).splitlines()[0].split()[:2] == ["PID", "EA"]


@pytest.mark.parametrize(
    ("pids", "lpids", "said"),
    [
        (5, 0, "none of 5 processes"),
        (4, 1, "none of 4 processes and 1 partition"),
        (0, 5, "none of 5 partitions"),
        (1, 1, "none of PID 0 and LPID 1"),
    ],
)
def test_many_trees_are_counted_by_what_they_are(pids: int, lpids: int, said: str) -> None:
    trees = [Tree(0, pid, 0, 0) for pid in range(pids)] + [Tree(1 + lpid, None, 0, 0) for lpid in range(lpids)]
    assert _any_of(trees) == said
