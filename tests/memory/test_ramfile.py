"""A RAM file: what it holds, what it does not, and what becomes of it."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import FormatError, Unreadable, UsageError
from inspector.memory.physical import Clock, RamMap, Range
from inspector.memory.ramfile import RamFileSource, parse_ram_file

SIZE = 1 << 16
RAM = RamMap([Range(0, 4 * SIZE)])


@dataclass
class Guest:
    """The guest's memory, asked directly."""

    data: bytes
    cheap: bool = False
    description: str = "the guest"
    asked: list[tuple[int, int]] = field(default_factory=list)

    def read(self, address: int, length: int) -> bytes:
        self.asked.append((address, length))
        return self.data[address : address + length]


def pattern(length: int, seed: int = 1) -> bytes:
    return bytes((seed + at * 7 + (at >> 8) * 3 + (at >> 16) * 5) & 0xFF for at in range(length))


def opened(path: Path, data: bytes, address: int = 0, guest: Guest | None = None) -> tuple[RamFileSource, Clock]:
    path.write_bytes(data)
    clock = Clock()
    return RamFileSource(str(path), address, RAM, guest, clock), clock


@given(address=st.integers(0, 4 * SIZE - 1), length=st.integers(1, 3 * SIZE))
def test_every_read_is_of_the_file_or_of_the_guest(
    tmp_path_factory: pytest.TempPathFactory, address: int, length: int
) -> None:
    truth = pattern(4 * SIZE)
    length = min(length, 4 * SIZE - address)
    file = tmp_path_factory.getbasetemp() / "ram"
    guest = Guest(truth)
    source, _ = opened(file, truth[SIZE : 3 * SIZE], SIZE, guest)
    try:
        assert source.read(address, length) == truth[address : address + length]
        assert all(at + count <= SIZE or at >= 3 * SIZE for at, count in guest.asked)
    finally:
        source.close()


def test_large_reads_are_whole(tmp_path: Path) -> None:
    data = pattern((2 << 20) + 17)
    source, _ = opened(tmp_path / "ram", data)
    assert source.read(3, (2 << 20) + 5) == data[3 : (2 << 20) + 8]
    source.close()
    source.close()


def test_a_file_cut_down_while_open_is_a_sentence_and_no_signal(tmp_path: Path) -> None:
    source, _ = opened(tmp_path / "ram", pattern(SIZE))
    assert len(source.read(SIZE - 8, 8)) == 8
    (tmp_path / "ram").write_bytes(b"short")
    with pytest.raises(Unreadable, match="shorter"):
        source.read(SIZE - 8, 8)
    with pytest.raises(Unreadable, match="shorter"):
        source.read(0, SIZE)
    assert source.read(0, 5) == b"short"


def test_what_the_file_lacks_comes_from_the_guest_only_while_it_stands(tmp_path: Path) -> None:
    guest = Guest(pattern(4 * SIZE))
    source, clock = opened(tmp_path / "ram", pattern(SIZE), 0, guest)
    assert source.read(SIZE + 8, 8) == guest.data[SIZE + 8 : SIZE + 16]
    clock.running = True
    assert source.read(8, 8) == pattern(SIZE)[8:16]
    with pytest.raises(Unreadable, match="running"):
        source.read(SIZE - 4, 8)
    alone, _ = opened(tmp_path / "other", pattern(SIZE))
    with pytest.raises(Unreadable):
        alone.read(SIZE, 8)


def test_a_file_of_this_guest_is_accepted_and_any_other_is_not(tmp_path: Path) -> None:
    truth = pattern(4 * SIZE)
    for data, address, fits in (
        (truth, 0, True),
        (truth[SIZE:], SIZE, True),
        (truth[SIZE:], 0, False),
        (pattern(4 * SIZE, 2), 0, False),
        (bytes(4 * SIZE), 0, False),
        (truth[:4096] + bytes(4 * SIZE - 4096), 0, False),
    ):
        source, _ = opened(tmp_path / "ram", data, address)
        if fits:
            source.verify(RAM, Guest(truth))
        else:
            with pytest.raises(FormatError, match="not this guest's RAM") as caught:
                source.verify(RAM, Guest(truth))
            assert "\n" not in str(caught.value)
        source.close()


def test_verifying_asks_the_guest_little(tmp_path: Path) -> None:
    guest = Guest(bytes(4 * SIZE))
    source, _ = opened(tmp_path / "ram", bytes(4 * SIZE))
    source.verify(RAM, guest)
    assert 0 < sum(length for _, length in guest.asked) < SIZE


def test_what_cannot_be_a_ram_file(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="mem-path"):
        RamFileSource(str(tmp_path / "missing"), 0, RAM, None, Clock())
    with pytest.raises(FormatError, match="regular file"):
        RamFileSource(str(tmp_path), 0, RAM, None, Clock())
    with pytest.raises(FormatError, match="FILE@ADDR"):
        opened(tmp_path / "ram", b"x" * 64, 1 << 40)
    with pytest.raises(FormatError):
        opened(tmp_path / "empty", b"")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("/dev/shm/ram", ("/dev/shm/ram", 0)),
        ("ram@0x40000000", ("ram", 1 << 30)),
        ("ram@4096", ("ram", 4096)),
        ("me@home", ("me@home", 0)),
        ("me@home@0x10", ("me@home", 16)),
        ("@0x10", ("@0x10", 0)),
    ],
)
def test_file_and_address(text: str, parsed: tuple[str, int]) -> None:
    assert parse_ram_file(text) == parsed


@pytest.mark.parametrize("text", ["", "ram@0xhello", "ram@-1", "ram@0x10000000000000000"])
def test_file_and_address_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_ram_file(text)


def resident(path: Path, size: int) -> list[bool]:
    """Which pages of a file of this ``size`` the kernel has in its cache (mincore(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), size) as mapped:
        held = (ctypes.c_ubyte * (size // mmap.PAGESIZE))()
        view = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), held)
        del view
        assert not failed, ctypes.get_errno()
    return [bool(each & 1) for each in held]


def test_a_small_read_of_what_was_never_touched_fills_no_cache_around_it(tmp_path: Path) -> None:
    size, file = 4 * SIZE, tmp_path / "ram"
    with file.open("wb") as empty:
        empty.truncate(size)
    before = resident(file, size)
    source = RamFileSource(str(file), 0, RAM, None, Clock())
    try:
        assert source.read(2 * SIZE, 8) == bytes(8)
        after = resident(file, size)
        assert sum(after) - sum(before) <= 1
        assert source.read(0, size) == bytes(size)
        assert sum(resident(file, size)) >= sum(after)
    finally:
        source.close()
