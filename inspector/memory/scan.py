"""RAM looked through for a pattern: whatever is RAM and can be read, once, in large pieces, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from inspector.errors import MemoryReadError
from inspector.memory.pattern import Buffer, Pattern
from inspector.memory.physical import PhysicalMemory
from inspector.memory.spans import Spans

PIECE = 1 << 20
"""Bytes read at a time: they stay in the processor's cache from read to search."""
NEAR = 64 << 10
"""Spans that are so near each other are read together, where all between them can be read: less from a source to which
a byte more is dear, which says how much."""
RUNS = 1 << 10
"""At most so many spans are asked for at a time."""
SMALLEST = 4096
"""What cannot be read is narrowed down to so many bytes."""
TRIES = 4096
"""Reads that a scan spends on narrowing down; what fails after them is passed over as it was asked for."""

Progress = Callable[[int, int], object]
"""Hears how many bytes were looked through, of how many."""


@dataclass(frozen=True, slots=True)
class Area:
    """What is to be looked through: hits lie whole in one of ``spans``. ``readable`` is all that can be read of RAM, in
    which what lies between two spans may be read along; ``zeros`` is what of it is known to be zero, unread.
    ``missing`` counts bytes that were asked for, are RAM, and are not in the snapshot."""

    spans: Spans
    readable: Spans
    zeros: Spans
    missing: int


def area(memory: PhysicalMemory, wanted: Spans | None = None) -> Area:
    """All RAM that there is to look through, or what of ``wanted`` is in it. Nothing is read."""
    ram = Spans.of(memory.ram.spans())
    asked = ram if wanted is None else ram.within(wanted)
    captured = memory.captured
    if captured is None:
        return Area(asked, ram, Spans.of(()), 0)
    filled = Spans.of((start, start + size) for start, size in captured)
    zeros = Spans.of((start, start + size) for start, size in memory.zeros).without(filled).within(ram)
    held = Spans.of((*filled, *zeros)).within(ram)
    spans = asked.within(held)
    return Area(spans, held, zeros, asked.total - spans.total)


