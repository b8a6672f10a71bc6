"""Both stages composed in bulk, held to a look at each page."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.behind import DENSE, Behind
from inspector.mappings.composed import compose
from inspector.mappings.ranges import Ranges, coalesce, in_order, single
from inspector.mappings.runs import Run, runs_of
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import columns_of
from tests.mappings.test_run_model import leaves

PAGE = 1 << 12
NEAR = 1 << 23
"""Real addresses are drawn together so that both stages meet."""
FLAGS = ~(0x01FF_FFFF_FFFF_F000 | 7)
"""All of an entry but its page number and rights."""


def near(tree: list[Leaf]) -> list[Leaf]:
    """Only the leaves of small pages, their real addresses drawn together."""
    mask = NEAR - 1
    kept = [each for each in tree if each.shift <= 21]
    return [
        Leaf(each.offset, each.ra & mask, each.shift, each.entry & ~(0x1FF_FFFF_FFFF_F000 & ~mask), each.level)
        for each in kept
    ]


def squeezed(tree: list[Leaf]) -> list[Leaf]:
    """Leaves of a partition-scoped tree, one after the other within the same room."""
    return [each for each in tree if each.shift <= 21 and each.offset < NEAR]


def ranges_of(trees: list[list[Leaf]]) -> Ranges:
    return in_order(coalesce(columns_of(trees)))


def pages(run: Run) -> list[tuple[int, int]]:
    """(address, real address) of every 4K of it."""
    return [(run.ea + at, run.ra + at) for at in range(0, run.size, PAGE)]


TREES = st.lists(leaves().map(near), min_size=1, max_size=2)
HOSTS = leaves().map(squeezed)


def rights(flags: int) -> tuple[bool, bool, bool]:
    return bool(flags & 6), bool(flags & 2), bool(flags & 1)


@given(TREES, HOSTS)
def test_page_by_page(trees: list[list[Leaf]], partition: list[Leaf]) -> None:
    guest, host = columns_of(trees), ranges_of([partition])
    below = {at & (1 << 52) - 1: (ra, run) for run in runs_of(host) for at, ra in pages(run)}
    leaves, holes = compose(guest, Behind(host))
    wanted, missing = {}, set()
    for run in runs_of(single(guest)):
        for ea, gra in pages(run):
            if gra not in below:
                missing.add((run.pid, ea, gra))
                continue
            ra, second = below[gra]
            both = tuple(a and b for a, b in zip(rights(run.flags), rights(second.flags), strict=True))
            wanted[run.pid, ea] = (ra, gra, min(run.shift, second.shift), both, run.flags & FLAGS)
    found = {}
    assert leaves.gra is not None
    for run, gra in zip(runs_of(single(leaves)), leaves.gra.tolist(), strict=True):
        for (ea, ra), at in zip(pages(run), range(gra, gra + run.size, PAGE), strict=True):
            assert (run.pid, ea) not in found
            found[run.pid, ea] = (ra, at, run.shift, rights(run.flags), run.flags & FLAGS)
    assert found == wanted
    assert {(run.pid, ea, gra) for run in runs_of(holes) for ea, gra in pages(run)} == missing
    ranges = coalesce(leaves)
    assert ranges.gra is not None
    told = {}
    for run, gra in zip(runs_of(ranges), ranges.gra.tolist(), strict=True):
        for (ea, ra), at in zip(pages(run), range(gra, gra + run.size, PAGE), strict=True):
            told[run.pid, ea] = (ra, at, run.shift, rights(run.flags), run.flags & FLAGS)
    assert told == wanted
    assert leaves.address.tolist() == [
        int(guest.address[np.flatnonzero((guest.root == root) & (guest.offset <= offset))[-1]])
        for root, offset in zip(leaves.root, leaves.offset, strict=True)
    ]


@given(HOSTS, st.lists(st.integers(0, NEAR + PAGE), max_size=20))
def test_what_lies_behind_is_the_same_either_way(partition: list[Leaf], asked: list[int]) -> None:
    host = ranges_of([partition])
    below = {at & (1 << 52) - 1: ra for run in runs_of(host) for at, ra in pages(run)}
    direct, sought = Behind(host), Behind(host)
    sought.__dict__["_direct"] = None
    addresses = np.array(asked, np.uint64)
    for behind in (direct, sought):
        ras, there = behind.translate(addresses)
        assert there.tolist() == [at // PAGE * PAGE in below for at in asked]
        for at, ra, one in zip(asked, ras.tolist(), there.tolist(), strict=True):
            assert ra == (below[at // PAGE * PAGE] + at % PAGE if one else 0)


def test_a_tree_with_few_leaves_far_apart_is_sought_in() -> None:
    far = [Leaf(0, 0, 12, 3 << 62 | 0x18E, 0), Leaf(1 << 51, 0x1000, 12, 3 << 62 | 0x118E, 0)]
    behind = Behind(ranges_of([far]))
    assert behind._direct is None
    assert DENSE < 1 << 39
    ras, there = behind.translate(np.array([0x10, 1 << 51, 1 << 50], np.uint64))
    assert (ras.tolist(), there.tolist()) == ([0x10, 0x1000, 0], [True, True, False])
