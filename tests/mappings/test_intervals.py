"""Stretches put together, held to sets of numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.intervals import merged

STRETCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=20)


@given(STRETCHES)
def test_they_hold_the_same_numbers_and_stand_apart(stretches: list[tuple[int, int]]) -> None:
    first = np.array([at for at, _ in stretches], np.uint64)
    found = merged(first, first + np.array([size for _, size in stretches], np.uint64))
    pairs = list(zip(*(each.tolist() for each in found), strict=True))
    held = {number for at, size in stretches for number in range(at, at + size)}
    assert {number for at, end in pairs for number in range(at, end)} == held
    assert all(at < end for at, end in pairs)
    assert all(end < after for (_, end), (after, _) in pairwise(pairs))


def test_none_make_none() -> None:
    none = np.zeros(0, np.uint64)
    assert [len(each) for each in merged(none, none)] == [0, 0]
