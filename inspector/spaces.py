"""All that some processes map, at one moment: what every command that looks at whole address spaces is handed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from inspector.errors import MemoryReadError, UsageError
from inspector.limits import affordable, most_pages, most_ranges, streamable
from inspector.processes import Missed, Process
from inspector.radix.bits import ENTRY_BYTES, TREE_BITS
from inspector.radix.columns import Columns, Findings, Root, SweepOddity
from inspector.radix.oddities import entry_name, too_large
from inspector.radix.sweep import Sweep, stream, sweep
from inspector.trees import Tree

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.mappings.behind import Behind
    from inspector.mappings.composed import Led
    from inspector.mappings.gather import Gathered
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.reverse import Index
    from inspector.memory.physical import RamMap
    from inspector.partitions import Partition
    from inspector.roots import Progress

READING = "reading the tables"
COST_FROM = (20, 4, 1, 0)
"""How much of a hundred a tree's last level, and each above it, begins at: nearly all tables are of the last."""
TOO_LARGE = "too-large"
NOT_READ = ("table-not-captured", "table-unreadable")
"""Oddities below which there may be mappings that are not seen: not those of what the MMU could not read either."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A process or (``pid`` None) a partition that was asked for and has no tree to look at. ``cause`` is a slug,
    ``reason`` its sentence."""

    lpid: int
    pid: int | None
    cause: str
    reason: str


