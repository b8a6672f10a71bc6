"""Recorded guests swept: the same leaves as table by table, and the same answers as address by address."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

import inspector
from inspector.guest import Guest
from inspector.mappings.ranges import coalesce, in_order, join
from inspector.mappings.reverse import Index
from inspector.radix.columns import Root
from inspector.radix.sweep import stream, sweep
from inspector.radix.tree import Leaf, Table, walk_tree
from scripts.peers import Drgn
from tests.agreement import drgn_agrees, xlate_agrees
from tests.mappings import run_model as runs
from tests.test_fixtures import FIXTURES, KVM_HOST, LINUX


def roots(guest: Guest) -> list[Root]:
    """Every tree of the process table; the kernel's in quadrant 3."""
    return [Root(each.pid, each.entry, 0 if each.pid else 3 << 62) for each in guest.processes()]


@pytest.fixture(params=("demo", *LINUX, KVM_HOST))
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
    again = in_order(join([coalesce(piece) for piece in stream(read, trees)]))
    for name in ("root", "offset", "ra", "shift", "flags", "count"):
        assert np.array_equal(getattr(again, name), getattr(whole, name)), name


def test_xlate_agrees_on_every_leaf_and_between_them(recorded: Guest) -> None:
    seen = xlate_agrees(recorded, sweep(recorded.memory.read_runs, roots(recorded)), Random(5))
    assert seen["ok"] > 500
    assert seen["not-present"] > 100


@pytest.mark.parametrize("name", LINUX)
def test_drgn_finds_every_leaf_where_it_is(name: str, tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    core = tmp_path / "guest.core"
    core.write_bytes(gzip.decompress((FIXTURES / f"{name}.core.gz").read_bytes()))
    peer = Drgn(str(core))
    with inspector.open_target(str(core)) as guest:
        answered = drgn_agrees(peer, guest.spaces(), Random(9))
    assert answered["mapped"] > 1000
    assert answered["nowhere"] > 100


def test_the_reverse_index_finds_each_leaf_by_its_real_address(recorded: Guest) -> None:
    columns = sweep(recorded.memory.read_runs, roots(recorded)).columns()
    index = Index.build(columns)
    ras, ends = columns.ra, columns.ra + columns.size
    for row in Random(7).sample(range(len(columns)), 200):
        ra = int(ras[row]) + int(columns.size[row]) // 2
        expected = np.flatnonzero((ras <= np.uint64(ra)) & (ends > np.uint64(ra)))
        assert index.lookup(ra).tolist() == expected.tolist()
        assert row in expected
