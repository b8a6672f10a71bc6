"""What a comparison answers with: changes of PIDs, of mappings and of table pages, and their counts."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Session
from inspector.commands.scope import selection_of
from inspector.errors import UsageError
from inspector.mappings.runs import AT_A_TIME, Run

if TYPE_CHECKING:
    from inspector.mappings.difference import Changes, Kind
    from inspector.mappings.select import Selection
    from inspector.mappings.table_changes import TableChanges
    from inspector.memory.physical import RamMap
    from inspector.moments import Difference, Moment, ProcessChange
    from inspector.radix.columns import Root


@dataclass(frozen=True, slots=True)
class Of(Answered):
    """The process that the next answers are of; ``fate`` is what became of its PID, if anything did."""

    topic: ClassVar[str] = "changes"
    lpid: int
    pid: int | None
    change: ProcessChange | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What is mapped on one side of a change, and whether all of it is RAM."""

    run: Run
    in_ram: bool


@dataclass(frozen=True, slots=True)
class Changed(Answered):
    """``size`` bytes from ``ea`` on that differ alike; a side is None where nothing is mapped."""

    topic: ClassVar[str] = "changes"
    kinds: tuple[str, ...]
    lpid: int
    pid: int | None
    ea: int
    size: int
    before: State | None
    after: State | None


@dataclass(frozen=True, slots=True)
class TableChanged(Answered):
    """A table page of ``length`` bytes that was allocated or freed; ``ea`` is where what it covers begins."""

    topic: ClassVar[str] = "changes"
    fate: str
    lpid: int
    pid: int | None
    ea: int
    level: int
    address: int
    length: int


@dataclass(slots=True)
class Tally:
    """What changed in one tree: by kind how many runs and bytes; table pages by fate and level, their bytes."""

    lpid: int
    pid: int | None
    fate: str | None = None
    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    tables: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Compared:
    """The counts of all, each tree's and (by :meth:`total`) together. ``chosen`` where only some kinds or mappings were
    asked for."""

    topic: ClassVar[str] = "changes"
    before: str
    after: str
    trees: tuple[Tally, ...]
    chosen: bool
    exit_code: bool

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.trees)

    @property
    def ok(self) -> bool:
        """A difference is an answer, and no fault; with --exit-code it is told to a script as one."""
        return not (self.exit_code and self.differs)

    def total(self) -> Tally:
        """Of all trees together."""
        total = Tally(0, None)
        for tree in self.trees:
            for kind, both in tree.kinds.items():
                total.kinds[kind] = _plus(total.kinds.get(kind), both)
            for place, both in tree.tables.items():
                total.tables[place] = _plus(total.tables.get(place), both)
        return total


def _plus(one: tuple[int, int] | None, other: tuple[int, int]) -> tuple[int, int]:
    return other if one is None else (one[0] + other[0], one[1] + other[1])


Answer = Of | Changed | TableChanged | Compared | Note


@dataclass(frozen=True, slots=True)
class Which:
    """Which changes are asked for: of these kinds (None: all), and whose mappings ``selection`` means."""

    NAMES: ClassVar[tuple[str, ...]] = (
        *("added", "removed", "moved", "rights", "attribute", "size", "touched", "cleared", "software", "reserved"),
        *("unseen", "tables", "processes"),
    )
    names: frozenset[str] | None
    selection: Selection

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.names is None and self.selection.everything

    def of(self, found: Difference) -> Difference:
        """What of a difference is meant."""
        import numpy as np

        from inspector.mappings.difference import KINDS, Kind

        changes = found.changes.selected(self.selection)
        tables = found.tables.selected(self.selection)
        processes = found.processes
        if not self.selection.everything:
            touched = [changes.roots[at] for at in np.unique(changes.root).tolist()]
            trees = {(each.lpid, each.pid) for each in touched}
            processes = tuple(each for each in processes if (each.lpid, each.pid) in trees)
        if self.names is not None:
            wanted = Kind(0)
            for name in self.names & KINDS.keys():
                wanted |= KINDS[name]
            changes = changes.of_kinds(wanted)
            tables = tables if "tables" in self.names else tables.take(slice(0, 0))
            processes = processes if "processes" in self.names else ()
        return type(found)(changes, tables, processes)


def asked_for(session: Session, arguments: Namespace) -> Which:
    """Which changes ``arguments`` ask for. Raises UsageError."""
    names: frozenset[str] | None = None
    if arguments.only is not None:
        names = frozenset(name.strip() for text in arguments.only for name in text.split(",") if name.strip())
        for name in sorted(names):
            if name not in Which.NAMES:
                raise UsageError(f"{name!r} is no kind of change; there are {', '.join(Which.NAMES)}")
        if not names:
            raise UsageError(f"--only wants kinds of changes, of {', '.join(Which.NAMES)}")
    return Which(names, selection_of(session, arguments))


