"""A progress line on standard error, when a terminal watches and it takes longer than a blink."""

from __future__ import annotations

import sys
import time

from inspector.roots import Progress

BLINK = 0.4
EVERY = 0.1


def progress() -> Progress:
    """Tells what is being done and how far it is; silent where no terminal watches."""
    if not sys.stderr.isatty():
        return lambda _what, _done, _total: None
    began = shown = 0.0
    before = ""

    def tell(what: str, done: int, total: int) -> None:
        nonlocal began, shown, before
        now = time.monotonic()
        if what != before or now - shown > 5:
            before, began = what, now
        over = done >= total
        if now - began < BLINK or (now - shown < EVERY and not over):
            shown = shown if over else now
            return
        shown = now
        line = "" if over else f"{what}: {100 * done // max(total, 1)}%"
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    return tell
