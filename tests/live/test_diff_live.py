"""What a real guest's processes touched between two moments, by marks, by snapshots, and in one command."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.commands.registry import Session, run
from inspector.recording import record
from scripts.guests import Machine
from scripts.qmp import PATIENCE
from tests.commands.asking import objects

pytestmark = pytest.mark.live

MiB = 1 << 20
FIFO = "/tmp/touched"
TOUCH = f"head -c 1048576 /dev/zero >{FIFO}"
"""Has the reader read a whole block, so that it stores to every page of its buffer, which is the same each time."""
SLACK = 512 << 10
"""What else the reader may touch meanwhile: its stack, its code, its C library's data."""


@dataclass
class Reader:
    """A process of the guest whose buffer of 1 MiB is stored to when it is told so, and by nothing else."""

    machine: Machine
    task: int

    def touch(self) -> None:
        """Have it store to its whole buffer; when this returns, it has."""
        written = self._written()
        self.machine.shell(TOUCH)
        self.machine.shell(f"while [ $(sed -n 's/wchar: //p' /proc/{self.task}/io) -le {written} ]; do sleep 0.1; done")

    def _written(self) -> int:
        return int(self.machine.shell(f"sed -n 's/wchar: //p' /proc/{self.task}/io"))

    def forget(self) -> None:
        """Have the kernel clear the reference bits of all its pages (Documentation/filesystems/proc.rst)."""
        self.machine.shell(f"echo 1 >/proc/{self.task}/clear_refs")

    def writable(self) -> list[tuple[int, int]]:
        """Its own account of where it may write privately."""
        spans = []
        for line in self.machine.shell(f"cat /proc/{self.task}/maps").splitlines():
            where, rights = line.split()[:2]
            if rights.startswith("rw-p"):
                low, high = (int(text, 16) for text in where.split("-"))
                spans.append((low, high))
        return spans


@contextmanager
def touched_when_it_runs_again(reader: Reader) -> Iterator[None]:
    """Have it store to its buffer once the guest was stopped, by whoever looks, and goes on."""

    def touch() -> None:
        deadline = time.monotonic() + PATIENCE
        for runs in (False, True):
            while reader.machine.running is not runs:
                assert time.monotonic() < deadline, "nobody looked"
                time.sleep(0.02)
        reader.touch()

    with ThreadPoolExecutor(1) as pool:
        touched = pool.submit(touch)
        yield
        touched.result()


@pytest.fixture
def reader(guest: Machine) -> Iterator[Reader]:
    """The reader, blocked before it has read anything; a writer that never writes holds its pipe open."""
    guest.shell(f"rm -f {FIFO}; mkfifo {FIFO}")
    guest.shell(f"dd if={FIFO} of=/dev/null bs=1M iflag=fullblock >/dev/null 2>&1 & echo $! >/tmp/reader")
    guest.shell(f"sleep 100000 >{FIFO} & echo $! >/tmp/holder")
    found = Reader(guest, int(guest.shell("cat /tmp/reader")))
    guest.shell(f"until grep -q pipe_ /proc/{found.task}/wchan /proc/{found.task}/stack; do sleep 0.1; done")
    yield found
    guest.shell(f"kill $(cat /tmp/holder) {found.task}; rm -f {FIFO}")


class Attached:
    """A session on the live guest: what a command tells, and the guest running meanwhile."""

    def __init__(self, seen: inspector.Guest) -> None:
        self.session = Session(seen)

    def told(self, words: str) -> list[dict[str, Any]]:
        return objects(list(run(self.session, shlex.split(words))))

    def running(self, act: Any) -> None:
        self.told("continue")
        try:
            act()
        finally:
            self.told("interrupt")


