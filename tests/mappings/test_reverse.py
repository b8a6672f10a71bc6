"""The index from real addresses to leaves, held to a look at each leaf."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.reverse import Index, _of_size, reaching
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import ROOTS, TREES, columns_of
from tests.mappings.test_run_model import leaf


def expected(trees: list[list[Leaf]], start: int, end: int) -> list[int]:
    """The rows that map any byte from ``start`` up to ``end``."""
    flat = [each for tree in trees for each in tree]
    return [
        row for row, each in enumerate(flat) if start < end and each.ra < end and start < each.ra + (1 << each.shift)
    ]


@given(TREES, st.data())
def test_it_finds_every_mapping_of_an_address_and_of_a_range(trees: list[list[Leaf]], data: st.DataObject) -> None:
    index = Index.build(columns_of(trees))
    ras = [each.ra + (1 << each.shift) * past for tree in trees for each in tree for past in (0, 1)] or [0]
    for _ in range(4):
        start = max(data.draw(st.sampled_from(ras)) + data.draw(st.sampled_from([-1, 0, 1, 0x1234])), 0)
        assert index.lookup(start).tolist() == expected(trees, start, start + 1)
        end = start + data.draw(st.sampled_from([0, 1, 0x1_0000, 1 << 31, 1 << 60]))
        assert index.lookup(start, end).tolist() == expected(trees, start, end)


def test_real_addresses_too_long_for_one_key_are_found_too() -> None:
    high = 0x01FF_FFFF_FFFF_0000
    trees = [[leaf(at << 12, high + ((at * 7 & 15) << 12), 12) for at in range(300)]]
    columns = columns_of(trees)
    for page in range(16):
        assert Index.build(columns).lookup(high + (page << 12)).tolist() == expected(
            trees, high + (page << 12), high + (page << 12) + 1
        )


def test_keys_without_room_for_a_row_are_put_in_order_another_way() -> None:
    number = np.array([5, (1 << 63) + 1, 5, 7], np.uint64)
    found = _of_size(0, number, np.array([10, 20, 30, 40], np.uint32))
    assert found.row_bits == 0
    assert found.lookup(5, 8).tolist() == [10, 30, 40]
    assert found.lookup((1 << 63) + 1, 1 << 64).tolist() == [20]


def test_what_is_no_real_address_maps_nothing() -> None:
    index = Index.build(columns_of([[leaf(0, 0)]]))
    assert [index.lookup(*span).tolist() for span in ((1 << 64,), (5, 5), (9, 3), (-9, 0))] == [[]] * 4
    assert index.lookup(-9, 1 << 70).tolist() == [0]
    assert index.nbytes > 0


@given(TREES, st.data())
def test_each_mapping_of_an_address_by_the_address_that_reaches_it(
    trees: list[list[Leaf]], data: st.DataObject
) -> None:
    columns = columns_of(trees)
    index = Index.build(columns)
    flat = [(root, each) for root, tree in enumerate(trees) for each in tree]
    ra = data.draw(st.sampled_from([each.ra for _, each in flat] or [0])) + data.draw(st.integers(0, 0xFFF))
    found = reaching(columns.take(index.lookup(ra)), ra)
    told = zip(found.ea.tolist(), found.ra.tolist(), found.shift.tolist(), found.count.tolist(), strict=True)
    assert list(told) == [
        (ROOTS[root].base | each.offset + ra - each.ra, ra, each.shift, 1)
        for root, each in flat
        if each.ra <= ra < each.ra + (1 << each.shift)
    ]
