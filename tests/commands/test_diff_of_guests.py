"""What the processes of KVM guests map otherwise than before, both stages at once: by marks, snapshots, and a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import UsageError
from inspector.recording import record
from tests.commands.asking import lines, told
from tests.commands.changing import Live
from tests.fakes import (
    GUEST_DATA_EA,
    GUEST_PAGES,
    GUEST_PID,
    GUEST_RAM_AT,
    GUEST_SMALL_EA,
    GUEST_TEXT_EA,
    HR,
    KERNEL,
    KVM_LEAF,
    LPID,
    PARTITION_TABLE_AT,
    KiB,
    MiB,
    kvm_host_target,
)
from tests.test_fixtures import FIXTURES

ELSEWHERE = GUEST_RAM_AT + 14 * MiB
EXPECTED = {
    (0, KERNEL + 2 * MiB): (["moved"], 2 * MiB, GUEST_PAGES[2 * MiB][0], ELSEWHERE),
    (0, KERNEL + 6 * MiB): (["removed"], 2 * MiB, GUEST_PAGES[6 * MiB][0], None),
    (GUEST_PID, GUEST_TEXT_EA): (["moved"], 64 * KiB, GUEST_PAGES[2 * MiB][0], ELSEWHERE),
    (GUEST_PID, GUEST_DATA_EA): (["removed"], 64 * KiB, GUEST_PAGES[0x17_0000][0], None),
    (GUEST_PID, GUEST_SMALL_EA): (["removed"], 16 * KiB, GUEST_PAGES[6 * MiB][0], None),
}
"""What the host does to a guest real page is seen at each effective address that leads there; real ones are the
host's."""
CONTEXT = f"--lpid {LPID}"


def leaf(host: Live, ea: int, **how: Any) -> int:
    """Where the last entry stands that a walk of the guest's reads."""
    at = host.guest.translate(ea, lpid=LPID, **how).steps[-1].address
    assert at is not None
    return at


def changes(host: Live) -> Callable[[], None]:
    """What then changes at once: the host moves the page behind the guest's text and takes away the one behind its
    small pages, and the guest unmaps its data."""
    put = host.target.source.put_word
    text, small = (leaf(host, gra, guest_real=True) for gra in (2 * MiB, 6 * MiB))
    (data,) = (
        step.address
        for step in host.guest.translate(GUEST_DATA_EA, lpid=LPID, pid=GUEST_PID).steps
        if step.stage == 1 and step.level == 0
    )
    assert data is not None

    def happen() -> None:
        put(text, ELSEWHERE | KVM_LEAF | 1 << 63 | 1 << 62)
        put(small, 0)
        put(data, 0)
        host.target.clock.tick()

    return happen


def as_told(found: list[dict[str, Any]]) -> dict[tuple[int, int], tuple[list[str], int, int, int | None]]:
    """What became of each mapping: kinds, size, and the host's real addresses."""
    mapped = [each for each in found if "change" in each]
    assert {each["lpid"] for each in mapped} <= {LPID}
    return {
        (each["pid"], int(each["ea"], 16)): (
            [kind for kind in each["change"] if kind != "touched"],
            each["size"],
            int(each["before"]["ra"], 16),
            each["after"] and int(each["after"]["ra"], 16),
        )
        for each in mapped
    }


@pytest.fixture
def host() -> Live:
    return Live(kvm_host_target())


def by_mark(host: Live, _: Path) -> str:
    host.ask("mark before")
    changes(host)()
    return "diff before"


def by_marks(host: Live, path: Path) -> str:
    words = by_mark(host, path)
    host.ask("mark after")
    return f"{words} after"


def by_snapshot(host: Live, path: Path) -> str:
    record(host.guest, str(path / "before.core.gz"))
    changes(host)()
    return f"diff {path}/before.core.gz"


def by_snapshots(host: Live, path: Path) -> str:
    words = by_snapshot(host, path)
    record(host.guest, str(path / "after.core.gz"))
    return f"{words} {path}/after.core.gz"


def by_a_run(host: Live, _: Path) -> str:
    host.control.on_wait = changes(host)
    return "diff --run 1"


