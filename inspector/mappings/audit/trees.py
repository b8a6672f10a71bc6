"""The rules about trees: what a sweep found odd on its way, and bits of directories that should be zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.judging import guests_own
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.subject import Subject
from inspector.radix.bits import MASK64, PDE_NLB
from inspector.radix.columns import LEAF, Rows, SweepOddity
from inspector.radix.formats import PDE, entry_meaning
from inspector.radix.slab import Slab

OF_CAUSE: Mapping[str, str] = MappingProxyType(
    {
        "tree-size": "tree-size",
        "table-size": "table-size",
        "misaligned-base": "misaligned-base",
        "no-leaf": "no-leaf",
        "cycle": "cycle",
        "too-large": "too-large",
        "shared-levels": "shared-levels",
        "table-not-ram": "table-outside-ram",
        "table-not-captured": "table-unread",
        "table-unreadable": "table-unread",
    }
)
"""The rule of each oddity of a sweep, by its cause. Sharing is looked at afresh: one shared table shares all below."""
OF_GUESTS: Mapping[str, str] = MappingProxyType({**OF_CAUSE, "table-not-ram": "table-unread"})
"""Those of a guest's own trees: the host may have taken the table away, and give it back when it is walked."""
ROOT_SIZE = "root-size"
RESERVED = ~PDE.mask & MASK64


def tell_oddities(collector: Collector, spaces: Subject) -> None:
    """What the sweep found odd."""
    findings = spaces.sweep.findings
    rules = OF_GUESTS if guests_own(spaces.roots) else OF_CAUSE
    by_rule: dict[str, list[SweepOddity]] = {}
    total: Counter[str] = Counter()
    for odd in sorted(findings.told, key=lambda odd: (odd.root, odd.offset)):
        rule = rules.get(odd.cause)
        if rule is None:
            continue
        if rule == "table-size" and odd.address is None:
            rule = ROOT_SIZE
        by_rule.setdefault(rule, []).append(odd)
        total[rule] += 1
    told = Counter(odd.cause for odd in findings.told)
    for cause, count in findings.counts.items():
        if cause in rules:
            total[rules[cause]] += count - told[cause]  # those that the sweep only counted
    for rule, odds in by_rule.items():
        collector.add(rule, total[rule], (_of_oddity(spaces, rule, odd) for odd in odds))


def _of_oddity(spaces: Subject, rule: str, odd: SweepOddity) -> Finding:
    root = spaces.roots[odd.root]
    entry: int | None = odd.entry
    address, level, ra = odd.address, odd.level + 1, odd.entry & PDE_NLB
    if odd.cause == "shared-levels":  # told of a table, by no entry
        assert address is not None
        ra, meaning = address, ""
        entry = address = None
    elif address is None:
        address, meaning = spaces.trees[odd.root].address, spaces.trees[odd.root].meaning
    else:
        meaning = entry_meaning(odd.entry, level)
    about = RULES[rule]
    return Finding(
        rule,
        about.severity,
        f"{odd.reason}: {about.means}",
        lpid=root.lpid,
        pid=root.pid,
        ea=root.base | odd.offset,
        ra=ra,
        entry=entry,
        entry_address=address,
        level=level if entry is not None and level <= 3 else None,
        meaning=meaning,
    )


def tell_directories(collector: Collector, spaces: Subject) -> None:
    """Reserved bits of directory entries, each entry once however many places its table stands at."""
    rule = "reserved-directory"
    for slab in spaces.sweep.slabs:
        if not slab.level:
            continue  # a directory there is odd in itself
        # By table and not by place: few tables may stand at so many places that their entries there fit nowhere.
        bad = np.flatnonzero((slab.values < LEAF) & (slab.values & np.uint64(RESERVED) != 0))
        place = slab.first_places[0][slab.slots[bad] >> slab.bits]
        stands = place >= 0
        bad, place = bad[stands], place[stands]
        if len(bad):
            index = slab.slots[bad] & ((1 << slab.bits) - 1)
            order = np.lexsort((index, place))
            found = _directories(spaces, slab, place[order], index[order].tolist(), slab.values[bad[order]].tolist())
            collector.add(rule, len(bad), found)


def _directories(spaces: Subject, slab: Slab, places: Rows, indexes: list[int], values: list[int]) -> Iterator[Finding]:
    about = RULES["reserved-directory"]
    for place, index, value in zip(places.tolist(), indexes, values, strict=True):
        root = spaces.roots[int(slab.root[place])]
        yield Finding(
            about.slug,
            about.severity,
            f"reserved bits {value & RESERVED:#x} of a directory entry are set: {about.means}",
            lpid=root.lpid,
            pid=root.pid,
            ea=root.base | int(slab.offset[place]) + (index << slab.shift),
            ra=value & PDE_NLB,
            entry=value,
            entry_address=int(slab.places.address[place]) + 8 * index,
            level=slab.level,
            meaning=entry_meaning(value, slab.level),
        )
