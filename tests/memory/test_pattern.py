"""Places of a pattern, held to a look at every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.memory import pattern as pattern_module
from inspector.memory.pattern import Pattern

BYTES = st.lists(st.sampled_from([0, 0, 0, 0xFF, 0x41, 0x42]), max_size=200).map(bytes)
ALIGNS = st.sampled_from([1, 2, 4, 8, 16, 64])


def naive(data: bytes, piece: bytes, address: int, align: int) -> list[int]:
    """Every place, one by one."""
    return [
        address + at
        for at in range(len(piece) - len(data) + 1)
        if (address + at) % align == 0 and piece[at : at + len(data)] == data
    ]


@given(BYTES.filter(bool).map(lambda data: data[:20]), BYTES, st.integers(0, 70), ALIGNS)
def test_every_place_is_found_once_and_in_order(data: bytes, piece: bytes, address: int, align: int) -> None:
    pattern = Pattern(data, align)
    for form in (piece, memoryview(piece)):
        assert list(pattern.places(form, address)) == naive(data, piece, address, align)


@given(BYTES, st.integers(0, 180), st.integers(1, 24), st.integers(0, 70), ALIGNS)
def test_what_is_there_is_found(piece: bytes, at: int, length: int, address: int, align: int) -> None:
    data = piece[at : at + length]
    if data:
        assert list(Pattern(data, align).places(piece, address)) == naive(data, piece, address, align)


def test_many_first_words_alike_are_told_apart_in_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"ABCDEFGH" + bytes(8)
    piece = (b"ABCDEFGHx" + bytes(7)) * 300 + data * 5 + b"ABCDEFGH\0\0\0"
    for few in (0, 64):
        monkeypatch.setattr(pattern_module, "FEW", few)
        assert list(Pattern(data, 8).places(piece, 0x1000)) == [0x1000 + 300 * 16 + 16 * n for n in range(5)]


def test_an_alignment_larger_than_the_piece() -> None:
    assert list(Pattern(b"\0", 1 << 30).places(bytes(4096), 4096)) == []
    assert list(Pattern(b"\0", 1 << 30).places(bytes(4096), (1 << 30) - 8)) == [1 << 30]


@pytest.mark.parametrize(("data", "align"), [(b"", 1), (b"a", 0), (b"a", 3), (b"a", -2)])
def test_what_is_no_pattern(data: bytes, align: int) -> None:
    with pytest.raises(ValueError, match=r"a pattern|an alignment"):
        Pattern(data, align)
