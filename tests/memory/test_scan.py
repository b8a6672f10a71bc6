"""A search of RAM, held to a look at every byte of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import MemoryReadError, NotCaptured, Unreadable
from inspector.memory import scan as scan_module
from inspector.memory.pattern import Pattern
from inspector.memory.physical import Clock, PhysicalMemory, RamMap, Range, one_by_one
from inspector.memory.scan import Scan, area
from inspector.memory.spans import Spans

SIZE = 1 << 13
KINDS = ("plain", "batch", "windows")


@dataclass
class Source:
    """Bytes from real address 0 on. It tells what it was asked for, and holds ``captured`` and ``zeros`` if given."""

    data: bytes
    refused: Sequence[tuple[int, int]] = ()
    captured: Sequence[tuple[int, int]] | None = None
    zeros: Sequence[tuple[int, int]] = ()
    cheap: bool = True
    description: str = "a source"
    asked: list[tuple[int, int]] = field(default_factory=list)

    @cached_property
    def held(self) -> set[int]:
        return {at for start, size in (*(self.captured or ()), *self.zeros) for at in range(start, start + size)}

    def read(self, address: int, length: int) -> bytes:
        self.asked.append((address, length))
        for start, size in self.refused:
            if address < start + size and start < address + length:
                raise Unreadable(address, length, "it was refused")
        if self.captured is not None and not self.held.issuperset(range(address, address + length)):
            raise NotCaptured(address, length)
        return self.data[address : address + length]


@dataclass
class Batch(Source):
    """The same, many at once."""

    gap: int = 8

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        return one_by_one(self.read, runs)


@dataclass
class Windowed(Source):
    """The same with its first half in place."""

    @property
    def windows(self) -> list[tuple[int, memoryview]]:
        return [(0, memoryview(self.data)[: SIZE // 2])]


def source_of(kind: str, data: bytes, refused: Sequence[tuple[int, int]] = ()) -> Source:
    if kind == "batch":
        return Batch(data, refused, cheap=False)
    return Windowed(data, refused) if kind == "windows" else Source(data, refused)


def memory_of(source: Source, ram: Sequence[tuple[int, int]]) -> PhysicalMemory:
    return PhysicalMemory(source, RamMap(Range(start, size) for start, size in ram), Clock())


def naive(data: bytes, wanted: bytes, align: int, searched: set[int]) -> list[int]:
    """Every place all of whose bytes are searched, one by one."""
    return [
        at
        for at in range(0, len(data) - len(wanted) + 1, align)
        if data[at : at + len(wanted)] == wanted and searched.issuperset(range(at, at + len(wanted)))
    ]


def members(pairs: Sequence[tuple[int, int]]) -> set[int]:
    return {at for start, size in pairs for at in range(start, min(start + size, SIZE))}


PAIRS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE // 2)), min_size=1, max_size=5)


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Mostly zeros, with words strewn in that occur again and again, some in a row."""
    image = bytearray(SIZE)
    for _ in range(draw(st.integers(0, 30))):
        at = draw(st.integers(0, SIZE - 16))
        image[at : at + 8] = draw(st.sampled_from([b"ABCDEFGH", b"AAAAAAAA", b"\0\0AB\0\0\0\0", b"\xff" * 8]))
    return bytes(image)


