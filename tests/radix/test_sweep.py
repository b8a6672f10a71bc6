"""Sweeps, held to the walk that goes table by table."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import MemoryReadError, TargetLost
from inspector.radix.columns import NO_PID, Columns, Findings, Limits, Root, SweepOddity, concatenate
from inspector.radix.reading import Window
from inspector.radix.sweep import Sweep, stream, sweep
from inspector.radix.tree import Found, Leaf, Oddity, Table, walk_tree
from tests.radix.broken import worlds
from tests.radix.sweeping import Block, roots_of
from tests.radix.trees import HOLE, LEAF, RTS_52, VALID, Bump, Memory, MiB, Tree, World

FLAGS = VALID | LEAF | 0x18E
OF_SHARING = ("shared-table", "shared-levels")


def leaves(columns: Columns) -> Counter[tuple[int, ...]]:
    """Leaves as (offset, real address, shift, entry, level)."""
    parts = (columns.offset, columns.ra, columns.shift, columns.entry, columns.level)
    return Counter(zip(*(part.tolist() for part in parts), strict=True))


def told(found: Sequence[SweepOddity]) -> Counter[tuple[str, str, int]]:
    """Oddities as (cause, reason, offset), less those that only a sweep sees."""
    return Counter((each.cause, each.reason, each.offset) for each in found if each.cause not in OF_SHARING)


def check(block: Block, roots: Sequence[Root], windows: Sequence[Window]) -> Sweep:
    """A sweep of these trees, each held to its walk."""
    found = sweep(block.read_runs, roots, windows=windows)
    columns = found.columns()
    rows = found.tables()
    tables = set(
        zip(rows.address.tolist(), rows.length.tolist(), rows.level.tolist(), rows.readable.tolist(), strict=True)
    )
    expected: set[tuple[int, int, int, bool]] = set()
    for index, root in enumerate(roots):
        walked: list[Found] = list(walk_tree(block.read, root.descriptor))
        mine = columns.take(columns.root == index)
        assert leaves(mine) == Counter(
            (each.offset, each.ra, each.shift, each.entry, each.level) for each in walked if isinstance(each, Leaf)
        )
        assert told([each for each in found.oddities if each.root == index]) == Counter(
            (each.cause, each.reason, each.offset) for each in walked if isinstance(each, Oddity)
        )
        expected |= {(t.address, t.length, t.level, t.readable) for t in walked if isinstance(t, Table)}
    assert tables == expected
    assert len(rows) == len(tables), "each once a level"
    assert found.leaf_count == len(columns)
    return found


@settings(max_examples=150)
@given(worlds(), st.booleans())
def test_it_finds_what_the_walk_table_by_table_finds(world: World, by_windows: bool) -> None:
    block = Block(world.memory)
    check(block, roots_of(world), block.windows() if by_windows else ())


@settings(max_examples=60)
@given(worlds(), st.booleans())
def test_a_stream_is_the_same_piece_by_piece(world: World, by_windows: bool) -> None:
    block = Block(world.memory)
    windows = block.windows() if by_windows else ()
    whole = sweep(block.read_runs, roots_of(world), windows=windows)
    findings = Findings(1 << 12)
    pieces = list(stream(block.read_runs, roots_of(world), windows=windows, findings=findings))
    assert sum((leaves(piece) for piece in pieces), Counter()) == leaves(whole.columns())
    assert told(findings.told) == told(whole.oddities)
    if pieces:
        joined = concatenate(pieces)
        assert np.array_equal(np.sort(joined.address), np.sort(whole.columns().address))


def grown(pages: Sequence[tuple[int, int]], memory: Memory | None = None, space: int = 2 * MiB) -> tuple[Memory, Tree]:
    """A tree with these (offset, shift) mapped one to one."""
    memory = memory or Memory()
    tree = Tree(memory.put, Bump(space))
    for offset, shift in pages:
        tree.map(offset, FLAGS | offset & 0x01FF_FFFF_FFFF_F000, shift)
    return memory, tree


MANY = [(at << 16, 16) for at in range(0, 200, 3)] + [(1 << 40 | at << 12, 12) for at in range(600)]
MANY += [(1 << 41 | at << 21, 21) for at in range(3)] + [(1 << 42, 30), (3 << 50, 39)]


def test_a_tree_of_all_page_sizes_in_order() -> None:
    memory, tree = grown(MANY)
    block = Block(memory)
    for windows in ((), block.windows()):
        columns = check(block, [Root(7, tree.descriptor)], windows).columns().in_order()
        assert list(zip(columns.offset.tolist(), columns.shift.tolist(), strict=True)) == sorted(MANY)
        assert set(columns.pid.tolist()) == {7}
        assert [memory.word(at) for at in columns.address.tolist()] == columns.entry.tolist()
        assert columns.size.tolist() == [1 << shift for shift in columns.shift.tolist()]


def test_the_quadrant_and_the_partition_are_the_roots() -> None:
    memory, tree = grown([(0x1_0000, 16)])
    roots = [Root(0, tree.descriptor, 3 << 62), Root(None, tree.descriptor, 0, 9)]
    columns = sweep(Block(memory).read_runs, roots).columns()
    assert columns.ea.tolist() == [3 << 62 | 0x1_0000, 0x1_0000]
    assert columns.pid.tolist() == [0, NO_PID]
    assert columns.lpid.tolist() == [0, 9]


def test_a_level_is_asked_for_at_once_and_each_table_once() -> None:
    memory, one = grown(MANY)
    _, two = grown(MANY, memory, 16 * MiB)
    block = Block(memory)
    asked: list[int] = []

    def read_runs(runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        asked.append(len(runs))
        return block.read_runs(runs)

    sweep(read_runs, [Root(1, one.descriptor), Root(2, two.descriptor), Root(3, one.descriptor)])
    assert len(asked) == 5, "the last level has tables of two sizes"
    covered = sorted(block.runs)
    assert all(a + length <= b for (a, length), (b, _) in pairwise(covered)), "nothing twice"


def test_tables_that_touch_are_read_in_one_run_and_alone_where_that_fails() -> None:
    memory = Memory(ram=((0, 0x4_0000), (0x10_0000, 0x11_0000)))
    root, second = 0x1_0000, 0x2_0000
    memory.put(root, VALID | second | 9)
    for index in range(3):
        memory.put(second + 8 * index, VALID | 0x3_E000 + index * 0x1000 | 9)  # the third begins where RAM ends
        if index < 2:
            memory.put(0x3_E000 + index * 0x1000, FLAGS | index << 21)
    block = Block(memory)
    found = check(block, [Root(1, RTS_52 | root | 13)], ())
    assert found.leaf_count == 2
    assert [(each.cause, each.address) for each in found.oddities] == [("table-not-ram", second + 16)]


def test_shared_tables_are_told_and_counted_at_every_place() -> None:
    memory, tree = grown([(0, 16)])
    third = tree.tables[2, 0][0]
    memory.put(tree.root + 8, VALID | third | 9)
    found = check(Block(memory), [Root(4, tree.descriptor), Root(5, tree.descriptor)], ())
    tables = found.tables()
    assert dict(zip(tables.level.tolist(), tables.references.tolist(), strict=True)) == {3: 2, 2: 4, 1: 4, 0: 4}
    assert found.leaf_count == 4
    shared = [each for each in found.oddities if each.cause == "shared-table"]
    assert [each.level for each in shared] == [3, 2, 1, 0]
    assert "PID 4, PID 5" in shared[0].reason
    assert tables.pid.tolist() == [4, 4, 4, 4]
    assert tables.fill.tolist() == [2, 1, 1, 1]
    assert tables.leaves.tolist() == [0, 0, 0, 1]


def test_a_cycle_is_told_and_not_entered() -> None:
    memory, tree = grown([(0, 16)])
    third = tree.tables[2, 0][0]
    memory.put(third + 8, VALID | third | 9)
    found = check(Block(memory), [Root(1, tree.descriptor)], ())
    (odd,) = found.oddities
    assert (odd.cause, odd.address, odd.offset, odd.level) == ("cycle", third + 8, 1 << 30, 1)


def everything_shared() -> tuple[Memory, Root]:
    """Three tables, each of whose entries all lead to the next: 2^31 places of the last."""
    memory = Memory()
    root, second, first, last = 0x1_0000, 0x3_0000, 0x4_0000, 0x5_0000
    for base, bits, value in ((root, 13, second | 9), (second, 9, first | 9), (first, 9, last | 5)):
        for index in range(1 << bits):
            memory.put(base + 8 * index, VALID | value)
    memory.put(last, FLAGS)
    return memory, Root(1, RTS_52 | root | 13)


def test_a_tree_that_multiplies_ends_at_the_limit_and_says_so() -> None:
    memory, root = everything_shared()
    found = sweep(Block(memory).read_runs, [root], Limits(tables=20_000))
    assert sum(len(slab.offset) for slab in found.slabs) <= 20_000
    assert found.findings.counts["too-large"] >= 1
    assert sum(len(slab.address) for slab in found.slabs) <= 4


def test_places_without_a_leaf_cost_no_room_for_what_they_lead_to() -> None:
    memory, root = everything_shared()
    found = sweep(Block(memory).read_runs, [root], Limits(tables=1 << 17))
    tracemalloc.start()
    try:
        assert list(found.pieces()) == []
        assert tracemalloc.get_traced_memory()[1] < 32 * MiB, "their entries together are 512 MiB"
    finally:
        tracemalloc.stop()


def test_leaves_and_bytes_have_limits_too() -> None:
    memory, tree = grown(MANY)
    roots = [Root(1, tree.descriptor)]
    whole = sweep(Block(memory).read_runs, roots)
    few = sweep(Block(memory).read_runs, roots, Limits(leaves=30))
    assert 0 < few.leaf_count <= 30
    assert few.findings.counts["too-large"] >= 1
    assert set(leaves(few.columns())) < set(leaves(whole.columns()))
    for budget in (0, 0x1_0000, 0x1_0000 + 0x1000, 0x1_0000 + 0x4000):
        block = Block(memory)
        short = sweep(block.read_runs, roots, Limits(table_bytes=budget))
        assert sum(length for _, length in block.runs) <= budget
        assert short.findings.counts["too-large"] >= 1
        assert set(leaves(short.columns())) < set(leaves(whole.columns()))
        assert len(short.tables()) == sum(len(slab.address) for slab in short.slabs)


def test_oddities_are_counted_beyond_those_told() -> None:
    memory, tree = grown([(0, 12)])
    last = tree.tables[0, 0][0]
    for index in range(1, 512):
        memory.put(last + 8 * index, VALID | 0x5_0000 | 9)
    second = tree.tables[1, 0][0]
    for index in range(1, 100):
        memory.put(second + 8 * index, VALID | 0x5_0000 | 7)
    for index in range(100, 150):
        memory.put(second + 8 * index, VALID | HOLE & ~0xFFF | 9)
    found = sweep(Block(memory).read_runs, [Root(1, tree.descriptor)], Limits(oddities=10))
    assert found.findings.counts["no-leaf"] == 511
    assert found.findings.counts["table-size"] == 99
    assert found.findings.counts["table-not-ram"] == 50
    assert Counter(each.cause for each in found.oddities)["no-leaf"] == 10
    assert Counter(each.cause for each in found.oddities)["table-not-ram"] == 10


@pytest.mark.parametrize("after", range(1, 6))
def test_ctrl_c_gives_what_there_is_so_far_where_that_is_asked_for(after: int) -> None:
    memory, tree = grown(MANY)
    block = Block(memory)
    left = after

    def read_runs(runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return block.read_runs(runs)

    roots = [Root(1, tree.descriptor)]
    found = sweep(read_runs, roots, keep_partial=True)
    assert found.interrupted
    assert set(leaves(found.columns())) < set(leaves(sweep(block.read_runs, roots).columns()))
    assert len(found.tables()) == sum(len(slab.address) for slab in found.slabs)
    left = after
    with pytest.raises(KeyboardInterrupt):
        sweep(read_runs, roots)


def test_ctrl_c_within_a_level_keeps_the_tables_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.radix.reading.BATCH_BYTES", 4096)
    memory, tree = grown(MANY)
    block = Block(memory)
    for after in range(1, 12):
        left = after

        def read_runs(runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return block.read_runs(runs)

        found = sweep(read_runs, [Root(1, tree.descriptor), Root(2, tree.descriptor)], keep_partial=True)
        assert len(found.columns()) == found.leaf_count
        assert all(len(slab.fill) == len(slab.address) == len(slab.directories) for slab in found.slabs)


def test_progress_is_told_within_a_level_from_none_of_its_tables_to_all() -> None:
    memory, tree = grown(MANY)
    told: list[tuple[int, int, int]] = []
    sweep(Block(memory).read_runs, [Root(1, tree.descriptor)], progress=lambda *each: told.append(each))
    assert [level for level, done, _ in told if not done] == [3, 2, 1, 0]
    for level in range(4):
        done = [(done, tables) for at, done, tables in told if at == level]
        assert done == sorted(done)
        assert done[-1][0] == done[-1][1]


def test_a_slow_source_is_asked_for_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that Ctrl-C loses little, and progress is steady; a quick one is asked for ever more."""
    memory, tree = grown([(at << 21, 16) for at in range(512)])
    for short, batches in ((-1.0, [1] * 8), (1e9, [1, 2, 4, 8, 16])):
        monkeypatch.setattr("inspector.radix.slab.SHORT", short)
        monkeypatch.setattr("inspector.radix.reading.BATCH_BYTES", 16 * 256)
        sizes: list[int] = []
        block = Block(memory)

        def progress(level: int, done: int, _tables: int, sizes: list[int] = sizes) -> None:
            if level == 0 and done:
                sizes.append(done - sum(sizes))

        sweep(block.read_runs, [Root(1, tree.descriptor)], progress=progress)
        assert sizes[: len(batches)] == batches
        assert sum(sizes) == 512


