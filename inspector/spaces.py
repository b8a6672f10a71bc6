"""All that some processes map, at one moment: what every command that looks at whole address spaces is handed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from inspector.errors import MemoryReadError, UsageError
from inspector.processes import Missed, Process
from inspector.radix.bits import ENTRY_BYTES, QUADRANT_SHIFT
from inspector.radix.columns import Columns, Findings, Limits, Root
from inspector.radix.sweep import Sweep, stream, sweep

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.mappings.gather import Gathered
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.reverse import Index
    from inspector.memory.physical import RamMap
    from inspector.roots import Progress

KERNEL_PID = 0
READING = "reading the tables"
COST_FROM = (20, 4, 1, 0)
"""How much of a hundred a tree's last level, and each above it, begins at: nearly all tables are of the last."""
BYTES_A_LEAF = 64
"""What a leaf may cost at most while it is looked at: its entry, its columns, and what is made of them."""
BYTES_A_TABLE = 128
"""What a table may cost at most while trees are streamed."""
MOST_TABLES = 1 << 30
"""Places are numbered with 32 bits."""
BOUNDLESS = 1 << 62
TOO_LARGE = "too-large"
SHARE = 2
"""One part in so many of the memory that is free here may be used."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A PID that was asked for and has no tree to look at. ``cause`` is a slug, ``reason`` its sentence."""

    pid: int
    cause: str
    reason: str


@dataclass
class Spaces:
    """The trees of ``processes``, swept together: the tree of row i among ``sweep.roots`` is that of process i.

    ``missed`` is what of the process table could not be read where all processes were asked for, ``absent`` are those
    that were asked for and are not there. ``table`` is the process table's (real address, size in bytes). ``changing``
    where the guest ran meanwhile, so that not all need belong together.

    ``again`` gives every leaf anew, piece by piece, for trees that are larger than can be kept, with what is odd about
    them; None once the guest has run. ``progress`` is told how far long work is."""

    name: str
    processes: tuple[Process, ...]
    sweep: Sweep
    ram: RamMap
    table: tuple[int, int]
    missed: Missed = field(default_factory=Missed)
    absent: tuple[Absent, ...] = ()
    changing: bool = False
    again: Callable[[Findings], Iterator[Columns] | None] = lambda _findings: None
    progress: Progress = lambda _what, _done, _total: None
    _gathered: Gathered | None = field(default=None, init=False, repr=False)

    @property
    def too_large(self) -> bool:
        """Whether the trees are larger than can be kept, so that ``columns`` leaves out the rest: that is told as an
        oddity. ``ranges`` are of all of them."""
        return self.sweep.findings.counts[TOO_LARGE] > 0

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the sweep early: there is more than this."""
        return self.sweep.interrupted

    @property
    def roots(self) -> tuple[Root, ...]:
        """The trees."""
        return self.sweep.roots

    @cached_property
    def columns(self) -> Columns:
        """Every leaf, by tree and address."""
        return self.sweep.columns().in_order()

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
        anew = self.again(findings) if self.too_large and not self.interrupted else None
        if anew is not None:
            most = _most_ranges()
            found = gather(anew, self.roots, findings, most=most, keep_partial=keep_partial, streamed=True)
            self.progress(READING, 1, 1)
        else:
            found = gather(self._told(self.sweep), self.roots, self.sweep.findings, keep_partial=keep_partial)
        if not found.interrupted:
            self._gathered = found
        return found

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


def effective(pid: int, offset: int) -> int:
    """The EA by which a process reaches ``offset`` of its tree: PID 0's is the kernel's, in quadrant 3."""
    return base_of(pid) | offset


def base_of(pid: int) -> int:
    """What is added to offsets in the tree of this PID to make effective addresses."""
    return 3 << QUADRANT_SHIFT if pid == KERNEL_PID else 0


def process_of(guest: Guest, pid: int) -> Process | None:
    """The live entry of ``pid``, or None where it is empty. Raises UsageError for a PID beyond the table, and
    MemoryReadError where the entry cannot be read."""
    base, size = guest.process_table()
    if not 0 <= pid < size // ENTRY_BYTES:
        raise UsageError(f"PID {pid} is beyond the process table, which has {size // ENTRY_BYTES} entries; try 'pids'")
    address = base + pid * ENTRY_BYTES
    first, second = guest.memory.read_u64(address), guest.memory.read_u64(address + 8)
    return Process(pid, address, first, second) if first or second else None


def root_of(process: Process) -> Root:
    """Its tree, as a sweep takes it."""
    return Root(process.pid, process.entry, base_of(process.pid))


def swept(guest: Guest, pids: Collection[int] | None = None, *, keep_partial: bool = False) -> Spaces:
    """The address spaces of these PIDs (None: all of the process table), swept now.

    With ``keep_partial`` Ctrl-C gives what there is so far. Raises UsageError where no process table is known and for a
    PID beyond it, TargetError where the target is lost; a table or an entry that cannot be read is in the answer."""
    missed = Missed()
    absent: tuple[Absent, ...] = ()
    if pids is None:
        processes = tuple(guest.processes(missed))
    else:
        processes, absent = _asked(guest, pids)
    memory, epoch = guest.memory, guest.target.clock.epoch
    roots = [root_of(each) for each in processes]

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
        )

    found = sweep(
        memory.read_runs, roots, affordable(), windows=memory.windows, progress=tell, keep_partial=keep_partial
    )
    guest.progress(READING, 1, 1)
    return Spaces(
        guest.target.name,
        processes,
        found,
        memory.ram,
        guest.process_table(),
        missed,
        absent,
        memory.changing,
        again,
        guest.progress,
    )


def _asked(guest: Guest, pids: Collection[int]) -> tuple[tuple[Process, ...], tuple[Absent, ...]]:
    """The processes of these PIDs, in this order and each once, and those that are not there."""
    there: list[Process] = []
    absent: list[Absent] = []
    for pid in dict.fromkeys(pids):
        try:
            process = process_of(guest, pid)
        except MemoryReadError as error:
            absent.append(Absent(pid, f"table-{error.slug}", f"its process-table entry: {error}"))
            continue
        if process is None:
            reason = f"the process-table entry of PID {pid} is empty: no address space has this PID; try 'pids'"
            absent.append(Absent(pid, "no-process", reason))
        else:
            there.append(process)
    return tuple(there), tuple(absent)


def affordable() -> Limits:
    """What a sweep may gather here: the usual bounds, and less where that would be more than half of what is free."""
    usual = Limits()
    free = _free_bytes()
    if free is None:
        return usual
    share = free // SHARE
    return Limits(
        tables=min(usual.tables, share // BYTES_A_LEAF),
        leaves=min(usual.leaves, share // BYTES_A_LEAF),
        table_bytes=min(usual.table_bytes, share),
        oddities=usual.oddities,
    )


def streamable() -> Limits:
    """What a stream may go to here, of which no leaf is kept: as many tables as half of what is free may hold."""
    free = _free_bytes()
    tables = Limits().tables if free is None else min(free // SHARE // BYTES_A_TABLE, MOST_TABLES)
    return Limits(tables=tables, leaves=BOUNDLESS, table_bytes=BOUNDLESS)


def _most_ranges() -> int | None:
    """How many ranges may be kept here."""
    from inspector.mappings.gather import BYTES_A_RANGE

    free = _free_bytes()
    return None if free is None else free // SHARE // BYTES_A_RANGE


def _free_bytes() -> int | None:
    """Bytes of memory that the system has for us; None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as told:
            for line in told:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None