@pytest.mark.parametrize("how", [by_mark, by_marks, by_snapshot, by_snapshots, by_a_run])
def test_both_stages_are_held_against_what_they_were(
    host: Live, tmp_path: Path, how: Callable[[Live, Path], str]
) -> None:
    words = how(host, tmp_path)
    again = how is not by_a_run
    found = host.told(f"{words} {CONTEXT}")
    assert as_told(found) == EXPECTED
    assert found[-1]["summary"]["differs"] is True
    if again:
        mine = as_told(host.told(f"{words} {CONTEXT} --pid {GUEST_PID}"))
        assert mine == {place: change for place, change in EXPECTED.items() if place[0] == GUEST_PID}
        assert as_told(host.told(f"{words} {CONTEXT} --all --only moved --user")) == {
            (GUEST_PID, GUEST_TEXT_EA): EXPECTED[GUEST_PID, GUEST_TEXT_EA]
        }


@pytest.mark.parametrize("how", [by_mark, by_snapshots])
def test_table_pages_of_the_guests_own_come_and_go(
    host: Live, tmp_path: Path, how: Callable[[Live, Path], str]
) -> None:
    tables = [each for each in told(f"tables {CONTEXT} --list", host.target) if "table" in each]
    (lowest,) = (each for each in tables if each["level"] == 0 and int(each["ea"], 16) == GUEST_SMALL_EA)
    path = [
        step.address
        for step in host.guest.translate(GUEST_SMALL_EA, lpid=LPID, pid=GUEST_PID).steps
        if step.stage == 1 and step.level == 1
    ]
    assert path[0] is not None
    if how is by_mark:
        host.ask("mark before")
        words = "diff before"
    else:
        record(host.guest, str(tmp_path / "before.core.gz"))
        words = f"diff {tmp_path}/before.core.gz"
    host.put(path[0], 0)
    freed = [each for each in host.told(f"{words} {CONTEXT}") if "table" in each]
    assert [(each["table"], each["level"], each["address"]) for each in freed] == [("freed", 0, lowest["table"])]


def test_a_mark_does_not_change_with_the_guest(host: Live) -> None:
    host.ask("mark before")
    assert host.told(f"diff before {CONTEXT}")[-1]["summary"]["differs"] is False
    size = host.told("mark")[0]["size"]
    changes(host)()
    host.ask(f"maps {CONTEXT}")
    assert host.told("mark")[0]["size"] == size


def test_what_guests_take_counts_in_the_room_of_marks(host: Live) -> None:
    mark = host.told("mark all")
    host.put(PARTITION_TABLE_AT + 16 * LPID, 0)
    less = host.told("mark none")
    assert mark[0]["size"] > less[0]["size"] + 1000


def test_a_guest_that_was_not_there_yet_is_told(host: Live) -> None:
    entry = PARTITION_TABLE_AT + 16 * LPID
    word = host.target.source.word(entry)
    assert word & HR
    host.put(entry, 0)
    host.ask("mark before")
    host.put(entry, word)
    with pytest.raises(UsageError, match=f"no KVM guest of LPID {LPID} at 'before'"):
        host.ask(f"diff before {CONTEXT}")


def test_guests_of_guests_are_not_in_a_mark(host: Live) -> None:
    host.ask("mark before")
    with pytest.raises(UsageError, match=r"--run and snapshots .* compare --nested"):
        host.ask(f"diff before {CONTEXT} --nested 0x1000:2")


def test_a_pid_on_neither_side_is_said_to_be_that_guests(host: Live) -> None:
    host.ask("mark before")
    host.ask("mark after")
    for words in ("diff before", "diff before after"):
        (odd,) = (each for each in host.told(f"{words} {CONTEXT} --pid 9") if "oddity" in each)
        assert (odd["oddity"], odd["lpid"], odd["pid"]) == ("no-process", LPID, 9)


def test_what_is_behind_an_unread_table_is_unseen_and_not_gone(host: Live) -> None:
    """The host's own table that leads to the guest's first gigabyte cannot be read after the mark."""
    host.ask("mark before")
    (table,) = {
        step.address
        for step in host.guest.translate(2 * MiB, lpid=LPID, guest_real=True).steps
        if step.level == 1 and step.stage == 2
    }
    assert table is not None
    host.target.source.refused = [(table >> 12 << 12, 4 * KiB)]
    host.target.clock.tick()
    results = host.ask(f"diff before {CONTEXT}")
    assert "is unseen, and not gone" in " ".join(lines(results))
    found = host.told(f"diff before {CONTEXT}")
    kinds = {kind for each in found if "change" in each for kind in each["change"]}
    assert kinds == {"unseen"}


def test_the_recorded_guests_are_the_same_as_themselves() -> None:
    file = FIXTURES / "powernv9-kvm.core.gz"
    *_, only = told(f"diff {file} {file} {CONTEXT}")
    assert only["summary"]["differs"] is False
