"""What processes map, kept as it was at one moment, and what differs between two moments."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from inspector.mappings.difference import Changes, Unseen, compare
from inspector.mappings.table_changes import REACH, TableChanges, compare_tables
from inspector.radix.columns import Findings, Root, Tables
from inspector.radix.sweep import Sweep
from inspector.spaces import NOT_READ, TOO_LARGE, Spaces

if TYPE_CHECKING:
    from inspector.mappings.ranges import Ranges

WHOLE_TREE = 1 << 52
BYTES_AN_ODDITY = 512


@dataclass(frozen=True)
class Moment:
    """What ``spaces`` mapped, without their tables' bytes: it takes the room of its ranges. ``name`` is what users call
    it, ``at`` when it was taken (seconds since 1970). ``findings`` are those of the trees that ``ranges`` are of.
    ``guests`` are, by LPID, what the processes of KVM guests mapped then, led on to the host's memory, where it is of
    those too."""

    name: str
    spaces: Spaces
    ranges: Ranges
    tables: Tables
    findings: Findings
    at: float = field(default_factory=time.time)
    guests: Mapping[int, Moment] = field(default_factory=dict)

    @classmethod
    def of(cls, spaces: Spaces, name: str | None = None) -> Moment:
        """These spaces as they are; ``name`` is their target's where no other is given."""
        gathered = spaces.gathered()
        findings = gathered.findings
        if gathered.cut:
            findings = Findings(findings.most, list(findings.told), findings.counts.copy())
            findings.counts[TOO_LARGE] += 1
        bare = replace(
            spaces,
            sweep=Sweep(spaces.roots, [], spaces.sweep.findings, spaces.interrupted),
            again=lambda _findings: None,
            behind=None,  # the ranges are led on already
            progress=lambda _what, _done, _total: None,
        )
        return cls(name or spaces.name, bare, gathered.ranges, spaces.sweep.tables(), findings)

    @property
    def roots(self) -> tuple[Root, ...]:
        """Its trees."""
        return self.spaces.roots

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes, about."""
        arrays: list[Any] = [getattr(of, each.name) for of in (self.ranges, self.tables) for each in fields(of)]
        kept = sum(each.nbytes for each in arrays if isinstance(each, np.ndarray))
        kept += BYTES_AN_ODDITY * (len(self.findings.told) + len(self.spaces.trees))
        return kept + sum(each.nbytes for each in self.guests.values())

    def only(self, pids: Collection[int]) -> Moment:
        """The same of the processes with these radix PIDs."""
        return self._of(lambda root: root.pid in pids)

    def partitions(self, lpid: int | None = None) -> Moment:
        """The same of the partition-scoped tree of this LPID, or (None) of every one."""
        return self._of(lambda root: root.pid is None and lpid in (None, root.lpid))

    def _of(self, meant: Callable[[Root], bool]) -> Moment:
        kept = [number for number, each in enumerate(self.roots) if meant(each)]
        trees = set(kept)
        number = np.zeros(len(self.roots), np.uint32)
        number[kept] = np.arange(len(kept), dtype=np.uint32)
        roots = tuple(self.roots[each] for each in kept)

        def of(found: Findings) -> Findings:
            told = [replace(odd, root=int(number[odd.root])) for odd in found.told if odd.root in trees]
            lost = {cause: found.counts[cause] for cause in found.counts if _partly_told(found, cause)}
            mine = Findings(found.most, told, type(found.counts)(odd.cause for odd in told))
            mine.counts.update(lost)
            return mine

        ranges = self.ranges.take(np.isin(self.ranges.root, kept))
        mine = np.isin(self.tables.root, kept)
        rows = {each.name: getattr(self.tables, each.name) for each in fields(self.tables) if each.name != "roots"}
        tables = Tables(roots, **{name: column[mine] for name, column in rows.items()})
        return replace(
            self,
            spaces=replace(
                self.spaces,
                trees=tuple(self.spaces.trees[each] for each in kept),
                sweep=Sweep(roots, [], of(self.spaces.sweep.findings), self.spaces.interrupted),
            ),
            ranges=replace(ranges, roots=roots, root=number[ranges.root]),
            tables=replace(tables, root=number[tables.root]),
            findings=of(self.findings),
        )


def _partly_told(found: Findings, cause: str) -> bool:
    """Whether there are more oddities of a cause than are told one by one."""
    return found.counts[cause] > sum(odd.cause == cause for odd in found.told)


@dataclass(frozen=True, slots=True)
class ProcessChange:
    """A PID that came, went, or is another process's: its process-table entries' first doublewords, None where there
    is none. ``unseen`` where it may have been there too: that part of the process table could not be read."""

    lpid: int
    pid: int | None
    before: int | None
    after: int | None
    unseen: bool = False

    @property
    def fate(self) -> str:
        """In a word."""
        if self.unseen:
            return "unseen"
        return "came" if self.before is None else "went" if self.after is None else "replaced"


@dataclass(frozen=True, slots=True)
class Difference:
    """All that differs between two moments; nothing where all three are empty."""

    changes: Changes
    tables: TableChanges
    processes: tuple[ProcessChange, ...]

    def __bool__(self) -> bool:
        return bool(len(self.changes) or len(self.tables) or self.processes)


def difference(before: Moment, after: Moment) -> Difference:
    """What differs from ``before`` to ``after``, process by process: they are told apart by LPID and PID, as the MMU
    does, also where a PID is another process's by then."""
    processes = tuple(_processes(before, after))
    changes = compare(
        before.ranges,
        after.ranges,
        unseen_before=_unseen(before, after, before.findings),
        unseen_after=_unseen(after, before, after.findings),
    )
    tables = compare_tables(
        before.tables,
        after.tables,
        unseen_before=_unseen(before, after, before.spaces.sweep.findings),
        unseen_after=_unseen(after, before, after.spaces.sweep.findings),
    )
    return Difference(changes, tables, processes)


