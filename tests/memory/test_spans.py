"""Sets of real addresses, held to Python's own sets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.memory.spans import LAST, Spans, merged

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=8)


def members(pairs: list[tuple[int, int]]) -> set[int]:
    """Every address."""
    return {at for start, end in pairs for at in range(start, end)}


def proper(spans: Spans) -> bool:
    """Whether they are disjoint, ascending and do not touch."""
    flat = [at for pair in spans for at in pair]
    return all(low < high for low, high in pairwise(flat))


@given(PAIRS, PAIRS)
def test_they_are_sets(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    left, right = Spans.of(one), Spans.of(other)
    for spans, expected in (
        (left, members(one)),
        (left.within(right), members(one) & members(other)),
        (left.without(right), members(one) - members(other)),
    ):
        assert members(list(spans)) == expected
        assert proper(spans)
        assert spans.total == len(expected)


@given(PAIRS, st.integers(0, 42), st.integers(0, 5))
def test_what_a_row_holds(pairs: list[tuple[int, int]], address: int, length: int) -> None:
    spans = Spans.of(pairs)
    row = int(spans.place(np.array([address], np.uint64))[0])
    inside = row >= 0 and address < int(spans.end[row])
    assert inside == (address in members(pairs))
    if length:
        assert spans.covers(address, length) == set(range(address, address + length)).issubset(members(pairs))


def test_the_far_end_of_the_address_space() -> None:
    spans = Spans.of([(LAST - 0xFFFF, 1 << 64), (-5, 3), (1 << 70, 1 << 71)])
    assert list(spans) == [(0, 3), (LAST - 0xFFFF, LAST)]
    assert spans.total == 3 + 0xFFFF
    assert list(spans.without(Spans.of([(1, 2)]))) == [(0, 1), (2, 3), (LAST - 0xFFFF, LAST)]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=20))
def test_stretches_put_together_hold_the_same_and_stand_apart(stretches: list[tuple[int, int]]) -> None:
    first = np.array([at for at, _ in stretches], np.uint64)
    found = merged(first, first + np.array([size for _, size in stretches], np.uint64))
    pairs = list(zip(*(each.tolist() for each in found), strict=True))
    held = {number for at, size in stretches for number in range(at, at + size)}
    assert {number for at, end in pairs for number in range(at, end)} == held
    assert all(at < end for at, end in pairs)
    assert all(end < after for (_, end), (after, _) in pairwise(pairs))


def test_no_stretches_make_none() -> None:
    none = np.zeros(0, np.uint64)
    assert [len(each) for each in merged(none, none)] == [0, 0]
