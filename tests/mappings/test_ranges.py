"""Ranges made in bulk, held to the runs that are made leaf by leaf."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.ranges import Ranges, coalesce, in_order, join, single
from inspector.radix.columns import Columns, Places, Root
from inspector.radix.tree import Leaf
from tests.mappings import run_model as runs
from tests.mappings.test_run_model import leaf, leaves

ROOTS = (Root(0, 0, 3 << 62), Root(5, 0), Root(None, 0, 0, 2))


def columns_of(trees: list[list[Leaf]]) -> Columns:
    """The leaves of several trees as columns, one after the other."""
    flat = [(root, each) for root, tree in enumerate(trees) for each in tree]
    count = len(trees)
    places = Places(np.arange(count, dtype=np.uint32), np.zeros(count, np.uint64), np.zeros(count, np.uint64))
    return Columns(
        ROOTS[:count],
        places,
        np.array([root for root, _ in flat], np.uint32),
        np.array([each.offset for _, each in flat], np.uint64),
        np.array([each.entry for _, each in flat], np.uint64),
        np.array([each.shift for _, each in flat], np.uint8),
    )


def rows(ranges: Ranges) -> list[tuple[int, ...]]:
    """Ranges as (root, offset, ra, shift, level, flags, count)."""
    parts = (ranges.root, ranges.offset, ranges.ra, ranges.shift, ranges.level, ranges.flags, ranges.count)
    return list(zip(*(part.tolist() for part in parts), strict=True))


def expected(trees: list[list[Leaf]]) -> list[tuple[int, ...]]:
    """The same by runs."""
    return [
        (root, run.offset, run.ra, run.shift, run.level, run.flags, run.count)
        for root, tree in enumerate(trees)
        for run in runs.coalesce(tree)
        if isinstance(run, runs.Run)
    ]


TREES = st.lists(leaves(), min_size=1, max_size=3)


@given(TREES)
def test_they_are_the_runs_of_each_tree(trees: list[list[Leaf]]) -> None:
    ranges = coalesce(columns_of(trees))
    assert rows(ranges) == expected(trees)
    assert ranges.size.tolist() == [count << shift for *_, shift, _, _, count in rows(ranges)]


@given(TREES, st.integers(1, 7))
def test_pieces_make_the_same_ranges(trees: list[list[Leaf]], each: int) -> None:
    columns = columns_of(trees)
    pieces = [columns.take(slice(at, at + each)) for at in range(0, len(columns), each)]
    assert (rows(join([coalesce(piece) for piece in pieces])) if pieces else []) == expected(trees)


@given(TREES)
def test_leaves_by_themselves(trees: list[list[Leaf]]) -> None:
    found = rows(single(columns_of(trees)))
    assert [row[1:] for row in found] == [
        (run.offset, run.ra, run.shift, run.level, run.flags, 1) for tree in trees for run in map(runs.run_of, tree)
    ]


def test_two_trees_do_not_run_into_each_other() -> None:
    trees = [[leaf(0, 0)], [leaf(0x1_0000, 0x1_0000)], [leaf(0x2_0000, 0x2_0000)]]
    ranges = coalesce(columns_of(trees))
    assert ranges.pid.tolist() == [0, 5, -1]
    assert ranges.lpid.tolist() == [0, 0, 2]
    assert ranges.ea.tolist() == [3 << 62, 0x1_0000, 0x2_0000]


def test_order_is_by_tree_and_address() -> None:
    trees = [[leaf(0x5_0000, 0), leaf(0, 0x9_0000)], [leaf(0, 0)]]
    assert [key[:2] for key, _ in groupby(rows(in_order(coalesce(columns_of(trees)))))] == [
        (0, 0),
        (0, 0x5_0000),
        (1, 0),
    ]


def test_no_leaves_no_ranges() -> None:
    assert len(coalesce(columns_of([[]]))) == 0
