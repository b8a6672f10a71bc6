"""Table pages by real address, held to a look at each."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.tablepages import Holds, TablePages
from inspector.radix.columns import Root, Tables

ROOTS = (Root(0, 0, 3 << 62), Root(4, 0), Root(None, 0, 0, 2))
LENGTHS = (256, 4096, 65536)


def tables_of(rows: list[tuple[int, int]]) -> Tables:
    """Tables out of (number of a place for its length, which length)."""
    lengths = [LENGTHS[which] for _, which in rows]
    count = len(rows)
    few = np.ones(count, np.uint16)
    return Tables(
        ROOTS,
        np.array([place * length for (place, _), length in zip(rows, lengths, strict=True)], np.uint64),
        np.array([which for _, which in rows], np.uint8),
        np.array(lengths, np.uint32),
        few,
        few,
        np.arange(1, count + 1, dtype=np.uint32),
        np.array([row % 3 for row in range(count)], np.uint32),
        np.array([row << 16 for row in range(count)], np.uint64),
        np.ones(count, np.bool_),
    )


ROWS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=12, unique=True)
ADDRESSES = st.integers(0, 1 << 17) | st.sampled_from(
    [0, 255, 256, 4095, 4096, 65535, 65536, (1 << 64) - 1, -1, 1 << 70]
)


@given(ROWS, ADDRESSES, st.sampled_from([0, 1, 2, 256, 5000, 1 << 20]))
def test_every_table_that_has_a_byte_there_is_found(rows: list[tuple[int, int]], start: int, size: int) -> None:
    tables = tables_of(rows)
    spans = [(int(tables.address[row]), int(tables.address[row]) + int(tables.length[row])) for row in range(len(rows))]
    end = start + size
    expected = [row for row, (low, high) in enumerate(spans) if start < end and low < end and start < high]
    assert TablePages(tables).lookup(start, end).tolist() == expected


def test_whose_they_are_is_said() -> None:
    pages = TablePages(tables_of([(1, 0), (1, 1), (2, 2)]), (0x10_0000, 0x1000))
    (leaf,) = pages.at(256 + 8).tables
    assert (leaf.address, leaf.length, leaf.level, leaf.pid, leaf.ea, leaf.places) == (256, 256, 0, 0, 3 << 62, 1)
    (middle,) = pages.at(8191).tables
    assert (middle.level, middle.pid, middle.ea) == (1, 4, 0x1_0000)
    (root,) = pages.at(0x2_0000).tables
    assert (root.level, root.lpid, root.pid, root.places) == (2, 2, None, 3)


def test_the_process_table() -> None:
    pages = TablePages(tables_of([]), (0x10_0000, 0x1000))
    assert [pages.at(at).entry_of for at in (0xF_FFFF, 0x10_0000, 0x10_004F, 0x10_0FFF, 0x10_1000)] == [
        None,
        0,
        4,
        255,
        None,
    ]
    assert not pages.at(0)
    assert pages.at(0x10_0000) == Holds((), 0)
    assert TablePages(tables_of([])).at(0x10_0000) == Holds()
