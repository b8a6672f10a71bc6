"""Pages of the host that several guests have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inspector.mappings.audit.aliases import NO_ROWS
from inspector.mappings.audit.leaves import NO_STRETCHES
from inspector.mappings.audit.stretches import Stretches
from inspector.mappings.audit.telling import Place, place_of, whose
from inspector.mappings.runs import Run
from inspector.radix.columns import Columns, Rows


@dataclass(frozen=True, slots=True)
class HostPages:
    """``places`` are the host real addresses that partition-scoped trees of several LPIDs lead to, by these ``rows``
    (all that touch them)."""

    columns: Columns
    places: Stretches
    rows: Rows

    def say(self, run: Run, title: str) -> tuple[str, Place | None]:
        """Which other guest has pages of ``run`` too, and where."""
        mine = self.columns.take(self.rows)
        ra, end = mine.ra, mine.ra + mine.size
        hit = np.flatnonzero((ra < np.uint64(run.ra + run.size)) & (end > np.uint64(run.ra)) & (mine.lpid != run.lpid))
        if not len(hit):
            return title, None
        root, gra = place_of(mine, int(hit[0]), run.ra)
        return f"{title}: {whose(root)} has it at guest real {gra:#x}", (root, gra)


def host_pages(columns: Columns) -> HostPages:
    """What the partition-scoped trees among these lead to more than once."""
    trees: dict[int, list[int]] = {}
    for number, root in enumerate(columns.roots):
        if root.pid is None and root.lpid:
            trees.setdefault(root.lpid, []).append(number)
    opened, closed = [], []
    for numbers in trees.values():
        rows = np.flatnonzero(np.isin(columns.root, numbers))
        ra = columns.ra[rows]
        own = Stretches.of(ra, ra + columns.size[rows])  # each guest's own once, however often it has a page
        opened.append(own.first)
        closed.append(own.end)
    if len(trees) < 2:
        return HostPages(columns, NO_STRETCHES, NO_ROWS)
    at = np.concatenate(opened + closed)
    step = np.repeat(np.array([1, -1]), len(at) // 2)
    order = np.argsort(at, kind="stable")
    at, depth = at[order], np.cumsum(step[order])
    several = np.flatnonzero((depth[:-1] > 1) & (at[1:] > at[:-1]))
    places = Stretches.of(at[several], at[several + 1])
    rows = np.flatnonzero(places.touched(columns.ra, columns.ra + columns.size))
    guests = np.isin(columns.root[rows], [number for numbers in trees.values() for number in numbers])
    return HostPages(columns, places, rows[guests])
