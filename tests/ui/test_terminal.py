"""The REPL at a real terminal: what a signal, a pager and a screen do that a pipe cannot show."""

from __future__ import annotations

import errno
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 100.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\x1b\][^\x07]*\x07")


class Terminal:
    """A program at a terminal of 24 lines of 80 columns. ``seen`` is all that it has written."""

    def __init__(self, words: list[str], environment: dict[str, str]) -> None:
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            try:
                os.execve(words[0], words, environment)
            finally:
                os._exit(127)
        ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen = ""
        self._at = 0
        self.status: int | None = None

    def type(self, keys: str) -> None:
        os.write(self.handle, keys.encode())

    def expect(self, pattern: str, again: str = "") -> str:
        """Wait for ``pattern`` in what is written after what was expected before, and give its text.

        ``again`` is typed as long as it does not come."""
        deadline = time.monotonic() + LIMIT
        while True:
            plain = ESCAPES.sub("", self.seen)
            found = re.compile(pattern).search(plain, self._at)
            if found:
                self._at = found.end()
                return found[0]
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} did not come; after it was asked for came {plain[self._at :]!r}")
            self.type(again)
            self._read(0.2)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.handle], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.handle, 65536)
        except OSError as error:  # a terminal that nobody is at gives EIO
            if error.errno != errno.EIO:
                raise
            data = b""
        for _ in range(data.count(b"\x1b[6n")):  # where is the cursor? A terminal answers.
            os.write(self.handle, b"\x1b[1;1R")
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def end(self) -> int:
        """Wait for the program's end; its exit status."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline and self._read(0.2):
            pass
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
            time.sleep(0.05)
        raise AssertionError(f"it did not end; its last words: {ESCAPES.sub('', self.seen)[-500:]!r}")

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.handle)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "PAGER": "cat",
    }


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Terminal]:
    """A REPL over the fake guest, at its first prompt."""
    opened = Terminal([sys.executable, "-m", "tests.ui.standin"], environment)
    try:
        opened.expect("inspector>")
        yield opened
    finally:
        opened.close()


def test_ctrl_c_in_the_middle_of_a_command_keeps_the_session(terminal: Terminal) -> None:
    for _ in range(2):
        terminal.type("endless\r")
        terminal.expect("began")
        terminal.type("\x03")
        terminal.expect("interrupted")
        terminal.expect("inspector>")
    terminal.type("count 2\r")
    terminal.expect("line 1")
    terminal.expect("inspector>")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert terminal.seen.count("cleaned up") == 2


def test_the_signal_from_elsewhere_does_the_same(terminal: Terminal) -> None:
    terminal.type("endless\r")
    terminal.expect("began")
    os.kill(terminal.pid, signal.SIGINT)
    terminal.expect("interrupted")
    terminal.expect("inspector>")
    os.kill(terminal.pid, signal.SIGINT)
    terminal.expect("nothing runs")
    terminal.expect("inspector>")
    terminal.type("quit\r")
    assert terminal.end() == 0


def test_ctrl_c_stops_a_running_guest(terminal: Terminal) -> None:
    terminal.type("continue\r")
    terminal.expect(r"inspector \(running\)>")
    terminal.type("\x03")
    terminal.expect("it stands")
    terminal.expect("inspector>")
    terminal.type("\x04")
    assert terminal.end() == 0


def test_the_toolbar_shows_where_the_guest_is(terminal: Terminal) -> None:
    terminal.expect("fake  vCPU 0  stopped")
    terminal.expect("kernel, translation on, little-endian")
    terminal.type("cpu 1\r")
    terminal.expect("fake  vCPU 1  stopped")
    terminal.type("continue\r")
    terminal.expect("fake  vCPU 1  running")


def test_completion_offers_and_takes(terminal: Terminal) -> None:
    terminal.type("xlate --walker kvm@pre-70cd4c10b2.\t")
    terminal.expect(r"kvm@pre-70cd4c10b2\.")
    terminal.type("\x03rea\t")
    terminal.expect("reattach")
    terminal.expect("open it again")


def test_a_long_answer_goes_through_less_and_less_may_be_left(environment: dict[str, str]) -> None:
    del environment["PAGER"]
    environment["PATH"] = f"{environment['PATH']}:/usr/bin:/bin"
    opened = Terminal([sys.executable, "-m", "tests.ui.standin"], environment)
    try:
        opened.expect("inspector>")
        opened.type("count 1000000000\r")
        opened.expect("line 22|--More--")
        opened.type("q")
        opened.expect("counted")
        opened.expect("inspector>")
        opened.type("count 1\r")
        opened.expect("line 0")
        opened.type("quit\r")
        assert opened.end() == 0
        assert "line 9999" not in opened.seen
    finally:
        opened.close()


def test_ctrl_c_in_the_pager_ends_the_command_and_not_the_session(environment: dict[str, str]) -> None:
    environment["PAGER"] = "less -FRX"
    opened = Terminal([sys.executable, "-m", "tests.ui.standin"], environment)
    try:
        opened.expect("inspector>")
        opened.type("count 1000000000\r")
        opened.expect("line 22|--More--")
        opened.type("\x03")
        opened.expect("counted")
        # less drops what was typed while it was being interrupted, so one 'q' may not do.
        opened.expect("inspector>", again="q")
        opened.type("\x15quit\r")
        assert opened.end() == 0
    finally:
        opened.close()


def test_without_less_our_own_pager_asks(environment: dict[str, str], tmp_path: Path) -> None:
    del environment["PAGER"]
    environment["PATH"] = str(tmp_path)
    opened = Terminal([sys.executable, "-m", "tests.ui.standin"], environment)
    try:
        opened.expect("inspector>")
        opened.type("count 1000000000\r")
        opened.expect("line 22")
        opened.expect("--More--")
        opened.type(" ")
        opened.expect("line 45")
        opened.expect("--More--")
        opened.type("\x03")
        opened.expect("counted")
        opened.expect("inspector>")
        opened.type("quit\r")
        assert opened.end() == 0
        assert "line 46" not in opened.seen
    finally:
        opened.close()


def test_a_bug_is_told_at_a_terminal_too(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("broken\r")
    terminal.expect("this is a bug in the inspector")
    terminal.expect("inspector>")
    terminal.type("quit\r")
    assert terminal.end() == 0
    assert len(list(tmp_path.glob("inspector-bug-*.txt"))) == 1
    assert "Traceback" not in terminal.seen
