"""Both stages composed in bulk, held to a look at each page."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings import composed
from inspector.mappings.behind import DENSE, Behind
from inspector.mappings.composed import compose, holes, stretches
from inspector.mappings.composed import pages as pages_of
from inspector.mappings.ranges import Ranges, coalesce, end_to_end, in_order, single
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


@given(TREES, HOSTS, st.sampled_from((1, 3, composed.AT_A_TIME)))
def test_page_by_page(trees: list[list[Leaf]], partition: list[Leaf], at_a_time: int) -> None:
    with patch.object(composed, "AT_A_TIME", at_a_time):
        _page_by_page(trees, partition)


def _page_by_page(trees: list[list[Leaf]], partition: list[Leaf]) -> None:
    guest, host = columns_of(trees), ranges_of([partition])
    below = {at & (1 << 52) - 1: (ra, run) for run in runs_of(host) for at, ra in pages(run)}
    behind = Behind(host)
    leaves = compose(guest, behind).columns
    missed = [run for part in holes(guest, behind) for run in runs_of(part)]
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
    assert {(run.pid, ea, gra) for run in missed for ea, gra in pages(run)} == missing
    parts = list(stretches(guest, behind))
    for ranges in (coalesce(leaves), *([end_to_end(parts)] if parts else [])):
        told = {}
        for run in runs_of(ranges):
            assert run.gra is not None
            for (ea, ra), at in zip(pages(run), range(run.gra, run.gra + run.size, PAGE), strict=True):
                assert (run.pid, ea) not in told
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


# --- bounds -----------------------------------------------------------------------------------------------------------

RIGHTS = 3 << 62 | 0x187


def fragments(count: int) -> Behind:
    """So many pages of 4K of the host's, none of which goes on."""
    at = range(count)
    return Behind(ranges_of([[Leaf(n << 12, (count - n) << 12, 12, RIGHTS | (count - n) << 12, 0) for n in at]]))


def huge(count: int) -> list[Leaf]:
    """So many leaves of 1G, all of the same guest real memory."""
    return [Leaf(n << 30, 0, 30, RIGHTS, 2) for n in range(count)]


def test_few_leaves_over_many_pages_are_cut_where_there_is_no_more_room() -> None:
    guest, behind = columns_of([huge(64)]), fragments(1000)
    for most in (0, 1, 999, 1000, 1001, 63_999):
        led = compose(guest, behind, most)
        assert len(led.columns) == most
        assert led.cut == most // 1000
    whole = compose(guest, behind, 64_000)
    assert (len(whole.columns), whole.cut) == (64_000, None)
    part = compose(guest, behind, 1500).columns
    assert part.offset.tolist() == whole.columns.offset[:1500].tolist()


def test_a_huge_leaf_over_one_range_is_never_made_into_its_pages() -> None:
    one = Leaf(0, 0, 12, RIGHTS, 0)
    host = ranges_of([[one]])
    terabyte = Behind(replace(host, count=np.array([1 << 28], np.uint64)))
    guest = columns_of([[Leaf(0, 0, 39, RIGHTS, 3)]])
    (run,) = runs_of(end_to_end(list(stretches(guest, terabyte))))
    assert (run.shift, run.size, run.gra) == (12, 1 << 39, 0)
    assert not list(holes(guest, terabyte))
    led = compose(guest, terabyte, 5)
    assert (led.columns.offset.tolist(), led.cut) == ([n << 12 for n in range(5)], 0)
    first = next(pages_of(guest, terabyte))
    assert len(first) == composed.AT_A_TIME


def test_as_many_stretches_as_leaves_need_not_be_one_each() -> None:
    two_pages, none = Leaf(0, 0, 21, RIGHTS, 1), Leaf(1 << 21, 1 << 30, 12, RIGHTS | 1 << 30, 0)
    leaves = compose(columns_of([[two_pages, none]]), fragments(2)).columns
    assert leaves.gra is not None
    assert (leaves.offset.tolist(), leaves.gra.tolist()) == ([0, 0x1000], [0, 0x1000])


def test_holes_and_stretches_come_piece_by_piece() -> None:
    guest, behind = columns_of([huge(1000)]), fragments(10_000)
    assert len(next(stretches(guest, behind))) <= composed.AT_A_TIME
    gaps = [Leaf(n << 13, n << 13, 12, RIGHTS | n << 13, 0) for n in range(10_000)]
    assert len(next(holes(guest, Behind(ranges_of([gaps]))))) <= composed.AT_A_TIME


def test_guest_real_addresses_beyond_the_tree_are_looked_for_by_their_low_bits() -> None:
    far = 1 << 55 | 0x3000
    leaves = compose(columns_of([[Leaf(0, far, 12, RIGHTS | far, 0)]]), fragments(16)).columns
    assert leaves.gra is not None
    assert (leaves.ra.tolist(), leaves.gra.tolist()) == ([13 << 12], [far])


def test_memory_that_the_host_has_as_a_device_is_not_executed() -> None:
    guest = columns_of([[Leaf(0, 0, 12, RIGHTS, 0)]])
    device = Behind(ranges_of([[Leaf(0, 0x5000, 12, RIGHTS | 0x5020, 0)]]))
    assert [rights(entry) for entry in compose(guest, device).columns.entry.tolist()] == [(True, True, False)]


def test_the_hardware_reads_no_table_where_the_host_allows_no_reading() -> None:
    host = Behind(ranges_of([[Leaf(0, 0x5000, 12, 3 << 62 | 0x5001, 0)]]))
    assert host.translate(np.zeros(1, np.uint64))[1].tolist() == [False]
