"""A source that remembers what it was asked, and physical memory above it."""

from __future__ import annotations

from dataclasses import dataclass, field

from inspector.errors import NotCaptured
from inspector.memory.physical import Clock, PhysicalMemory, RamMap, Range


def pattern(address: int, length: int) -> bytes:
    """Bytes that tell their own addresses."""
    return bytes((at * 7 + (at >> 8) * 13) & 0xFF for at in range(address, address + length))


@dataclass
class Spy:
    """A source that remembers what it was asked, and gives what is written over a pattern."""

    cheap: bool = False
    asked: list[tuple[int, int]] = field(default_factory=list)
    written: dict[int, bytes] = field(default_factory=dict)
    lacking: tuple[int, int] | None = None
    clipped: int = 0
    description = "a spy"

    def read(self, address: int, length: int) -> bytes:
        self.asked.append((address, length))
        if self.lacking and address < self.lacking[1] and address + length > self.lacking[0]:
            raise NotCaptured(address, length)
        found = self.written.get(address, pattern(address, length))
        return found[: length - self.clipped]


@dataclass
class Recorded(Spy):
    """One that has bytes of a part of RAM alone."""

    captured: tuple[tuple[int, int], ...] = ()


def memory(*spans: tuple[int, int], spy: Spy | None = None, clock: Clock | None = None) -> tuple[PhysicalMemory, Spy]:
    """Physical memory of these (start, end), above a spy."""
    spy = spy or Spy()
    ram = RamMap(Range(start, end - start) for start, end in spans)
    return PhysicalMemory(spy, ram, clock or Clock()), spy


def inside(spans: tuple[tuple[int, int], ...], address: int, length: int) -> bool:
    """Whether every byte is in some span, byte by byte at the seams."""
    return all(any(start <= at < end for start, end in spans) for at in range(address, address + length))
