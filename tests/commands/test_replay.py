"""``replay``: lines in, answers out, on an overlay of any target."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.commands.notes import Aside
from inspector.commands.registry import Result, Session, run
from inspector.commands.replay import Replayed
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.kvm.lines import Request
from inspector.kvm.replay import Replay
from inspector.render.style import Style
from tests.commands.asking import ask, lines, objects, session
from tests.fakes import GUEST_PAGES, PARTITION_TABLE_AT, guest, kvm_host_target, linux_target

HVA = 0x7F00_0000_0000
SLOT = {"op": "slot", "lpid": 7, "base": 0, "size": "0x40000000", "hva": hex(HVA)}
STORE, LOAD = "0x42000000", "0x40000000"


def fault(gpa: int, dsisr: str = STORE, lpid: int = 7, **host: Any) -> dict[str, Any]:
    """A fault at guest real ``gpa``, which the host has at the same real address and 256M."""
    where = {"hva": HVA + gpa, "base": (1 << 28) + gpa, "shift": 16, "writable": True, "dirty": True, "io": False}
    return {"op": "fault", "lpid": lpid, "ea": gpa, "gpa": gpa, "dsisr": dsisr, "host": {**where, **host}}


def written(*asked: dict[str, Any] | str) -> str:
    """These as lines."""
    return "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in asked)


def answers(text: str, words: str = "", at: Guest | None = None) -> list[dict[str, Any]]:
    """The answers to these lines, where none of them is wrong."""
    return [each for each in objects(ask(f"replay - {words}", at, text)) if "note" not in each]


def told(session: Session, words: list[str]) -> tuple[list[dict[str, Any]], str]:
    """The answers, and what the command raises after them."""
    found: list[Result] = []
    with pytest.raises(UsageError) as raised:
        found.extend(run(session, words))
    return [each for each in objects(found) if "note" not in each], str(raised.value)


def test_a_guest_from_its_first_fault_to_its_end() -> None:
    text = written(
        {**SLOT, "flags": ["log"]},
        fault(0x1_0000),
        {"op": "age", "lpid": 7, "gpa": "0x10000"},
        {"op": "test-age", "lpid": 7, "gpa": "0x10000"},
        {"op": "dirty-log", "lpid": 7, "base": 0, "size": "0x40000000"},
        {"op": "dirty-log", "lpid": 7, "base": 0, "size": "0x40000000"},
        {"op": "unmap", "lpid": 7, "gpa": "0x10000"},
        {"op": "free", "lpid": 7},
    )
    slot, first, aged, old, log, again, unmapped, freed = answers(text)
    assert (slot["result"], aged["result"], old["result"], freed["result"]) == (0, 1, 0, 0)
    assert first["result"] == "RESUME_GUEST"
    assert first["installed"] == {"gpa": "0x10000", "raw": "0xc000000010010187", "shift": 16}
    assert first["path"][-1] == "installed"
    assert (log["pages"], again["pages"]) == (1, 0)
    assert bytes.fromhex(log["bitmap"])[0] == 2
    assert log["tlbie"] == unmapped["tlbie"] == [{"rb": "0x100a0", "lpid": 7, "ric": 0}]


def test_the_guest_itself_is_never_written_to() -> None:
    target = kvm_host_target()
    before = {at: bytes(chunk) for at, chunk in target.source.chunks.items()}
    answers(written({**SLOT, "lpid": 1}, fault(0x10_0000, lpid=1), {"op": "free", "lpid": 1}), at=guest(target))
    assert {at: bytes(chunk) for at, chunk in target.source.chunks.items()} == before


def test_a_guest_that_is_there_has_its_tree_unless_it_is_to_be_empty() -> None:
    (there,) = answers(written({"op": "unmap", "lpid": 1, "gpa": 0}), at=guest(kvm_host_target()))
    assert there["path"] == ["unmapped", "dirty-nowhere"]
    (empty,) = answers(written({"op": "unmap", "lpid": 1, "gpa": 0}), "--empty", guest(kvm_host_target()))
    assert empty["path"] == ["nothing-there"]


def test_a_freed_guest_is_gone_and_may_come_again() -> None:
    free, touch = {"op": "free", "lpid": 1}, {"op": "unmap", "lpid": 1, "gpa": 0}
    first, again, page = answers(written(free, free, touch), at=guest(kvm_host_target()))
    assert first["path"] == ["freed"]
    assert again["path"] == ["no-tree"]
    assert page["path"] == ["nothing-there"]


def test_wrong_lines_are_told_and_the_next_goes_on() -> None:
    text = written(SLOT, "nonsense", "", {"op": "fly"}, fault(0x1_0000), {"op": "unmap", "lpid": 0, "gpa": 0})
    found, end = told(session(stdin=text), ["replay", "-"])
    assert [each.get("line") for each in found] == [None, 2, 4, None, 6]
    assert "no JSON" in found[1]["error"]
    assert found[3]["result"] == "RESUME_GUEST"
    assert end == "standard input: 3 lines were, from 2 on, wrong, and the answer says why; mend it and replay again"


def test_it_stops_at_the_first_error_if_it_is_to() -> None:
    text = written(SLOT, fault(0x1_0000, host=None) | {"host": None}, fault(0x2_0000))
    assert [each["result"] for each in answers(text, "--stop")] == [0, "EFAULT"]
    assert [each["result"] for each in answers(text)] == [0, "EFAULT", "RESUME_GUEST"]


def test_the_results_that_are_none_make_the_answer_a_finding() -> None:
    assert all(each.ok for each in ask("replay -", stdin=written(SLOT, fault(0x1_0000), fault(1 << 40))))
    (failed,) = (each for each in ask("replay -", stdin=written(fault(0, "0x04000000"))) if isinstance(each, Replayed))
    assert failed.answers[0]["result"] == "DSI"
    assert not failed.ok


def test_the_log_of_a_slot_that_was_never_told() -> None:
    log = {"op": "dirty-log", "lpid": 7, "base": 0, "size": "0x40000"}
    (assumed,) = answers(written(log))
    assert assumed["assumed"] is True
    assert (assumed["pages"], assumed["bitmap"]) == (0, "00" * 8)
    _, other = answers(written(SLOT, log))
    assert (other["result"], other["path"]) == ("ENOENT", ["slot-unknown"])
    _, plain = answers(written(SLOT, {**log, "size": SLOT["size"]}))
    assert (plain["result"], plain["path"]) == ("ENOENT", ["not-logged"])


def test_a_dirty_page_of_a_guest_without_slots_is_found() -> None:
    log = {"op": "dirty-log", "lpid": 1, "base": 0, "size": "0x100000"}
    first, again = answers(written(log, log), at=guest(kvm_host_target()))
    assert (first["pages"], again["pages"]) == (16, 0)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"op": "slot", "lpid": 7, "base": 0, "size": 1 << 46, "flags": 1}, "may be logged"),
        ({"op": "dirty-log", "lpid": 7, "base": 0, "size": 1 << 59}, "may be logged"),
        ({"op": "dirty-log", "lpid": 7, "base": 0, "size": 4096}, "whole pages of 64K"),
        ({"op": "dirty-log", "lpid": 7, "base": 0, "size": 0}, "whole pages"),
    ],
)
def test_sizes_are_bounded_before_anything_is_taken(asked: dict[str, Any], problem: str) -> None:
    (found,), _ = told(session(stdin=written(asked)), ["replay", "-"])
    assert problem in found["error"]


def test_logs_together_are_bounded() -> None:
    part = {"op": "slot", "lpid": 7, "size": 1 << 43, "flags": 1}
    found, _ = told(session(stdin=written(*({**part, "base": n << 43} for n in range(5)))), ["replay", "-"])
    assert ["error" in each for each in found] == [False] * 4 + [True]


def test_a_slot_that_is_too_large_is_one_that_kvm_does_not_take() -> None:
    (found,) = answers(written({"op": "slot", "lpid": 7, "base": 0, "size": 1 << 47}))
    assert found["result"] == "EINVAL"


def test_a_pool_that_is_full() -> None:
    text = written(SLOT, fault(0x1_0000))
    assert answers(text, "--pool 1T:64K")[1]["result"] == "ENOMEM"
    (none,), _ = told(session(stdin=written(SLOT)), ["replay", "-", "--pool", "1T:4K"])
    assert "no room for a root directory" in none["error"]


def test_other_kernels_and_pages() -> None:
    small = answers(written(SLOT, fault(0x1000, shift=12)), "--host-page 4k")[1]
    assert small["installed"] == {"gpa": "0x1000", "raw": "0xc000000010001187", "shift": 12}
    assert answers(written(SLOT, fault(0x1000, shift=12)), "--host-page 4K")[1] == small
    text = written(SLOT, fault(0x20_0000, shift=21), {"op": "unmap", "lpid": 7, "gpa": "0x200000"})
    new = answers(text)[2]
    old = answers(text, "--as 4.16")[2]
    assert "looks-large-once" in old["path"]
    assert "looks-large-once" not in new["path"]
    dd1 = answers(written(SLOT, fault(0x1_0000), {"op": "age", "lpid": 7, "gpa": "0x10000"}), "--as SEED --dd1")[2]
    assert dd1["tlbie"]


def test_the_trees_come_last_as_maps_has_them() -> None:
    text = written(SLOT, fault(0x1_0000), fault(0x2_0000), {"op": "slot", "lpid": 9, "base": 0, "size": 0})
    found = objects(ask("replay - --leaves", stdin=text))
    assert [each["ra"] for each in found if "ra" in each] == ["0x10010000", "0x10020000"]
    shown = lines(ask("replay - --leaves", stdin=text), Style())
    assert any(line.startswith("0x0000000000010000    64K -> 0x10010000") for line in shown)
    assert any("LPID 9" in line for line in shown)


def test_the_tree_of_a_guest_of_a_bare_machine_comes_last_too() -> None:
    found = objects(ask("replay - --leaves", guest(kvm_host_target()), written({"op": "unmap", "lpid": 1, "gpa": 0})))
    assert len([each for each in found if "ra" in each]) == len(GUEST_PAGES) - 1


def test_what_cannot_be_read_is_answered_and_nothing_changes() -> None:
    target = kvm_host_target()
    target.source.refused = [(61 << 20, 1 << 20)]
    at = guest(target)
    lay = at.lay_over()
    results = ask("replay -", at, written({"op": "unmap", "lpid": 1, "gpa": 0}, {"op": "free", "lpid": 1}))
    found = [each for each in objects(results) if "note" not in each]
    assert [each["line"] for each in found] == [1, 2]
    assert all("was not read" in each["error"] for each in found)
    assert not any(each.ok for each in results if isinstance(each, Replayed))
    assert not list(lay.overlay.changes())


def test_a_partition_table_that_cannot_be_read_is_an_answer() -> None:
    target = kvm_host_target()
    at = guest(target)
    _ = at.roots
    target.source.refused = [(PARTITION_TABLE_AT, 1 << 16)]
    found = [
        each for each in objects(ask("replay -", at, written({"op": "unmap", "lpid": 1, "gpa": 0}))) if "line" in each
    ]
    assert len(found) == 1


def test_it_acts_on_the_overlay_of_the_session_and_leaves_it_on() -> None:
    at = guest(linux_target())
    first = ask("replay - --as 6.1", at, written(SLOT, fault(0x1_0000)))
    assert any(isinstance(each, Aside) for each in first)
    again = ask("replay - --as 6.1", at, written(fault(0x1_0000)))
    assert not any(isinstance(each, Aside) for each in again)
    assert "same-leaf" in objects(again)[0]["path"]
    assert at.whatif is not None
    for words in ("--pool 2T:1M", "--host-page 4k"):
        with pytest.raises(UsageError, match="the overlay that is on"):
            ask(f"replay - {words}", at)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "bug"
    path.write_text(written(SLOT, *(fault(n << 16) for n in range(600))))
    results = ask(f"replay {path}")
    assert [len(each.answers) for each in results if isinstance(each, Replayed)] == [256, 256, 89]


def test_long_answers_are_not_kept_together(tmp_path: Path) -> None:
    path = tmp_path / "bug"
    log = {"op": "dirty-log", "lpid": 7, "base": 0, "size": 1 << 40}
    path.write_text(written(*([log] * 3)))
    results = [each for each in ask(f"replay {path}") if isinstance(each, Replayed)]
    assert [len(each.answers) for each in results] == [1, 1, 1]
    assert len(results[0].answers[0]["bitmap"]) == 1 << 22


def test_ctrl_c_is_heard_between_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bug"
    path.write_text(written(SLOT, *(fault(n << 16) for n in range(9))))
    own, met = Replay.run, []

    def struck(self: Replay, request: Request) -> dict[str, Any]:
        met.append(request)
        if len(met) == 3:
            signal.raise_signal(signal.SIGINT)
        return own(self, request)

    monkeypatch.setattr(Replay, "run", struck)
    before = signal.getsignal(signal.SIGINT)
    found: list[Result] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(run(session(), ["replay", str(path)]))
    assert [len(each.answers) for each in found if isinstance(each, Replayed)] == [3]
    assert signal.getsignal(signal.SIGINT) is before


def test_progress_is_told_of_a_file_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "bug"
    path.write_text(written(SLOT, *(fault(n << 16) for n in range(600))))
    heard: list[tuple[str, int, int]] = []
    at = guest(linux_target(), progress=lambda *told: heard.append(told))
    ask(f"replay {path}", at)
    mine = [(done, total) for what, done, total in heard if what == "replaying"]
    size = path.stat().st_size
    assert mine == sorted(mine)
    assert len(mine) > 3
    assert mine[-1] == (size, size)


@pytest.mark.parametrize("content", [b"\xff\xfe\n", b"x" * 10_000_000 + b"\n", b"[" * 10_000_000])
def test_lines_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bug"
    path.write_bytes(content + (b'{"op": "free", "lpid": 1}\n' if content.endswith(b"\n") else b""))
    found, end = told(session(), ["replay", str(path)])
    assert found[0]["line"] == 1
    assert "not UTF-8, or longer" in found[0]["error"]
    assert [each["result"] for each in found[1:]] == [0] * (len(found) - 1)
    assert "line 1 was wrong" in end
    text = content.decode("utf-8", "replace")
    found, _ = told(session(stdin=text), ["replay", "-"])
    assert found[0]["line"] == 1


@pytest.mark.parametrize("name", [".", "no/such/file"])
def test_a_file_that_cannot_be_read(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        ask(f"replay {name}")


OPS = st.one_of(
    st.builds(
        lambda page, dsisr, shift, more: fault(
            page << 16, dsisr, shift=shift, base=(page << 16) >> shift << shift, **more
        ),
        st.integers(0, 200),
        st.sampled_from([STORE, LOAD, "0x00040000", "0x02040000", "0x04000000", "0x00080000", "0x00020000"]),
        st.sampled_from([16, 21, 30]),
        st.sampled_from([{}, {"dirty": False}, {"writable": False}, {"io": True}, {"compound": 30}]),
    ),
    st.builds(
        lambda op, page: {"op": op, "lpid": 7, "gpa": page << 16},
        st.sampled_from(["unmap", "age", "test-age"]),
        st.integers(0, 200),
    ),
    st.sampled_from(
        [
            SLOT,
            {**SLOT, "flags": 1},
            {**SLOT, "flags": 2},
            {**SLOT, "size": 0},
            {"op": "free", "lpid": 7},
            {"op": "dirty-log", "lpid": 7, "base": 0, "size": SLOT["size"]},
            "nonsense",
        ]
    ),
)


@settings(max_examples=60)
@given(st.lists(OPS, max_size=30), st.sampled_from(["SEED", "4.16", "4.18", "4.19", "6.1"]))
def test_whatever_is_asked_each_line_has_one_answer(asked: list[Any], version: str) -> None:
    at = guest(linux_target())
    found: list[Result] = []
    try:
        found.extend(run(Session(at, stdin=io.StringIO(written(SLOT, *asked))), ["replay", "-", "--as", version]))
    except UsageError:
        assert "nonsense" in asked
    said = [each for each in objects(found) if "note" not in each]
    assert len(said) == len(asked) + 1
    assert [each.get("error") is not None for each in said[1:]] == [each == "nonsense" for each in asked]
    assert at.whatif is not None
    if 7 in at.whatif.machine.vms:
        at.whatif.free(at.whatif.machine.vms[7])
    if version != "6.1":
        return
    assert at.whatif.machine.pool.tables == 0


# -- from the command line ---------------------------------------------------------------------------------------------


@pytest.fixture
def started() -> Iterator[subprocess.Popen[str]]:
    """``inspector demo replay -`` between two pipes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "inspector", "demo", "replay", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    yield process
    process.kill()
    process.communicate(timeout=20)


def test_an_answer_comes_before_the_next_line_is_read(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    assert started.stdout is not None
    for asked, result in ((SLOT, 0), (fault(0x1_0000), "RESUME_GUEST"), ({"op": "free", "lpid": 7}, 0)):
        started.stdin.write(written(asked))
        started.stdin.flush()
        assert json.loads(started.stdout.readline())["result"] == result
    _, said = started.communicate("nonsense\n", timeout=20)
    assert started.returncode == 2
    assert "line 4 was wrong" in said


def test_ctrl_c_ends_the_wait_for_a_line(started: subprocess.Popen[str]) -> None:
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.write(written(SLOT))
    started.stdin.flush()
    assert started.stdout.readline()
    started.send_signal(signal.SIGINT)
    assert started.wait(20) == 130


def test_its_help_says_what_a_replay_of_faults_alone_does_not_know() -> None:
    said = " ".join(line.strip() for line in lines(ask("help replay")))
    assert "a leaf that a log cleaned has the MMU set C, and raises no fault" in said
