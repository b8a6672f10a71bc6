"""Tables that several places refer to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inspector.radix.columns import U64, Findings, Root, SweepOddity
from inspector.radix.slab import Slab

SHARED = "shared-table"
SHARED_LEVELS = "shared-levels"
MOST_OWNED = 64
"""Shared tables all of whose owners are named."""
MARKS_EACH = 64
"""Repeats are sought by marks where those take at most so many bytes for each table, and by sorting else."""


def tell_shared(roots: tuple[Root, ...], slabs: Sequence[Slab], findings: Findings) -> None:
    """Tell of tables that stand at several places, and of those that serve at several levels."""
    for slab in slabs:
        if slab.table is not None:
            _shared_places(roots, slab, findings)
    if not slabs or not repeats(np.concatenate([slab.address for slab in slabs])):
        return
    for at, slab in enumerate(slabs):
        for lower in slabs[at + 1 :]:
            if slab.level != lower.level:
                _shared_levels(slab, lower, findings)


def _tell(findings: Findings, cause: str, reason: str, slab: Slab, place: int) -> None:
    root, offset, address = int(slab.root[place]), int(slab.offset[place]), int(slab.places.address[place])
    findings.add(SweepOddity(cause, reason, root, offset, slab.level, 0, address))


def _shared_places(roots: tuple[Root, ...], slab: Slab, findings: Findings) -> None:
    references, (first, _, _) = slab.references, slab.first_places
    more = np.flatnonzero(references > 1)
    for told, table in enumerate(more[: findings.most].tolist()):
        assert slab.table is not None
        # To look for all owners costs a pass over the places.
        owners = np.unique(slab.root[slab.table == table]) if told < MOST_OWNED else slab.root[first[table], None]
        names = ", ".join(roots[int(owner)].name for owner in owners[:8])
        _tell(
            findings,
            SHARED,
            f"the level {slab.level} table at {int(slab.address[table]):#x} stands at {int(references[table])} "
            f"places, in the trees of {names}{' and others' if len(owners) > 8 or told >= MOST_OWNED else ''}",
            slab,
            int(first[table]),
        )
    findings.counts[SHARED] += max(len(more) - findings.most, 0)


def _shared_levels(slab: Slab, lower: Slab, findings: Findings) -> None:
    few, many = sorted((slab, lower), key=lambda each: len(each.address))
    if not len(few.address):
        return
    ordered = np.sort(few.address)
    at = np.minimum(np.searchsorted(ordered, many.address), len(ordered) - 1)
    first, _, _ = many.first_places
    both = np.flatnonzero((ordered[at] == many.address) & (first >= 0))
    for table in both[: findings.most].tolist():
        _tell(
            findings,
            SHARED_LEVELS,
            f"the table at {int(many.address[table]):#x} serves at level {slab.level} and at level {lower.level}",
            many,
            int(first[table]),
        )
    findings.counts[SHARED_LEVELS] += max(len(both) - findings.most, 0)


def repeats(base: U64) -> bool:
    """Whether any of these multiples of 256 is there twice."""
    if len(base) < 2 or bool((base[1:] > base[:-1]).all()):
        return False
    near = (base - base.min()) >> np.uint64(8)
    reach = int(near.max()) + 1
    if reach <= MARKS_EACH * len(base):
        marks = np.zeros(reach, np.bool_)
        marks[near.view(np.int64)] = True
        return int(np.count_nonzero(marks)) < len(base)
    near.sort()
    return bool((near[1:] == near[:-1]).any())
