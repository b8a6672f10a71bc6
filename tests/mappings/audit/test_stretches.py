"""Sets of real addresses, held to a look at each byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.audit import stretches
from inspector.mappings.audit.stretches import Stretches

SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=20)


@given(SPANS, SPANS, st.sampled_from([0, 1, 57]), st.sampled_from([1, 64]), st.sampled_from([3, 20]))
def test_what_touches_it_and_what_it_holds(
    spans: list[tuple[int, int]], asked: list[tuple[int, int]], scale: int, coarse_from: int, coarse_bits: int
) -> None:
    low = (1 << scale) - 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "COARSE_FROM", coarse_from)
        patch.setattr(stretches, "COARSE_BITS", coarse_bits)
        found = Stretches.spans((low + first, low + first + size) for first, size in spans)
    held = {at for first, size in spans for at in range(first, first + size)}
    first = np.array([low + each for each, _ in asked], np.uint64)
    end = first + np.array([size for _, size in asked], np.uint64)
    bytes_of = [set(range(each, each + size)) for each, size in asked]
    assert found.touched(first, end).tolist() == [bool(each & held) for each in bytes_of]
    assert found.holds(first, end).tolist() == [each <= held for each in bytes_of]


def test_far_apart() -> None:
    found = Stretches.spans((at << 40, (at << 40) + 4096) for at in range(100))
    assert found.coarse is not None
    first = np.array([at << 40 | inside for at in (0, 7, 99, 100) for inside in (0, 4095, 4096)], np.uint64)
    assert found.touched(first, first + np.uint64(1)).tolist() == [True, True, False] * 3 + [False] * 3
    assert found.touched(first[:1], first[:1] + np.uint64(1 << 57)).tolist() == [True]


def test_none_of_it() -> None:
    found = Stretches.spans([(5, 5)])
    one = np.array([5], np.uint64)
    assert len(found) == 0
    assert not found.touched(one, one + np.uint64(1)).any()
    assert not found.holds(one, one + np.uint64(1)).any()
