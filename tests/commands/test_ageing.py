"""``dirty`` and ``age``, held to a plain reading of every entry of fakes and of recorded guests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import inspector
from inspector.cli import main
from inspector.commands.registry import run as run_words
from inspector.errors import InspectorError, RecordError, UsageError
from inspector.guest import Guest
from inspector.radix.bits import PTE_C, PTE_R
from tests.commands.asking import ask, lines, session, shown, told
from tests.fakes import (
    BROKEN_PID,
    KERNEL,
    PID,
    SMALL_PAGES_EA,
    USER_DATA_EA,
    USER_PAGES_AT,
    USER_TEXT_EA,
    FakeTarget,
    GiB,
    MiB,
    bare_target,
    broken_target,
    guest,
    linux_target,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
LIMIT = 60.0
"""Seconds that a process may take."""
Leaf = tuple[int, int, int, int]
"""(pid, real address, log2 of its size, entry)."""


def every_leaf(at: Guest) -> Iterator[Leaf]:
    """Every leaf that the process table leads to, read entry by entry with nothing but the masks of the formats."""
    for process in at.processes():
        todo = [(process.entry & 0x0FFF_FFFF_FFFF_FF00, 13, 52)]
        while todo:
            base, bits, reach = todo.pop()
            table = at.memory.read(base, 8 << bits)
            shift = reach - bits
            for n in range(0, len(table), 8):
                entry = int.from_bytes(table[n : n + 8], "big")
                if entry >> 62 == 3:
                    yield process.pid, entry & 0x01FF_FFFF_FFFF_F000, shift, entry
                elif entry >> 63:
                    todo.append((entry & 0x0FFF_FFFF_FFFF_FF00, entry & 0x1F, shift))


def plain_bitmap(leaves: list[Leaf], bit: int, base: int, size: int, page: int) -> bytes:
    """A bit for each page of a slot in which any of the leaves that have ``bit`` maps a byte, asked page by page."""
    bitmap = bytearray((size // page + 63) // 64 * 8)
    for _, ra, shift, entry in leaves:
        if entry & bit:
            end = min(ra + (1 << shift), base + size)
            for at in range(max(ra, base) // page * page, end, page):
                bitmap[(at - base) // page // 8] |= 1 << (at - base) // page % 8
    return bytes(bitmap)


@pytest.mark.parametrize("kind", ["pseries-p9", "pseries-p10", "powernv9"])
@pytest.mark.parametrize(
    ("words", "page", "base", "size"),
    [
        ("", 64 << 10, 0, GiB),
        ("--user", 64 << 10, 0, GiB),
        ("--user --host-page 4K", 4 << 10, 0x101_3000, 63 * MiB + 4096),
        ("--pid 0 --privileged", 64 << 10, 0x11_0000, 3 * MiB),
    ],
)
@pytest.mark.parametrize(("name", "bit"), [("dirty", PTE_C), ("age", PTE_R)])
def test_a_recorded_guests_bitmap_is_that_of_its_leaves(
    kind: str, words: str, page: int, base: int, size: int, name: str, bit: int, tmp_path: Path
) -> None:
    file = tmp_path / "bitmap"
    with inspector.open_target(str(FIXTURES / f"{kind}.core.gz")) as at:
        leaves = list(every_leaf(at))
        assert len(leaves) > 100
        if "--user" in words:
            leaves = [leaf for leaf in leaves if not leaf[3] & 8]
        if "--pid 0" in words:
            leaves = [leaf for leaf in leaves if leaf[0] == 0 and leaf[3] & 8]
        (answer,) = told(f"{name} {words} --slot {base:#x}:{size:#x} --bitmap {file}", at)
    wanted = plain_bitmap(leaves, bit, base, size, page)
    assert file.read_bytes() == wanted
    assert answer["pages"] == int.from_bytes(wanted, "little").bit_count()
    assert answer["of_pages"] == size // page
    assert answer["bitmap_bytes"] == answer["file_size"] == len(wanted)
    assert answer["path"] == str(file)


@pytest.mark.parametrize("make", [linux_target, bare_target])
@pytest.mark.parametrize(("words", "bit", "has"), [("dirty", PTE_C, True), ("dirty --clean", PTE_C, False),
                                                   ("age", PTE_R, True), ("age --idle", PTE_R, False)])  # fmt: skip
def test_counts_are_of_every_leaf(make: Callable[[], FakeTarget], words: str, bit: int, has: bool) -> None:
    leaves = list(every_leaf(guest(make())))
    for each in told(f"{words} --counts", make()):
        mine = [entry for _, _, shift, entry in leaves if shift == each["page_shift"]]
        assert each["of_pages"] == len(mine)
        assert each["pages"] == sum(1 for entry in mine if bool(entry & bit) == has)
        assert (each["bytes"], each["of_bytes"]) == tuple(
            each[name] << each["page_shift"] for name in ("pages", "of_pages")
        )
    by_pid = [each for each in told(f"{words} --by pid", make()) if each["pid"] is not None]
    assert {each["pid"] for each in by_pid} == {0, PID}
    for each in by_pid:
        mine = [entry for pid, _, shift, entry in leaves if (pid, shift) == (each["pid"], each["page_shift"])]
        assert (each["pages"], each["of_pages"]) == (
            sum(1 for entry in mine if bool(entry & bit) == has),
            len(mine),
        )


def runs(words: str) -> list[tuple[str, int]]:
    """(ea, count) of each range that is told."""
    return [(each["ea"], each["count"]) for each in told(words) if "ea" in each]


def test_ranges_are_those_of_maps_that_have_the_bit() -> None:
    for words, name in (("dirty", "dirty"), ("age", "accessed")):
        every = [each for each in told("maps --all") if "ea" in each]
        assert [each for each in told(words) if "ea" in each] == [each for each in every if each[name]]
    assert runs("dirty --clean") == [
        (f"{USER_TEXT_EA:#x}", 1),
        *((each["ea"], each["count"]) for each in told("maps --all --user --unchanged") if each["ea"] != "0x10000000"),
    ]
    assert runs("age --idle") == []


def test_conditions_hold_page_by_page() -> None:
    assert runs(f"dirty --ea {KERNEL + 40 * MiB:#x}") == [(f"{KERNEL + 40 * MiB:#x}", 1)]
    assert runs("dirty --ra 0x3010000:0x10001 --user") == [(f"{USER_DATA_EA:#x}", 2)]
    (counted,) = told("dirty --ra 0x3010000:0x10001 --user --counts")
    assert (counted["pages"], counted["of_pages"]) == (2, 2)
    (logged,) = told("dirty --ea 0x10040000 --slot 0:64M")
    assert logged["pages"] == 1


def test_a_small_page_marks_the_large_one_that_it_is_in() -> None:
    slot = f"--slot {USER_PAGES_AT + MiB:#x}:128K --ea {SMALL_PAGES_EA + 0x1000:#x}:8K"
    assert told(f"dirty {slot}")[0]["pages"] == 1
    assert told(f"dirty {slot} --host-page 4k")[0]["pages"] == 2
    assert told(f"age {slot} --rights w --host-page 4K")[0]["pages"] == 1


def test_a_person_is_told_how_much() -> None:
    assert shown("dirty --user --counts").splitlines() == [
        "in all           16K of 16K    dirty: 4 of 4 pages of 4K",
        "                320K of 384K   dirty: 5 of 6 pages of 64K",
        "                336K of 400K   dirty",
    ]
    assert shown("age --page 1G --counts") == "in all: nothing is mapped that is asked about"
    assert shown("age --slot 0:64M") == "0x0: 1024 of 1024 pages of 64K referenced"


def test_a_limit_is_told() -> None:
    *_, note, _, _, _ = told("dirty --limit 2")
    assert len(runs("dirty --limit 2")) == 2
    assert note["note"].startswith("2 of ")
    assert runs("dirty --limit 0") == []
    assert "note" not in str(told("dirty --limit 100"))


def test_a_file_is_there_whole_and_kept_unless_forced(tmp_path: Path) -> None:
    file = tmp_path / "log"
    results = ask(f"dirty --slot 0:96M --bitmap {file}")
    assert file.read_bytes() == b"\xff" * 128 + bytes(64)
    assert lines(results)[-1] == f"{file}: 192 bytes"
    with pytest.raises(RecordError, match="--force to replace it"):
        ask(f"dirty --slot 0:64M --bitmap {file}")
    assert len(file.read_bytes()) == 192
    ask(f"dirty --slot 0:64M --bitmap {file} --force")
    assert file.read_bytes() == b"\xff" * 128
    assert os.listdir(tmp_path) == ["log"]


def test_findings_are_told_beside_the_bitmap(tmp_path: Path) -> None:
    results = ask(f"dirty --slot 0:64M --bitmap {tmp_path / 'log'}", broken_target())
    assert [each.ok for each in results] == [True, False, False, False]
    assert f"PID {BROKEN_PID}" in shown("dirty --by pid", broken_target())


def test_what_was_not_read_to_the_end_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that was not read yet would look untouched."""
    at = guest()
    spaces = at.spaces(None)
    spaces.sweep.interrupted = True
    monkeypatch.setattr(Guest, "spaces", lambda *_, **__: spaces)
    file = tmp_path / "log"
    results = ask(f"dirty --slot 0:64M --bitmap {file}", at)
    assert "no bitmap was written" in "\n".join(lines(results))
    assert not all(each.ok for each in results)
    assert not file.exists()


