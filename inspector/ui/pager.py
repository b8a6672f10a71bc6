"""Where the lines of an answer go: straight out while they fit the terminal, through a pager when they are more.

Lines are held back a moment, until it is clear which it is. A slow command's are written as they come; if they turn out
too many after all, the pager begins with the first again, so that a search in it finds every line.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Protocol, Self

from inspector.ui import progress

HOLD = 0.3
"""Seconds that lines are held back at most."""
FLUSH_EVERY = 0.1
NO_PAGER = ("", "cat")
USUAL_PAGER = ("less", "-FRX")

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class PagerClosed(Exception):
    """The reader has seen enough: no more lines are wanted."""


class Pager(Protocol):
    """What shows more lines than the terminal has."""

    def write(self, line: str) -> None:
        """Show a line. Raises PagerClosed when no more are wanted."""

    def close(self) -> None:
        """Say that there are no more lines, and wait until the reader is done."""


class ProcessPager:
    """A program that reads the lines from its standard input: ``less`` and its like."""

    def __init__(self, words: Sequence[str]) -> None:
        environment = {**os.environ}
        environment.setdefault("LESS", "FRX")
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, env=environment, text=True, encoding="utf-8", errors="backslashreplace"
        )
        assert self._process.stdin is not None
        self._input: IO[str] = self._process.stdin
        self._flushed = 0.0

    def write(self, line: str) -> None:
        """Hand a line to the program. Raises PagerClosed when it is gone."""
        try:
            self._input.write(line + "\n")
            if time.monotonic() - self._flushed > FLUSH_EVERY:
                self._input.flush()
                self._flushed = time.monotonic()
        except (OSError, ValueError):
            raise PagerClosed from None

    def close(self) -> None:
        """Close its input and wait for its end."""
        with suppress(OSError):
            self._input.close()
        self._process.wait()


class OwnPager:
    """``--More--`` after every screenful, for a machine without ``less``."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._left = max(shutil.get_terminal_size().lines - 1, 1)

    def write(self, line: str) -> None:
        """Print a line, after a key where the screen is full. Raises PagerClosed for ``q`` and Ctrl-C."""
        rows = rows_of(line, shutil.get_terminal_size().columns)
        if self._left < rows:
            self._ask()
        self._left -= rows
        print(line, file=self._out)

    def close(self) -> None:
        """Nothing is left to wait for."""
        self._out.flush()

    def _ask(self) -> None:
        print("--More-- (space: a screen, Enter: a line, q: enough)", end="", file=self._out, flush=True)
        try:
            key = _key()
        except KeyboardInterrupt:
            key = "q"
        finally:
            print("\r\x1b[K", end="", file=self._out, flush=True)
        if key in ("q", "Q", "\x03", ""):
            raise PagerClosed
        self._left = 1 if key in ("\r", "\n") else max(shutil.get_terminal_size().lines - 1, 1)


def _key() -> str:
    """One key pressed at the terminal; empty at its end."""
    import termios
    import tty

    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle, termios.TCSADRAIN)  # keeping what was typed ahead
        return os.read(handle, 1).decode("ascii", "replace")
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def rows_of(line: str, columns: int) -> int:
    """How many rows of a terminal ``line`` takes; its colours take none."""
    return max(1, -(-len(_ESCAPES.sub("", line)) // max(columns, 1)))


def start_pager(out: IO[str]) -> Pager | None:
    """``$PAGER``, or ``less``, or our own; None where ``$PAGER`` is empty or ``cat``."""
    wanted = os.environ.get("PAGER")
    if wanted is not None and wanted.strip() in NO_PAGER:
        return None
    try:
        chosen = shlex.split(wanted) if wanted else list(USUAL_PAGER)
    except ValueError:
        chosen = list(USUAL_PAGER)
    for words in (chosen, list(USUAL_PAGER)):
        if shutil.which(words[0]):
            try:
                return ProcessPager(words)
            except OSError:
                continue
    return OwnPager(out) if sys.stdin.isatty() else None


class Paged:
    """A context manager that takes the lines of one answer. Leaving it waits until the reader is done with them.

    It swallows PagerClosed: that no more is wanted is a good end. ``page`` is False where ``out`` is no terminal."""

    def __init__(self, out: IO[str], page: bool) -> None:
        self._out = out
        self._page = page
        self._lines: list[str] = []
        self._shown = 0
        self._rows = 0
        self._pager: Pager | None = None
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def write(self, line: str) -> None:
        """Show a line, now or soon. Raises PagerClosed when no more are wanted."""
        if self._pager is not None:
            self._pager.write(line)
            return
        if not self._page:
            progress.clear()
            print(line, file=self._out)
            return
        with self._lock:
            self._lines.append(line)
            size = shutil.get_terminal_size()
            self._rows += rows_of(line, size.columns)
            full = self._rows > size.lines - 1
            if not full and self._timer is None:
                self._timer = threading.Timer(HOLD, self._flush)
                self._timer.daemon = True
                self._timer.start()
        if full:
            self._start()

    def _start(self) -> None:
        """Begin the pager, with every line so far where it is a program, which can search in them."""
        with self._lock:
            self._stop_timer()
            lines, self._lines = self._lines, []
        self._pager = start_pager(self._out)
        progress.hide(self._pager is not None)
        if not isinstance(self._pager, ProcessPager):
            lines = lines[self._shown :]
        self._shown = 0
        if self._pager is None:
            self._page = False
        for each in lines:
            self.write(each)

    def _flush(self) -> None:
        """Write what is held back. Called by the timer too."""
        with self._lock:
            self._timer = None
            held = self._lines[self._shown :]
            if held:
                self._shown = len(self._lines)
                progress.clear()
                self._out.write("\n".join(held) + "\n")
                self._out.flush()

    def _stop_timer(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._stop_timer()
        progress.clear()
        if self._pager is None:
            self._flush()
            self._out.flush()
        else:
            try:
                self._pager.close()
            finally:
                progress.hide(False)
        return kind is not None and issubclass(kind, PagerClosed)
