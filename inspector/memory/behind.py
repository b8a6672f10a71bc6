"""Guest real memory: a partition's own addresses, read wherever the host has put them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from inspector.errors import MemoryReadError
from inspector.memory.physical import Clock, PhysicalMemory, RamMap


class Lookup(Protocol):
    """What lies behind a guest real address."""

    def span(self, address: int) -> tuple[int, int] | None:
        """(host real address, bytes from there to the end of what lies together), or None where nothing is behind."""

    def lacking(self, address: int, length: int, /) -> MemoryReadError:
        """Why there is none."""


class GuestReal:
    """A source of one partition's memory over the host's: what ``kvm_read_guest`` is to KVM."""

    def __init__(self, host: PhysicalMemory, lookup: Lookup, lpid: int) -> None:
        self.host = host
        self.lookup = lookup
        self.lpid = lpid

    @property
    def description(self) -> str:
        return f"the memory of LPID {self.lpid}, by way of {self.host.source.description}"

    @property
    def cheap(self) -> bool:
        return self.host.source.cheap

    @property
    def gap(self) -> int:
        """Nothing between two runs is worth reading along: it may lie anywhere."""
        return 0

    def read(self, address: int, length: int) -> bytes:
        """As a MemorySource reads. Raises NotBacked where the host has nothing behind it, BehindUnread where
        it may have, and what the host's raises, whose address is then the host's."""
        return b"".join(self.host.read(at, size) for at, size in self._pieces(address, length))

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Many at once."""
        asked: list[tuple[int, int]] = []
        parts: list[tuple[int, int] | MemoryReadError] = []
        for address, length in runs:
            try:
                pieces = self._pieces(address, length)
            except MemoryReadError as error:
                parts.append(error)
                continue
            parts.append((len(asked), len(asked) + len(pieces)))
            asked += pieces
        found = self.host.read_runs(asked)
        answers: list[bytes | MemoryReadError] = []
        for part in parts:
            if isinstance(part, MemoryReadError):
                answers.append(part)
                continue
            mine = found[part[0] : part[1]]
            failed = next((each for each in mine if isinstance(each, MemoryReadError)), None)
            answers.append(failed or b"".join(each for each in mine if isinstance(each, bytes)))
        return answers

    def _pieces(self, address: int, length: int) -> list[tuple[int, int]]:
        """(host real address, bytes) of what lies together. Raises NotBacked, and BehindUnread."""
        pieces = []
        at, left = address, length
        while left:
            span = self.lookup.span(at)
            if span is None:
                raise self.lookup.lacking(at, left)
            size = min(span[1], left)
            pieces.append((span[0], size))
            at += size
            left -= size
        return pieces


class GuestMemory(PhysicalMemory):
    """One partition's memory behind the guard. What is not in its map is not said to be no RAM: the guest may have
    RAM there that the host has put nothing behind yet."""

    def __init__(self, source: GuestReal, ram: RamMap, clock: Clock) -> None:
        super().__init__(source, ram, clock)
        self.lookup = source.lookup

    def lacking(self, address: int, length: int) -> MemoryReadError:
        """Why there is nothing to be read there."""
        return self.lookup.lacking(address, length)

    def read(self, address: int, length: int) -> bytes:
        """As PhysicalMemory reads; raises NotBacked or BehindUnread for what is not in the map."""
        if not self.ram.covers(address, length):
            self.traffic.refused += 1
            raise self.lacking(address, length)
        return super().read(address, length)

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """The same of many at once."""
        found = super().read_runs(runs)
        return [each if self.ram.covers(*run) else self.lacking(*run) for run, each in zip(runs, found, strict=True)]
