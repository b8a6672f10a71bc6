"""All that some processes map, at one moment: what every command that looks at whole address spaces is handed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from inspector.errors import MemoryReadError, UsageError
from inspector.processes import Missed, Process
from inspector.radix.bits import ENTRY_BYTES, QUADRANT_SHIFT
from inspector.radix.columns import Columns, Limits, Root
from inspector.radix.sweep import Sweep, sweep

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.reverse import Index
    from inspector.memory.physical import RamMap

KERNEL_PID = 0
LEVELS = 4
BYTES_A_LEAF = 64
"""What a leaf may cost at most while it is looked at: its entry, its columns, and what is made of them."""
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
    where the guest ran meanwhile, so that not all need belong together."""

    name: str
    processes: tuple[Process, ...]
    sweep: Sweep
    ram: RamMap
    table: tuple[int, int]
    missed: Missed = field(default_factory=Missed)
    absent: tuple[Absent, ...] = ()
    changing: bool = False

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

    @cached_property
    def ranges(self) -> Ranges:
        """Leaves that continue each other put together, by tree and address. No column of all leaves is made."""
        from inspector.mappings.ranges import coalesce_pieces, in_order, single

        found = coalesce_pieces(self.sweep.pieces())
        return single(self.columns) if found is None else in_order(found)

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
    memory = guest.memory

    def progress(level: int, _tables: int) -> None:
        guest.progress("reading the tables", LEVELS - 1 - level, LEVELS)

    found = sweep(
        memory.read_runs,
        [root_of(each) for each in processes],
        affordable(),
        windows=memory.windows,
        progress=progress,
        keep_partial=keep_partial,
    )
    guest.progress("reading the tables", LEVELS, LEVELS)
    name, changing = guest.target.name, memory.changing
    return Spaces(name, processes, found, memory.ram, guest.process_table(), missed, absent, changing)


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
