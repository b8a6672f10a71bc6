"""``mark``: moments that are kept, listed, replaced and let go of."""

from __future__ import annotations

import io
import re
import shlex

import pytest

import inspector
from inspector.commands import mark as mark_module
from inspector.commands.registry import Session, run
from inspector.errors import NotSupported, UsageError
from tests.commands.asking import objects, session, shown
from tests.commands.changing import Live
from tests.fakes import USER_TEXT_EA, guest


def test_a_mark_tells_how_many_bytes_it_takes() -> None:
    assert re.search(r"it takes \d+ bytes of memory|it takes [\d.]+[KM] of memory", shown("mark before"))


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
