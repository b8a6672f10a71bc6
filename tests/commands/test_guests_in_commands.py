"""What commands say of KVM guests from the host's side, and of a guest whose hypervisor is out of sight."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from inspector.commands.registry import run
from inspector.errors import UsageError
from tests.commands.asking import ask, lines, objects, session, shown, told
from tests.fakes import (
    GUEST_PAGES,
    GUEST_PID,
    GUEST_RAM_AT,
    GUEST_TEXT_EA,
    HR,
    KVM_LEAF,
    LPID,
    PARTITION_TABLE_AT,
    PID,
    FakeTarget,
    KiB,
    MiB,
    guest_to_host,
    kvm_host_target,
    linux_target,
)
from tests.radix.trees import Bump, Tree

OTHER = 2
TABLES_AT = 62 * MiB


def with_another() -> tuple[FakeTarget, Tree]:
    """The KVM host with a second guest, LPID 2, that shares its first page with the first; and its tree."""
    target = kvm_host_target()
    tree = Tree(target.source.put_word, Bump(TABLES_AT))
    tree.map(0, GUEST_PAGES[0][0] | KVM_LEAF, 16)
    target.source.put_word(PARTITION_TABLE_AT + 16 * OTHER, HR | tree.descriptor)
    return target, tree


# -- rmap --------------------------------------------------------------------------------------------------------------


def test_a_page_that_only_a_guest_has_is_not_said_to_be_mapped_by_nothing() -> None:
    ra = GUEST_PAGES[0][0]
    (found,) = told(f"rmap {ra + 0x123:#x}", kvm_host_target())
    assert (found["lpid"], found["pid"], found["ea"], found["ra"]) == (LPID, None, "0x123", hex(ra + 0x123))
    assert f"LPID {LPID}" in shown(f"rmap {ra:#x}", kvm_host_target())


@pytest.mark.parametrize("words", ["", "--partition"])
def test_guests_that_share_a_page_of_the_hosts_are_told_together(words: str) -> None:
    target, _ = with_another()
    found = told(f"rmap {GUEST_PAGES[0][0]:#x} {words}", target)
    assert [(each["lpid"], each["pid"]) for each in found] == [(LPID, None), (OTHER, None)]
    assert all(each["aliases"] == [] for each in found), "it is a guest's own tree that says who may do what"


def test_one_guest_alone_is_told_where_it_is_named() -> None:
    target, _ = with_another()
    found = told(f"rmap {GUEST_PAGES[0][0]:#x} --partition --lpid {OTHER}", target)
    assert [(each["lpid"], each["pid"]) for each in found] == [(OTHER, None)]


def test_a_guests_processes_are_told_with_the_guest_real_address_between() -> None:
    ra = guest_to_host(2 * MiB) + 0x1234
    found = told(f"rmap {ra:#x} --lpid {LPID}", kvm_host_target())
    assert {(each["pid"], each["ea"], each["gra"], each["ra"]) for each in found} == {
        (0, hex(0xC000_0000_0020_1234), hex(2 * MiB + 0x1234), hex(ra)),
        (GUEST_PID, hex(GUEST_TEXT_EA + 0x1234), hex(2 * MiB + 0x1234), hex(ra)),
    }


def test_a_guests_table_is_known_by_the_hosts_address() -> None:
    (leaf,) = told(f"xlate {GUEST_TEXT_EA:#x} --lpid {LPID} --pid {GUEST_PID}", kvm_host_target())
    assert leaf["gra"] == hex(2 * MiB)
    tables = told(f"tables --lpid {LPID} --list", kvm_host_target())
    table = next(each for each in tables if each.get("level") == 0 and each.get("pid") == GUEST_PID)
    found = told(f"rmap {guest_to_host(int(table['table'], 16)):#x} --lpid {LPID}", kvm_host_target())
    assert [each["pid"] for each in found[0]["holds"] if each["kind"] == "page-table"] == [GUEST_PID]


@pytest.mark.parametrize("words", [f"--lpid {LPID}", "", "--partition"])
def test_a_guest_real_address_given_by_mistake_is_known(words: str) -> None:
    gra = 6 * MiB if words.startswith("--lpid") else 1024 * MiB + 0x1000
    (found,) = told(f"rmap {gra:#x} {words}", kvm_host_target())
    assert found["status"] == "fault"
    assert f"a real address of LPID {LPID}'s own" in str(found["reason"])
    assert f"{guest_to_host(gra):#x}" in str(found["reason"])


def test_what_no_guest_has_either_has_no_such_hint() -> None:
    (found,) = told("rmap 0x7fff0000", kvm_host_target())
    assert "own is meant" not in str(found["reason"])


def test_conditions_are_of_processes_that_have_such_things() -> None:
    (found,) = told(f"rmap {GUEST_PAGES[0][0]:#x} --user", kvm_host_target())
    assert found["status"] == "fault"


def test_a_search_tells_whose_the_memory_is() -> None:
    found = told("search text hello from a guest", kvm_host_target())
    assert f"'lpid': {LPID}, 'pid': None" in str(found)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_guests_own_tables_are_at_its_own_addresses() -> None:
    results = ask(f"tables --lpid {LPID} --list", kvm_host_target())
    assert "guest real" in " ".join(lines(results))
    rows = [each for each in objects(results) if "table" in each]
    assert all(each["in_ram"] for each in rows)
    assert {int(each["table"], 16) >> 16 for each in rows} <= {2, 3, 4}


def test_the_hosts_tables_for_its_guests_are_of_no_process_table() -> None:
    target, _ = with_another()
    rows = told("tables --partition", target)
    assert not [each for each in rows if "process_table" in each]
    assert {each["lpid"] for each in told("tables --partition --by pid", target)} == {LPID, OTHER}


# -- dirty -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["--partition", f"--pid {GUEST_PID}"])
def test_the_bitmap_of_a_slot_is_by_guest_real_addresses(words: str, tmp_path: Path) -> None:
    file = tmp_path / "log"
    ask(f"dirty --lpid {LPID} {words} --slot 0:8M --bitmap {file}", kvm_host_target())
    bits = int.from_bytes(file.read_bytes(), "little")
    dirty = {page for page in range(128) if bits >> page & 1}
    if words == "--partition":
        there = {gra + at for gra, (_, shift) in GUEST_PAGES.items() for at in range(0, 1 << shift, 64 * KiB)}
        meant = {gra // (64 * KiB) for gra in there if gra < 8 * MiB} - {0x17}
        assert dirty == meant, "all but the page that is read only, and has no C"
    else:
        assert 6 * MiB // (64 * KiB) in dirty
        assert dirty <= {0x17, 6 * MiB // (64 * KiB)}


def test_a_slot_is_of_one_guest() -> None:
    with pytest.raises(UsageError, match="--lpid"):
        ask("dirty --partition --slot 0:1M", kvm_host_target())


# -- mark and diff -----------------------------------------------------------------------------------------------------


def test_a_mark_keeps_what_is_behind_guests() -> None:
    target, tree = with_another()
    on = session(target)
    list(run(on, ["mark", "before"]))
    tree.map(64 * KiB, GUEST_RAM_AT + 12 * MiB | KVM_LEAF, 16)
    target.clock.tick()
    for more in ([], ["--partition"], ["--partition", "--lpid", "2"]):
        words = ["diff", "before", *more]
        (change,) = (each for each in objects(list(run(on, words))) if "change" in each)
        assert "added" in change["change"]
        assert (change["lpid"], change["pid"], change["ea"]) == (OTHER, None, "0x10000")
    for words in (["--partition", "--lpid", "1"], ["--pid", str(PID)]):
        assert not [each for each in objects(list(run(on, ["diff", "before", *words]))) if "change" in each]


# -- export, sql, report -----------------------------------------------------------------------------------------------


def test_partitions_are_exported_without_a_pid(tmp_path: Path) -> None:
    file = tmp_path / "maps.csv"
    ask(f"export {file} --partition", kvm_host_target())
    rows = list(csv.DictReader(file.open()))
    assert {(row["lpid"], row["pid"], row["gra"], row["region"]) for row in rows} == {(str(LPID), "", "", "")}
    assert sum(int(row["size"]) for row in rows) == sum(1 << shift for _, shift in GUEST_PAGES.values())


def test_a_guests_processes_are_exported_with_guest_real_addresses(tmp_path: Path) -> None:
    file = tmp_path / "leaves.csv"
    ask(f"export {file} --leaves --lpid {LPID}", kvm_host_target())
    rows = list(csv.DictReader(file.open()))
    assert {row["pid"] for row in rows} == {"0", str(GUEST_PID)}
    for row in rows:
        assert guest_to_host(int(row["gra"], 16)) == int(row["ra"], 16)


def test_sql_asks_partitions_and_guests() -> None:
    pytest.importorskip("duckdb")
    words = f'sql "SELECT DISTINCT lpid, pid, gra IS NULL AS one FROM maps" --partition --lpid {LPID}'
    assert told(words, kvm_host_target()) == [{"lpid": LPID, "pid": None, "one": True}]
    words = f'sql "SELECT gra, ra FROM leaves WHERE pid = {GUEST_PID} AND ea = {GUEST_TEXT_EA}" --lpid {LPID}'
    (row,) = told(words, kvm_host_target())
    assert int(row["ra"], 16) == guest_to_host(int(row["gra"], 16))


@pytest.mark.parametrize("words", ["--partition", f"--lpid {LPID}", f"--lpid {LPID} --pid {GUEST_PID}"])
def test_a_report_names_whose_it_is(words: str, tmp_path: Path) -> None:
    results = ask(f"report {tmp_path / 'page.html'} {words}", kvm_host_target())
    assert all(each.ok for each in results if each.topic != "scope")
    page = (tmp_path / "page.html").read_text()
    assert f'"lpid": {LPID}' in page or f'"lpid":{LPID}' in page


@pytest.mark.parametrize("command", ["maps --all", "audit", "tables", "dirty", "pids", "rmap 0x1000", "maps --pid 5"])
def test_a_guest_that_has_set_up_no_process_table_has_no_process(command: str) -> None:
    """KVM makes one with a table of 4K at 0, where its code is."""
    target, _ = with_another()
    target.source.put_word(PARTITION_TABLE_AT + 16 * OTHER + 8, 1 << 63)
    target.source.put(GUEST_PAGES[0][0] + 0x100, bytes.fromhex("7d5b02a67d5b03a6") * 8)
    results = ask(f"{command} --lpid {OTHER}", target)
    assert "has registered no process table yet" in " ".join(lines(results))
    assert not [each for each in objects(results) if each.get("lpid") == OTHER and each.get("root")]


# -- a guest whose hypervisor is out of sight --------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["--lpid 1", "--partition", "--lpid 1 --partition"])
@pytest.mark.parametrize(
    "command",
    [
        *("rmap 0x1000", "dirty", "age", "tables", "audit", "maps", "diff demo", "dirty --slot 0:1M", "tables --list"),
        *("export -", "report page.html", 'sql "FROM maps"'),
    ],
)
def test_a_hypervisor_out_of_sight_is_said(command: str, words: str, tmp_path: Path) -> None:
    if command.startswith("dirty --slot") and words == "--partition":
        return  # asks for an LPID first
    if command.startswith("sql"):
        pytest.importorskip("duckdb")
    where = command.replace("page.html", str(tmp_path / "page.html")).replace("export -", f"export {tmp_path}/a.csv")
    with pytest.raises(UsageError, match="out of sight"):
        ask(f"{where} {words}", linux_target())
    assert not list(tmp_path.iterdir())