def _processes(before: Moment, after: Moment) -> Iterator[ProcessChange]:
    was, now = ({(each.lpid, each.pid): each.descriptor for each in of.roots} for of in (before, after))
    for lpid, pid in sorted(was.keys() | now.keys(), key=lambda key: (key[0], -1 if key[1] is None else key[1])):
        pair = was.get((lpid, pid)), now.get((lpid, pid))
        if pair[0] == pair[1]:
            continue
        lacking = before if pair[0] is None else after if pair[1] is None else None
        yield ProcessChange(lpid, pid, *pair, lacking is not None and _may_have(lacking, lpid, pid))


def _may_have(moment: Moment, lpid: int, pid: int | None) -> bool:
    """Whether a tree that is not among those of ``moment`` may have been there: its entry could not be read."""
    spaces = moment.spaces
    if spaces.missed.first is not None and pid is not None:
        return True
    unread = {(each.lpid, each.pid) for each in spaces.absent if each.cause.startswith("table-")}
    return (lpid, pid) in unread


def _unseen(moment: Moment, other: Moment, findings: Findings) -> Unseen:
    """Where the trees of ``moment`` could not be read, so that what ``other`` maps there cannot be held to it."""
    roots = list(moment.roots)
    there = {(each.lpid, each.pid) for each in roots}
    spans: list[tuple[int, int, int]] = []
    for each in other.roots:
        if (each.lpid, each.pid) not in there and _may_have(moment, each.lpid, each.pid):
            spans.append((len(roots), 0, WHOLE_TREE))
            roots.append(replace(each, descriptor=0))
    in_part = moment.spaces.partly_behind or bool(findings.counts[TOO_LARGE])
    if in_part or any(_partly_told(findings, cause) for cause in NOT_READ):
        spans += [(number, 0, WHOLE_TREE) for number in range(len(moment.roots))]
    else:
        for odd in findings.told:
            if odd.cause in NOT_READ:
                spans.append((odd.root, odd.offset, 1 << int(REACH[odd.level])))
    columns = np.array(spans, np.uint64).reshape(-1, 3)
    return Unseen(tuple(roots), columns[:, 0].astype(np.uint32), columns[:, 1], columns[:, 2])
