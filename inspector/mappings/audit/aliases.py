"""Memory that one mapping may execute and another write, found by real address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from inspector.mappings.audit.leaves import Block, all_blocks, block_of
from inspector.mappings.audit.stretches import Stretches
from inspector.radix.columns import U64, Bools, Columns, Rows

NO_ROWS: Rows = np.zeros(0, np.intp)


@dataclass(frozen=True, slots=True)
class Executed:
    """Rows that may be executed, from ``first`` to ``end`` (real): which of them may be ``written`` too, are
    ``privileged``, are of the kernel's ``linear`` map."""

    rows: Rows
    first: U64
    end: U64
    written: Bools
    privileged: Bools
    linear: Bools

    def where(self, which: Bools) -> Stretches:
        """Where some of them lie."""
        return Stretches.of(self.first[which], self.end[which])

    @property
    def users(self) -> Rows:
        """Executed by user mode, and not written."""
        return self.rows[~self.written & ~self.privileged]

    @property
    def privileges(self) -> Rows:
        """Executed by privileged code, and not written."""
        return self.rows[~self.written & self.privileged]


def executed(columns: Columns) -> Executed:
    """What of these leaves may be executed."""
    none, no = np.zeros(0, np.uint64), np.zeros(0, np.bool_)
    parts: list[tuple[Rows, U64, U64, Bools, Bools, Bools]] = [(NO_ROWS, none, none, no, no, no)]
    for at, block in all_blocks(columns):
        rows = np.flatnonzero(block.executed)
        if len(rows):
            bits = (block.written[rows], block.privileged[rows], block.linear[rows])
            parts.append((rows + at, block.ra[rows], block.end[rows], *bits))
    columns_of = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return Executed(*columns_of)


def writers(block: Block, code: Stretches) -> Bools:
    """Which leaves of a block may write to any of this."""
    which = np.flatnonzero(block.written)
    found = np.zeros(len(block.written), np.bool_)
    found[which] = code.touched(block.ra[which], block.end[which])
    return found


@dataclass(frozen=True, slots=True)
class Aliases:
    """``rows`` are executed, and written to by rows among ``by``, which lie from ``first`` to ``end`` (real)."""

    rows: Rows
    by: Rows
    first: U64
    end: U64

    def writer_of(self, ra: int, size: int) -> int | None:
        """The first row that writes to any of this."""
        hits = np.flatnonzero((self.first < np.uint64(ra + size)) & (self.end > np.uint64(ra)))
        return int(self.by[hits[0]]) if len(hits) else None


def aliases(columns: Columns, found: Executed, by: Rows) -> tuple[list[Aliases], list[Aliases]]:
    """What is executed and written to by the rows ``by``: (by other ways than the linear map, by the linear map).

    What user mode may write of what privileged code executes is left out: that is a user mapping of kernel code."""
    block = block_of(columns.take(by))

    def pairs(executes: Rows, writes: Bools) -> Iterator[Aliases]:
        if not len(executes) or not writes.any():
            return
        first, end = block.ra[writes], block.end[writes]
        mine = block_of(columns.take(executes))
        hit = executes[Stretches.of(first, end).touched(mine.ra, mine.end)]
        if len(hit):
            yield Aliases(hit, by[writes], first, end)

    others = [*pairs(found.users, ~block.linear), *pairs(found.privileges, ~block.linear & block.privileged)]
    everyone = np.sort(np.concatenate([found.users, found.privileges]))
    return others, [*pairs(everyone, block.linear)]
