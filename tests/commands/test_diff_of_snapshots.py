"""``diff`` of snapshots, of guests that are not one, and of what one side lacks."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.commands.registry import Result, Session, run
from inspector.guest import Guest
from inspector.recording import record
from tests.commands.asking import ask, lines, objects
from tests.commands.changing import Live
from tests.fakes import (
    BROKEN_PID,
    PID,
    PROCESS_TABLE_AT,
    TIMA,
    USER_DATA,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_TEXT_EA,
    KiB,
    MiB,
    broken_target,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.fixture
def recorded(live: Live, tmp_path: Path) -> Path:
    """A snapshot of the guest, which then changed."""
    path = tmp_path / "before.core.gz"
    record(live.guest, str(path))
    live.put(live.entry_of(USER_TEXT_EA), 0)
    return path


def test_a_snapshot_and_the_guest_now(live: Live, recorded: Path) -> None:
    changed, summary = live.told(f"diff {recorded}")
    assert (changed["change"], changed["ea"]) == (["removed"], f"{USER_TEXT_EA:#x}")
    assert summary["summary"]["before"] == str(recorded)


def test_two_snapshots_need_no_target(
    live: Live, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    after = tmp_path / "after.core.gz"
    record(live.guest, str(after))
    assert main(["--json", "diff", str(recorded), str(after)]) == 0
    changed, _ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert changed["change"] == ["removed"]
    assert main(["diff", str(after), str(recorded), "--exit-code", "--summary"]) == 1
    assert "added" in capsys.readouterr().out
    assert main([str(after), "diff", str(recorded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["change"] == ["removed"]
    assert main(["diff", str(after)]) == 2
    assert main(["diff", str(after), "nosuch"]) == 2
    assert "neither a mark nor a file" in capsys.readouterr().err


def test_a_script_in_one_shot(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json", "-c", "mark a", "-c", "mark b", "-c", "diff a b", "-c", "diff"]) == 0
    last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["summary"]["differs"] for each in last[2:]] == [False, False]


@pytest.mark.parametrize("pair", [("pseries-p9", "pseries-p10"), ("powernv9", "pseries-p9")])
def test_real_guests_differ_by_just_what_maps_tells(pair: tuple[str, str]) -> None:
    """Applied to the one side, page by page of 4K, the changes give what 'maps' tells of the other."""
    paths = [str(FIXTURES / f"{kind}.core.gz") for kind in pair]
    pages: list[dict[tuple[int, int], tuple[int, int, str]]] = []
    for path in paths:
        with inspector.open_target(path) as seen:
            pages.append(dict(page for each in objects(ask("maps --all", seen)) for page in by_page(each, each)))
    before, after = pages
    for each in objects(list(run(Session(), ["diff", *paths]))):
        if "change" not in each:
            continue
        for side, held in (("before", before), ("after", after)):
            for key, page in by_page(each, each[side]):
                assert held[key] == page
        for key, _ in by_page(each, each["before"]):
            del before[key]
        before.update(by_page(each, each["after"]))
    assert before == after


def by_page(place: dict[str, Any], state: dict[str, Any] | None) -> Iterator[tuple[tuple[int, int], Any]]:
    """(PID, EA) and what is mapped there, by pages of 64K: no smaller ones are in these guests."""
    if state is None or "ra" not in state:
        return
    for at in range(0, place["size"], 64 * KiB):
        page = (int(state["ra"], 16) + at, state["page_shift"], state["raw_flags"])
        yield (place["pid"], int(place["ea"], 16) + at), page


def test_what_a_snapshot_lacks_has_neither_come_nor_gone() -> None:
    """The tables of one process are not in it: their pages are in doubt, and the side is named."""
    whole, lacking = Live(), Live()
    leaf = lacking.entry_of(USER_DATA_EA)
    held = [(0, leaf & ~0xFF), ((leaf & ~0xFF) + 0x100, 64 * MiB - (leaf & ~0xFF) - 0x100)]
    lacking.target.source.captured = held
    results = list(_between(lacking.guest, whole.guest))
    found = objects(results)
    changed = [each for each in found if "change" in each]
    assert changed
    assert {tuple(each["change"]) for each in changed} == {("unseen",)}
    (odd,) = [each for each in found if "oddity" in each]
    assert (odd["side"], odd["oddity"]) == ("before", "table-not-captured")
    assert not all(each.ok for each in results)
    assert "before (mark lacking):" in lines(results)
    backwards = objects(list(_between(whole.guest, lacking.guest)))
    assert {tuple(each["change"]) for each in backwards if "change" in each} == {("unseen",)}


def test_a_process_table_that_is_not_whole_leaves_processes_in_doubt() -> None:
    whole, lacking = Live(), Live()
    whole.target.source.put_word(PROCESS_TABLE_AT + 16 * 5000, whole.guest.spaces([PID]).trees[0].entry)
    lacking.target.source.captured = [(0, PROCESS_TABLE_AT + 0x1000), (34 * MiB, 30 * MiB)]
    found = objects(list(_between(lacking.guest, whole.guest)))
    assert [(each["process"], each["pid"]) for each in found if "process" in each] == [("unseen", 5000)]
    assert {tuple(each["change"]) for each in found if "change" in each} == {("unseen",)}
    assert {each["table"] for each in found if "table" in each} <= {"unseen"}


def test_what_is_wrong_on_both_sides_is_said_once() -> None:
    live = Live(broken_target())
    live.ask("mark a")
    live.put(live.entry_of(USER_DATA_EA), USER_PAGES_AT + 64 * KiB | USER_DATA & ~2)
    odd = live.told("diff a", "oddity")
    assert [(each["side"], each["pid"]) for each in odd] == [("both", BROKEN_PID)] * 3
    assert live.told(f"diff a --pid {PID}", "oddity") == []
    assert all(live.target.ram.covers(*asked) for asked in live.target.source.asked)
    assert not any(address <= TIMA < address + length for address, length in live.target.source.asked)


def test_a_pid_on_neither_side_is_a_finding(live: Live) -> None:
    live.ask("mark a")
    (odd,) = live.told("diff a --pid 77", "oddity")
    assert (odd["oddity"], odd["pid"]) == ("no-process", 77)
    live.put(PROCESS_TABLE_AT + 16 * PID, 0)
    results = live.ask(f"diff a --pid {PID}")
    assert all(each.ok for each in results), "it went, which is an answer"


def test_guests_that_are_not_one_guest_are_told() -> None:
    found = objects(list(run(Session(), ["diff", "demo", str(FIXTURES / "powernv9.core.gz"), "--summary"])))
    assert "note" in found[0]
    assert found[0]["note"].startswith(("their RAM", "their process tables"))


def test_a_guest_without_radix_tables_cannot_be_compared() -> None:
    results = list(run(Session(), ["diff", "demo", str(FIXTURES / "pseries-firmware.core.gz")]))
    (said,) = objects(results)
    assert said["side"] == "after"
    assert "summary" not in said


def _between(before: Guest, after: Guest) -> Iterator[Result]:
    """What a diff of two guests answers, through a mark in a session that goes from the one to the other."""
    both = Session(before, stdin=io.StringIO())
    list(run(both, ["mark", "lacking"]))
    both.guest = after
    yield from run(both, ["diff", "lacking"])
