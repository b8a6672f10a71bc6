"""``mark`` and ``diff``: what changed in a guest between two moments, and what cannot be said."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.commands import mark as mark_module
from inspector.commands.registry import Result, Session, run
from inspector.errors import NotSupported, UsageError
from inspector.guest import Guest
from inspector.recording import record
from inspector.targets.base import RunState
from tests.commands.asking import ask, lines, objects, session, shown
from tests.fakes import (
    BROKEN_PID,
    DATA,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    TIMA,
    USER_DATA,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_READ,
    USER_TEXT_EA,
    FakeControl,
    FakeTarget,
    KiB,
    MiB,
    broken_target,
    guest,
    linux_target,
)
from tests.radix.trees import VALID, Bump, C, Tree

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Live:
    """A session on a fake guest whose tables a test changes as the guest would."""

    def __init__(self, target: FakeTarget | None = None) -> None:
        self.target = target or linux_target()
        self.control = FakeControl(self.target)
        self.guest = guest(self.target)
        self.session = session(self.guest)

    def ask(self, words: str) -> list[Result]:
        return list(run(self.session, shlex.split(words)))

    def told(self, words: str, kind: str | None = None) -> list[dict[str, Any]]:
        found = objects(self.ask(words))
        return found if kind is None else [each for each in found if kind in each]

    def entry_of(self, ea: int, pid: int = PID) -> int:
        """Where the leaf of ``ea`` is."""
        at = self.guest.translate(ea, pid=pid).steps[-1].address
        assert at is not None
        return at

    def put(self, address: int, word: int) -> None:
        """Write it, as a guest that runs."""
        self.target.source.put_word(address, word)
        self.target.clock.tick()


@pytest.fixture
def live() -> Live:
    return Live()


def test_a_mark_tells_how_many_bytes_it_takes() -> None:
    assert re.search(r"it takes \d+ bytes of memory|it takes [\d.]+[KM] of memory", shown("mark before"))


def test_nothing_has_changed(live: Live) -> None:
    live.ask("mark a")
    live.target.clock.tick()
    (only,) = live.told("diff a")
    assert only["summary"]["differs"] is False
    assert lines(live.ask("diff a")) == ["no difference: mark a -> fake"]
    assert lines(live.ask("diff a --only added")) == ["no difference in what was asked for: mark a -> fake"]


CHANGES: dict[str, tuple[Callable[[int], int], list[str]]] = {
    "removed": (lambda _: 0, ["removed"]),
    "moved": (lambda word: word + (1 << 20), ["moved", "touched"]),
    "rights": (lambda word: word & ~2, ["rights"]),
    "attribute": (lambda word: word | 0x30, ["attribute"]),
    "cleared": (lambda word: word & ~C, ["cleared"]),
    "software": (lambda word: word ^ 0x400, ["software"]),
    "reserved": (lambda word: word | 0x1000_0000_0000_0000, ["reserved"]),
    "several": (lambda word: (word ^ 0x400) & ~2, ["rights", "software"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_one_leaf_and_its_kinds(live: Live, name: str) -> None:
    change, kinds = CHANGES[name]
    live.ask("mark before")
    at = live.entry_of(USER_DATA_EA)
    word = live.target.source.word(at)
    live.put(at, change(word))
    changed, summary = live.told("diff before")
    assert changed["change"] == kinds
    assert (changed["pid"], changed["ea"], changed["size"]) == (PID, f"{USER_DATA_EA:#x}", 64 * KiB)
    assert changed["before"]["ra"] == f"{USER_PAGES_AT + 64 * KiB:#x}"
    assert (changed["after"] is None) == (name == "removed")
    assert set(summary["summary"]["kinds"]) == set(kinds)
    assert summary["summary"]["kinds"][kinds[0]] == {"changes": 1, "bytes": 64 * KiB}


def test_what_was_touched_since_is_one_command(live: Live) -> None:
    at = live.entry_of(USER_DATA_EA)
    live.put(at, live.target.source.word(at) & ~C)
    live.control.on_wait = lambda: live.target.source.put_word(at, live.target.source.word(at) | C)
    touched, summary = live.told("diff --run 2s --only touched")
    assert live.control.calls == ["resume", "wait 2.0", "interrupt"]
    assert (touched["change"], touched["ea"]) == (["touched"], f"{USER_DATA_EA:#x}")
    assert (touched["before"]["dirty"], touched["after"]["dirty"]) == (False, True)
    assert summary["summary"]["after"] == "2 s later"
    assert live.target.state is RunState.STOPPED


def test_running_leaves_the_guest_as_it_was(live: Live) -> None:
    live.ask("continue")
    live.control.calls.clear()
    results = live.ask("diff --run 1")
    assert live.control.calls == ["wait 1.0"], "one that runs is not stopped for it"
    assert live.target.state is RunState.RUNNING
    assert any("the guest is running" in line for line in lines(results))


def test_ctrl_c_ends_the_waiting_early(live: Live) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    live.control.on_wait = interrupted
    note, summary = live.told("diff --run 60")
    assert "interrupted after" in note["note"]
    assert summary["summary"]["differs"] is False
    assert live.target.state is RunState.STOPPED


def test_whatever_goes_wrong_while_it_runs_it_is_stopped_again(live: Live) -> None:
    def wrong() -> None:
        raise UsageError("something; do something else")

    live.control.on_wait = wrong
    with pytest.raises(UsageError, match="something"):
        live.ask("diff --run 60")
    assert live.target.state is RunState.STOPPED


def test_a_guest_that_stops_by_itself_is_told() -> None:
    live = Live()
    live.control.stops_after = 0.0
    note, *_ = live.told("diff --run 60")
    assert "stopped by itself" in note["note"]


def test_a_page_that_is_split_and_one_that_is_joined(live: Live) -> None:
    ea, ra = KERNEL + 40 * MiB, 40 * MiB
    at = live.entry_of(ea, 0)
    table = 57 * MiB
    for number in range(32):
        live.target.source.put_word(table + 8 * number, (ra + number * 64 * KiB) | DATA)
    live.ask("mark large")
    live.put(at, VALID | table | 5)
    live.ask("mark small")
    changed, allocated, _ = live.told("diff large small")
    assert (changed["change"], changed["ea"], changed["size"]) == (["size"], f"{ea:#x}", 2 * MiB)
    assert (changed["before"]["page_shift"], changed["after"]["page_shift"], changed["after"]["count"]) == (21, 16, 32)
    assert allocated == {
        "table": "allocated",
        "lpid": 0,
        "pid": 0,
        "ea": f"{ea:#x}",
        "level": 0,
        "address": f"{table:#x}",
        "length": 256,
    }
    changed, freed, _ = live.told("diff small large")
    assert (changed["change"], freed["table"]) == (["size"], "freed")


def test_processes_come_go_and_are_replaced(live: Live) -> None:
    live.ask("mark before")
    tree = Tree(live.target.source.put_word, Bump(57 * MiB))
    tree.map(USER_TEXT_EA, USER_PAGES_AT | USER_READ, 16)
    live.target.source.put_word(PROCESS_TABLE_AT + 16 * PID, tree.descriptor)
    live.put(PROCESS_TABLE_AT + 16 * 9, tree.descriptor)
    processes = live.told("diff before", "process")
    assert [(each["process"], each["pid"]) for each in processes] == [("replaced", PID), ("came", 9)]
    assert processes[0]["after"] == f"{tree.descriptor:#x}"
    text = "\n".join(lines(live.ask("diff before")))
    assert "another process has this PID" in text
    live.ask("mark both")
    live.put(PROCESS_TABLE_AT + 16 * 9, 0)
    (gone,) = live.told("diff both", "process")
    assert (gone["process"], gone["pid"], gone["after"]) == ("went", 9, None)
    (summary,) = live.told("diff both --summary")
    assert summary["summary"]["processes"] == {"went": 1}
    assert summary["summary"]["kinds"]["removed"]["bytes"] == 64 * KiB


def test_only_and_selections_and_pids_compose(live: Live) -> None:
    live.ask("mark a")
    data, text = live.entry_of(USER_DATA_EA), live.entry_of(USER_TEXT_EA)
    live.put(data, live.target.source.word(data) & ~2)
    live.put(text, 0)

    def kinds(words: str) -> list[list[str]]:
        return [each["change"] for each in live.told(f"diff a {words}", "change")]

    assert kinds("") == [["removed"], ["rights"]]
    assert kinds("--only rights") == [["rights"]]
    assert kinds("--only rights,removed") == [["removed"], ["rights"]]
    assert kinds("--only added --only removed") == [["removed"]]
    assert kinds("--only tables,processes") == []
    assert kinds("--rights x") == [["removed"]]
    assert kinds("--rights w") == [["rights"]], "it was writable before"
    assert kinds(f"--ea {USER_DATA_EA:#x}") == [["rights"]]
    assert kinds("--privileged") == []
    assert kinds("--pid 0") == []
    assert kinds(f"--pid {PID} --only removed") == [["removed"]]
    with pytest.raises(UsageError, match="'sizes' is no kind of change; there are added"):
        kinds("--only sizes")


def test_a_limit_counts_all_and_says_so(live: Live) -> None:
    live.ask("mark a")
    live.put(PROCESS_TABLE_AT + 16 * PID, 0)
    every = live.told("diff a")
    told = live.told("diff a --limit 3")
    assert [next(iter(each)) for each in told] == ["process", "change", "change", "note", "summary"]
    assert f"3 of {len(every) - 1} changes" in told[-2]["note"]
    assert told[-1] == every[-1], "the counts are of all"
    assert live.told("diff a --limit 0", "change") == []
    assert [next(iter(each)) for each in live.told("diff a --summary")] == ["summary"]


def test_the_exit_status_is_a_difference_only_where_asked(live: Live) -> None:
    live.ask("mark a")
    assert all(each.ok for each in live.ask("diff a --exit-code"))
    live.put(live.entry_of(USER_TEXT_EA), 0)
    assert all(each.ok for each in live.ask("diff a"))
    assert not all(each.ok for each in live.ask("diff a --exit-code"))
    assert all(each.ok for each in live.ask("diff a --exit-code --only added"))


# -- marks ------------------------------------------------------------------------------------------------------------


def test_marks_are_listed_replaced_and_removed(live: Live) -> None:
    (note,) = live.told("mark")
    assert "no marks yet" in note["note"]
    (made,) = live.told("mark a")
    assert (made["mark"], made["done"], made["processes"]) == ("a", "made", 2)
    assert made["size"] > 1000
    live.ask("mark b")
    assert live.told("mark a")[0]["done"] == "made again"
    assert [each["mark"] for each in live.told("marks")] == ["b", "a"], "the latest stands last"
    live.put(live.entry_of(USER_TEXT_EA), 0)
    assert live.told("diff")[-1]["summary"]["before"] == "mark a"
    assert live.told("mark --remove a")[0]["done"] == "removed"
    assert [each["mark"] for each in live.told("mark")] == ["b"]
    for words, says in (
        ("mark --remove a", "there is no mark 'a'; there are b"),
        ("mark c --remove b", "one at a time"),
        ("mark a/b", "no name for a mark"),
        ("mark ''", "no name for a mark"),
        ("diff nosuch", "neither a mark nor a file; the marks are b"),
        ("diff b b b", "two are compared"),
        ("diff b --run 2", "--run compares the guest with itself"),
        ("diff --run 0", "--run takes seconds"),
        ("diff --run soon", "--run takes seconds"),
        ("diff gdb:1.2.3.4:5", "make it the target"),
    ):
        with pytest.raises(UsageError, match=says):
            live.ask(words)


def test_marks_stay_when_the_target_is_opened_again(live: Live) -> None:
    again = Session(reopen=lambda: guest(live.target), stdin=io.StringIO())
    again.reattach()
    list(run(again, ["mark", "a"]))
    again.reattach()
    assert objects(list(run(again, ["diff", "a"])))[-1]["summary"]["differs"] is False


def test_marks_do_not_grow_without_end(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    (made,) = live.told("mark a")
    monkeypatch.setattr(mark_module, "MOST_BYTES", made["size"] * 2)
    live.ask("mark b")
    live.ask("mark b")
    with pytest.raises(UsageError, match="'mark --remove NAME' makes room"):
        live.ask("mark c")


def test_without_a_mark_or_a_target(live: Live) -> None:
    with pytest.raises(UsageError, match="'mark NAME' makes one"):
        live.ask("diff")
    with pytest.raises(UsageError, match="wants two files here, or a target"):
        list(run(Session(), ["diff", "demo"]))
    with inspector.open_target("demo") as demo, pytest.raises(NotSupported):
        list(run(session(demo), shlex.split("diff --run 1")))


# -- snapshots, and what they lack ------------------------------------------------------------------------------------


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
