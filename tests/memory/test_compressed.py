"""Packed files: unpacked, refused when they claim too much, are cut short or garbled."""

from __future__ import annotations

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import FormatError, InspectorError
from inspector.memory import compressed
from inspector.memory.compressed import open_bytes
from inspector.memory.elf import claimed_bytes, read_core
from tests.memory.elfmaker import Load, elf_core

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}


def any_length(path: str, head: bytes) -> int | None:
    return 1 << 40


def written(folder: Path, data: bytes) -> str:
    path = folder / "file"
    path.write_bytes(data)
    return str(path)


def content(path: str) -> bytes:
    file = open_bytes(path, any_length)
    try:
        return file.data[0 : file.size]
    finally:
        file.close()


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("size", [1, 100_000, 5 << 20])
def test_packed_is_told_by_content_and_unpacked(tmp_path: Path, kind: str, size: int) -> None:
    data = os.urandom(size // 2) + bytes(size - size // 2)
    assert content(written(tmp_path, PACKERS[kind](data))) == data


@pytest.mark.parametrize("kind", PACKERS)
def test_members_one_after_the_other_are_one_file(tmp_path: Path, kind: str) -> None:
    pack = PACKERS[kind]
    assert content(written(tmp_path, pack(b"one ") + pack(b"two"))) == b"one two"


def test_padding_behind_a_gzip_member_is_no_error_and_garbage_is(tmp_path: Path) -> None:
    assert content(written(tmp_path, gzip.compress(b"data") + bytes(512))) == b"data"
    with pytest.raises(FormatError, match="garbled"):
        content(written(tmp_path, gzip.compress(b"data") + b"junk"))


@pytest.mark.parametrize("kind", PACKERS)
def test_every_cut_of_a_packed_file_says_so(tmp_path: Path, kind: str) -> None:
    packed = PACKERS[kind](os.urandom(300))
    for length in range(5, len(packed)):
        with pytest.raises(FormatError, match=r"cut short|garbled"):
            content(written(tmp_path, packed[:length]))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(PACKERS)), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_damage_is_found_or_harmless(tmp_path: Path, kind: str, at: int, bit: int) -> None:
    data = elf_core([Load(0, bytes(range(256)) * 40)])
    packed = bytearray(PACKERS[kind](data))
    packed[at % len(packed)] ^= 1 << bit
    try:
        file = open_bytes(written(tmp_path, bytes(packed)), claimed_bytes)
        read_core(file.path, file.data, file.size)  # damage to the magic itself leaves a file that is no core
        assert file.data[0 : file.size] == data  # a header field without meaning: file name, time
    except InspectorError:
        pass


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_of_something_else_is_refused_after_its_first_bytes(tmp_path: Path, kind: str) -> None:
    bomb = PACKERS[kind](bytes(200 << 20))
    path = written(tmp_path, bomb)
    del bomb
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="neither a snapshot nor an ELF core"):
            open_bytes(path, claimed_bytes)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", PACKERS)
def test_a_bomb_behind_good_headers_is_refused_where_they_end(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, PACKERS[kind](elf_core([Load(0, b"ram")]) + bytes(100 << 20)))
    with pytest.raises(FormatError, match="unpacks to more than"):
        open_bytes(path, claimed_bytes)


def test_what_claims_more_than_the_disk_holds_is_refused_before_it_is_written(tmp_path: Path) -> None:
    huge = elf_core([Load(0, b"ram", filesz=1 << 50, memsz=1 << 50)])
    path = written(tmp_path, gzip.compress(huge + bytes(70 << 20), 1))
    with pytest.raises(FormatError, match=r"there is room for .*gzip -dk"):
        open_bytes(path, claimed_bytes)


def test_headers_that_lie_behind_what_is_held_in_memory_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(elf_core([], phoff=1 << 40) + bytes(70 << 20), 1))
    with pytest.raises(FormatError, match="headers are not in the first"):
        open_bytes(path, claimed_bytes)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_large_one_is_unpacked_into_a_file_that_leaves_nothing(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    monkeypatch.setattr(compressed, "IN_MEMORY", 1 << 20)
    data = elf_core([Load(0, os.urandom(3 << 20) + bytes(6 << 20))])
    file = open_bytes(written(tmp_path, PACKERS[kind](data)), claimed_bytes)
    assert list(place.iterdir()) == []
    assert not isinstance(file.data, bytes)
    assert file.data[0 : file.size] == data
    file.close()
    with pytest.raises(FormatError, match="unpacks to more than"):
        open_bytes(written(tmp_path, PACKERS[kind](data + bytes(3 << 20))), claimed_bytes)


def test_a_packed_file_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nothing in it"):
        content(written(tmp_path, gzip.compress(b"")))


def test_a_zstd_frame_that_wants_a_huge_window_is_refused(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0xF8]) + bytes([0x01, 0, 0])  # window descriptor: exponent 31
    with pytest.raises(FormatError, match="garbled"):
        content(written(tmp_path, frame))


def test_gzip_checksums_are_held_to(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"data"))
    packed[-8:-4] = (zlib.crc32(b"data") ^ 1).to_bytes(4, "little")
    with pytest.raises(FormatError, match="garbled"):
        content(written(tmp_path, bytes(packed)))
