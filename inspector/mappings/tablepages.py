"""What of the page tables themselves lies at a real address: table pages by address, and the process table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from inspector.radix.bits import ENTRY_BYTES
from inspector.radix.columns import Rows, Tables

if TYPE_CHECKING:
    from inspector.mappings.behind import Behind


@dataclass(frozen=True, slots=True)
class TablePage:
    """A table of ``length`` bytes at real ``address``, of ``level`` 3 (root) to 0, which translates from ``ea`` on.

    ``pid`` (None for a partition-scoped tree, ``lpid``'s) is that of the tree in which it was found first; ``places``
    counts how often it is referred to, in all trees."""

    address: int
    length: int
    level: int
    lpid: int
    pid: int | None
    ea: int
    places: int


@dataclass(frozen=True, slots=True)
class Holds:
    """What lies at a real address: of which tables it is a part, and of which PID's process-table entry."""

    tables: tuple[TablePage, ...] = ()
    entry_of: int | None = None

    def __bool__(self) -> bool:
        return bool(self.tables) or self.entry_of is not None


class TablePages:
    """Table pages by real address. ``process_table`` is its (real address, size in bytes)."""

    def __init__(self, tables: Tables, process_table: tuple[int, int] | None = None) -> None:
        """It costs a sort of the tables' addresses."""
        self.tables = tables
        self.process_table = process_table
        lengths: list[int] = np.unique(tables.length).tolist()
        self._of_length = []
        for length in lengths:
            rows = np.flatnonzero(tables.length == length)
            rows = rows[np.argsort(tables.address[rows], kind="stable")]
            self._of_length.append((length, tables.address[rows], rows))

    def lookup(self, start: int, end: int | None = None) -> Rows:
        """The rows of the tables that have the byte at ``start``, or any from there up to ``end``; ascending."""
        end = start + 1 if end is None else end
        found = [np.zeros(0, np.intp)]
        for length, addresses, rows in self._of_length:
            low, high = (min(max(at, 0), (1 << 64) - 1) for at in (start - length + 1, end - 1))
            if max(start, 0) < end:
                first = np.searchsorted(addresses, np.uint64(low))
                found.append(rows[first : np.searchsorted(addresses, np.uint64(high), side="right")])
        return np.sort(np.concatenate(found))

    def pages(self, rows: Rows) -> Iterator[TablePage]:
        """Those rows, one by one."""
        tables = self.tables
        for row in rows.tolist():
            root = tables.roots[int(tables.root[row])]
            yield TablePage(
                int(tables.address[row]),
                int(tables.length[row]),
                int(tables.level[row]),
                root.lpid,
                root.pid,
                root.base | int(tables.offset[row]),
                int(tables.references[row]),
            )

    def at(self, ra: int) -> Holds:
        """What lies at this real address."""
        entry = None
        if self.process_table is not None:
            base, size = self.process_table
            entry = (ra - base) // ENTRY_BYTES if base <= ra < base + size else None
        return Holds(tuple(self.pages(self.lookup(ra))), entry)


def in_the_host(
    tables: Tables, process_table: tuple[int, int], behind: Behind | None
) -> tuple[Tables, tuple[int, int] | None]:
    """Tables and a process table (address, size in bytes), by the host's real addresses where there is a stage that
    lies ``behind``: a table where the host has it in one piece (few are larger than its pages), of the process table
    what it has in one piece with the beginning."""
    if behind is None:
        return tables, process_table
    base, size = process_table
    first, there = behind.translate(tables.address)
    more = tables.length.astype(np.uint64) - np.uint64(1)
    last, too = behind.translate(tables.address + more)
    whole = np.flatnonzero(there & too & (last - first == more))
    columns = {each.name: getattr(tables, each.name)[whole] for each in fields(tables) if each.name != "roots"}
    columns["address"] = first[whole]
    span = behind.span(base)
    return Tables(tables.roots, **columns), None if span is None else (span[0], min(size, span[1]))