@dataclass
class Spaces:
    """``trees``, of processes or of partitions, swept together: row i among ``sweep.roots`` is that of tree i.

    ``missed`` is what of the process table could not be read where all processes were asked for, ``absent`` are those
    that were asked for and are not there. ``table`` is the process table's (real address, size in bytes). ``changing``
    where the guest ran meanwhile, so that not all need belong together.

    ``again`` gives every leaf anew, piece by piece, for trees that are larger than can be kept, with what is odd about
    them; None once the guest has run. ``progress`` is told how far long work is.

    ``behind`` is there for the processes of a KVM guest whose leaves are led on to the host's memory: ``columns``,
    ``ranges`` and ``index`` are then of both stages, with ``gra`` the guest's own real addresses, while ``sweep`` is of
    the guest's own trees, ``table`` and its tables' addresses guest real. ``ram`` is the host's.
    ``partly_behind`` where not all of the tree behind could be read, so that more may be mapped than is seen."""

    name: str
    trees: tuple[Tree, ...]
    sweep: Sweep
    ram: RamMap
    table: tuple[int, int]
    missed: Missed = field(default_factory=Missed)
    absent: tuple[Absent, ...] = ()
    changing: bool = False
    again: Callable[[Findings], Iterator[Columns] | None] = lambda _findings: None
    behind: Behind | None = None
    partly_behind: bool = False
    progress: Progress = lambda _what, _done, _total: None
    _gathered: Gathered | None = field(default=None, init=False, repr=False)
    _of_tables: Findings | None = field(default=None, init=False, repr=False)

    @property
    def too_large(self) -> bool:
        """Whether the trees are larger than can be kept, so that ``columns`` leaves out the rest: that is told as an
        oddity. ``ranges`` are of all of them."""
        if self.behind is not None:
            _ = self.columns  # only then it is known
        return self.sweep.findings.counts[TOO_LARGE] > 0

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the sweep early: there is more than this."""
        return self.sweep.interrupted

    @cached_property
    def processes(self) -> tuple[Process, ...]:
        """The live entries of process tables among those that the trees hang on."""
        return tuple(
            Process(each.pid, each.address, each.entry, each.second) for each in self.trees if each.pid is not None
        )

    @property
    def roots(self) -> tuple[Root, ...]:
        """The trees as they were swept."""
        return self.sweep.roots

    @property
    def columns(self) -> Columns:
        """Every leaf, by tree and address. Led on to the host's memory that is a row for each page of the smaller size,
        as many as there is room for: where there are more, an oddity tells, and they are ``too_large``."""
        return self._leaves.columns

    @cached_property
    def _leaves(self) -> Led:
        from inspector.mappings.composed import Led, compose

        own = self.sweep.columns().in_order()
        if self.behind is None:
            return Led(own)
        led = compose(own, self.behind, most_pages())
        if led.cut is not None:
            self._cut(own, led.cut)
        return led

    def streamed(self, findings: Findings) -> Iterator[Columns] | None:
        """Every leaf as ``columns`` has them, piece by piece and anew, so that none need be kept; None once the guest
        has run. What is odd about the trees goes to ``findings``."""
        anew, behind = self.again(findings), self.behind
        if anew is None or behind is None:
            return anew
        from inspector.mappings.composed import pages

        return (page for piece in anew for page in pages(piece, behind))

    def _cut(self, own: Columns, row: int) -> None:
        """Tell that the guest's leaves from this one on are left out."""
        findings = self.sweep.findings
        self._of_tables = Findings(findings.most, list(findings.told), findings.counts.copy())
        entry, address = int(own.entry[row]), int(own.address[row])
        cause, reason = too_large(entry_name(int(own.level[row]), entry, address))
        where = (int(own.root[row]), int(own.offset[row]), int(own.level[row]))
        findings.add(SweepOddity(cause, reason, *where, entry, address))

    @property
    def unread(self) -> tuple[tuple[int, int], ...]:
        """What of the first tree's addresses may be mapped and could not be seen, as (first, one past the last)."""
        from inspector.mappings.table_changes import REACH

        found = self.gathered()
        findings = found.findings
        told = [odd for odd in findings.told if odd.root == 0 and odd.cause in NOT_READ]
        beyond = sum(findings.counts[cause] for cause in NOT_READ) > len(told)
        if found.cut or beyond or findings.counts[TOO_LARGE] or self.partly_behind:
            return ((0, 1 << TREE_BITS),)
        return tuple((odd.offset, odd.offset + (1 << int(REACH[odd.level]))) for odd in told)

    @property
    def holes(self) -> Ranges | None:
        """What these processes map and the host has nothing behind, ``ra`` guest real; None with one stage."""
        found = self.gathered_holes
        return None if found is None else found.ranges

    @cached_property
    def gathered_holes(self) -> Gathered | None:
        """The same, ``cut`` where there are more than can be kept."""
        if self.behind is None:
            return None
        from inspector.mappings.composed import holes
        from inspector.mappings.gather import gather

        behind = self.behind
        found = (part for piece in self.sweep.pieces() for part in holes(piece, behind))
        return gather(found, self.roots, self._table_findings, most=most_ranges(), joined=True)

    @property
    def _table_findings(self) -> Findings:
        """What is odd about the trees, but for what :meth:`_cut` has told of leaves."""
        return self.sweep.findings if self._of_tables is None else self._of_tables

    @property
    def ranges(self) -> Ranges:
        """Leaves that continue each other put together, by tree and address. No column of all leaves is made."""
        return self.gathered().ranges

    def gathered(self, *, keep_partial: bool = False) -> Gathered:
        """The same, with what is odd about the trees and whether that is all. Trees that are larger than can be kept
        are read once more, and only their ranges kept. With ``keep_partial`` Ctrl-C gives those so far."""
        from inspector.mappings.gather import gather

        if self._gathered is not None:
            return self._gathered
        findings = Findings(self.sweep.findings.most)
        tables = self._table_findings
        anew = self.again(findings) if tables.counts[TOO_LARGE] and not self.interrupted else None
        composed = self.behind is not None
        if anew is not None:
            found = gather(
                self._pieces(anew),
                self.roots,
                findings,
                most=most_ranges(),
                keep_partial=keep_partial,
                streamed=True,
            )
            self.progress(READING, 1, 1)
        elif composed and "_leaves" in vars(self) and self._leaves.cut is None:  # they were led on already
            found = gather([self.columns], self.roots, tables, most=most_ranges(), keep_partial=keep_partial)
        else:
            pieces = self._pieces(self._told(self.sweep))
            most = most_ranges() if composed else None
            found = gather(pieces, self.roots, tables, most=most, keep_partial=keep_partial, joined=composed)
        if not found.interrupted:
            self._gathered = found
        return found

    def _pieces(self, found: Iterable[Columns]) -> Iterator[Columns | Ranges]:
        """What a sweep found, led on to the host's memory where there is a second stage."""
        if self.behind is None:
            yield from found
            return
        from inspector.mappings.composed import stretches

        for piece in found:
            yield from stretches(piece, self.behind)

    def _told(self, sweep: Sweep) -> Iterator[Columns]:
        """The pieces of a sweep, told of as they go."""
        what, slots, done = "putting ranges together", sum(len(slab.offset) << slab.bits for slab in sweep.slabs), 0
        for piece in sweep.pieces():
            yield piece
            done += len(piece)
            self.progress(what, min(done, slots - 1), slots)
        self.progress(what, 1, 1)

    @cached_property
    def index(self) -> Index:
        """Rows of ``columns`` by real address."""
        from inspector.mappings.reverse import Index

        return Index.build(self.columns)


def process_of(guest: Guest, pid: int, within: Partition | None = None) -> Process | None:
    """The live entry of ``pid``, or None where it is empty; of the partition that it is ``within``. Raises UsageError
    for a PID beyond the table, and MemoryReadError where the entry cannot be read."""
    base, size = guest.process_table() if within is None else within.process_table
    memory = guest.memory if within is None else within.memory
    if not 0 <= pid < size // ENTRY_BYTES:
        raise UsageError(f"PID {pid} is beyond the process table, which has {size // ENTRY_BYTES} entries; try 'pids'")
    address = base + pid * ENTRY_BYTES
    first, second = memory.read_u64(address), memory.read_u64(address + 8)
    return Process(pid, address, first, second) if first or second else None


