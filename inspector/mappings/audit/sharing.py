"""Tables that several entries lead to. A shared table shares all below it; only where sharing begins is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.subject import Subject
from inspector.mappings.audit.telling import some, whose
from inspector.radix.columns import U64, Rows
from inspector.radix.formats import entry_meaning
from inspector.radix.slab import Slab

NAMED = 4
"""Places of a shared table that are named."""


@dataclass(frozen=True, slots=True)
class _Shared:
    """Tables of ``slab`` that several entries lead to: table i stands at ``places[starts[i]:starts[i + 1]]``, a place
    for each entry, and ``across`` says whether these are of several trees."""

    slab: Slab
    upper: Slab | None
    places: Rows
    starts: Rows
    across: Sequence[bool]


def tell_sharing(collector: Collector, spaces: Subject) -> None:
    """Tables that several entries lead to, and roots that several PIDs have."""
    upper: Slab | None = None
    for slab in spaces.sweep.slabs:
        above = None if slab.level == 3 else next(e for e in spaces.sweep.slabs if e.level == slab.level + 1)
        if slab.table is None:
            continue
        upper = above
        found = _shared(slab, upper)
        for rule, across in (("same-root", None), ("shared-table", True), ("shared-within", False)):
            if (rule == "same-root") != (slab.level == 3):
                continue
            mine = [at for at, each in enumerate(found.across) if across in (None, each)]
            collector.add(rule, len(mine), _tell(spaces, rule, found, mine))


def _entry_addresses(slab: Slab, upper: Slab | None) -> U64:
    """What leads to each place: the real address of an entry, or the number of the tree."""
    if upper is None:
        return slab.root.astype(np.uint64)
    index = (slab.offset - upper.offset[slab.parent]) >> np.uint64(upper.shift)
    return upper.address[upper.table_at(slab.parent.astype(np.intp))] + (index << np.uint64(3))


def _shared(slab: Slab, upper: Slab | None) -> _Shared:
    """Where sharing begins among the tables of ``slab``."""
    assert slab.table is not None
    leads = _entry_addresses(slab, upper)
    order = np.lexsort((slab.root, leads, slab.table))
    table, leads = slab.table[order], leads[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (table[1:] != table[:-1]) | (leads[1:] != leads[:-1])
    places, table = order[new], table[new]  # the first tree's place of each entry of each table
    starts = np.flatnonzero(np.append(True, table[1:] != table[:-1]))
    ends = np.append(starts[1:], len(table))
    root = slab.root[places]
    low, high = (np.minimum.reduceat(root, starts), np.maximum.reduceat(root, starts)) if len(root) else (root, root)
    several = np.flatnonzero(ends - starts > 1)
    kept = [places[starts[at] : ends[at]] for at in several.tolist()]
    bounds = np.cumsum([0, *(len(each) for each in kept)])
    joined: Rows = np.concatenate([np.zeros(0, np.intp), *kept])
    return _Shared(slab, upper, joined, bounds, (low != high)[several].tolist())


def _tell(spaces: Subject, rule: str, found: _Shared, which: list[int]) -> Iterator[Finding]:
    about, slab = RULES[rule], found.slab
    for at in which:
        places = found.places[int(found.starts[at]) : int(found.starts[at + 1])].tolist()

        def name(place: int) -> str:
            root = spaces.roots[int(slab.root[place])]
            who = whose(root)
            return who if rule == "same-root" else f"{who} at {root.base | int(slab.offset[place]):#x}"

        names = some(NAMED, map(name, places), len(places))
        base = int(slab.places.address[places[0]])
        what = "root table" if rule == "same-root" else f"level {slab.level} table"
        first, second = (spaces.roots[int(slab.root[place])] for place in places[:2])
        entry, address, meaning = _leading(spaces, found, places[0])
        yield Finding(
            rule,
            about.severity,
            f"the {what} at {base:#x} is that of {names}: {about.means}",
            lpid=first.lpid,
            pid=first.pid,
            ea=first.base | int(slab.offset[places[0]]),
            ra=base,
            count=len(places),
            entry=entry,
            entry_address=address,
            level=None if found.upper is None else found.upper.level,
            meaning=meaning,
            other_pid=second.pid,
            other_ea=second.base | int(slab.offset[places[1]]),
        )


def _leading(spaces: Subject, found: _Shared, place: int) -> tuple[int, int, str]:
    """The entry that leads to a place, its real address, and what it says."""
    slab, upper = found.slab, found.upper
    if upper is None:
        tree = spaces.trees[int(slab.root[place])]
        return tree.entry, tree.address, tree.meaning
    parent = int(slab.parent[place])
    index = (int(slab.offset[place]) - int(upper.offset[parent])) >> upper.shift
    table = upper.table_at(np.array([parent]))
    entry = int(upper.entries(table, np.array([index]))[0])
    return entry, int(upper.address[int(table[0])]) + 8 * index, entry_meaning(entry, upper.level)
