"""Selections, held to a look at each leaf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ExpressionError, UsageError
from inspector.mappings.ranges import coalesce
from inspector.mappings.rights import parse
from inspector.mappings.select import (
    ATTRIBUTES,
    Mapped,
    Selection,
    Span,
    attribute,
    both,
    can_be_mapped,
    containing,
    covered,
    page_shift,
)
from inspector.memory.physical import RamMap, Range
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import ROOTS, TREES, columns_of
from tests.mappings.test_run_model import leaf

SPANS = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 41)), max_size=2)
YES_NO = st.sampled_from([None, None, True, False])
SELECTIONS = st.builds(
    Selection,
    ea=SPANS.map(lambda spans: [(low | 3 << 62 if low & 1 else low, high | 3 << 62) for low, high in spans]),
    ra=SPANS,
    shifts=st.sets(st.sampled_from([12, 16, 21, 30, 39]), max_size=3),
    rights=st.sampled_from([None, "w", "!x", "w|x"]),
    privileged=YES_NO,
    attributes=st.sets(st.sampled_from(sorted(ATTRIBUTES.values())), max_size=2),
    referenced=YES_NO,
    changed=YES_NO,
    pids=st.sets(st.sampled_from([0, 5, -1]), max_size=2),
)


def wanted(selection: Selection, mapped: Mapped, row: int) -> bool:
    """Whether one row is meant, by plain integers."""
    ea, ra, size, flags = (int(part[row]) for part in (mapped.ea, mapped.ra, mapped.size, mapped.flags))
    pid = mapped.pid[row]

    def touches(start: int, spans: object) -> bool:
        return not spans or any(low < high and low < start + size and start < high for low, high in spans)  # type: ignore[attr-defined]

    return bool(
        touches(ea, selection.ea)
        and touches(ra, selection.ra)
        and (not selection.shifts or int(mapped.shift[row]) in selection.shifts)
        and (selection.rights is None or parse(selection.rights)(mapped.flags[row : row + 1])[0])
        and selection.privileged in (None, bool(flags & 8))
        and (not selection.attributes or flags & 0x30 in selection.attributes)
        and selection.referenced in (None, bool(flags & 0x100))
        and selection.changed in (None, bool(flags & 0x80))
        and (not selection.pids or pid in selection.pids)
    )


@given(TREES, SELECTIONS)
def test_a_row_is_meant_where_all_conditions_hold(trees: list[list[Leaf]], selection: Selection) -> None:
    columns = columns_of(trees)
    for mapped in (columns, coalesce(columns)):
        expected = [wanted(selection, mapped, row) for row in range(len(mapped))]
        assert selection.mask(mapped).tolist() == expected


def test_an_address_is_in_the_page_that_holds_it() -> None:
    columns = columns_of([[leaf(0, 0x100_0000), leaf(0x1_0000, 0x200_0000)]])
    base = ROOTS[0].base
    for address, rows in (
        (0, [True, False]),
        (0xFFFF, [True, False]),
        (0x1_0000, [False, True]),
        (0x2_0000, [False] * 2),
    ):
        assert Selection(ea=[containing(base + address)]).mask(columns).tolist() == rows
    assert Selection(ra=[containing(0x200_FFFF)]).mask(columns).tolist() == [False, True]


def test_spans_to_the_end_of_the_address_space_and_beyond() -> None:
    columns = columns_of([[leaf(0, 0)]])
    assert Selection(ea=[(0, 1 << 64)]).mask(columns).tolist() == [True]
    assert Selection(ea=[(1 << 64, 1 << 65)]).mask(columns).tolist() == [False]
    assert Selection(ea=[(5, 5)]).mask(columns).tolist() == [False]


def test_nothing_asked_is_everything() -> None:
    assert Selection().everything
    assert not Selection(rights="w").everything
    assert Selection().mask(columns_of([[leaf(0, 0)]])).tolist() == [True]


def test_names() -> None:
    assert [page_shift(text) for text in ("4K", "64k", "2M", "1GiB", "512G")] == [12, 16, 21, 30, 39]
    assert attribute("Non-Idempotent") == 0x20
    for wrong in (page_shift, attribute):
        with pytest.raises(UsageError, match="there are"):
            wrong("8K")
    with pytest.raises(ExpressionError):
        Selection(rights="w&").mask(columns_of([[leaf(0, 0)]]))


@given(TREES, st.lists(st.integers(0, 1 << 41), max_size=6, unique=True))
def test_what_is_covered_is_what_a_ram_map_covers(trees: list[list[Leaf]], bounds: list[int]) -> None:
    bounds.sort()
    ram = RamMap(Range(low, high - low) for low, high in zip(bounds[::2], bounds[1::2], strict=False))
    ranges = coalesce(columns_of(trees))
    expected = [ram.covers(ra, size) for ra, size in zip(ranges.ra.tolist(), ranges.size.tolist(), strict=True)]
    assert covered(ranges.ra, ranges.size, ram.spans()).tolist() == expected


@pytest.mark.parametrize(
    ("span", "reached"),
    [
        ((0, 1), True),
        ((1 << 52, 1 << 62), False),
        ((1 << 62, 3 << 62), False),
        ((3 << 62 | 1 << 52, 1 << 64), False),
        ((0, 1 << 64), True),
        (((3 << 62) - 1, (3 << 62) + 1), True),
        ((1 << 64, 1 << 65), False),
    ],
)
def test_what_trees_reach(span: tuple[int, int], reached: bool) -> None:
    assert can_be_mapped(span) is reached


@pytest.mark.parametrize(
    ("ones", "others", "met"),
    [
        ([], [], []),
        ([(1, 5)], [], [(1, 5)]),
        ([], [(1, 5)], [(1, 5)]),
        ([(1, 5), (8, 9)], [(4, 20)], [(4, 5), (8, 9)]),
        ([(1, 5)], [(5, 9)], []),
    ],
)
def test_spans_of_two_conditions_are_where_both_hold(ones: list[Span], others: list[Span], met: list[Span]) -> None:
    assert both(ones, others) == met