def test_a_lost_target_is_said_and_a_short_answer_is_an_oddity() -> None:
    memory, tree = grown([(0, 16)])
    block = Block(memory)

    def lost(_runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        raise TargetLost("it is gone; attach again")

    def short(runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        return [each[:8] if isinstance(each, bytes) else each for each in block.read_runs(runs)]

    with pytest.raises(TargetLost):
        sweep(lost, [Root(1, tree.descriptor)])
    found = sweep(short, [Root(1, tree.descriptor)])
    assert [each.cause for each in found.oddities] == ["table-unreadable"]
    assert not found.leaf_count


def test_windows_give_what_lies_in_them_and_runs_the_rest() -> None:
    memory, tree = grown(MANY)
    roots = [Root(1, tree.descriptor)]
    whole = leaves(sweep(Block(memory).read_runs, roots).columns())
    image = Block(memory).read(0, 4 * MiB)
    for start, end in product((0, 0x20_1000, 0x21_2000), (0x21_3000, 0x21_4000, 4 * MiB)):
        block = Block(memory)
        found = sweep(block.read_runs, roots, windows=[(start, memoryview(image)[start:end])])
        assert leaves(found.columns()) == whole
        assert all(address < start or address + length > end for address, length in block.runs)


def test_no_roots_and_empty_roots_are_no_trouble() -> None:
    memory, tree = grown([])
    assert len(sweep(Block(memory).read_runs, []).columns()) == 0
    found = sweep(Block(memory).read_runs, [Root(1, tree.descriptor), Root(2, 0)])
    assert found.leaf_count == 0
    assert [(each.cause, each.root) for each in found.oddities] == [("tree-size", 1)]
    assert len(found.columns().in_order()) == 0
    assert len(found.tables()) == 1


def test_sparse_last_tables_are_kept_sparse_and_give_the_same() -> None:
    sparse, tree = grown([(at << 21, 12) for at in range(40)])
    found = check(Block(sparse), [Root(1, tree.descriptor)], ())
    assert found.slabs[-1].dense is None
    assert found.slabs[-1].nbytes < 40 * 4096
    full, tree = grown([(at << 12, 12) for at in range(512)])
    found = check(Block(full), [Root(1, tree.descriptor)], ())
    assert found.slabs[-1].dense is not None
