"""The command line at a terminal: how wide its lines are, and whether they are coloured."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios

LIMIT = 60.0
"""Seconds that a process may take."""


def test_a_terminal_of_no_size_is_taken_for_one_of_80_columns() -> None:
    said = at_a_terminal(columns=0)
    assert "\x1b[" in said
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines())) > 60
    assert "\x1b[" not in at_a_terminal(columns=80, NO_COLOR="1")
    assert "\x1b[" in at_a_terminal(columns=80, NO_COLOR=""), "an empty one asks for nothing"


def at_a_terminal(columns: int, **env: str) -> str:
    """What 'rmmu --without-property' prints at a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    words = [sys.executable, "-m", "inspector", "rmmu", "--without-property"]
    subprocess.run(words, stdout=theirs, env={**known, "TERM": "xterm", **env}, timeout=LIMIT, check=True)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # Linux tells the end of a terminal so
        while piece := os.read(ours, 4096):
            said += piece
    os.close(ours)
    return said.decode()