def test_wrong_words_are_told_before_anything_is_read() -> None:
    for words, says in (
        ("dirty --bitmap x", "--slot 0:1G"),
        ("dirty --host-page 4K", "--host-page is for the bitmap"),
        ("dirty --force", "--force is for the bitmap"),
        ("dirty --slot 0:1G --force", "--bitmap FILE"),
        ("dirty --slot 0:1G --host-page 2M", "64K or 4K"),
        ("dirty --slot 0:1G --clean", "bitmap alone"),
        ("age --slot 0:1G --limit 4", "bitmap alone"),
        ("dirty --slot 1G", "ADDR:LEN"),
        ("dirty --slot 0x1000:64K", "0x0:0x20000 holds it"),
        ("dirty --slot 0:0x10000000000000", "8589934592 bytes"),
        ("dirty --idle", "idle"),
        ("dirty --by lpid", "lpid"),
        ("dirty --limit -1", "--limit"),
        ("dirty --rights z", "z"),
        ("dirty --slot 0:1G --bitmap -", "use a pipe"),
    ):
        target = linux_target()
        with pytest.raises(InspectorError, match=says) as caught:
            ask(words, target)
        assert isinstance(caught.value, UsageError)
        assert target.source.asked == [], words


# -- standard output ---------------------------------------------------------------------------------------------------


