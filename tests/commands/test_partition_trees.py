"""Trees of partitions, handed to every command as those of processes are: each answer says whose they are."""

from __future__ import annotations

import shlex

import pytest

from inspector.commands.registry import Result, run
from inspector.guest import Guest
from inspector.processes import Missed
from inspector.radix.columns import NO_PID
from inspector.spaces import Absent, Spaces, spaces_of
from inspector.trees import Tree
from tests.commands.asking import lines, objects, session
from tests.fakes import BROKEN_PID, PID, broken_target, guest

LPID = 3
MISSING = LPID + 2
COMMANDS = (
    *("maps --all", "maps --all --leaves", "maps --all --sort size", "rmap 0..1G"),
    *("tables", "tables --by pid", "tables --list", "tables --where"),
    *("dirty", "dirty --by pid", "age --slot 0:64M"),
    *("search word 0 --limit 1", "search word 0 --limit 1 --user"),
    *("audit --severity info", "mark it"),
)


def partitions(at: Guest) -> Spaces:
    """The tree of a process as that of a partition and as that of a process in it, and a broken one as another's."""
    entries = {each.pid: each for each in at.processes()}
    whole, broken = entries[PID], entries[BROKEN_PID]
    trees = (
        Tree(LPID, None, whole.address, whole.entry),
        Tree(LPID, PID, whole.address, whole.entry, 0xBAD),
        Tree(LPID + 1, None, broken.address, broken.entry, 0xBAD),
    )
    return spaces_of(at, trees, Missed(), (Absent(MISSING, None, "no-partition", "there is none"),))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Guest:
    """A guest whose address spaces are those."""
    found = guest(broken_target())
    spaces = partitions(found)
    monkeypatch.setattr(found, "spaces", lambda *_words, **_more: spaces)
    return found


def asked(words: str, at: Guest) -> tuple[str, list[Result]]:
    """What a person sees of a command, and its results."""
    results = list(run(session(at), shlex.split(words)))
    return "\n".join(lines(results)), results


@pytest.mark.parametrize("words", COMMANDS)
def test_no_tree_is_taken_for_a_process_s(words: str, at: Guest) -> None:
    seen, results = asked(words, at)
    assert "PID None" not in seen
    assert f"PID {NO_PID}" not in seen
    assert "the kernel" not in seen
    told = [each for each in objects(results) if each.get("lpid") is not None]
    assert {each["lpid"] for each in told} <= {0, LPID, LPID + 1, MISSING}
    assert {(each["lpid"], each["pid"]) for each in told} <= {
        *((LPID, None), (LPID, PID), (LPID + 1, None), (MISSING, None)),
        *([(0, None)] if words.startswith("audit") else []),  # of the process table itself
    }
    if not words.startswith("mark"):
        assert {"oddity": "no-partition", "lpid": MISSING, "pid": None}.items() <= next(
            each for each in told if each.get("oddity") == "no-partition"
        ).items()


def test_whose_the_maps_are_stands_above_them(at: Guest) -> None:
    seen, _ = asked("maps --all", at)
    heads = [line for line in seen.splitlines() if "-table entry" in line]
    assert [line.partition("  ")[0] for line in heads] == [f"LPID {LPID}", f"PID {PID} of LPID {LPID}", "LPID 4"]
    assert ["partition-table" in line for line in heads] == [True, False, True]


def test_addresses_of_a_partition_have_no_quadrant(at: Guest) -> None:
    spaces = at.spaces()
    assert [each.base for each in spaces.roots] == [each.base for each in spaces.trees] == [0, 0, 0]
    assert [each.pid for each in spaces.processes] == [PID]
    assert set(spaces.ranges.pid.tolist()) == {NO_PID, PID}
    assert set(spaces.ranges.lpid.tolist()) == {LPID, LPID + 1}


def test_only_the_entry_of_a_process_has_a_second_doubleword_that_is_reserved(at: Guest) -> None:
    _, results = asked("audit --rule process-entry-reserved", at)
    found = [(each["lpid"], each["pid"]) for each in objects(results) if each.get("rule") == "process-entry-reserved"]
    assert found == [(LPID, PID)]


def test_two_moments_of_partitions_are_held_against_each_other(at: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    on = session(at)
    list(run(on, ["mark", "before"]))
    assert not [each for each in objects(list(run(on, ["diff", "before"]))) if "change" in each]
    leaf = at.spaces().columns
    target = broken_target()
    target.source.put_word(int(leaf.address[leaf.lpid == LPID + 1][0]), 0)
    after = partitions(guest(target))
    monkeypatch.setattr(at, "spaces", lambda *_words, **_more: after)
    told = objects(list(run(on, ["diff", "before"])))
    assert {(each["lpid"], each["pid"]) for each in told if "change" in each} == {(LPID + 1, None)}


def test_a_tree_is_named_by_the_process_and_the_partition() -> None:
    assert [Tree(lpid, pid, 0, 0).name for lpid, pid in ((0, 0), (0, 4), (1, 4), (0, None), (7, None))] == [
        *("PID 0", "PID 4", "PID 4 of LPID 1", "LPID 0", "LPID 7")
    ]
    assert [Tree(1, pid, 0, 0).to_sweep().base >> 60 for pid in (0, 4, None)] == [0xC, 0, 0]