WANTED = st.sampled_from([b"A", b"AB", b"ABCD", b"AAAA", b"ABCDEFGH", b"\0\0AB", b"\0" * 3, b"GH\0\0", b"H\0AB"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    images(), WANTED, st.sampled_from([1, 2, 8]), PAIRS, PAIRS | st.none(), st.sampled_from(KINDS), st.integers(1, 300)
)
def test_hits_are_those_of_a_look_at_every_byte(
    monkeypatch: pytest.MonkeyPatch,
    image: bytes,
    wanted: bytes,
    align: int,
    ram: list[tuple[int, int]],
    asked: list[tuple[int, int]] | None,
    kind: str,
    piece: int,
) -> None:
    monkeypatch.setattr(scan_module, "PIECE", piece)
    monkeypatch.setattr(scan_module, "NEAR", piece)
    ram = [(start, min(size, SIZE - start)) for start, size in ram]
    source = source_of(kind, image)
    where = None if asked is None else Spans.of((start, start + size) for start, size in asked)
    scan = Scan(memory_of(source, ram), Pattern(wanted, align), area(memory_of(source, ram), where))
    searched = members(ram) if asked is None else members(ram) & members(asked)
    assert list(scan.hits()) == naive(image, wanted, align, searched)
    assert (scan.done, scan.total, scan.unread) == (len(searched), len(searched), 0)
    spans = RamMap(Range(start, size) for start, size in ram)
    assert all(spans.covers(*each) for each in source.asked)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(images(), WANTED, st.sampled_from([1, 8]), PAIRS, PAIRS, st.integers(1, 300))
def test_of_a_snapshot_what_it_holds_and_what_is_known_to_be_zero(
    monkeypatch: pytest.MonkeyPatch,
    image: bytes,
    wanted: bytes,
    align: int,
    captured: list[tuple[int, int]],
    zeros: list[tuple[int, int]],
    piece: int,
) -> None:
    monkeypatch.setattr(scan_module, "PIECE", piece)
    ram = [(0x100, SIZE - 0x200)]
    inside, blank = members(ram) & members(captured), members(ram) & (members(zeros) - members(captured))
    data = bytes(byte if at in inside else 0 for at, byte in enumerate(image))
    source = Source(data, captured=captured, zeros=zeros)
    memory = memory_of(source, ram)
    where = area(memory)
    scan = Scan(memory, Pattern(wanted, align), where)
    assert list(scan.hits()) == naive(data, wanted, align, inside | blank)
    assert where.missing == len(members(ram)) - len(inside | blank)
    assert scan.done == len(inside | blank)


def test_zeros_that_are_known_are_not_read_and_do_not_end_a_search() -> None:
    size = 1 << 40
    source = Source(b"", captured=[(size, 16)], zeros=[(0, size)])
    source.data = b""
    memory = memory_of(source, [(0, size + 16)])
    asked = source.asked

    def read(address: int, length: int) -> bytes:
        asked.append((address, length))
        return b"".join(b"AB"[at % 2 : at % 2 + 1] if at >= size else b"\0" for at in range(address, address + length))

    source.read = read  # type: ignore[method-assign]
    scan = Scan(memory, Pattern(b"\0\0A"), area(memory))
    assert list(scan.hits()) == [size - 2]
    assert sum(length for _, length in asked) < 64
    assert scan.done == size + 16


def test_zeros_in_zeros_are_found_one_by_one_as_they_are_asked_for() -> None:
    memory = memory_of(Source(bytes(SIZE)), [(0, SIZE)])
    assert list(islice(Scan(memory, Pattern(b"\0"), area(memory)).hits(), 5)) == [0, 1, 2, 3, 4]
    assert list(islice(Scan(memory, Pattern(b"\0" * 8, 4096), area(memory)).hits(), 5)) == [0, 4096]


@pytest.mark.parametrize("kind", ["plain", "batch"])
def test_what_is_refused_is_passed_over_and_counted(kind: str) -> None:
    size = 1 << 20
    data = bytearray(size)
    for at in (0x7FFE, 0x8400, 0x8FFE, 0x9000, size - 4):
        data[at : at + 4] = b"find"
    memory = memory_of(source_of(kind, bytes(data), [(0x8000, 0x1000)]), [(0, size)])
    scan = Scan(memory, Pattern(b"find"), area(memory))
    assert list(scan.hits()) == [0x9000, size - 4], "0x7ffe and 0x8ffe lie in part in what was refused"
    assert (scan.unread, scan.done) == (0x1000, size - 0x1000)
    assert "refused" in scan.why


def test_a_source_that_refuses_everything_is_not_asked_for_ever() -> None:
    size = 1 << 26
    source = Source(b"", [(0, size)])
    memory = memory_of(source, [(0, size)])
    scan = Scan(memory, Pattern(b"find"), area(memory))
    assert list(scan.hits()) == []
    assert (scan.unread, scan.done) == (size, 0)
    assert len(source.asked) <= scan_module.TRIES + size // scan_module.PIECE


def test_a_hit_that_spans_two_ranges_that_touch_and_none_across_a_hole() -> None:
    data = bytearray(SIZE)
    data[0xFFE:0x1002] = data[0x1FFE:0x2002] = b"find"
    memory = memory_of(Source(bytes(data)), [(0, 0x1000), (0x1000, 0x1000), (0x2001, 0x100)])
    assert list(Scan(memory, Pattern(b"find"), area(memory)).hits()) == [0xFFE]


def test_progress_goes_up_and_ends() -> None:
    told: list[tuple[int, int]] = []
    memory = memory_of(Source(bytes(SIZE)), [(0, SIZE)])
    scan = Scan(memory, Pattern(b"x"), area(memory), lambda done, total: told.append((done, total)))
    assert list(scan.hits()) == []
    assert [done / total for done, total in told] == sorted(done / total for done, total in told)
    assert told[-1] == (1, 1)
