"""What is changed on an overlay is seen by every command, told by its diff, recorded, and gone when it is off."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from inspector.commands.changes import Compared, Of, Tally
from inspector.commands.registry import Result, Session, run
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.moments import ProcessChange
from inspector.recording import recording_of
from inspector.snapshot.write import write_snapshot
from inspector.targets.recorded import open_recorded
from inspector.ui.toolbar import gather
from inspector.ui.toolbar import lines as toolbar_lines
from inspector.whatif import POOL
from tests.commands.asking import lines, objects, session
from tests.fakes import (
    GUEST_DATA_EA,
    GUEST_PAGES,
    GUEST_READ_ONLY,
    KVM_LEAF,
    LPID,
    FakeControl,
    FakeTarget,
    GiB,
    MiB,
    guest,
    kvm_host_target,
    linux_target,
)

RA = GUEST_PAGES[GUEST_READ_ONLY][0]
GONE = f"unmap {GUEST_READ_ONLY:#x} --lpid 1 --as 6.1"


def do(at: Session, words: str) -> list[Result]:
    return list(run(at, shlex.split(words)))


def shown(at: Session, words: str) -> str:
    return "\n".join(lines(do(at, words)))


def told(at: Session, words: str) -> list[dict[str, object]]:
    return objects(do(at, words))


def memory_of(target: FakeTarget) -> dict[int, bytes]:
    return {at: bytes(chunk) for at, chunk in target.source.chunks.items() if any(chunk)}


def test_on_and_off_and_what_it_says_of_itself() -> None:
    at = session(kvm_host_target())
    assert told(at, "overlay") == [{"overlay": False, "done": None}]
    (on,) = told(at, "overlay on --pool 0x200000000:1M --host-page 4k")
    assert (on["pool"], on["pool_size"], on["page_shift"], on["kept"]) == ("0x200000000", MiB, 12, 0)
    with pytest.raises(UsageError, match="'overlay off' drops it"):
        do(at, "overlay on")
    assert "host's pages  4K" in shown(at, "overlay")
    assert told(at, "overlay off") == [{"overlay": False, "done": "off"}]
    assert told(at, "overlay off") == [{"overlay": False, "done": None}]


@pytest.mark.parametrize("words", ["overlay reset", "overlay diff"])
def test_what_needs_one_says_how_to_have_one(words: str) -> None:
    with pytest.raises(UsageError, match="'overlay on' lays one"):
        do(session(kvm_host_target()), words)


@pytest.mark.parametrize("pool", ["5", "0x200000000:x", ":"])
def test_a_pool_that_is_no_range_is_refused_alike_by_all_that_take_one(pool: str) -> None:
    said = set()
    for words in ("overlay on", "replay -"):
        with pytest.raises(UsageError) as refused:
            do(session(kvm_host_target()), f"{words} --pool {pool}")
        said.add(str(refused.value))
    assert len(said) == 1


@pytest.mark.parametrize("words", ["overlay --pool 0:1M", "overlay diff --host-page 4K", "overlay on --words"])
def test_words_that_do_not_go_together(words: str) -> None:
    with pytest.raises(UsageError, match="goes with 'overlay"):
        do(session(kvm_host_target()), words)


def test_a_page_that_is_gone_is_gone_for_every_command_and_nothing_is_written() -> None:
    target = kvm_host_target()
    at, before = session(target), memory_of(target)
    (at_entry,) = {
        step["address"] for step in _steps(at, f"xlate {GUEST_READ_ONLY:#x} --lpid 1 --guest-real")[-1:]
    }  # fmt: skip
    asked = {
        "xlate": f"xlate {GUEST_READ_ONLY:#x} --lpid 1 --guest-real",
        "within": f"maps --lpid 1 --ea {GUEST_DATA_EA:#x}",
        "behind": f"maps --partition --lpid 1 --ea {GUEST_READ_ONLY:#x} --leaves",
        "rmap": f"rmap {RA:#x}",
        "read": f"read --real {at_entry} 8",
        "tables": "tables --list --partition --lpid 1",
    }
    there = {name: shown(at, words) for name, words in asked.items()}
    do(at, GONE)
    gone = {name: shown(at, words) for name, words in asked.items()}
    assert all(there[name] != gone[name] for name in asked)
    assert "no mapping" in gone["xlate"] or "fault" in gone["xlate"]
    assert "1 mapping" in there["rmap"]
    assert "not-mapped" in gone["rmap"]
    assert POOL in shown(at, "ram")
    assert "LPID" in shown(at, "lpids")
    assert all(each.topic for each in do(at, "audit"))
    assert memory_of(target) == before
    do(at, "overlay off")
    assert {name: shown(at, words) for name, words in asked.items()} == there


def _steps(at: Session, words: str) -> list[dict[str, str]]:
    (answer,) = told(at, words)
    steps = answer["steps"]
    assert isinstance(steps, list)
    return steps


def test_search_finds_what_is_written_and_export_what_is_left(tmp_path: Path) -> None:
    at = session(kvm_host_target())
    entry = f"{RA | KVM_LEAF & ~0x82:#x}"
    found = f"search word {entry} --order big"
    there = shown(at, found)
    do(at, GONE)
    assert shown(at, found) != there
    do(at, f"export {tmp_path}/behind.csv --partition --lpid 1 --leaves")
    assert f"{RA:#x}" not in (tmp_path / "behind.csv").read_text()


def test_the_difference_is_that_leaf_and_no_other() -> None:
    at = session(kvm_host_target())
    do(at, GONE)
    rows = [each for each in told(at, "overlay diff") if "change" in each]
    assert [(each["lpid"], each["ea"], each["size"]) for each in rows] == [(LPID, f"{GUEST_READ_ONLY:#x}", 64 << 10)]
    assert do(at, "overlay diff --exit-code --summary")[-1].ok is False
    word, total = told(at, "overlay diff --words")
    assert (word["before"], word["after"]) == (f"{RA | KVM_LEAF & ~0x82:#x}", "0x0")
    assert total == {"words": 1, "in_pool": 0, "unknown": 0}
    assert told(at, "overlay diff --words --limit 0") == [total]
    assert at.at.whatif is not None  # it was lifted to look at the guest, and is on again
    (state,) = told(at, "overlay")
    assert (state["kept"], state["touched"]) == (256, [LPID])


def test_reset_forgets_all_that_was_done() -> None:
    at = session(kvm_host_target())
    do(at, GONE)
    do(at, "slot 0:1G --lpid 7 --flags log")
    do(at, "overlay reset")
    assert told(at, "overlay diff --words") == [{"words": 0, "in_pool": 0, "unknown": 0}]
    assert do(at, "overlay diff --exit-code")[-1].ok
    (state,) = told(at, "overlay")
    assert (state["kept"], state["tables"], state["slots"], state["touched"]) == (0, 0, 0, [])


def test_a_snapshot_of_it_answers_as_it_did(tmp_path: Path) -> None:
    at = session(kvm_host_target())
    do(at, GONE)
    do(at, "slot 0:1G --lpid 7")
    behind = shown(at, "maps --partition --lpid 1")
    path = str(tmp_path / "what.core.gz")
    for everything in (False, True):
        write_snapshot(path, recording_of(at.at, everything=everything), force=True)
        with Guest(open_recorded(path)) as again:
            other = session(again)
            assert shown(other, "maps --partition --lpid 1") == behind
            assert "LPID 7" in shown(other, "maps --partition --lpid 7")
            assert "recorded from an overlay" in " ".join(shown(other, "info").split())
            assert POOL in {each.name for each in again.memory.ram}
            assert again.whatif is None
            assert "what-if" in toolbar_lines(gather(again), 200)[0]


def test_guests_that_no_table_holds_are_recorded_too(tmp_path: Path) -> None:
    at = session(linux_target())
    do(at, "slot 0:1G --lpid 5")
    path = str(tmp_path / "what.core.gz")
    write_snapshot(path, recording_of(at.at))
    with Guest(open_recorded(path)) as again:
        other = session(again)
        assert shown(other, "maps --partition --lpid 5") == shown(at, "maps --partition --lpid 5")
        assert [each["lpid"] for each in told(other, "lpids") if "note" not in each] == [5]
        do(other, "free --lpid 5")
        (gone,) = (each for each in told(other, "overlay diff") if "process" in each)
        assert (gone["process"], gone["lpid"]) == ("went", 5)


def test_a_snapshot_whose_words_on_this_are_not_ours_opens(tmp_path: Path) -> None:
    target = linux_target()
    target.machine = {"whatif": {"made": [{"lpid": "x"}, 3, {"lpid": 2, "entry": "0xc0000100000000ad"}]}}
    assert [each.lpid for each in guest(target).spaces(partition=True, guests=True).trees] == [2]


def test_that_the_guest_has_run_since_is_said_once_and_words_follow_it() -> None:
    target = kvm_host_target()
    control = FakeControl(target)
    at = session(target)
    do(at, GONE)
    assert len(do(at, "age 0 --lpid 1")) == 1
    control.step(0)
    target.source.put_word(0x100, 0x1234)
    said, answer = do(at, "age 0 --lpid 1")
    assert "has run since" in "".join(lines([said]))
    assert answer.ok
    assert len(do(at, "age 0 --lpid 1")) == 1
    assert "has run since" in " ".join(shown(at, "overlay").split())
    assert at.at.memory.read_u64(0x100) == 0x1234


def test_info_and_the_toolbar_show_it() -> None:
    at = session(kvm_host_target())
    assert told(at, "info")[0]["overlay"] is None
    ram = told(at, "info")[0]["ram"]
    do(at, GONE)
    (info,) = told(at, "info")
    assert isinstance(info["overlay"], dict)
    assert (info["overlay"]["kept"], info["ram"]) == (256, ram)
    assert "'overlay off' shows the guest itself" in " ".join(shown(at, "info").split())
    assert "overlay" in toolbar_lines(gather(at.at), 200)[0]
    do(at, "slot 0:1G --lpid 7")
    assert "it keeps 66048 bytes of memory" in " ".join(shown(at, "info").split())


def test_a_pool_in_ram_is_seen_as_empty_there_and_nowhere_else(tmp_path: Path) -> None:
    at = session(kvm_host_target())
    do(at, f"overlay on --pool {GiB:#x}:64K")
    assert at.at.memory.read(GiB, 16) == bytes(16)
    with pytest.raises(UsageError, match="name a larger one"):
        do(at, "overlay off") + do(at, "overlay on --pool 0x200000000:4K") + do(at, "slot 0:1G --lpid 9")


def test_what_came_of_a_partition_is_counted_as_lpids_and_of_a_process_as_pids() -> None:
    at = session(kvm_host_target())
    do(at, "fault 0x7000000 --lpid 9 --dsisr nopte --host base=0x10000")
    said = shown(at, "overlay diff")
    assert said.endswith("\n  LPIDs: 1 came")
    assert " PIDs:" not in said
    summary = told(at, "overlay diff --summary")[-1]["summary"]
    assert isinstance(summary, dict)
    assert summary["processes"] == {"came": 1}
    of = tuple(Tally(lpid, pid, "replaced") for lpid, pid in ((0, 5), (0, 6), (9, None)))
    both = "\n".join(lines([Compared("a", "b", of, chosen=False, exit_code=False)]))
    assert "  PIDs: 2 replaced\n  LPIDs: 1 replaced\n" in both
    (other,) = lines([Of(9, None, ProcessChange(9, None, 1, 2))])
    assert "another guest has this LPID" in other


def test_as_what_it_ran_last_is_said_once_anything_ran() -> None:
    at = session(kvm_host_target())
    assert "last run as" not in shown(at, "overlay on")
    do(at, GONE)
    assert "last run as   6.1" in shown(at, "overlay")
    assert "last run as" not in shown(at, "overlay reset")
