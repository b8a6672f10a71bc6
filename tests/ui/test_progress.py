"""Progress is told to a terminal alone, not for a blink's work, and leaves no trace."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from inspector.ui import progress


class Clock:
    """Time that a test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    yield made
    progress.clear()


class Terminal(io.StringIO):
    """A standard error that a person watches."""

    def isatty(self) -> bool:
        return True

    def take(self) -> str:
        """What was written since the last time."""
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=made))
    return made


def test_nothing_where_no_terminal_watches(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tell = progress.progress()
    for n in range(100):
        clock.now += 1
        tell("searching", n, 100)
    assert capsys.readouterr().err == ""


def test_short_work_is_not_worth_a_word(clock: Clock, terminal: Terminal) -> None:
    tell = progress.progress()
    for n in range(101):
        clock.now += progress.BLINK / 200
        tell("searching", n, 100)
    assert terminal.take() == ""


def test_long_work_is_told_and_wiped(clock: Clock, terminal: Terminal) -> None:
    tell = progress.progress()
    tell("searching", 0, 4)
    for n in (1, 2, 3):
        clock.now += 1
        tell("searching", n, 4)
    told = terminal.take()
    assert [told.count(f"searching:  {percent}% [") for percent in (25, 50, 75)] == [1, 1, 1]
    tell("searching", 4, 4)
    assert terminal.take() == "\r\x1b[K"
    progress.clear()
    assert terminal.take() == ""


def test_what_was_left_standing_is_wiped(clock: Clock, terminal: Terminal) -> None:
    tell = progress.progress()
    tell("searching", 0, 4)
    clock.now += 1
    tell("searching", 1, 4)
    terminal.take()
    progress.clear()
    assert terminal.take() == "\r\x1b[K"


def test_other_work_begins_anew(clock: Clock, terminal: Terminal) -> None:
    tell = progress.progress()
    tell("searching", 0, 4)
    clock.now += 1
    tell("scanning", 1, 4)
    assert terminal.take() == ""
    clock.now += 1
    tell("scanning", 2, 4)
    assert "scanning:  50% [" in terminal.take()


@pytest.mark.parametrize("columns", [0, 1, 5, 20, 40, 79, 80])
@pytest.mark.parametrize("what", ["searching", "x" * 120])
def test_the_bar_keeps_within_the_terminal(columns: int, what: str) -> None:
    for done in (-1, 0, 1, 50, 99, 100, 101):
        assert len(progress.bar(what, done, 100, columns)) <= max(columns - 1, 0)


def test_the_bar_fills() -> None:
    shown = [progress.bar("searching", done, 200) for done in (0, 50, 199, 200)]
    assert [each.count("#") for each in shown] == [0, 8, 31, 32]
    assert [each.partition(":")[2].partition("[")[0].strip() for each in shown] == ["0%", "25%", "99%", "100%"]
    assert len({len(each) for each in shown}) == 1
    assert progress.bar("searching", 0, 0).startswith("searching:   0%")


def test_one_command_does_not_pay_for_the_prompt() -> None:
    program = (
        "import sys; from inspector.cli import main; main(['demo', 'xlate', '0xc000000000000000']);"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'prompt_toolkit', 'numpy', 'pygdbmi'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_is_told_over_a_pager(clock: Clock, terminal: Terminal) -> None:
    tell = progress.progress()
    tell("searching", 0, 100)
    clock.now += 1
    tell("searching", 1, 100)
    assert "1%" in terminal.take()
    progress.hide(True)
    assert terminal.take() == "\r\x1b[K"
    clock.now += 1
    tell("searching", 2, 100)
    assert terminal.take() == ""
    progress.hide(False)
    clock.now += 1
    tell("searching", 3, 100)
    assert "3%" in terminal.take()
