"""The live entries of a process table: which address spaces there are, however much the table claims to hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.errors import MemoryReadError, NotCaptured, NotRam
from inspector.memory.behind import GuestMemory
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.radix.bits import ENTRY_BYTES, RPDB_MASK, tree_bits

if TYPE_CHECKING:
    from inspector.roots import Progress

SCAN_BYTES = 1 << 16
"""A process table is scanned in pieces of this many bytes."""
PAGE = 4096
BLOCK = 512
"""A table has 2^20 entries and most are empty: so many bytes are passed over at a look where all are zero."""
EMPTY = bytes(ENTRY_BYTES)
ZEROS = bytes(SCAN_BYTES)
"""To compare with is several times as fast as to count, and ends at the first that differs."""


@dataclass(frozen=True, slots=True)
class Process:
    """A live entry of a process table. ``pid`` is the radix PID; ``entry`` its two doublewords."""

    pid: int
    address: int
    entry: int
    second: int

    @property
    def root(self) -> int:
        """Real address of the root directory."""
        return self.entry & RPDB_MASK

    @property
    def bits(self) -> int:
        """Bits of address space that its tree covers."""
        return tree_bits(self.entry)


@dataclass(slots=True)
class Missed:
    """What of a ``table`` could not be read: how many bytes in all, and of the first of them the real ``address`` and
    why. That of a KVM guest's (``lpid`` is not 0) is guest real, whatever address of the host's the error is of."""

    table: str = "process table"
    lpid: int = 0
    length: int = 0
    address: int = 0
    first: MemoryReadError | None = None

    def add(self, address: int, length: int, error: MemoryReadError) -> None:
        """Count these bytes in, which ``error`` is the reason for."""
        self.length += length
        if self.first is None:
            self.address, self.first = address, error

    @property
    def name(self) -> str:
        """Whose table it is, in words."""
        return f"{self.table} of LPID {self.lpid}" if self.lpid else self.table

    @property
    def where(self) -> str:
        """The address of the first of it, in words."""
        return f"{'guest real ' if self.lpid else ''}{self.address:#x}"


def scan(memory: PhysicalMemory, base: int, size: int, missed: Missed | None, progress: Progress) -> Iterator[Process]:
    """The live entries of the process table of ``size`` bytes at real address ``base``, by PID.

    What cannot be read is passed over and told to ``missed``. Raises TargetError where the target is gone."""
    missed = Missed() if missed is None else missed
    _not_held(memory, base, base + size, missed)
    upto = base
    for first, end in memory.within(base, size):
        begin = max(upto, first // ENTRY_BYTES * ENTRY_BYTES)
        upto = -(-end // ENTRY_BYTES) * ENTRY_BYTES
        for start in range(begin, upto, SCAN_BYTES):
            length = min(SCAN_BYTES, upto - start)
            try:
                piece = memory.read(start, length)
            except MemoryReadError:
                yield from _readable(memory, base, start, length, missed)
                continue
            if piece != (ZEROS if length == SCAN_BYTES else ZEROS[:length]):
                yield from _entries(piece, base, start)
            progress("scanning the process table", start + length - base, size)


def _not_held(memory: PhysicalMemory, start: int, end: int, missed: Missed) -> None:
    """Tell ``missed`` what of a table is not RAM, or not in a snapshot: nothing tries to read it."""

    def gap(low: int, high: int) -> None:
        if low < high:
            missed.add(low, high - low, _why(memory, low, high - low))

    zeros = RamMap(Range(*each) for each in memory.zeros)
    for low, high in sorted((*memory.within(start, end - start), *zeros.within(start, end - start))):
        gap(start, low)
        start = max(start, high)
    gap(start, end)


def _why(memory: PhysicalMemory, address: int, length: int) -> MemoryReadError:
    """Why nothing tries to read it."""
    if memory.ram.covers(address, 1):
        return NotCaptured(address, length)
    return memory.lacking(address, length) if isinstance(memory, GuestMemory) else NotRam(address, length)


def _readable(memory: PhysicalMemory, base: int, start: int, length: int, missed: Missed) -> Iterator[Process]:
    """The same where not all of a piece can be read, as in a snapshot: page by page."""
    for at in range(start, start + length, PAGE):
        size = min(PAGE, start + length - at)
        try:
            piece = memory.read(at, size)
        except MemoryReadError as error:
            missed.add(at, size, error)
            continue
        yield from _entries(piece, base, at)


def _entries(piece: bytes, base: int, start: int) -> Iterator[Process]:
    """The live entries among the bytes at real address ``start`` of the process table at ``base``."""
    for first in range(0, len(piece), BLOCK):
        block = piece[first : first + BLOCK]
        if block == ZEROS[: len(block)]:
            continue
        for at in range(0, len(block), ENTRY_BYTES):
            words = block[at : at + ENTRY_BYTES]
            if words != EMPTY:
                address = start + first + at
                entry, second = int.from_bytes(words[:8], "big"), int.from_bytes(words[8:], "big")
                yield Process((address - base) // ENTRY_BYTES, address, entry, second)
