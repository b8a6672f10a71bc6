"""Orders, held to Python's own sorting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import UsageError
from inspector.mappings.order import ORDERS, first_rows
from inspector.mappings.ranges import coalesce, in_order
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import TREES, columns_of

KEYS: dict[str, Callable[[int, int], int]] = {
    "ea": lambda _ra, _size: 0,
    "ra": lambda ra, _size: ra,
    "size": lambda _ra, size: -size,
}


@given(TREES, st.sampled_from(ORDERS), st.none() | st.integers(0, 12))
def test_the_first_of_an_order(trees: list[list[Leaf]], by: str, most: int | None) -> None:
    columns = columns_of(trees).in_order()
    for mapped in (columns, in_order(coalesce(columns))):
        key = list(zip(mapped.ra.tolist(), mapped.size.tolist(), strict=True))
        expected = sorted(range(len(mapped)), key=lambda row: KEYS[by](*key[row]))[:most]
        assert np.arange(len(mapped))[first_rows(mapped, by, most)].tolist() == expected


def test_another_order_there_is_not() -> None:
    with pytest.raises(UsageError, match="ea, ra, size"):
        first_rows(columns_of([[]]), "colour")
