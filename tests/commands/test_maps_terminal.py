"""``maps`` at a real terminal: told how far it is, and cut short by Ctrl-C."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.slowguest import NEVER
from tests.large import raw_guest
from tests.ui.test_terminal import ESCAPES, Terminal

ROOT = Path(__file__).resolve().parents[2]
Open = Callable[..., Terminal]
PARTIAL = r"0xc000000000000000 +32M -> 0x0"
"""The linear map stands above the last level, which is never read."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Open]:
    """Runs Python with these words at a terminal, which stays open until a key is pressed: what is written just before
    the leader of a terminal's session ends may be lost."""
    opened: list[Terminal] = []
    environment = {
        **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "PAGER": "cat",
        "NO_COLOR": "1",
    }

    def start(*words: str) -> Terminal:
        script = 'trap : INT; "$@"; echo "ended: $?"; read -r line'
        opened.append(Terminal(["/bin/sh", "-c", script, "sh", sys.executable, "-m", *words], environment))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def status(terminal: Terminal) -> int:
    """The exit status of what ran there."""
    found = int(terminal.expect(r"ended: \d+").partition(": ")[2])
    terminal.type("\r")
    terminal.end()
    return found


def plain(terminal: Terminal) -> str:
    return ESCAPES.sub("", terminal.seen)


def test_ctrl_c_in_the_middle_of_a_sweep_tells_what_there_is_and_says_so(run: Open) -> None:
    terminal = run("tests.commands.slowguest", "demo", "maps", "--all")
    terminal.expect(r"reading the tables: +\d+% \[#*\.+\]")
    terminal.expect(NEVER)
    terminal.type("\x03")
    terminal.expect("interrupted: only what was read until then")
    terminal.expect(PARTIAL)
    terminal.expect("PID 4")
    assert status(terminal) == 1
    assert "0x00007fffe0000000" not in plain(terminal), "the stack's page is in a table that was not read"
    assert "Traceback" not in plain(terminal)


def test_in_json_too(run: Open) -> None:
    terminal = run("tests.commands.slowguest", "demo", "maps", "--all", "--json")
    terminal.expect(NEVER)
    terminal.type("\x03")
    terminal.expect('{"unfinished": "interrupted')
    terminal.expect('"ea": "0xc000000000000000", "size": 33554432')
    assert status(terminal) == 1


def test_at_the_prompt_the_session_goes_on(run: Open) -> None:
    terminal = run("tests.commands.slowguest", "demo")
    terminal.expect("inspector>")
    for _ in range(2):  # what was cut short is not kept
        terminal.type("maps --all\r")
        terminal.expect(NEVER)
        terminal.type("\x03")
        terminal.expect("interrupted: only what was read until then")
        terminal.expect(PARTIAL)
        terminal.expect("inspector>")
    terminal.type("quit\r")
    assert status(terminal) == 0
    assert "Traceback" not in plain(terminal)


def test_ctrl_c_while_lines_are_printed(run: Open, tmp_path: Path) -> None:
    terminal = run("inspector", *raw_guest(tmp_path / "ram", 50_000), "maps", "--all")
    terminal.expect(r"(0x[0-9a-f]{16} .*\n){5}")
    terminal.type("\x03")
    terminal.expect("interrupted")
    assert status(terminal) == 130
    assert len(re.findall("-> 0x", plain(terminal))) < 90_000
    assert "Traceback" not in plain(terminal)


def test_ctrl_c_while_lines_are_printed_at_the_prompt(run: Open, tmp_path: Path) -> None:
    terminal = run("inspector", *raw_guest(tmp_path / "ram", 50_000))
    terminal.expect("inspector>")
    terminal.type("maps --all\r")
    terminal.expect(r"(0x[0-9a-f]{16} .*\n){5}")
    terminal.type("\x03")
    terminal.expect("interrupted")
    terminal.expect("inspector>")
    terminal.type("maps --all --limit 1\r")
    terminal.expect("1 of 1[0-9]{2},[0-9]{3} ranges told here")
    terminal.type("quit\r")
    assert status(terminal) == 0
    assert "Traceback" not in plain(terminal)
