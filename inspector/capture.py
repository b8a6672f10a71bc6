"""Bytes of a guest's RAM that were read to be kept: whole pages, and stretches of just so many bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from inspector.errors import MemoryReadError, NotCaptured, TargetError
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.snapshot.recording import Run, run_of

PAGE = 4096
PIECE = 1 << 20
"""Bytes read at a time."""


@dataclass
class Capture:
    """What was captured: pages by address (None where a page is known to be zero), and what could not be read.
    ``cut`` are the LPIDs of KVM guests whose tables are not all there, for there are more than is kept.
    ``zero_spans`` are (start, end) of more that is known to be zero. ``stretches`` are bytes that are kept without the
    rest of their pages, by address; they do not overlap, and none lies in a page that is kept."""

    pages: dict[int, bytes | None] = field(default_factory=dict)
    unreadable: dict[int, int] = field(default_factory=dict)
    cut: list[int] = field(default_factory=list)
    zero_spans: list[tuple[int, int]] = field(default_factory=list)
    stretches: dict[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes that are captured, zeros too."""
        return (
            PAGE * len(self.pages)
            + sum(map(len, self.stretches.values()))
            + sum(end - start for start, end in self.zero_spans)
        )

    def runs(self) -> Iterator[Run]:
        """Unbroken runs of captured pages that are not all zero, in order, and then the stretches, in order."""
        for first, pages in _unbroken((at, data) for at, data in sorted(self.pages.items()) if data is not None):
            yield run_of(first, b"".join(pages))
        yield from (run_of(*each) for each in sorted(self.stretches.items()))

    def zeros(self) -> Iterator[tuple[int, int]]:
        """Unbroken runs (address, size) that are known to be zero."""
        blank = bytes(PAGE)
        for first, pages in _unbroken((at, blank) for at, data in sorted(self.pages.items()) if data is None):
            yield first, len(pages) * PAGE
        yield from ((start, end - start) for start, end in self.zero_spans)


def _unbroken(pages: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Pages that follow each other, as (first address, their bytes)."""
    first = end = -1
    held: list[bytes] = []
    for address, data in pages:
        if held and address != end:
            yield first, held
            held = []
        if not held:
            first = address
        held.append(data)
        end = address + len(data)
    if held:
        yield first, held


def without(span: Range, holes: RamMap) -> list[tuple[int, int]]:
    """(start, end) of what is left of ``span``."""
    left, at = [], span.start
    for start, end in [*holes.within(span.start, span.size), (span.end, span.end)]:
        if at < start:
            left.append((at, start))
        at = end
    return left


def take_all(
    memory: PhysicalMemory, taken: Capture, address: int, size: int, told: Callable[[int], None] = lambda _done: None
) -> None:
    """Capture what of a run is RAM, a piece at a time; ``told`` hears how many bytes of the run are behind it."""
    for start, end in _held(memory, address, size):
        for at in range(start, end, PIECE):
            take(memory, taken, at, min(PIECE, end - at))
            told(min(at + PIECE, end) - address)


def _held(memory: PhysicalMemory, address: int, size: int) -> Iterator[tuple[int, int]]:
    """What of a run is RAM that the source has: a snapshot that is recorded again lacks most of what it claims."""
    captured = memory.captured
    held = None if captured is None else RamMap(Range(*span) for span in (*captured, *memory.zeros))
    for start, end in memory.ram.within(address, size):
        if held is None:
            yield start, end
        else:
            yield from held.within(start, end - start)


def take(memory: PhysicalMemory, taken: Capture, address: int, size: int) -> None:
    """Capture every page that ``size`` bytes at ``address`` touch, as far as it is RAM."""
    first = address // PAGE * PAGE
    for low, high in memory.ram.within(first, (address + size - first + PAGE - 1) // PAGE * PAGE):
        missing = [at for at in range(low, high, PAGE) if at not in taken.pages]
        if not missing:
            continue
        start, end = missing[0], min(missing[-1] + PAGE, high)
        try:
            data = memory.read(start, end - start)
        except TargetError:
            raise
        except MemoryReadError:
            for at in range(start, end, PAGE):
                _take_page(memory, taken, at, min(PAGE, end - at))
            continue
        for at in range(start, end, PAGE):
            page = data[at - start : at - start + PAGE]
            taken.pages[at] = None if len(page) == PAGE and page.count(0) == PAGE else page


def _take_page(memory: PhysicalMemory, taken: Capture, address: int, size: int) -> None:
    try:
        page = memory.read(address, size)
    except NotCaptured:
        return  # a snapshot lacks it: it was not refused, nobody asked
    except MemoryReadError:
        taken.unreadable[address] = size
        return
    taken.pages[address] = None if size == PAGE and page.count(0) == PAGE else page


def take_exactly(memory: PhysicalMemory, taken: Capture, spans: Iterable[tuple[int, int]]) -> None:
    """Capture just these (address, size), as far as they are RAM and not captured yet: what lies beside them, in their
    pages, is someone else's. Called after all whole pages were."""
    held = RamMap(
        [
            *(Range(at, PAGE) for at in taken.pages),
            *(Range(at, len(data)) for at, data in taken.stretches.items()),
            *(Range(start, end - start) for start, end in taken.zero_spans),
            *(Range(*each) for each in taken.unreadable.items()),
        ]
    )
    for first, last in RamMap(Range(*span) for span in spans).spans():
        for start, end in _held(memory, first, last - first):
            for low, high in without(Range(start, end - start), held):
                try:
                    taken.stretches[low] = memory.read(low, high - low)
                except TargetError:
                    raise
                except NotCaptured:
                    continue  # a snapshot lacks it: it was not refused, nobody asked
                except MemoryReadError:
                    taken.unreadable[low] = high - low
