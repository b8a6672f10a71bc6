"""What is to be written into a snapshot, checked and laid out.

A :class:`Recording` is made by whoever looks at a guest; this knows no guest. Runs are given as
bytes or as a reader that is called once the file is being written, a MiB at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inspector.errors import MemoryReadError, NotCaptured, RecordError
from inspector.memory.physical import RamMap, Range
from inspector.snapshot.manifest import Content, CpuRecord, RootsRecord

Reader = Callable[[int, int], bytes]
"""(address, length) to exactly ``length`` bytes, as PhysicalMemory.read."""

CHUNK = 1 << 20
GRAIN = 4096
LINEAR_LIMIT = 1 << 51
"""Linux's linear map reaches this far: 0xc000000000000000 to 0xc008000000000000 (radix.h, 6.1)."""


@dataclass(frozen=True, slots=True)
class Run:
    """``size`` bytes of RAM at real address ``address``: the bytes, or what reads them."""

    address: int
    size: int
    data: bytes | Reader

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.address + self.size

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at ``address`` of it. Raises what the reader raises, RecordError if it reads short."""
        if isinstance(self.data, bytes):
            at = address - self.address
            data = self.data[at : at + length]
        else:
            data = self.data(address, length)
        if len(data) != length:
            raise RecordError(f"reading {length:#x} bytes at {address:#x} gave {len(data):#x}; record again")
        return data


def run_of(address: int, data: bytes) -> Run:
    """A run of bytes that are at hand."""
    return Run(address, len(data), data)


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that a snapshot holds.

    ``byte_order`` is the guest's, 'little' or 'big'. ``zeros`` are (address, size) of RAM that is known
    to be all zeros, and takes no room; ``unreadable`` of RAM that refused to be read. ``linear_base`` is
    where Linux's linear map begins (0xc000000000000000), or None where there is no such map.
    ``recorded_at`` is a UTC time in ISO 8601. ``machine`` holds JSON values: versions, machine type,
    whatever helps to know where it comes from. ``contents`` says in words what there is; ``virtio`` and ``triage`` are
    what the manifest is to hold of these, as JSON values."""

    byte_order: str
    runs: Sequence[Run]
    ram: Sequence[Range]
    cpus: Sequence[CpuRecord]
    zeros: Sequence[tuple[int, int]] = ()
    unreadable: Sequence[tuple[int, int]] = ()
    roots: RootsRecord | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    vmcoreinfo: bytes | None = None
    linear_base: int | None = None
    recorded_at: str | None = None
    contents: Sequence[Content] = ()
    virtio: Mapping[str, Any] | None = None
    triage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One PT_LOAD to be: runs that touch, joined; or zeros, which have no ``parts`` and no bytes in the file."""

    address: int
    size: int
    parts: tuple[Run, ...]

    @property
    def file_size(self) -> int:
        """Bytes that it takes in the file."""
        return self.size if self.parts else 0

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, at most CHUNK at a time."""
        for part in self.parts:
            at = part.address
            while at < part.end:
                length = min(CHUNK, part.end - at)
                yield part.read(at, length)
                at += length


def join(runs: Iterable[Run], zeros: Iterable[tuple[int, int]], ram: RamMap) -> list[Piece]:
    """The pieces that ``runs`` and ``zeros`` make, sorted. Raises RecordError where they overlap or are not RAM."""
    blank = b""
    everything = [*runs, *(Run(address, size, blank) for address, size in zeros)]
    groups: list[list[Run]] = []
    for run in sorted((r for r in everything if r.size > 0), key=lambda r: r.address):
        if not ram.covers(run.address, run.size):
            raise RecordError(f"{run.size:#x} bytes at {run.address:#x} are not all RAM; 'ram' lists what is")
        end = groups[-1][-1].end if groups else -1
        if run.address < end:
            raise RecordError(f"two runs to record overlap at {run.address:#x}; give each address once")
        if run.address == end and (run.data == blank) == (groups[-1][-1].data == blank):
            groups[-1].append(run)
        else:
            groups.append([run])
    return [Piece(g[0].address, g[-1].end - g[0].address, () if g[0].data == blank else tuple(g)) for g in groups]


def without_refused(recording: Recording) -> Recording:
    """``recording`` without what its readers refuse, which is read once to find out.

    What raises NotCaptured is left out; what raises Unreadable is left out and told in ``unreadable``."""
    runs: list[Run] = []
    refused: list[tuple[int, int]] = []
    for run in recording.runs:
        if isinstance(run.data, bytes):
            runs.append(run)
            continue
        start = at = run.address
        step = CHUNK
        while at < run.end:
            length = min(step, run.end - at)
            try:
                run.read(at, length)
            except MemoryReadError as e:
                told = max(at, min(e.address, at + length))
                gap = min(told + max(e.length, 1), at + length) - told
                if (told, gap) == (at, length) and length > GRAIN:
                    step = GRAIN  # it may be only some of it: look closer
                    continue
                if told > start:
                    runs.append(Run(start, told - start, run.data))
                if not isinstance(e, NotCaptured):
                    refused.append((told, gap))
                start = at = told + gap
            else:
                at += length
            if at % CHUNK == 0:
                step = CHUNK
        if run.end > start:
            runs.append(Run(start, run.end - start, run.data))
    return replace(recording, runs=runs, unreadable=[*recording.unreadable, *joined(refused)])


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted spans, those that touch made one."""
    return [(start, end - start) for start, end in RamMap(Range(a, s) for a, s in spans).spans()]
