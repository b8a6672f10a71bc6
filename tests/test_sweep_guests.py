"""Recorded guests swept: the same leaves as table by table, and the same answers as address by address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest

import inspector
from inspector.guest import Guest
from inspector.mappings.ranges import coalesce, coalesce_pieces, in_order
from inspector.mappings.reverse import Index
from inspector.radix.bulk_walk import Status, translate_many
from inspector.radix.columns import Root
from inspector.radix.sweep import stream, sweep
from inspector.radix.tree import Leaf, Table, walk_tree
from tests.mappings import run_model as runs
from tests.test_fixtures import FIXTURES, LINUX


def roots(guest: Guest) -> list[Root]:
    """Every tree of the process table; the kernel's in quadrant 3."""
    return [Root(each.pid, each.entry, 0 if each.pid else 3 << 62) for each in guest.processes()]


@pytest.fixture(params=("demo", *LINUX))
def recorded(request: pytest.FixtureRequest) -> Iterator[Guest]:
    name = request.param
    with inspector.open_target(name if name == "demo" else str(FIXTURES / f"{name}.core.gz")) as guest:
        yield guest


def test_a_sweep_of_all_processes_is_what_the_walks_find(recorded: Guest) -> None:
    memory, trees = recorded.memory, roots(recorded)
    found = sweep(memory.read_runs, trees)
    assert len(trees) > 2
    assert not [each for each in found.oddities if not each.cause.startswith("shared")]
    columns = found.columns()
    tables: set[tuple[int, int]] = set()
    for at, root in enumerate(trees):
        walked = list(walk_tree(memory.read, root.descriptor))
        tables |= {(each.address, each.level) for each in walked if isinstance(each, Table)}
        mine = columns.take(columns.root == at).in_order()
        parts = (mine.offset, mine.ra, mine.shift, mine.entry, mine.level)
        told = list(zip(*(part.tolist() for part in parts), strict=True))
        leaves = [each for each in walked if isinstance(each, Leaf)]
        assert told == [(each.offset, each.ra, each.shift, each.entry, each.level) for each in leaves]
        ranges = coalesce(mine)
        columns_of_runs = (ranges.offset, ranges.ra, ranges.shift, ranges.flags, ranges.count)
        assert list(zip(*(part.tolist() for part in columns_of_runs), strict=True)) == [
            (run.offset, run.ra, run.shift, run.flags, run.count)
            for run in runs.coalesce(leaves)
            if isinstance(run, runs.Run)
        ]
    swept = found.tables()
    assert set(zip(swept.address.tolist(), swept.level.tolist(), strict=True)) == tables
    assert [memory.read_u64(address) for address in columns.address.tolist()] == columns.entry.tolist()


def test_a_stream_gives_the_same_ranges(recorded: Guest) -> None:
    read, trees = recorded.memory.read_runs, roots(recorded)
    whole = in_order(coalesce(sweep(read, trees).columns()))
    piecewise = coalesce_pieces(stream(read, trees))
    assert piecewise is not None
    again = in_order(piecewise)
    for name in ("root", "offset", "ra", "shift", "flags", "count"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name


def test_xlate_agrees_on_every_leaf_and_between_them(recorded: Guest) -> None:
    trees = roots(recorded)
    found = sweep(recorded.memory.read_runs, trees)
    columns = found.columns()
    rng = Random(5)
    seen: Counter[str] = Counter()
    for at, root in enumerate(trees):
        assert root.pid is not None
        mine = columns.take(columns.root == at)
        eas = [
            root.base | int(offset) + inside
            for offset, size in zip(mine.offset, mine.size.tolist(), strict=True)
            for inside in (0, size - 1, size)
        ]
        eas += [root.base | rng.getrandbits(rng.choice((31, 47, 52))) for _ in range(100)]
        answers = translate_many(found, at, eas)
        for row, ea in enumerate(eas):
            one = recorded.translate(ea, pid=root.pid)
            status = Status(int(answers.status[row]))
            assert one.ok == (status is Status.OK), hex(ea)
            if one.ok:
                ours = (int(answers.ra[row]), int(answers.entry[row]), int(answers.shift[row]))
                assert ours == (one.ra, one.leaf, one.page_shift)
            else:
                assert one.cause == status.slug
            seen[status.slug] += 1
    assert seen["ok"] > 500
    assert seen["not-present"] > 100


def test_the_reverse_index_finds_each_leaf_by_its_real_address(recorded: Guest) -> None:
    columns = sweep(recorded.memory.read_runs, roots(recorded)).columns()
    index = Index.build(columns)
    ras, ends = columns.ra, columns.ra + columns.size
    for row in Random(7).sample(range(len(columns)), 200):
        ra = int(ras[row]) + int(columns.size[row]) // 2
        expected = np.flatnonzero((ras <= np.uint64(ra)) & (ends > np.uint64(ra)))
        assert index.lookup(ra).tolist() == expected.tolist()
        assert row in expected
