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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from inspector.errors import MemoryReadError, NotRam, Unreadable

UNIT = 256
"""Bytes fetched and kept together: a last-level table of 64K pages, the smallest there is. Over gdb/MI it costs what
one word does; 1 KiB would cost half as much again."""

CACHE_UNITS = 1 << 18
"""At most this many units are kept (64 MiB)."""

CACHE_RUN_BYTES = 64 << 20
"""At most so many bytes of runs are kept besides."""

TOGETHER = 1 << 20
"""Runs that are near are read in one, up to this many bytes."""


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


@runtime_checkable
class BatchSource(Protocol):
    """A source to which many reads at once cost less than one after another."""

    @property
    def gap(self) -> int:
        """Up to this many bytes between two runs are cheaper read along than left out."""

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """As many reads, each its bytes or why not, in order. Raises TargetError where the source itself is gone."""


def one_by_one(read: Callable[[int, int], bytes], runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
    """What :meth:`BatchSource.read_runs` gives, of what reads one run at a time. Raises TargetError."""
    found: list[bytes | MemoryReadError] = []
    for run in runs:
        try:
            found.append(read(*run))
        except MemoryReadError as error:
            found.append(error)
    return found


@runtime_checkable
class ChoosingSource(Protocol):
    """A source that has several ways, and looks for the fastest only where enough is to be read."""

    def expect(self, length: int) -> None:
        """About so many bytes will be read soon."""


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
    """RAM as every reader sees it: guarded by the map, kept for one epoch; not kept where ``keeps`` is False, as
    over an overlay, which changes meanwhile and whose base keeps what it read."""

    source: MemorySource
    ram: RamMap
    clock: Clock = field(default_factory=Clock)
    traffic: Traffic = field(default_factory=Traffic)
    keeps: bool = True

    def __post_init__(self) -> None:
        self._units: OrderedDict[int, bytes] = OrderedDict()
        self._runs: dict[tuple[int, int], bytes] = {}
        self._run_bytes = 0
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
        if not self.keeps or self.source.cheap or self.clock.running or length > UNIT:
            return self._fetch(address, length)
        try:
            return self._kept(address, length)
        except MemoryReadError:
            # The source lacks some of the units around, perhaps not what was asked for.
            return self._fetch(address, length)

    def expect(self, length: int) -> None:
        """Say that about ``length`` bytes will be read: a source that has several ways may then choose a faster one."""
        if isinstance(self.source, ChoosingSource):
            self.source.expect(length)

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Many (address, length) at once: of each its bytes, or the error that :meth:`read` would raise, in order.

        Runs that are near are fetched together, as far as that is cheaper for the source and all between them is
        RAM; while the guest stands still, one that was read before is not read again. Raises TargetError."""
        answers: list[bytes | MemoryReadError] = [b""] * len(runs)
        self._renew()
        wanted: list[tuple[int, int, int]] = []
        for number, run in enumerate(runs):
            if not self.ram.covers(*run):
                self.traffic.refused += 1
                answers[number] = NotRam(*run)
            elif run[1]:
                kept = None if self.clock.running else self._runs.get(run)
                if kept is None:
                    wanted.append((*run, number))
                else:
                    answers[number] = kept
        self.expect(sum(length for _, length, _ in wanted))
        if not isinstance(self.source, BatchSource):
            for address, length, number in wanted:
                answers[number] = self._fetched(address, length)
        else:
            self._together(self.source, sorted(wanted), answers)
        if self.keeps and not self.source.cheap and not self.clock.running and self._epoch == self.clock.epoch:
            self._keep_runs(wanted, answers)
        return answers

    def _together(
        self, source: BatchSource, wanted: list[tuple[int, int, int]], answers: list[bytes | MemoryReadError]
    ) -> None:
        """Read ``wanted`` (address, length, place in ``answers``), which is in order, in groups of near runs."""
        gap = source.gap
        groups: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        for each in wanted:
            address, end = each[0], each[0] + each[1]
            if groups:
                first, last, members = groups[-1]
                upto = max(last, end)
                if address - last <= gap and upto - first <= TOGETHER and self.ram.covers(first, upto - first):
                    members.append(each)
                    groups[-1] = (first, upto, members)
                    continue
            groups.append((address, end, [each]))
        spans = [(first, last - first) for first, last, _ in groups]
        self.traffic.reads += len(spans)
        self.traffic.bytes += sum(length for _, length in spans)
        for (first, last, members), found in zip(groups, source.read_runs(spans), strict=True):
            whole = not isinstance(found, MemoryReadError) and len(found) == last - first
            for address, length, number in members:
                if whole and not isinstance(found, MemoryReadError):
                    answers[number] = found[address - first : address - first + length]
                elif len(members) == 1 and isinstance(found, MemoryReadError):
                    answers[number] = found
                else:
                    answers[number] = self._fetched(address, length)

    def _fetched(self, address: int, length: int) -> bytes | MemoryReadError:
        try:
            return self._fetch(address, length)
        except MemoryReadError as error:
            return error

    def _keep_runs(self, wanted: list[tuple[int, int, int]], answers: list[bytes | MemoryReadError]) -> None:
        for address, length, number in wanted:
            found = answers[number]
            if isinstance(found, bytes) and self._run_bytes + length <= CACHE_RUN_BYTES:
                self._runs[address, length] = found
                self._run_bytes += length

    def _renew(self) -> None:
        """Forget what was read before the guest ran."""
        if self._epoch != self.clock.epoch:
            self._units.clear()
            self._runs.clear()
            self._run_bytes = 0
            self._epoch = self.clock.epoch

    @property
    def windows(self) -> list[tuple[int, memoryview]]:
        """RAM that lies in this process: (real address, bytes) of every part, cut to the RAM map.

        Empty where the source has no such property. They are good until the source is closed; what they show changes
        while the guest runs."""
        found: Sequence[tuple[int, memoryview]] = getattr(self.source, "windows", ())
        return [
            (start, data[start - address : end - address])
            for address, data in found
            for start, end in self.ram.within(address, len(data))
        ]

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
        self._renew()
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
