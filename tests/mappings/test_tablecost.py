"""What trees cost, held to a walk that counts table by table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.commands.tables import ORDERS
from inspector.mappings.tablecost import Table, by_tree, cost, in_order, rows, where
from inspector.radix.columns import Limits, Root, Tables
from inspector.radix.sweep import Sweep, sweep
from tests.radix.broken import worlds
from tests.radix.sweeping import Block, roots_of
from tests.radix.trees import LEAF, RAM, VALID, Bump, Memory, MiB, Tree, World

LEAF_FLAGS = VALID | LEAF | 0x186
BASES = 0x0FFF_FFFF_FFFF_FF00


def forest(rng: Random, shared: bool) -> tuple[Memory, list[Root]]:
    """Three trees of a few pages; with ``shared`` some directories of one lead into another, at the same level."""
    memory, space = Memory(), Bump(MiB)
    trees = [Tree(memory.put, space) for _ in range(3)]
    for tree in trees:
        for _ in range(rng.randrange(8)):
            shift = rng.choice((12, 16, 16, 16, 21, 30))
            ea = rng.choice((0, 1 << 40)) | rng.getrandbits(34) & ~0x1F_FFFF | (1 << 38 if shift == 12 else 0)
            if shift in (21, 30):
                ea |= 1 << 45 + (shift == 30)
            tree.map(ea, LEAF_FLAGS | rng.getrandbits(20) << shift, shift)
    if shared:
        for level in (2, 1, 0, 0):
            words = [at for tree in trees for at, up in directories(memory, tree.root, 13, 3) if up == level + 1]
            if len(words) > 1:
                to, of = rng.sample(words, 2)
                memory.put(to, memory.word(of))
    return memory, [Root(pid, tree.descriptor, 0) for pid, tree in enumerate(trees, 4)]


def directories(memory: Memory, base: int, bits: int, level: int) -> Iterator[tuple[int, int]]:
    """(address, level) of every directory entry below a table, that table's level first."""
    for at in range(base, base + (8 << bits), 8):
        entry = memory.words.get(at, 0)
        if entry & VALID and not entry & LEAF:
            yield at, level
            yield from directories(memory, entry & BASES, entry & 0x1F, level - 1)


def walked(memory: Memory, root: Root) -> tuple[Counter[tuple[int, int, int]], int]:
    """(address, level, index bits) of every table of a tree with how often it stands there, and the bytes mapped."""
    found: Counter[tuple[int, int, int]] = Counter()
    mapped = 0
    todo = [(root.descriptor & BASES, 3, 13, 52)]
    while todo:
        base, level, bits, reach = todo.pop()
        found[base, level, bits] += 1
        for at in range(base, base + (8 << bits), 8):
            entry = memory.words.get(at, 0)
            if entry & VALID and entry & LEAF:
                mapped += 1 << (reach - bits)
            elif entry & VALID:
                todo.append((entry & BASES, level - 1, entry & 0x1F, reach - bits))
    return found, mapped


def swept(memory: Memory, roots: list[Root]) -> Sweep:
    return sweep(Block(memory).read_runs, roots)


@given(st.integers(0, 1 << 32), st.booleans())
def test_each_table_is_counted_once_and_by_each_tree_that_has_it(seed: int, shared: bool) -> None:
    memory, roots = forest(Random(seed), shared)
    found = swept(memory, roots)
    whole = cost(found, RAM)
    trees = [walked(memory, root) for root in roots]
    places = sum((tables for tables, _ in trees), Counter[tuple[int, int, int]]())
    for each in whole.levels:
        mine = [(at, bits) for at, level, bits in places if level == each.level]
        entries = [memory.words.get(at + 8 * n, 0) for at, bits in mine for n in range(1 << bits)]
        valid = [entry for entry in entries if entry & VALID]
        assert each.tables == len(mine)
        assert each.nbytes == 8 * each.entries == 8 * len(entries)
        assert each.used == len(valid)
        assert each.leaves == sum(1 for entry in valid if entry & LEAF)
        assert each.empty == sum(
            1 for at, bits in mine if not any(memory.words.get(at + 8 * n, 0) & VALID for n in range(1 << bits))
        )
        assert each.unreadable == 0
    assert whole.tables == len(places)
    assert whole.mapped == sum(mapped for _, mapped in trees)
    assert whole.shared == sum(1 for count in places.values() if count > 1)
    owners = Counter(table for tables, _ in trees for table in tables)
    assert whole.between == sum(1 for count in owners.values() if count > 1)
    assert whole.outside == 0
    for shift, pages in whole.pages.items():
        touched = {at >> shift for base, _, bits in places for at in range(base, base + (8 << bits), 256)}
        assert pages == len(touched)
    of_trees = {tree.root: tree for tree in by_tree(found)}
    assert len(of_trees) == 3
    for root, (tables, mapped) in zip(roots, trees, strict=True):
        tree = of_trees[root]
        assert tree.tables == len(tables)
        assert tree.nbytes == sum(8 << bits for _, _, bits in tables)
        assert tree.shared == sum(1 for table in tables if owners[table] > 1)
        assert tree.mapped == mapped
    sizes = [each.nbytes for each in by_tree(found)]
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(0, 1 << 32), st.booleans())
def test_where_they_lie_is_every_byte_of_them(seed: int, shared: bool) -> None:
    memory, roots = forest(Random(seed), shared)
    tables = swept(memory, roots).tables()
    starts, ends, counts = (each.tolist() for each in where(tables))
    units = {at for table in rows(tables, in_order(tables, "ea")) for at in every_256(table.address, 8 * table.entries)}
    assert {at for start, end in zip(starts, ends, strict=True) for at in every_256(start, end - start)} == units
    assert all(end < start for end, start in zip(ends[:-1], starts[1:], strict=True)), "they stand apart"
    assert sum(counts) == len(tables)


