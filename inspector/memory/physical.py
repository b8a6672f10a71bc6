"""The one seam to the world: physical memory behind a guard and an epoch cache.

A *source* (gdb, a RAM file, a snapshot, an image) gives bytes of physical memory and knows nothing
else. :class:`PhysicalMemory` stands above every source and below every reader: it refuses whatever
the RAM map does not hold *before* the source is asked, because a read of a device's address through
a gdbstub is a device access, and keeps what was read for as long as the guest has not run.

Addresses and lengths are in bytes, real (physical) and unsigned. Words of page tables are
big-endian whatever the guest's byte order (Power ISA 3.0B, book III, 5.7.6).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from inspector.errors import MemoryReadError, NotRam, Unreadable

UNIT = 256
"""Bytes fetched and kept together: a last-level table of 64K pages, the smallest there is. Over gdb/MI it costs what
one word does; 1 KiB would cost half as much again."""

CACHE_UNITS = 1 << 18
"""At most this many units are kept (64 MiB)."""


@dataclass(frozen=True, slots=True)
class Range:
    """``size`` bytes of RAM from real address ``start``; ``name`` is the machine's name for them."""

    start: int
    size: int
    name: str = ""

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.start + self.size


class RamMap:
    """Which real addresses are RAM: sorted, disjoint ranges; touching ones are read across."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.ranges: tuple[Range, ...] = tuple(sorted((r for r in ranges if r.size > 0), key=lambda r: r.start))
        spans: list[tuple[int, int]] = []
        for r in self.ranges:
            if spans and r.start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(spans[-1][1], r.end))
            else:
                spans.append((r.start, r.end))
        self._starts = [start for start, _ in spans]
        self._ends = [end for _, end in spans]

    def __iter__(self) -> Iterator[Range]:
        return iter(self.ranges)

    def span(self, address: int) -> tuple[int, int] | None:
        """The (start, end) of the unbroken RAM that holds ``address``, or None."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._ends[at]:
            return None
        return self._starts[at], self._ends[at]

    def spans(self) -> list[tuple[int, int]]:
        """Every unbroken (start, end), in order."""
        return list(zip(self._starts, self._ends, strict=True))

    def covers(self, address: int, length: int) -> bool:
        """Whether all of ``length`` bytes at ``address`` are RAM. An empty run is covered anywhere."""
        if length == 0:
            return True
        span = self.span(address) if address >= 0 and length > 0 else None
        return span is not None and address + length <= span[1]

    def within(self, address: int, length: int) -> Iterator[tuple[int, int]]:
        """The unbroken RAM among ``length`` bytes at ``address``: every (start, end), in order."""
        end = address + length
        for at in range(max(bisect_right(self._starts, address) - 1, 0), len(self._starts)):
            start, stop = max(self._starts[at], address), min(self._ends[at], end)
            if self._starts[at] >= end:
                return
            if start < stop:
                yield start, stop

    @property
    def total(self) -> int:
        """Bytes of RAM."""
        return sum(end - start for start, end in self.spans())


class MemorySource(Protocol):
    """Where bytes of physical memory come from."""

    @property
    def description(self) -> str:
        """What it is, in a few words, for 'info'."""

    @property
    def cheap(self) -> bool:
        """Whether a read costs about a memory copy, so that keeping what was read gains nothing."""

    def read(self, address: int, length: int) -> bytes:
        """Exactly ``length`` bytes at real address ``address``.

        Raises NotCaptured or Unreadable, and TargetError where the source itself is gone."""


@dataclass(slots=True)
class Clock:
    """Whether the guest runs, and how often it has: what is read is good for one epoch only."""

    epoch: int = 0
    running: bool = False

    def tick(self) -> None:
        """The guest has run: nothing read before is to be trusted."""
        self.epoch += 1


@dataclass(slots=True)
class Traffic:
    """What was asked of the source, for 'info' and for tests."""

    reads: int = 0
    bytes: int = 0
    refused: int = 0


