"""Physical memory of a live guest, read through gdb and the stub."""

from __future__ import annotations

from inspector.errors import Unreadable
from inspector.gdbmi.session import GdbSession


class GdbMemory:
    """A :class:`~inspector.memory.physical.MemorySource` over an attached session.

    A small read costs about two round trips to the stub, a large one runs at about 0.4 of a bare socket's rate.
    gdb's own memory regions refuse whatever is not RAM, below the guard that every reader has above it."""

    cheap = False

    def __init__(self, session: GdbSession) -> None:
        self.session = session

    @property
    def description(self) -> str:
        """What it is."""
        return f"gdb at {self.session.where}"

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at real address ``address``.

        Raises Unreadable where the guest runs or gdb refuses, TargetLost, ReplyTimeout."""
        if self.session.clock.running:
            raise Unreadable(address, length, "the guest is running; 'interrupt' it first, or open it with --ram FILE")
        if length == 0:
            return b""
        found = self.session.read(address, length)
        if found is None:
            raise Unreadable(address, length, "gdb refused; 'ram' lists what may be read")
        return found
