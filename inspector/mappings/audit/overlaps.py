"""Tables of the MMU that lie in each other's memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.stretches import Stretches
from inspector.mappings.audit.subject import Subject, Surroundings
from inspector.mappings.audit.telling import whose
from inspector.radix.columns import Rows, Tables
from inspector.radix.fields import size_text

LARGEST = 1 << 36
"""A process or partition table that says it is larger than this is not believed."""


def other_tables(spaces: Subject, around: Surroundings) -> list[tuple[str, int, int]]:
    """(name, real address, end) of the process table, and of the partition table where it is known."""
    found = [("the process table", spaces.table), ("the partition table", around.partition_table)]
    return [(name, at[0], at[0] + at[1]) for name, at in found if at is not None and 0 < at[1] <= LARGEST]


def stretches_of(tables: Tables, others: list[tuple[str, int, int]]) -> Stretches:
    """Where tables lie."""
    first, end = np.array([each[1:] for each in others], np.uint64).reshape(-1, 2).T
    there = tables.readable
    return Stretches.of(
        np.concatenate([tables.address[there], first]),
        np.concatenate([tables.address[there] + tables.length[there], end]),
    )


def name_at(spaces: Subject, tables: Tables, others: list[tuple[str, int, int]], ra: int, size: int) -> str:
    """A table that has any of these bytes, by name."""
    for name, first, end in others:
        if first < ra + size and ra < end:
            return name
    hits = np.flatnonzero((tables.address < np.uint64(ra + size)) & (tables.address + tables.length > np.uint64(ra)))
    hits = hits[tables.readable[hits]]
    return _name(spaces, tables, int(hits[0])) if len(hits) else "a table"


def _name(spaces: Subject, tables: Tables, row: int) -> str:
    owner = whose(spaces.roots[int(tables.root[row])])
    level = int(tables.level[row])
    what = "root table" if level == 3 else f"level {level} table"
    return f"the {what} of {owner} at {int(tables.address[row]):#x} ({size_text(int(tables.length[row]))})"


def tell_overlaps(collector: Collector, spaces: Subject, tables: Tables, others: list[tuple[str, int, int]]) -> None:
    """Tables that begin in one that begins before them, or in a smaller one of their level at the same address, and
    those that lie in the process table or partition table. One that serves at two levels has a rule of its own."""
    rows = np.flatnonzero(tables.readable)
    order = rows[np.lexsort((tables.length[rows], tables.level[rows], tables.address[rows]))]
    address, level, end = tables.address[order], tables.level[order], tables.address[order] + tables.length[order]
    if not len(order):
        return
    group = np.cumsum(np.append(0, address[1:] != address[:-1]))
    begins = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    reach = np.maximum.accumulate(np.maximum.reduceat(end, begins))
    before = np.append(np.uint64(0), reach[:-1])[group]
    inside = address < before
    inside[1:] |= (address[1:] == address[:-1]) & (level[1:] == level[:-1])
    within = Stretches.spans((first, last) for _, first, last in others).touched(address, end)
    hit = np.flatnonzero(inside | within)

    def findings() -> Iterator[Finding]:
        for at in hit.tolist():
            yield _finding(spaces, tables, int(order[at]), _partner(spaces, tables, order, at, others))

    collector.add("overlapping-tables", len(hit), findings())


def _partner(spaces: Subject, tables: Tables, order: Rows, at: int, others: list[tuple[str, int, int]]) -> str:
    """What the ``at``-th table in ``order`` overlaps with, by name."""
    first = int(tables.address[order[at]])
    end = first + int(tables.length[order[at]])
    for name, start, last in others:
        if start < end and first < last:
            return name
    before = order[:at]
    hits = before[tables.address[before] + tables.length[before] > np.uint64(first)]
    return _name(spaces, tables, int(hits[0]))


def _finding(spaces: Subject, tables: Tables, row: int, partner: str) -> Finding:
    about, root = RULES["overlapping-tables"], spaces.roots[int(tables.root[row])]
    return Finding(
        about.slug,
        about.severity,
        f"{_name(spaces, tables, row)} overlaps with {partner}: {about.means}",
        lpid=root.lpid,
        pid=root.pid,
        ea=root.base | int(tables.offset[row]),
        ra=int(tables.address[row]),
        size=int(tables.length[row]),
    )
