"""Flat images laid out in the address space."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.errors import FormatError, NotCaptured, TargetLost, UsageError
from inspector.memory.raw import RawMemory


def images(folder: Path, **content: bytes) -> dict[str, str]:
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return {name: str(folder / name) for name in content}


def test_each_image_is_at_its_address_and_touching_ones_are_read_across(tmp_path: Path) -> None:
    at = images(tmp_path, low=b"low!", high=b"high", far=b"far")
    memory = RawMemory([(at["far"], 1 << 40), (at["low"], 0), (at["high"], 4)])
    assert [(r.start, r.size) for r in memory.ranges] == [(0, 4), (4, 4), (1 << 40, 3)]
    assert memory.read(2, 4) == b"w!hi"
    assert memory.read((1 << 40) + 1, 2) == b"ar"
    for address, length in ((6, 4), (100, 1), ((1 << 40) + 2, 2)):
        with pytest.raises(NotCaptured):
            memory.read(address, length)


def test_images_that_overlap_are_refused_by_name(tmp_path: Path) -> None:
    at = images(tmp_path, one=b"x" * 16, two=b"y" * 16)
    with pytest.raises(UsageError, match=r"one at 0x0.*two at 0x8 overlap"):
        RawMemory([(at["one"], 0), (at["two"], 8)])


def test_an_image_may_end_at_the_end_of_the_address_space_and_not_behind(tmp_path: Path) -> None:
    at = images(tmp_path, one=b"x" * 16)
    assert RawMemory([(at["one"], (1 << 64) - 16)]).read((1 << 64) - 1, 1) == b"x"
    with pytest.raises(FormatError, match="past the end"):
        RawMemory([(at["one"], (1 << 64) - 15)])


def test_no_image_or_an_empty_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        RawMemory([])
    with pytest.raises(FormatError, match="empty"):
        RawMemory([(images(tmp_path, none=b"")["none"], 0)])


def test_nothing_is_read_once_closed(tmp_path: Path) -> None:
    memory = RawMemory([(images(tmp_path, one=b"abcd")["one"], 0)])
    memory.close()
    memory.close()
    with pytest.raises(TargetLost):
        memory.read(0, 1)