def spans_of(found: list[dict[str, Any]], kind: str) -> dict[int, list[tuple[int, int]]]:
    """By PID the (address, end) of changes of this kind."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for each in found:
        if kind in each.get("change", ()):
            start = int(each["ea"], 16)
            spans.setdefault(each["pid"], []).append((start, start + each["size"]))
    return spans


def size_of(spans: list[tuple[int, int]]) -> int:
    return sum(end - start for start, end in spans)


def longest(spans: list[tuple[int, int]]) -> tuple[int, int]:
    """The longest stretch that these spans make together."""
    best = current = (0, 0)
    for start, end in sorted(spans):
        current = (current[0], end) if start == current[1] else (start, end)
        best = max(best, current, key=lambda span: span[1] - span[0])
    return best


def test_what_a_process_touched_between_two_marks(guest: Machine, reader: Reader, tmp_path: Path) -> None:
    writable = reader.writable()
    paths = {name: str(tmp_path / f"{name}.core.gz") for name in "abc"}
    with inspector.open_target(guest.target) as seen:
        at = Attached(seen)

        def mark(name: str) -> None:
            at.told(f"mark {name}")
            record(seen, paths[name])

        at.told("mark start")
        at.running(reader.touch)
        mark("a")
        first = at.told("diff start a --only added --user")
        # A buffer that was never stored to has no pages; now each is there, and changed.
        pid, buffer = max(((pid, longest(spans)) for pid, spans in spans_of(first, "added").items()), key=_length)
        assert MiB <= _length((pid, buffer)) <= MiB + SLACK
        assert any(low <= buffer[0] and buffer[1] <= high for low, high in writable)
        assert all(each["after"]["dirty"] for each in first if _inside(each, pid, buffer))
        assert any("touched" in each["change"] for each in first if _inside(each, pid, buffer))

        at.running(reader.forget)
        mark("b")
        cleared = spans_of(at.told(f"diff a b --only cleared --pid {pid}"), "cleared")[pid]
        assert size_of(_within(cleared, buffer)) >= MiB, "the kernel cleared their reference bits"

        at.running(reader.touch)
        mark("c")
        touched = at.told(f"diff b c --only touched --pid {pid}")
        again = spans_of(touched, "touched")[pid]
        assert size_of(_within(again, buffer)) >= MiB, "and storing to them sets them again"
        assert size_of(again) <= MiB + SLACK, "what was not touched is not told"
        for each in touched:
            if _inside(each, pid, buffer) and each["change"] == ["touched"]:
                assert (each["before"]["accessed"], each["after"]["accessed"]) == (False, True)
                assert each["before"]["ra"] == each["after"]["ra"]
        assert at.told("diff c")[-1]["summary"]["differs"] is False, "the guest has not run since"
        live = {pair: at.told(f"diff {' '.join(pair)}") for pair in ("ab", "bc", "ca")}
    assert guest.running
    for pair, found in live.items():
        recorded = objects(list(run(Session(), ["diff", *(paths[name] for name in pair)])))
        assert recorded[:-1] == found[:-1], "two snapshots differ as the marks of the same moments do"
        assert recorded[-1]["summary"]["kinds"] == found[-1]["summary"]["kinds"]
        assert len(found) > 1


def test_what_the_guest_touches_in_so_many_seconds_is_one_command(
    guest: Machine, reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    reader.touch()
    reader.forget()
    with touched_when_it_runs_again(reader):
        status = main([guest.target, "--json", "diff", "--run", "8s", "--only", "touched", "--user"])
    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert found[-1]["summary"]["differs"]
    longest_of = [_length((0, longest(spans))) for spans in spans_of(found, "touched").values()]
    assert MiB <= max(longest_of) <= MiB + SLACK
    assert guest.running, "as it was found"


def _length(found: tuple[int, tuple[int, int]]) -> int:
    return found[1][1] - found[1][0]


def _inside(each: dict[str, Any], pid: int, span: tuple[int, int]) -> bool:
    if "change" not in each or each["pid"] != pid:
        return False
    start = int(each["ea"], 16)
    return span[0] <= start and start + int(each["size"]) <= span[1]


def _within(spans: list[tuple[int, int]], span: tuple[int, int]) -> list[tuple[int, int]]:
    """These spans cut to ``span``."""
    return [(max(low, span[0]), min(high, span[1])) for low, high in spans if low < span[1] and high > span[0]]
