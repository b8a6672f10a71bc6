"""``maps``: what is mapped, in runs of pages that continue each other."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from inspector.commands.notes import Note, if_changing
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.roots import RootsFound, Unlisted, current_pids, unlisted
from inspector.errors import MemoryReadError, UsageError
from inspector.guest import Guest
from inspector.mappings.runs import Run, coalesce, run_of
from inspector.processes import Missed, Process
from inspector.radix.bits import ENTRY_BYTES, QUADRANT_SHIFT, TREE_BITS
from inspector.radix.tree import Found, Leaf, Oddity, walk_tree

KERNEL_PID = 0
ODDITIES_TOLD = 32
"""Oddities of one cause in one tree that are told one by one; the others are counted."""
EVERY = 1024
"""Progress is told once in so many leaves and tables."""


@dataclass(frozen=True, slots=True)
class AddressSpace(Answered):
    """The tree that the next answers are of. ``entry`` is its process-table entry."""

    topic: ClassVar[str] = "maps"
    lpid: int
    pid: int
    entry: int


@dataclass(frozen=True, slots=True)
class Mapped(Answered):
    """One run of pages. ``ea`` is its first effective address, quadrant included."""

    topic: ClassVar[str] = "maps"
    lpid: int
    pid: int
    ea: int
    run: Run
    in_ram: bool


@dataclass(frozen=True, slots=True)
class Odd:
    """Where a tree is not as it should be. ``more`` counts others of the same cause that are not told."""

    topic: ClassVar[str] = "maps"
    lpid: int
    pid: int
    ea: int
    cause: str
    reason: str
    more: int = 0

    @property
    def ok(self) -> bool:
        """A finding."""
        return False


Answer = AddressSpace | Mapped | Odd | Unlisted | RootsFound | Note


@dataclass
class _Findings:
    """The oddities of one tree, kept until its maps are told, and never more than can be read."""

    told: list[Oddity] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, oddity: Oddity) -> None:
        self.counts[oddity.cause] += 1
        if self.counts[oddity.cause] <= ODDITIES_TOLD:
            self.told.append(oddity)

    def answers(self, lpid: int, pid: int) -> Iterator[Odd]:
        last = {oddity.cause: at for at, oddity in enumerate(self.told)}
        for at, oddity in enumerate(self.told):
            more = max(self.counts[oddity.cause] - ODDITIES_TOLD, 0) if last[oddity.cause] == at else 0
            yield Odd(lpid, pid, effective(pid, oddity.offset), oddity.cause, oddity.reason, more)


def effective(pid: int, offset: int) -> int:
    """The EA by which a process reaches ``offset`` of its tree: PID 0's is the kernel's, in quadrant 3."""
    return (3 << QUADRANT_SHIFT if pid == KERNEL_PID else 0) | offset


def process_of(guest: Guest, pid: int) -> Process | None:
    """The live entry of ``pid``, or None where it is empty. Raises UsageError for a PID beyond the table, and
    MemoryReadError where the entry cannot be read."""
    base, size = guest.process_table()
    if pid * ENTRY_BYTES >= size:
        raise UsageError(f"PID {pid} is beyond the process table, which has {size // ENTRY_BYTES} entries; try 'pids'")
    address = base + pid * ENTRY_BYTES
    first, second = guest.memory.read_u64(address), guest.memory.read_u64(address + 8)
    return Process(pid, address, first, second) if first or second else None


def _wanted(session: Session, arguments: Namespace) -> Iterator[Process | Odd | Unlisted | Note]:
    """The address spaces that are asked about, or why one of them cannot be told."""
    guest = session.at
    if arguments.all:
        missed = Missed()
        yield from guest.processes(missed)
        yield from unlisted(missed)
        return
    if arguments.pid is not None:
        pids = [session.value(arguments.pid)]
    else:
        guest.process_table()
        pids = [KERNEL_PID]
        current = [pid for pid, cpus in current_pids(guest).items() if guest.cpu in cpus]
        if guest.running:
            yield Note("while it runs, its PID is not known: only the kernel's maps are told; --pid N tells others'")
        elif not current:
            yield Note("the vCPU runs no known process of this table, so only the kernel's maps are told; see 'pids'")
        pids += [pid for pid in current if pid != KERNEL_PID]
    for pid in pids:
        try:
            process = process_of(guest, pid)
        except MemoryReadError as error:
            yield Odd(0, pid, effective(pid, 0), f"table-{error.slug}", f"its process-table entry: {error}")
            continue
        if process is None:
            reason = f"the process-table entry of PID {pid} is empty: no address space has this PID; try 'pids'"
            yield Odd(0, pid, effective(pid, 0), "no-process", reason)
        else:
            yield process


def _found(guest: Guest, process: Process, leaves: bool) -> Iterator[Run | Oddity]:
    """The tree's runs (a leaf each with ``leaves``) and oddities."""

    def telling() -> Iterator[Found]:
        for count, each in enumerate(walk_tree(guest.memory.read, process.entry)):
            if isinstance(each, Leaf) and count % EVERY == 0:
                guest.progress(f"reading the tables of PID {process.pid}", each.offset, 1 << TREE_BITS)
            yield each

    if leaves:
        found: Iterator[Run | Found] = (run_of(each) if isinstance(each, Leaf) else each for each in telling())
    else:
        found = coalesce(telling())
    for each in found:
        if isinstance(each, Run | Oddity):
            yield each


def _maps(session: Session, arguments: Namespace) -> Iterator[Answer]:
    guest = session.at
    limit = None if arguments.limit is None else session.value(arguments.limit)
    if limit is not None and limit >> 63:
        raise UsageError(f"--limit takes a count, not {arguments.limit!r}; without it all are told")
    yield from if_changing(guest)
    if guest.roots.state != "radix":
        yield RootsFound(guest.roots, ())
        return
    told = 0
    for process in _wanted(session, arguments):
        if not isinstance(process, Process):
            yield process
            continue
        findings = _Findings()
        yield AddressSpace(0, process.pid, process.entry)
        for each in _found(guest, process, arguments.leaves):
            if isinstance(each, Oddity):
                findings.add(each)
                continue
            if told == limit:
                yield from findings.answers(0, process.pid)
                yield Note(f"there is more than the {limit} told here; --limit N tells more")
                return
            told += 1
            in_ram = guest.memory.ram.covers(each.ra, each.size)
            yield Mapped(0, process.pid, effective(process.pid, each.offset), each, in_ram)
        yield from findings.answers(0, process.pid)


def _maps_arguments(parser: Parser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pid", metavar="N", help="of the process with this radix PID; 0 is the kernel")
    which.add_argument("--all", action="store_true", help="of every process that the process table has")
    parser.add_argument("--leaves", action="store_true", help="each leaf by itself, not put together into runs")
    parser.add_argument("--limit", metavar="N", help="tell so many at most")


COMMANDS = (
    Command(
        "maps",
        "what is mapped, and where to",
        _maps,
        _maps_arguments,
        (
            Example("maps", "the kernel's mappings, and those of the process that the vCPU runs"),
            Example("maps --pid 0 --limit 10", "the first of the kernel's"),
            Example("maps --all --leaves --limit 20", "leaf by leaf"),
        ),
        "A run is pages of one size and with the same flags that continue each other. Its rights are the leaves' own, "
        "whoever asks: r, w, x, and p where only privileged code has them; then R (referenced) and C (changed). What "
        'is wrong with a tree is told after its maps, and makes the exit status 1; in JSON, an object whose "oddity" '
        'is the cause. A note is an object with "note" alone.',
    ),
)
