"""Ranges cut to what is asked about, held to the question asked of each page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.clip import apart, selected
from inspector.mappings.ranges import Ranges, coalesce, in_order, single
from inspector.mappings.select import Selection
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import TREES, columns_of
from tests.mappings.test_run_model import leaf


def pages(ranges: Ranges) -> list[tuple[int, ...]]:
    """(root, offset, ra, shift, flags) of every page, in order."""
    columns = (ranges.root, ranges.offset, ranges.ra, ranges.shift, ranges.flags, ranges.count)
    return [
        (root, offset + (n << shift), ra + (n << shift), shift, flags)
        for root, offset, ra, shift, flags, count in zip(*(each.tolist() for each in columns), strict=True)
        for n in range(count)
    ]


def near(addresses: list[int]) -> st.SearchStrategy[list[tuple[int, int]]]:
    """Spans that begin and end at these addresses, or beside them."""
    one = st.tuples(st.sampled_from([*addresses, 0]), st.integers(-2, 2)).map(sum)
    span = st.tuples(one, st.one_of(one, st.integers(1, 1 << 22))).map(lambda both: (both[0], sum(both)))
    return st.lists(st.one_of(span, st.tuples(one, one)), max_size=3)


@given(TREES, st.data())
def test_every_page_is_asked_by_itself(trees: list[list[Leaf]], data: st.DataObject) -> None:
    columns = columns_of(trees)
    single_pages = in_order(single(columns))
    eas = [at + end for at, size in zip(columns.ea.tolist(), columns.size.tolist(), strict=True) for end in (0, size)]
    ras = [at + end for at, size in zip(columns.ra.tolist(), columns.size.tolist(), strict=True) for end in (0, size)]
    selection = Selection(
        ea=data.draw(near(eas)), ra=data.draw(near(ras)), changed=data.draw(st.sampled_from([None, True, False]))
    )
    wanted = pages(single_pages.take(selection.mask(single_pages)))
    assert pages(selected(in_order(coalesce(columns)), selection)) == wanted


def test_a_page_of_a_range_and_two_spans_that_share_one() -> None:
    ranges = coalesce(columns_of([[leaf(n << 16, n << 16) for n in range(8)]]))
    asked = Selection(ra=[(0x2_8000, 0x2_8001), (0x2_9000, 0x3_0001), (0x6_FFFF, 1 << 70), (9, 3)])
    found = selected(ranges, asked)
    assert found.count.tolist() == [1, 1, 2]
    assert found.ra.tolist() == [0x2_0000, 0x3_0000, 0x6_0000]
    assert selected(ranges, Selection()) is ranges


def test_what_nothing_touches_is_empty() -> None:
    ranges = coalesce(columns_of([[leaf(0, 0)]]))
    assert len(selected(ranges, Selection(ea=[(0, 1)]))) == 0, "PID 0 is reached in quadrant 3"
    assert len(selected(replace(ranges, flags=ranges.flags & np.uint64(0)), Selection(changed=True))) == 0


def test_what_lies_below_or_beyond_all_addresses_touches_nothing() -> None:
    ranges = coalesce(columns_of([[leaf(0, 0)]]))
    for span in ((-2, 0), (1 << 64, 1 << 65), (3, 3), (-1, -2)):
        assert not Selection(ra=[span]).mask(ranges).any()
    assert Selection(ra=[(-1, 1 << 65)]).mask(ranges).all()


def test_spans_apart() -> None:
    assert apart([(5, 9), (-4, 2), (2, 3), (8, 8), (8, 12), (20, 1 << 80)]) == [(0, 3), (5, 12), (20, 1 << 64)]
