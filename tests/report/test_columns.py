"""Columns as a page holds them: packed, and the same again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.report.columns import ALIGNMENT, exact, pack, smallest, unpack

PAGES = st.lists(st.integers(0, (1 << 52) - 1), max_size=40)


@given(PAGES)
def test_addresses_of_pages_are_doubles_exactly(pages: list[int]) -> None:
    addresses = [page << 12 for page in pages]
    assert [int(each) for each in exact(np.array(addresses, np.uint64))] == addresses


@pytest.mark.parametrize("value", [(1 << 53) + 1, (1 << 64) - 1, 0xC000_0000_0000_0001])
def test_what_a_double_cannot_hold_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="double"):
        exact(np.array([value], np.uint64))


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=40), PAGES)
def test_they_come_back_as_they_were(numbers: list[int], pages: list[int]) -> None:
    columns = {
        "small": smallest(np.array(numbers, np.uint32)),
        "bytes": np.array([each & 255 for each in numbers], np.uint8),
        "pages": exact(np.array(pages, np.uint64) << np.uint64(12)),
        "none": np.zeros(0, np.uint16),
    }
    places, packed = pack(columns)
    found = unpack(places, packed)
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in columns.items()
    }
    assert all(at % ALIGNMENT == 0 for _, at, _ in places.values())
    assert packed.isascii()


@pytest.mark.parametrize(("most", "size"), [(0, 1), (255, 1), (256, 2), (65535, 2), (65536, 4)])
def test_the_smallest_type_that_holds_them(most: int, size: int) -> None:
    assert smallest(np.array([0, most], np.uint64)).dtype.itemsize == size
