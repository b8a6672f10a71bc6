"""Physical memory of a live guest, read through gdb and the stub."""

from __future__ import annotations

from collections.abc import Sequence

from inspector.errors import MemoryReadError, Unreadable
from inspector.gdbmi.session import GdbSession


class GdbMemory:
    """A :class:`~inspector.memory.physical.MemorySource` over an attached session.

    A small read costs about two round trips to the stub, a large one runs at about 0.4 of a bare socket's rate.
    gdb's own memory regions refuse whatever is not RAM, below the guard that every reader has above it."""

    cheap = False
    gap = 2048
    """A command more costs about as much as so many bytes."""

    def __init__(self, session: GdbSession) -> None:
        self.session = session

    @property
    def description(self) -> str:
        """What it is."""
        return f"gdb at {self.session.where}"

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at real address ``address``.

        Raises Unreadable where the guest runs or gdb refuses, TargetLost, ReplyTimeout."""
        if length == 0 and not self.session.clock.running:
            return b""
        found = self.read_runs([(address, length)])[0]
        if isinstance(found, MemoryReadError):
            raise found
        return found

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Many (address, length) at once, each its bytes or why not. Raises TargetLost, ReplyTimeout."""
        if self.session.clock.running:
            return [
                Unreadable(*run, "the guest is running; 'interrupt' it first, or open it with --ram FILE")
                for run in runs
            ]
        return [
            Unreadable(*run, "gdb refused; 'ram' lists what may be read") if found is None else found
            for run, found in zip(runs, self.session.read_runs(runs), strict=True)
        ]