@dataclass
class Scan:
    """A search of ``area`` for ``pattern``, and how far it is.

    ``done`` counts the bytes looked through, of ``total``; ``unread`` those that refused, and ``why`` the first did."""

    memory: PhysicalMemory
    pattern: Pattern
    area: Area
    progress: Progress = lambda _done, _total: None
    done: int = 0
    unread: int = 0
    why: str = ""
    total: int = field(init=False)

    def __post_init__(self) -> None:
        self.total = self.area.spans.total
        self._tries = TRIES

    def hits(self) -> Generator[int, None, None]:
        """The real address of every occurrence, ascending. Raises TargetError where the target is lost.

        It may be stopped at any moment, by Ctrl-C too: the counts then say how far it came."""
        spans, read = self.area.spans, self._to_read()
        groups = self._groups(read)
        together = len(groups) == len(spans) and len(read) == len(spans)
        beyond = len(self.pattern) - 1
        known_zero = self.total - read.total
        self.memory.expect(read.total)
        # Zeros that need no look are counted along with what is read, in proportion.
        reach = int((groups.end - groups.start).sum(dtype=np.uint64)) if len(groups) else 0
        passed = 0
        for start, end, upto, found in self._buffers(self._pieces(groups, beyond)):
            for address, piece in self._good(start, end, upto, found):
                for hit in self.pattern.places(piece, address):
                    if together or spans.covers(hit, len(self.pattern)):
                        yield hit
            passed += upto - start
            self.done = (read.total + known_zero) * passed // reach - self.unread
            self.progress(passed, reach)
        self.done = self.total - self.unread
        self.progress(1, 1)

    def _to_read(self) -> Spans:
        """The spans without the inner parts of known zeros, which only a pattern of zeros could lie in."""
        edge = len(self.pattern) - 1
        zeros = self.area.zeros
        if self.pattern.zero or not len(zeros):
            return self.area.spans
        deep = zeros.end - zeros.start > np.uint64(2 * edge)
        inner = Spans(zeros.start[deep] + np.uint64(edge), zeros.end[deep] - np.uint64(edge))
        return self.area.spans.without(inner)

    def _groups(self, read: Spans) -> Spans:
        """Near spans put together."""
        if len(read) < 2:
            return read
        home = self.area.readable.place(read.start)
        source = self.memory.source
        near = NEAR if source.cheap else getattr(source, "gap", 0)
        apart = (home[1:] != home[:-1]) | (read.start[1:] - read.end[:-1] > np.uint64(near))
        begin = np.append(0, np.flatnonzero(apart) + 1)
        return Spans(read.start[begin], read.end[np.append(begin[1:], len(read)) - 1])

    def _pieces(self, groups: Spans, beyond: int) -> Iterator[tuple[int, int, int]]:
        """(start, end, up to where it is new): the groups in pieces that overlap by all but a byte of a pattern."""
        for start, end in groups:
            at = start
            while at + PIECE + beyond < end:
                yield at, at + PIECE + beyond, at + PIECE
                at += PIECE
            yield at, end, end

    def _buffers(
        self, pieces: Iterable[tuple[int, int, int]]
    ) -> Iterator[tuple[int, int, int, Buffer | MemoryReadError]]:
        """The pieces with what they hold, in order: in place where that can be, together where that is quicker."""
        memory = self.memory
        batch: list[tuple[int, int, int]] = []
        size = 0
        for each in pieces:
            start, end, _ = each
            window = next((w for w in memory.windows if w[0] <= start and end <= w[0] + len(w[1])), None)
            if window is not None:
                yield from self._read(batch)
                batch, size = [], 0
                yield (*each, window[1][start - window[0] : end - window[0]])
                continue
            batch.append(each)
            size += end - start
            if size >= PIECE or len(batch) == RUNS:
                yield from self._read(batch)
                batch, size = [], 0
        yield from self._read(batch)

    def _read(self, batch: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int, Buffer | MemoryReadError]]:
        if len(batch) > 1 and not self.memory.source.cheap:
            found = self.memory.read_runs([(start, end - start) for start, end, _ in batch])
            yield from ((*each, one) for each, one in zip(batch, found, strict=True))
            return
        for start, end, upto in batch:
            try:
                yield start, end, upto, self.memory.read(start, end - start)
            except MemoryReadError as error:
                yield start, end, upto, error

    def _good(self, start: int, end: int, upto: int, found: Buffer | MemoryReadError) -> Iterator[tuple[int, Buffer]]:
        """What of a piece can be read, put together where it touches."""
        if not isinstance(found, MemoryReadError):
            yield start, found
            return
        held: list[bytes] = []
        first = start
        for address, size, part in self._narrowed(start, end, found):
            if isinstance(part, MemoryReadError):
                if held:
                    yield first, b"".join(held)
                held, first = [], address + size
                lost = Spans.of([(address, min(address + size, upto))])
                self.unread += self.area.spans.within(lost).total
                self.why = self.why or part.why
            else:
                held.append(part)
        if held:
            yield first, b"".join(held)

    def _narrowed(
        self, start: int, end: int, error: MemoryReadError
    ) -> Iterator[tuple[int, int, bytes | MemoryReadError]]:
        """The same bytes in parts, (address, size, content): halved until what cannot be read stands alone."""
        if end - start <= SMALLEST or self._tries < 2:
            yield start, end - start, error
            return
        half = (start + end) // 2 // SMALLEST * SMALLEST
        half = half if start < half < end else (start + end) // 2
        self._tries -= 2
        for low, high in ((start, half), (half, end)):
            try:
                yield low, high - low, self.memory.read(low, high - low)
            except MemoryReadError as again:
                yield from self._narrowed(low, high, again)