def test_a_pipe_gets_bytes_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inspector", "demo", "dirty", "--slot", "0:1G", "--bitmap", "-"],
        capture_output=True,
        timeout=LIMIT,
        check=True,
    )
    with inspector.open_target("demo") as demo:
        wanted = plain_bitmap(list(every_leaf(demo)), PTE_C, 0, GiB, 64 << 10)
    assert done.stdout == wanted
    assert b"16384 pages of 64K dirty\nstandard output: 2048 bytes" in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    words = [sys.executable, "-m", "inspector", "demo", "dirty", "--slot", "0:1T", "--bitmap", "-"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.read(8) == b"\xff" * 8
        running.stdout.close()
        assert running.wait(LIMIT) == 0
        assert running.stderr is not None
        assert b"Traceback" not in running.stderr.read()


def test_a_terminal_and_a_script_get_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-c", "dirty --slot 0:1G --bitmap -"]) == 2
    assert "use a pipe" in capsys.readouterr().err
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "inspector", "demo", "age", "--slot", "0:1G", "--bitmap", "-"]
    done = subprocess.run(words, stdout=theirs, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 2
    assert b"not written to a terminal" in done.stderr


def test_bytes_are_asked_for_once_they_are_wanted() -> None:
    out = io.BytesIO()
    asked = session()
    asked.stdout = lambda: out
    results = list(run_words(asked, ["dirty", "--slot", "0:64M", "--bitmap", "-"]))
    assert out.getvalue() == b"\xff" * 128
    assert lines(results)[-1] == "standard output: 128 bytes"
