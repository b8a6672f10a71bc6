"""``diff``: what changed in a guest between two moments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inspector.errors import UsageError
from inspector.targets.base import RunState
from tests.commands.asking import lines
from tests.commands.changing import Live
from tests.fakes import (
    DATA,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_READ,
    USER_TEXT_EA,
    KiB,
    MiB,
)
from tests.radix.trees import VALID, Bump, C, Tree


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
