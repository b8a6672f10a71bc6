"""The command line over a fake guest whose last-level tables take longer to read than anyone waits.

``python -m tests.commands.slowguest demo maps`` is that, for tests that interrupt it at a real terminal.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from inspector import cli
from inspector.guest import Guest
from tests.fakes import TABLES_AT, FakeTarget, MiB, SparseMemory, linux_target

A_WHILE = 0.12
"""Seconds for every table, so that progress is worth a word."""
FOR_EVER = 600.0
NEVER = "a table that does not come"
"""What is told just before one: by then all that was read before is kept, as it is not yet when the bar tells of it."""


class SlowMemory(SparseMemory):
    """Tables come slowly; the last-level ones of 64K pages never."""

    def read(self, address: int, length: int) -> bytes:
        if length > 8 and TABLES_AT <= address < TABLES_AT + MiB:
            if length == 256:
                print(NEVER, file=sys.stderr, flush=True)
                time.sleep(FOR_EVER)
            time.sleep(A_WHILE)
        return super().read(address, length)


def slow_target() -> FakeTarget:
    """The pseries guest of the fakes, with that memory."""
    target = linux_target()
    target.source = SlowMemory(chunks=target.source.chunks)
    return target


def main() -> int:
    """The command line, whose target is the slow guest whatever it names."""

    def opened(*_targets: object, progress: Any = None, **_options: object) -> Guest:
        return Guest(slow_target(), progress=progress)

    vars(cli)["open_target"] = opened
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