def every_256(start: int, size: int) -> range:
    """Addresses in steps that every table is a multiple of."""
    return range(start, start + size, 256)


@given(st.integers(0, 1 << 32), st.sampled_from(ORDERS))
def test_a_table_at_a_time(seed: int, by: str) -> None:
    memory, roots = forest(Random(seed), True)
    tables = swept(memory, roots).tables()
    listed = list(rows(tables, in_order(tables, by)))
    places = sum((walked(memory, root)[0] for root in roots), Counter[tuple[int, int, int]]())
    assert {(each.address, each.level, each.entries): each.references for each in listed} == {
        (at, level, 1 << bits): count for (at, level, bits), count in places.items()
    }
    keys: dict[str, Callable[[Table], tuple[float, ...]]] = {
        "ea": lambda each: (each.root.pid or 0, each.ea or 0, -each.level),
        "address": lambda each: (each.address, -each.level),
        "fill": lambda each: (each.used / each.entries, each.address),
    }
    assert listed == sorted(listed, key=keys[by])


def test_a_table_says_what_it_is() -> None:
    memory = Memory()
    tree = Tree(memory.put, Bump(MiB))
    path = tree.map(0x7FFF_8000_0000, LEAF_FLAGS, 16)
    tree.map(0x7FFF_8001_0000, LEAF_FLAGS, 16)
    found = swept(memory, [Root(0, tree.descriptor, 3 << 62)])
    *_, last = rows(found.tables(), in_order(found.tables(), "ea"))
    assert (last.address, last.level, last.entries, last.used, last.leaves) == (path[0] & ~0xFF, 0, 32, 2, 2)
    assert (last.ea, last.references, last.readable, last.root.pid) == (0xC000_7FFF_8000_0000, 1, True, 0)


def test_a_table_outside_ram_is_not_read_and_costs_no_entries() -> None:
    memory = Memory()
    tree = Tree(memory.put, Bump(MiB))
    path = tree.map(0, LEAF_FLAGS, 16)
    memory.put(path[1] + 8, VALID | 0x6_0302_031A_0000 | 5)
    found = swept(memory, [Root(4, tree.descriptor)])
    last = cost(found, RAM).levels[-1]
    assert (last.tables, last.nbytes, last.entries, last.used, last.unreadable, last.empty) == (2, 512, 32, 1, 1, 0)
    assert cost(found, RAM).outside == 1
    assert cost(found, []).outside == 5
    assert [each.readable for each in rows(found.tables(), in_order(found.tables(), "address"))][-1] is False


def test_an_empty_table_is_told() -> None:
    memory = Memory()
    tree = Tree(memory.put, Bump(MiB))
    path = tree.map(0, LEAF_FLAGS, 16)
    memory.put(path[0], 0)
    found = swept(memory, [Root(4, tree.descriptor)])
    assert [each.empty for each in cost(found, RAM).levels] == [0, 0, 0, 1]
    assert next(rows(found.tables(), in_order(found.tables(), "fill"))).used == 0


def test_no_trees_cost_nothing() -> None:
    found = swept(Memory(), [])
    whole = cost(found, RAM)
    assert (whole.tables, whole.nbytes, whole.mapped, whole.levels) == (0, 0, 0, ())
    assert by_tree(found) == []
    assert [len(each) for each in where(found.tables())] == [0, 0, 0]


@given(worlds(), st.integers(0, 6))
def test_broken_trees_and_bounds_raise_nothing(world: World, most: int) -> None:
    roots = roots_of(world)
    for limits in (None, Limits(tables=most, leaves=most)):
        found = sweep(Block(world.memory).read_runs, roots, limits)
        whole = cost(found, RAM)
        tables = found.tables()
        assert whole.tables == len(tables)
        listed = list(rows(tables, in_order(tables, "ea")))
        assert [each.ea is None for each in listed] == [each.references == 0 for each in listed]
        assert sum(each.tables for each in by_tree(found)) >= sum(each.references > 0 for each in listed)
        assert where(tables)[2].sum() == len(tables)


@pytest.mark.parametrize("by", ORDERS)
def test_none_can_be_put_in_order(by: str) -> None:
    none = np.zeros(0, np.uint64)
    tables = Tables((), none, none.astype(np.uint8), none.astype(np.uint32), none.astype(np.uint16),
                    none.astype(np.uint16), none.astype(np.uint32), none.astype(np.uint32), none,
                    none.astype(np.bool_))  # fmt: skip
    assert list(rows(tables, in_order(tables, by))) == []
