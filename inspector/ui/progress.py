"""A progress bar on standard error, when a terminal watches and it takes longer than a blink."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inspector.roots import Progress

BLINK = 0.4
EVERY = 0.1
ANOTHER_AFTER = 5.0
"""Seconds without a word after which the same work is taken for another run of it."""
WIDTH = 80
BAR = 32
LEAST_BAR = 8

_showing = False
"""Whether a line of progress stands on the terminal. There is one terminal, so there is one of these."""


_hidden = False
"""Whether something else has the whole screen: a pager."""


def progress() -> Progress:
    """Tells what is being done and how far it is; silent where no terminal watches.

    The line is wiped when the work is done, and by :func:`clear` when something else is to be written."""
    if not sys.stderr.isatty():
        return lambda _what, _done, _total: None
    began = told = shown = 0.0
    before = ""

    def tell(what: str, done: int, total: int) -> None:
        nonlocal began, told, shown, before
        global _showing  # noqa: PLW0603
        if _hidden:
            return
        now = time.monotonic()
        if what != before or now - told > ANOTHER_AFTER:
            before, began = what, now
        told = now
        if done >= total:
            before = ""
            clear()
        elif now - began >= BLINK and now - shown >= EVERY:
            shown = now
            _showing = True
            print(f"\r\x1b[K{bar(what, done, total, _columns())}", end="", file=sys.stderr, flush=True)

    return tell


def bar(what: str, done: int, total: int, columns: int = WIDTH) -> str:
    """What is being done and how far it is, in less than so many columns; where they are few there is no bar, and
    where they are fewer still the words are cut."""
    part = min(max(done / max(total, 1), 0), 1)
    told = f"{what}: {int(100 * part):>3}%"
    room = min(columns - len(told) - 4, BAR)  # a blank, the brackets, and the last column, where terminals wrap
    if room < LEAST_BAR:
        return told[: max(columns - 1, 0)]
    full = int(room * part)
    return f"{told} [{'#' * full}{'.' * (room - full)}]"


def _columns() -> int:
    """How wide the terminal is, and no more than WIDTH; one that was never told its size says 0."""
    try:
        return min(os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH, WIDTH)
    except (OSError, ValueError):
        return WIDTH


def hide(hidden: bool) -> None:
    """Tell nothing while something else has the whole screen, and go on afterwards."""
    global _hidden  # noqa: PLW0603
    clear()
    _hidden = hidden


def clear() -> None:
    """Wipe a line of progress that was left standing, so that what comes next begins on an empty line."""
    global _showing  # noqa: PLW0603
    if _showing:
        _showing = False
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