def told(
    before: Moment, after: Moment, which: Which, limit: int | None, *, summary: bool, exit_code: bool
) -> Iterator[Answer]:
    """The changes that are asked for, process by process, ``limit`` at most; their counts come last."""
    from inspector.moments import difference

    found = which.of(difference(before, after))
    if not summary:
        yield from _rows(found, before.spaces.ram, after.spaces.ram, limit)
    yield Compared(before.name, after.name, tuple(_tallies(found)), not which.everything, exit_code)


# -- rows -------------------------------------------------------------------------------------------------------------


def _rows(found: Difference, ram_before: RamMap, ram_after: RamMap, limit: int | None) -> Iterator[Answer]:
    """Each change in a row, PID by PID: what became of it, its mappings, its table pages."""
    import numpy as np

    changes, tables = found.changes, found.tables
    fates = {(each.lpid, each.pid): each for each in found.processes}
    left = limit
    every = len(changes) + len(tables) + len(found.processes)
    bounds = [np.searchsorted(each.root, np.arange(len(changes.roots) + 1)).tolist() for each in (changes, tables)]
    for number, root in enumerate(changes.roots):
        (first, end), (first_table, end_table) = ((bound[number], bound[number + 1]) for bound in bounds)
        fate = fates.get((root.lpid, root.pid))
        if left == 0 or (first == end and first_table == end_table and fate is None):
            continue
        yield Of(root.lpid, root.pid, fate)
        if left is not None:
            left -= fate is not None
            end = min(end, first + left)
            left -= end - first
            end_table = min(end_table, first_table + left)
            left -= end_table - first_table
        yield from _changed(changes, first, end, root, ram_before, ram_after)
        yield from _tables(tables, first_table, end_table, root)
    if limit is not None and every > limit:
        yield Note(f"{limit} of {every:,} changes told here; --limit N tells more, and --only fewer kinds")


def _changed(
    changes: Changes, first: int, end: int, root: Root, ram_before: RamMap, ram_after: RamMap
) -> Iterator[Changed]:
    for at in range(first, end, AT_A_TIME):
        part = changes.take(slice(at, min(at + AT_A_TIME, end)))
        before, after = part.before, part.after
        rows = (part.offset, part.size, part.kinds, before.ra, before.shift, before.flags)
        more = (after.ra, after.shift, after.flags)
        for offset, size, kinds, *sides in zip(*(column.tolist() for column in (*rows, *more)), strict=True):
            ea = root.base | offset
            yield Changed(
                _named(kinds),
                root.lpid,
                root.pid,
                ea,
                size,
                _state(root, ea, size, sides[0], sides[1], sides[2], ram_before),
                _state(root, ea, size, sides[3], sides[4], sides[5], ram_after),
            )


def _state(root: Root, ea: int, size: int, ra: int, shift: int, flags: int, ram: RamMap) -> State | None:
    if not flags:
        return None
    pages = max(size >> shift, 1)  # a change may be of part of a page
    return State(Run(root.lpid, root.pid, ea, ra, shift, flags, pages), ram.covers(ra, size))


def _named(kinds: int) -> tuple[str, ...]:
    from inspector.mappings.difference import KINDS

    return tuple(name for name, kind in KINDS.items() if kinds & kind)


def _tables(tables: TableChanges, first: int, end: int, root: Root) -> Iterator[TableChanged]:
    from inspector.mappings.table_changes import Fate

    for at in range(first, end, AT_A_TIME):
        part = tables.take(slice(at, min(at + AT_A_TIME, end)))
        columns = (part.fate, part.offset, part.level, part.address, part.length)
        for fate, offset, level, address, length in zip(*(column.tolist() for column in columns), strict=True):
            name = Fate(fate).name.lower()
            yield TableChanged(name, root.lpid, root.pid, root.base | offset, level, address, length)


# -- counts -----------------------------------------------------------------------------------------------------------


def _tallies(found: Difference) -> Iterator[Tally]:
    """The counts of each tree that changed."""
    import numpy as np

    from inspector.mappings.difference import pages_of
    from inspector.mappings.table_changes import Fate

    fates = {(each.lpid, each.pid): each.fate for each in found.processes}
    kinds: dict[int, dict[str, tuple[int, int]]] = {}
    for (tree, kind), both in pages_of(found.changes).items():
        kinds.setdefault(tree, {})[_name(kind)] = both
    tables: dict[int, dict[tuple[str, int], tuple[int, int]]] = {}
    of = found.tables
    place = of.root.astype(np.int64) << 4 | of.fate.astype(np.int64) << 2 | of.level
    places, inverse, count = np.unique(place, return_inverse=True, return_counts=True)
    size = np.bincount(inverse, of.length, minlength=len(places))
    for each, number, length in zip(places.tolist(), count.tolist(), size.tolist(), strict=True):
        tables.setdefault(each >> 4, {})[Fate(each >> 2 & 3).name.lower(), each & 3] = (number, int(length))
    for number, root in enumerate(found.changes.roots):
        fate = fates.get((root.lpid, root.pid))
        if fate is not None or number in kinds or number in tables:
            yield Tally(root.lpid, root.pid, fate, kinds.get(number, {}), tables.get(number, {}))


def _name(kind: Kind) -> str:
    return str(kind.name).lower()
