"""Counts of marked pages, held to a look at each leaf."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given

from inspector.mappings.ranges import coalesce
from inspector.mappings.usage import Count, counts, counts_by_tree
from inspector.radix.bits import PTE_C
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import TREES, columns_of


def leaf_by_leaf(trees: list[list[Leaf]]) -> tuple[Count, ...]:
    """The same, counting."""
    every = Counter(each.shift for tree in trees for each in tree)
    changed = Counter(each.shift for tree in trees for each in tree if each.entry & PTE_C)
    return tuple(Count(shift, changed[shift], every[shift]) for shift in sorted(every))


@given(TREES)
def test_they_count_leaves(trees: list[list[Leaf]]) -> None:
    ranges = coalesce(columns_of(trees))
    changed = ranges.flags & np.uint64(PTE_C) != 0
    assert counts(ranges, changed) == leaf_by_leaf(trees)
    assert counts_by_tree(ranges, changed) == {at: leaf_by_leaf([tree]) for at, tree in enumerate(trees) if tree}
    assert [each.pages for each in counts(ranges, ~changed)] == [
        each.of_pages - each.pages for each in leaf_by_leaf(trees)
    ]


def test_sizes_are_of_pages() -> None:
    assert (Count(21, 3, 5).size, Count(21, 3, 5).of_size) == (6 << 20, 10 << 20)
