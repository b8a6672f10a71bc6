"""Findings made of leaves: those that continue each other are one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from inspector.mappings.audit.aliases import NO_ROWS, Aliases
from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.leaves import BLOCK
from inspector.mappings.audit.rules import RULES
from inspector.mappings.ranges import coalesce
from inspector.mappings.runs import Run, runs_of
from inspector.radix.bits import KERNEL_PID
from inspector.radix.columns import Bools, Columns, Root, Rows
from inspector.radix.formats import entry_meaning

Place = tuple[Root, int]
"""(the tree, the address in it)."""
Say = Callable[[Run], tuple[str, Place | None]]
"""What is wrong with these pages, in words that may stand for the rule's title, and where a second mapping is."""


@dataclass
class Gathered:
    """What a rule finds among leaves, gathered block by block: how many findings it makes, and the rows of as many as
    are to be told, and one more where there is."""

    most: int | None
    total: int = 0
    rows: list[Rows] = field(default_factory=list)
    last: int = -2
    """The last row that was found."""

    def add(self, rows: Rows, begins: Bools, first: int) -> None:
        """The ``rows`` of a block that are found, ascending and at least one. ``begins`` tells of each row of the
        block, whose first is ``first``, whether it does not go on where the one before ended."""
        apart = begins[rows - first]
        apart[1:] |= rows[1:] - rows[:-1] != 1
        apart[0] |= rows[0] != self.last + 1
        self.last = int(rows[-1])
        if self.most is None or self.total <= self.most:
            self.rows.append(rows)
        self.total += int(np.count_nonzero(apart))


def begins(columns: Columns, first: int, count: int) -> Bools:
    """Which of ``count`` leaves from row ``first`` on do not go on where the one before ended; the first of them all
    does not."""
    before = min(first, 1)
    ranges = coalesce(columns.take(slice(first - before, first + count)))
    found = np.zeros(before + min(count, len(columns) - first), np.bool_)
    found[(np.cumsum(ranges.count) - ranges.count).view(np.int64)] = True
    return found[before:]


def tell_leaves(collector: Collector, columns: Columns, rule: str, gathered: Gathered, say: Say | None = None) -> None:
    """What a rule finds among leaves."""
    if not gathered.total:
        return
    mine = columns.take(np.concatenate(gathered.rows))
    ranges = coalesce(mine)
    first = np.cumsum(ranges.count) - ranges.count

    def findings() -> Iterator[Finding]:
        for at, run in enumerate(runs_of(ranges)):
            leaf = mine.take(slice(int(first[at]), int(first[at]) + 1))
            yield _finding(rule, run, leaf, say)

    collector.add(rule, gathered.total, findings())


def _finding(rule: str, run: Run, leaf: Columns, say: Say | None) -> Finding:
    """A finding of ``run``, whose first leaf is ``leaf``."""
    about = RULES[rule]
    what, other = say(run) if say else (about.title, None)
    entry, level = int(leaf.entry[0]), int(leaf.level[0])
    return Finding(
        rule,
        about.severity,
        f"{what}: {about.means}",
        lpid=run.lpid,
        pid=run.pid,
        ea=run.ea,
        ra=run.ra,
        size=run.size,
        count=run.count,
        entry=entry,
        entry_address=int(leaf.address[0]),
        level=level,
        page_shift=run.shift,
        meaning=entry_meaning(entry, level, run.shift),
        other_pid=None if other is None else other[0].pid,
        other_ea=None if other is None else other[1],
    )


def tell_aliases(collector: Collector, columns: Columns, rule: str, found: list[Aliases], meant: Bools | None) -> None:
    """What is executed by one mapping, of those that are ``meant`` (None: all), and written by another."""
    rows = np.unique(np.concatenate([NO_ROWS, *(each.rows for each in found)]))
    if meant is not None:
        rows = rows[meant[rows]]
    gathered = Gathered(collector.limit)
    for part in np.split(rows, np.flatnonzero(np.diff(rows // BLOCK)) + 1):
        if len(part):
            first = int(part[0]) // BLOCK * BLOCK
            gathered.add(part, begins(columns, first, BLOCK), first)

    def say(run: Run) -> tuple[str, Place | None]:
        title = RULES[rule].title
        rows_of_writers = (each.writer_of(run.ra, run.size) for each in found)
        writer = next((row for row in rows_of_writers if row is not None), None)
        if writer is None:
            return title, None
        root, ea = place_of(columns, writer, run.ra)
        by = "" if rule == "wx-alias-linear" else f" that of {whose(root)}"
        return f"{title},{by} at {ea:#x}", (root, ea)

    tell_leaves(collector, columns, rule, gathered, say)


def place_of(columns: Columns, row: int, ra: int) -> Place:
    """By which tree and address the leaf ``row`` reaches the real address ``ra``, or its first byte where that is
    later."""
    leaf = columns.take(slice(row, row + 1))
    return leaf.roots[int(leaf.root[0])], int(leaf.ea[0]) + max(ra - int(leaf.ra[0]), 0)


def whose(root: Root) -> str:
    """A tree's owner in words."""
    return "the kernel" if root.pid == KERNEL_PID and not root.lpid else root.name


def some(most: int | None, names: Iterator[str] | list[str], total: int) -> str:
    """A few names and how many there are besides."""
    told = list(islice(names, most))
    rest = total - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest else "")