@dataclass
class PhysicalMemory:
    """RAM as every reader sees it: guarded by the map, kept for one epoch."""

    source: MemorySource
    ram: RamMap
    clock: Clock = field(default_factory=Clock)
    traffic: Traffic = field(default_factory=Traffic)

    def __post_init__(self) -> None:
        self._units: OrderedDict[int, bytes] = OrderedDict()
        self._epoch = self.clock.epoch

    @property
    def captured(self) -> Sequence[tuple[int, int]] | None:
        """(address, size) of what a recorded source has bytes of; None for one that has all RAM."""
        found: Sequence[tuple[int, int]] | None = getattr(self.source, "captured", None)
        return found

    @property
    def zeros(self) -> Sequence[tuple[int, int]]:
        """(address, size) of what a recorded source knows to be zero, and keeps no bytes of."""
        found: Sequence[tuple[int, int]] = getattr(self.source, "zeros", ())
        return found

    def within(self, address: int, length: int) -> Iterator[tuple[int, int]]:
        """Every (start, end) of RAM among ``length`` bytes at ``address`` that may hold anything but zeros.

        What a recorded source lacks is passed over: a table, or a RAM map, may claim far more than anyone can look
        through."""
        captured = self.captured
        held = None if captured is None else RamMap(Range(*span) for span in captured)
        for start, end in self.ram.within(address, length):
            if held is None:
                yield start, end
            else:
                yield from held.within(start, end - start)

    @property
    def changing(self) -> bool:
        """Whether the guest runs, so that two reads may not belong together."""
        return self.clock.running

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at ``address``. Raises NotRam, NotCaptured, Unreadable or TargetError."""
        if not self.ram.covers(address, length):
            self.traffic.refused += 1
            raise NotRam(address, length)
        if length == 0:
            return b""
        if self.source.cheap or self.clock.running or length > UNIT:
            return self._fetch(address, length)
        try:
            return self._kept(address, length)
        except MemoryReadError:
            # The source lacks some of the units around, perhaps not what was asked for.
            return self._fetch(address, length)

    def _kept(self, address: int, length: int) -> bytes:
        """The same out of whole units, fetched where they were not kept."""
        span = self.ram.span(address)
        assert span is not None
        pieces = []
        while length:
            base = address // UNIT * UNIT
            start = max(base, span[0])
            unit = self._unit(start, min(base + UNIT, span[1]))
            piece = unit[address - start : address - start + length]
            pieces.append(piece)
            address += len(piece)
            length -= len(piece)
        return b"".join(pieces)

    def read_u64(self, address: int) -> int:
        """The big-endian doubleword at ``address``: what every page-table entry is."""
        if self._epoch == self.clock.epoch and not self.clock.running:
            # The shortest way for a walk: a unit that is kept holds nothing but RAM.
            base = address // UNIT * UNIT
            kept = self._units.get(base)
            if kept is not None and address + 8 <= base + len(kept):
                return int.from_bytes(kept[address - base : address - base + 8], "big")
        return int.from_bytes(self.read(address, 8), "big")

    def _unit(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` to ``end``, from the cache or fetched now."""
        if self._epoch != self.clock.epoch:
            self._units.clear()
            self._epoch = self.clock.epoch
        kept = self._units.get(start)
        if kept is None:
            kept = self._units[start] = self._fetch(start, end - start)
            if len(self._units) > CACHE_UNITS:
                self._units.popitem(last=False)
        else:
            self._units.move_to_end(start)
        return kept

    def _fetch(self, address: int, length: int) -> bytes:
        self.traffic.reads += 1
        self.traffic.bytes += length
        found = self.source.read(address, length)
        if len(found) != length:
            gave = f"{self.source.description} gave {len(found):#x} bytes instead; ask again, or open the target anew"
            raise Unreadable(address, length, gave)
        return found