def no_process(pid: int, lpid: int = 0) -> Absent:
    """That the entry of ``pid`` is empty."""
    reason = f"the process-table entry of PID {pid} is empty: no address space has this PID; try 'pids'"
    return Absent(lpid, pid, "no-process", reason)


def asked(
    guest: Guest, pids: Collection[int], within: Partition | None = None
) -> tuple[tuple[Tree, ...], tuple[Absent, ...]]:
    """The trees of the processes with these radix PIDs, in this order and each once, and those that are not there.

    Raises UsageError for a PID beyond the process table."""
    lpid = 0 if within is None else within.lpid
    there: list[Tree] = []
    absent: list[Absent] = []
    for pid in dict.fromkeys(pids):
        if within is not None and not within.registered:
            absent.append(Absent(lpid, pid, "no-process", within.unregistered))
            continue
        try:
            process = process_of(guest, pid, within)
        except MemoryReadError as error:
            absent.append(Absent(lpid, pid, f"table-{error.slug}", f"its process-table entry: {error}"))
            continue
        if process is None:
            absent.append(no_process(pid, lpid))
        else:
            there.append(Tree.of(process, lpid))
    return tuple(there), tuple(absent)


def swept(
    guest: Guest,
    pids: Collection[int] | None = None,
    *,
    within: Partition | None = None,
    composed: bool = True,
    guests: bool = False,
    keep_partial: bool = False,
) -> Spaces:
    """The address spaces of these PIDs (None: all of the process table), swept now; those of the partition that they
    are ``within``, ``composed`` with the host's stage or by their own alone, their real addresses guest real.
    ``guests`` adds the partition-scoped trees of all KVM guests, which lie in the same memory as the host's own.

    With ``keep_partial`` Ctrl-C gives what there is so far. Raises UsageError where no process table is known and for a
    PID beyond it, TargetError where the target is lost; a table or an entry that cannot be read is in the answer."""
    missed = Missed(lpid=0 if within is None else within.lpid)
    if pids is not None:
        trees, absent = asked(guest, pids, within)
    elif within is None:
        trees, absent = tuple(Tree.of(each) for each in guest.processes(missed)), ()
    else:
        trees, absent = tuple(Tree.of(each, within.lpid) for each in within.processes(missed)), ()
    if guests and within is None:
        from inspector.partitions import of_guests

        trees += of_guests(guest)
    return spaces_of(guest, trees, missed, absent, within=within, composed=composed, keep_partial=keep_partial)


def _process_table(guest: Guest, trees: tuple[Tree, ...]) -> tuple[int, int]:
    """Real address and bytes of the process table; of none where none is known, and none of the trees hangs on it."""
    try:
        return guest.process_table()
    except UsageError:
        if any(tree.pid is not None for tree in trees):
            raise
        return 0, 0


def spaces_of(
    guest: Guest,
    trees: tuple[Tree, ...],
    missed: Missed | None = None,
    absent: tuple[Absent, ...] = (),
    *,
    within: Partition | None = None,
    composed: bool = True,
    keep_partial: bool = False,
) -> Spaces:
    """These trees, whose tables lie in the guest's memory, or in that of the partition that they are ``within``, swept
    now: what they are asked of and what is lacking, as :class:`Spaces` has it. With ``keep_partial`` Ctrl-C gives what
    there is so far. Raises UsageError where no process table is known, TargetError where the target is lost."""
    memory, epoch = guest.memory, guest.target.clock.epoch
    behind = None if within is None else within.behind
    roots = [each.to_sweep() for each in trees]

    def tell(level: int, done: int, tables: int) -> None:
        before, after = COST_FROM[level], (COST_FROM[level - 1] if level else 100)
        guest.progress(READING, min(before + (after - before) * done // max(tables, 1), 99), 100)

    def again(findings: Findings) -> Iterator[Columns] | None:
        if guest.target.clock.epoch != epoch:
            return None
        memory = guest.memory
        return stream(
            memory.read_runs,
            roots,
            streamable(),
            windows=memory.windows,
            progress=tell,
            findings=findings,
            keep_partial=True,
            through=behind,
        )

    found = sweep(
        memory.read_runs,
        roots,
        affordable(),
        windows=memory.windows,
        progress=tell,
        keep_partial=keep_partial,
        through=behind,
    )
    guest.progress(READING, 1, 1)
    return Spaces(
        guest.target.name,
        trees,
        found,
        memory.ram if within is None or composed else within.memory.ram,
        _process_table(guest, trees) if within is None else within.process_table,
        missed or Missed(),
        absent,
        memory.changing,
        again,
        behind if composed else None,
        behind is not None and composed and bool(behind.unread),
        guest.progress,
    )
