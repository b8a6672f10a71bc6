"""``audit``: what it asks, what it answers, and what a script learns from its exit status."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest

import inspector
from inspector.cli import main
from inspector.commands.audit import surroundings
from inspector.errors import UsageError
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.rules import RULES
from inspector.radix.bits import PATE1_GR
from tests.commands.asking import ask, shown, told
from tests.fakes import (
    BROKEN_EA,
    BROKEN_PID,
    PARTITION_TABLE_AT,
    PID,
    TIMA,
    FakeTarget,
    bare_target,
    broken_target,
    guest,
    linux_target,
)
from tests.mappings.audit.house import DIMM, PAGE, SPARE, TABLE_AT, UREAD, House, L
from tests.test_fixtures import FIXTURES, LINUX

DAILY = {"wx-alias-linear", "changed-read-only"}
"""What healthy Linux does: its code's pages are marked changed when they are mapped, and all of RAM but the kernel's
own code and constants is writable by the linear map."""
SILENT = {
    *("host-page-shared", "wx-alias-linear", "changed-read-only", "unreferenced", "no-rights", "invalid-entry"),
}


TABLE_UNREAD = 0x223_3000
"""A last-level table of the fake Linux guest's."""


@pytest.mark.parametrize("make", [linux_target, bare_target])
def test_a_healthy_guest(make: object) -> None:
    target = linux_target() if make is linux_target else bare_target()
    (end,) = told("audit", target)
    assert end["summary"] == {"error": 0, "warning": 0, "info": 0}
    assert (end["failed"], end["leaves"], end["trees"]) == (False, 46, 2)
    assert shown("audit", target).startswith("no findings: ")


@pytest.mark.parametrize("name", ["demo", *LINUX])
def test_recorded_guests_are_quiet(name: str) -> None:
    with inspector.open_target(name if name == "demo" else str(FIXTURES / f"{name}.core.gz")) as at:
        (end,) = told("audit", at)
        assert not any(end["summary"].values())
        *findings, end = told("audit --severity info --limit 100000", at)
        assert {each["rule"] for each in findings} == DAILY
        counts = Counter(each["rule"] for each in findings)
        assert end["summary"] == {"error": 0, "warning": 0, "info": sum(counts.values())}
        memory, ras = at.memory, set()
        for each in findings:
            entry, address = int(each["entry"], 16), int(each["entry_address"], 16)
            assert memory.read_u64(address) == entry
            if each["rule"] == "changed-read-only":
                assert entry & 0x82 == 0x80
                continue
            # The very hardware's walk, by both ways.
            here, there = (
                at.translate(int(each[ea], 16), pid=pid) for ea, pid in (("ea", each["pid"]), ("other_ea", 0))
            )
            assert here.ra == there.ra == int(each["ra"], 16)
            assert here.leaf is not None
            assert there.leaf is not None
            assert (here.leaf & 3, there.leaf & 2) == (1, 2)
            ras.add(here.ra)
        assert len(ras) > 20


def test_what_is_broken_is_found_with_its_entry() -> None:
    target = broken_target()
    *findings, end = told("audit", target)
    assert [(each["rule"], each["pid"]) for each in findings] == [
        ("tables-user", PID),  # its fourth page of data is where the broken tree's root was put
        ("table-size", BROKEN_PID),
        ("cycle", BROKEN_PID),
        ("table-outside-ram", BROKEN_PID),
        ("wx-alias", PID),  # the broken tree's one page is writable, and this one's code
        ("reserved-leaf", BROKEN_PID),
    ]
    assert end["summary"] == {"error": 4, "warning": 2, "info": 0}
    for each in findings:
        assert target.source.word(int(each["entry_address"], 16)) == int(each["entry"], 16)
    outside, leaf = findings[3], findings[-1]
    assert (outside["level"], int(outside["ra"], 16)) == (1, TIMA)
    assert (int(leaf["ea"], 16), leaf["size"], leaf["count"], leaf["page_shift"]) == (BROKEN_EA, PAGE, 1, 16)
    assert not any(TIMA <= at < TIMA + PAGE for at, _ in target.source.asked)


def test_an_object_has_all_of_a_finding() -> None:
    assert set(told("audit", broken_target())[0]) == {each.name for each in fields(Finding)}


def test_a_person_is_told_the_same() -> None:
    text = shown("audit", broken_target())
    assert "warning reserved-leaf  PID 7 0x30000000 64K (1x64K) -> 0x3000000" in text
    assert "today's MMUs ignore them" in text
    assert text.splitlines()[-1].startswith("4 errors, 2 warnings: ")


def many(count: int) -> FakeTarget:
    """A guest with so many pages that user mode may write and execute, no two of which go on."""
    house = House()
    for at in range(count):
        house.user.map(SPARE + 2 * at * PAGE, DIMM + 8 * PAGE | L | 0x107, 16)
    made = house.guest().target
    assert isinstance(made, FakeTarget)
    return made


def test_a_rule_that_fires_often_tells_the_first_and_how_many_more() -> None:
    target = many(12)
    *findings, end = told("audit", target)
    assert [each["more"] for each in findings] == [0, 0, 0, 0, 7]
    assert end["summary"]["warning"] == 12
    assert "and 7 more of wx-user" in shown("audit", target)
    assert [each["more"] for each in told("audit --limit 1", target)[:-1]] == [11]
    assert len(told("audit --limit 20", target)) == 13
    (end,) = told("audit --limit 0", target)
    assert end["summary"]["warning"] == 12


