"""Entries that are not valid and not empty: what an operating system keeps where the MMU does not look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.subject import Subject, Surroundings
from inspector.radix.columns import Rows, Tables
from inspector.radix.formats import decode_entry
from inspector.radix.geometry import PAGE_SHIFT_1G, PAGE_SHIFT_2M
from inspector.radix.reading import TableReader

RULE = "invalid-entry"


def tell_leftovers(collector: Collector, spaces: Subject, tables: Tables, around: Surroundings) -> None:
    """Read all tables again and tell of such entries, a finding for each table that has any."""
    if around.read_runs is None:
        return
    reader = TableReader(around.read_runs, around.windows)
    for length in np.unique(tables.length).tolist():
        rows = np.flatnonzero(tables.readable & (tables.length == length))
        entries = length // 8
        gather = reader.gather(tables.address[rows], entries)
        step = max(reader.batch_bytes // length, 1)
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            words = np.empty((len(some), entries), np.uint64)
            gather(first, first + len(some), words)
            left = words.view(np.int64) > 0  # V is the sign
            has = np.flatnonzero(left.any(axis=1))
            if len(has):
                counts = np.count_nonzero(left[has], axis=1)
                index = np.argmax(left[has], axis=1)
                found = _findings(spaces, tables, some[has], index, words[has, index].tolist(), counts.tolist())
                collector.add(RULE, len(has), found)


def _findings(
    spaces: Subject, tables: Tables, rows: Rows, indexes: Rows, entries: list[int], counts: list[int]
) -> Iterator[Finding]:
    about = RULES[RULE]
    for row, index, entry, count in zip(rows.tolist(), indexes.tolist(), entries, counts, strict=True):
        root = spaces.roots[int(tables.root[row])]
        level, address = int(tables.level[row]), int(tables.address[row])
        shift = _shift(level, int(tables.length[row]))
        decoded = decode_entry(entry, level, shift)
        noun = "entry is" if count == 1 else "entries are"
        yield Finding(
            RULE,
            about.severity,
            f"{count} {noun} not valid and not empty in the level {level} table at {address:#x}: {about.means}",
            lpid=root.lpid,
            pid=root.pid,
            ea=root.base | int(tables.offset[row]) + (index << shift),
            count=count,
            entry=entry,
            entry_address=address + 8 * index,
            level=level,
            meaning=f"to Linux: {decoded.linux}" if decoded.linux else decoded.meaning,
        )


def _shift(level: int, length: int) -> int:
    """log2 of what an entry covers, in a table of this level and length in bytes."""
    if level:
        return {1: PAGE_SHIFT_2M, 2: PAGE_SHIFT_1G, 3: PAGE_SHIFT_1G + 9}[level]
    return PAGE_SHIFT_2M - (length.bit_length() - 4)
