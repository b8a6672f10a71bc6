"""Who owns RAM, worked out in bulk, held to a model that asks each page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.owners import NO_TREE, Owner, owners
from inspector.mappings.ranges import Ranges
from inspector.radix.columns import Root

PAGE = 1 << 12
ROOTS = (Root(0, 0, 3 << 62), Root(5, 0), Root(8, 0))
LINEAR = (0xC000_0000_0000_0000, 0xC008_0000_0000_0000)
VMALLOC = 0x0008_0000_0000_0000
PAGES = 48


@dataclass(frozen=True)
class Mapping:
    """``count`` pages from real page ``page`` on, by tree ``root``; ``linear`` where the linear map has them."""

    root: int
    page: int
    count: int
    linear: bool


def ranges_of(mappings: list[Mapping]) -> Ranges:
    def column(values: list[int], kind: type[np.generic]) -> np.ndarray:
        return np.array(values, kind)

    return Ranges(
        ROOTS,
        column([each.root for each in mappings], np.uint32),
        column([each.page * PAGE if each.linear else VMALLOC + each.page * PAGE for each in mappings], np.uint64),
        column([each.page * PAGE for each in mappings], np.uint64),
        column([12] * len(mappings), np.uint8),
        column([0] * len(mappings), np.uint64),
        column([each.count for each in mappings], np.uint64),
    )


Spans = list[tuple[int, int]]


def owner_of(page: int, mappings: list[Mapping], tables: Spans, table: Spans) -> tuple[Owner, int]:
    """The owner of one page, asked by itself."""
    here = [each for each in mappings if each.page <= page < each.page + each.count]
    processes = {each.root for each in here if each.root}
    if any(first <= page < end for first, end in table):
        return Owner.DESCRIPTORS, NO_TREE
    if any(first <= page < end for first, end in tables):
        return Owner.TABLE, NO_TREE
    if processes:
        return (Owner.SHARED, NO_TREE) if len(processes) > 1 else (Owner.PROCESS, processes.pop())
    if any(not each.linear for each in here):
        return Owner.KERNEL, NO_TREE
    return (Owner.LINEAR_MAP if here else Owner.NOBODY), NO_TREE


COUNTS = st.integers(1, 9)
MAPPINGS = st.lists(
    st.builds(Mapping, st.integers(0, 2), st.integers(0, PAGES - 10), COUNTS, st.booleans()), max_size=12
)
SPANS = st.lists(st.tuples(st.integers(0, PAGES - 8), st.integers(1, 6)), max_size=3).map(
    lambda found: [(first, first + count) for first, count in found]
)
RAM = st.sampled_from([[(0, PAGES)], [(0, 12), (20, 40)], [(4, 9)], []])


def in_bytes(spans: Spans) -> Spans:
    return [(first * PAGE, end * PAGE) for first, end in spans]


@given(MAPPINGS, SPANS, SPANS, RAM)
def test_each_page_has_the_owner_that_it_would_have_alone(
    mappings: list[Mapping], tables: Spans, descriptors: Spans, ram: Spans
) -> None:
    ends = np.array(in_bytes(tables), np.uint64).reshape(-1, 2)
    found = owners(ranges_of(mappings), (ends[:, 0], ends[:, 1]), in_bytes(descriptors), in_bytes(ram), LINEAR)
    told: dict[int, tuple[int, int, bool]] = {}
    for start, end, kind, root, in_ram in zip(
        found.start.tolist(), found.end.tolist(), found.kind.tolist(), found.root.tolist(), found.in_ram.tolist(),
        strict=True,
    ):  # fmt: skip
        assert start < end
        for page in range(start // PAGE, end // PAGE):
            assert page not in told
            told[page] = (kind, root, in_ram)
    expected = {}
    for page in range(PAGES):
        kind, root = owner_of(page, mappings, tables, descriptors)
        in_ram = any(first <= page < end for first, end in ram)
        if in_ram or kind is not Owner.NOBODY:
            expected[page] = (int(kind), root, in_ram)
    assert told == expected
    assert found.start.tolist() == sorted(found.start.tolist())


@given(MAPPINGS)
def test_neighbours_differ(mappings: list[Mapping]) -> None:
    none = np.zeros(0, np.uint64)
    found = owners(ranges_of(mappings), (none, none), [], [(0, PAGES * PAGE)], LINEAR)
    rows = list(zip(found.kind.tolist(), found.root.tolist(), strict=True))
    assert [at for at in range(1, len(rows)) if rows[at] == rows[at - 1]] == []


def test_tables_smaller_than_a_page_leave_the_rest_of_it_to_its_owner() -> None:
    table = np.array([0x1100], np.uint64)
    mapped = [Mapping(1, 1, 1, False)]
    found = owners(ranges_of(mapped), (table, table + np.uint64(256)), [], [(0, 0x3000)], LINEAR)
    assert found.start.tolist() == [0, 0x1000, 0x1100, 0x1200, 0x2000]
    assert found.kind.tolist() == [Owner.NOBODY, Owner.PROCESS, Owner.TABLE, Owner.PROCESS, Owner.NOBODY]
    assert found.root.tolist() == [NO_TREE, 1, NO_TREE, 1, NO_TREE]


def test_nothing_at_all() -> None:
    none = np.zeros(0, np.uint64)
    assert len(owners(ranges_of([]), (none, none), [], [], LINEAR)) == 0
