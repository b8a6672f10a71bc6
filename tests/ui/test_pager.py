"""Lines go straight out while they fit, and through a pager when they do not."""

from __future__ import annotations

import io
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from inspector.ui import pager
from inspector.ui.pager import OwnPager, Paged, PagerClosed, ProcessPager, rows_of, start_pager

HEIGHT = 10


@pytest.fixture(autouse=True)
def small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten lines of forty columns."""
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_: os.terminal_size((40, HEIGHT)))


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What $PAGER was given, once it has ended."""
    script = tmp_path / "pager with a blank.py"
    script.write_text("import sys\nopen(sys.argv[1], 'w').write(sys.stdin.read())\n")
    monkeypatch.setenv("PAGER", f"{sys.executable} '{script}' {tmp_path}/copy")
    return tmp_path / "copy"


def show(lines: int, out: io.StringIO, page: bool = True) -> None:
    with Paged(out, page) as paged:
        for n in range(lines):
            paged.write(f"line {n}")


def test_what_fits_is_not_paged(copy: Path) -> None:
    out = io.StringIO()
    show(HEIGHT - 1, out)
    assert out.getvalue().splitlines() == [f"line {n}" for n in range(HEIGHT - 1)]
    assert not copy.exists()


def test_what_is_longer_is_paged_from_its_first_line(copy: Path) -> None:
    out = io.StringIO()
    show(5000, out)
    assert out.getvalue() == ""
    assert copy.read_text().splitlines() == [f"line {n}" for n in range(5000)]


def test_long_lines_count_as_the_rows_they_take(copy: Path) -> None:
    out = io.StringIO()
    with Paged(out, True) as paged:
        for _ in range(5):
            paged.write("x" * 41)
    assert len(copy.read_text().splitlines()) == 5


def test_nothing_is_paged_where_there_is_no_terminal(copy: Path) -> None:
    out = io.StringIO()
    show(5000, out, page=False)
    assert len(out.getvalue().splitlines()) == 5000
    assert not copy.exists()


def test_slow_lines_are_shown_as_they_come_and_paged_from_the_first_after_all(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()

    class Watched(io.StringIO):
        def flush(self) -> None:
            shown.set()

    monkeypatch.setattr(pager, "HOLD", 0.01)
    out = Watched()
    with Paged(out, True) as paged:
        paged.write("line 0")
        assert shown.wait(10)
        assert out.getvalue() == "line 0\n"
        for n in range(1, 100):
            paged.write(f"line {n}")
    assert copy.read_text().splitlines() == [f"line {n}" for n in range(100)]


def test_an_empty_answer(copy: Path) -> None:
    out = io.StringIO()
    show(0, out)
    assert out.getvalue() == ""


@pytest.mark.parametrize("none", ["", "  ", "cat"])
def test_a_user_who_wants_no_pager(none: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", none)
    out = io.StringIO()
    show(100, out)
    assert len(out.getvalue().splitlines()) == 100


def test_a_pager_that_is_left_early_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", "true")
    written = 0
    with Paged(io.StringIO(), True) as paged:
        while written < 10_000_000:
            paged.write("some line of an answer without an end")
            written += 1
    assert written < 10_000_000


def test_an_error_of_the_command_still_ends_the_pager(copy: Path) -> None:
    def fails() -> None:
        with Paged(io.StringIO(), True) as paged:
            for n in range(100):
                paged.write(f"line {n}")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert len(copy.read_text().splitlines()) == 100


def test_a_pager_that_is_not_there_gives_way_to_less(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setenv("PAGER", "no-such-pager-anywhere -x")
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/less" if name == "less" else None)
    monkeypatch.setattr(pager, "ProcessPager", started.append)
    start_pager(io.StringIO())
    assert started == [["less", "-FRX"]]


def test_without_less_it_is_our_own_where_a_key_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert start_pager(io.StringIO()) is None
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert isinstance(start_pager(io.StringIO()), OwnPager)


def test_less_gets_the_options_that_keep_colours_unless_the_user_has_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sh", "-c", f'printf %s "$LESS" > {tmp_path}/less; cat > /dev/null']
    monkeypatch.delenv("LESS", raising=False)
    ProcessPager(words).close()
    assert (tmp_path / "less").read_text() == "FRX"
    monkeypatch.setenv("LESS", "MQ")
    ProcessPager(words).close()
    assert (tmp_path / "less").read_text() == "MQ"


def test_our_own_asks_after_every_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = iter([" ", "\n", "q"])
    monkeypatch.setattr(pager, "_key", lambda: next(keys))
    out = io.StringIO()
    own = OwnPager(out)
    with suppress(PagerClosed):
        for n in range(100):
            own.write(f"line {n}")
    screens = out.getvalue().split("--More--")
    assert [screen.count("line ") for screen in screens] == [HEIGHT - 1, HEIGHT - 1, 1, 0]


def test_rows() -> None:
    assert rows_of("", 40) == 1
    assert rows_of("x" * 40, 40) == 1
    assert rows_of("x" * 41, 40) == 2
    assert rows_of("\x1b[31;1m" + "x" * 40 + "\x1b[0m", 40) == 1
    assert rows_of("x", 0) == 1
