"""Ctrl-C reaches what may be interrupted, and nothing else: never the session, nor a tree that is half changed."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupts:
    """A context manager: while it is entered, SIGINT raises KeyboardInterrupt only inside :meth:`armed`, and outside of
    that is noted as ``asked``.

    The prompt takes the signal over while it waits for a line, and gives it back. Outside the main thread, where no
    signal may be taken, nothing changes."""

    def __init__(self) -> None:
        self.asked = False
        self._armed = False
        self._before: Any = None
        self._taken = False

    def __enter__(self) -> Interrupts:
        try:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
            self._taken = True
        except ValueError:
            self._taken = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._taken:
            signal.signal(signal.SIGINT, signal.SIG_DFL if self._before is None else self._before)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Inside, Ctrl-C raises KeyboardInterrupt."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False