def test_rules_are_chosen() -> None:
    target = broken_target()

    def rules(words: str) -> list[str]:
        return [each["rule"] for each in told(f"audit {words}", target)[:-1]]

    assert rules("--rule cycle --rule reserved-leaf") == ["cycle", "reserved-leaf"]
    left = rules("--no-rule cycle --no-rule wx-alias --no-rule tables-user --no-rule table-size")
    assert left == ["table-outside-ram", "reserved-leaf"]
    assert rules("--severity error") == ["tables-user", "table-size", "cycle", "table-outside-ram"]
    assert "changed-read-only" in rules("--severity info")
    with pytest.raises(UsageError, match="did you mean 'cycle'"):
        ask("audit --rule cycel", target)
    with pytest.raises(UsageError):
        ask("audit --severity grave", target)


def test_several_rules_at_once() -> None:
    both = told("audit --rules --rule wx-mapping,cycle")
    assert [each["rule"] for each in both] == ["wx-mapping", "cycle"]
    assert told("audit --no-rule wx-mapping,cycle") == told("audit --no-rule wx-mapping --no-rule cycle")


@pytest.mark.parametrize("words", ["--rule cycle --no-rule cycle", "--rule cycle --user"])
def test_that_no_rule_is_left_is_no_clean_bill(words: str) -> None:
    with pytest.raises(UsageError, match="no rule is left to ask"):
        ask(f"audit {words}")


def test_that_not_all_was_audited_is_told_where_its_rule_was_not_asked() -> None:
    target = linux_target()
    target.source.refused = [(TABLE_UNREAD, 256)]
    assert [each["rule"] for each in told("audit", target)[:-1]] == ["table-unread"]
    beside, end = ask("audit --rule wx-alias --fail-on error", target)
    assert not beside.ok
    assert end.ok
    assert "1 of the tables could not be read" in shown("audit --rule wx-alias", target)
    assert all(each.ok for each in ask("audit --user --fail-on never", target))


def test_only_some_address_spaces() -> None:
    assert len(told("audit --pid 0", broken_target())) == 1
    assert len(told(f"audit --pid {BROKEN_PID}", broken_target())) == 5
    odd, end = told("audit --pid 99", broken_target())
    assert (odd["oddity"], end["leaves"]) == ("no-process", 0)


def test_only_some_mappings() -> None:
    target = broken_target()
    alias, note, end = told("audit --rights x", target)
    assert (alias["rule"], "about tables" in note["note"]) == ("wx-alias", True)
    assert end["summary"] == {"error": 0, "warning": 1, "info": 0}
    leaf, _note, _end = told(f"audit --ea {BROKEN_EA:#x} --all", target)
    assert leaf["rule"] == "reserved-leaf"
    assert len(told("audit --rule reserved-leaf --user", target)) == 2  # no note: no other rule was asked


def test_rules_are_listed() -> None:
    rows = told("audit --rules")
    assert [each["rule"] for each in rows] == list(RULES)
    assert {each["rule"] for each in rows if not each["default"]} == SILENT
    assert [each["rule"] for each in told("audit --rules --severity error")] == [
        slug for slug, rule in RULES.items() if rule.severity == "error"
    ]
    text = shown("audit --rules")
    assert "wx-alias-linear (off)" in text
    assert "Power ISA" not in text
    assert "from: Power ISA" in shown("audit --rules --rule wx-alias")


def test_the_partition_table_and_the_kernels_code_are_known_where_they_can_be() -> None:
    class Symbols:
        def address(self, name: str) -> int:
            return {"_stext": 0xC000_0000_0000_0000, "_etext": 0xC000_0000_0123_0000}[name]

    around = surroundings(guest(bare_target(), symbols=Symbols()))
    assert around.partition_table == (PARTITION_TABLE_AT, 1 << 16)
    assert around.text == (0, 0x123_0000)
    assert surroundings(guest()).text is None
    assert surroundings(guest()).partition_table is None


# -- exit status -------------------------------------------------------------------------------------------------------


def image(path: Path, house: House) -> list[str]:
    """A guest as a raw image; the words that open it."""
    with open(path, "wb") as file:
        file.truncate(DIMM + (3 << 20))
        for chunk, data in house.memory.chunks.items():
            file.seek(chunk * 4096)
            file.write(data)
    return [f"raw:{path}", "--process-table", f"{PATE1_GR | TABLE_AT | 4:#x}"]


def aged(house: House) -> None:
    house.user.map(SPARE, DIMM + 8 * PAGE | L | 0x286, 16)


def writable(house: House) -> None:
    house.user.map(SPARE, DIMM + 8 * PAGE | L | 0x107, 16)


def shown_to_users(house: House) -> None:
    house.user.map(SPARE, PAGE | UREAD, 16)


@pytest.mark.parametrize(
    ("make", "statuses"),
    [
        (lambda _house: None, {"error": 0, "warning": 0, "info": 0, "never": 0, "": 0}),
        (aged, {"error": 0, "warning": 0, "info": 1, "never": 0, "": 0}),
        (writable, {"error": 0, "warning": 1, "info": 1, "never": 0, "": 1}),
        (shown_to_users, {"error": 1, "warning": 1, "info": 1, "never": 0, "": 1}),
    ],
    ids=["clean", "info", "warning", "error"],
)
def test_what_a_script_learns(
    make: object, statuses: dict[str, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House()
    assert callable(make)
    make(house)
    words = image(tmp_path / "ram", house)
    for severity, status in statuses.items():
        option = ["--fail-on", severity] if severity else []
        assert main([*words, "audit", *option]) == status, severity
        assert main([*words, "--json", "audit", "--limit", "0", *option]) == status, severity
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last)["failed"] == bool(statuses[""])


def test_wrong_words_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "audit", "--fail-on", "often"]) == 2
    assert main(["demo", "audit", "--rule", "nothing"]) == 2
    assert main(["demo", "audit", "--severity", "info", "--fail-on", "info"]) == 1
    assert main(["demo", "audit"]) == 0
    assert "no findings" in capsys.readouterr().out
