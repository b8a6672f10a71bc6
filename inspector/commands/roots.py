"""``roots`` and ``pids``: where the tables begin, and which address spaces there are."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.notes import Note, if_changing
from inspector.commands.registry import Answered, Command, Example, Parser, Session, no_arguments
from inspector.commands.whose import NESTED, lpid_of, nested_of, whose_guest
from inspector.errors import MemoryReadError
from inspector.guest import Guest
from inspector.processes import Missed, Process
from inspector.radix.bits import ENTRY_BYTES, PRTB_MASK, PTCR_PATB, PTCR_PATS, table_bytes
from inspector.radix.descriptors import PATE0, PATE1, PROCESS_TABLE, PRTE0, PTCR
from inspector.radix.fields import Decoded, Format
from inspector.roots import Roots


@dataclass(frozen=True, slots=True)
class Word:
    """A doubleword that leads to the tables: what it is, where it was read (None: a register, or registered by
    hypercall), and what it says, or why it could not be read."""

    name: str
    address: int | None
    decoded: Decoded | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RootsFound:
    """What was found of the roots, with the words on the way to the first tree."""

    topic: ClassVar[str] = "roots"
    roots: Roots
    words: tuple[Word, ...]

    @property
    def ok(self) -> bool:
        """Whether there is a radix root that can be read."""
        return self.roots.state == "radix" and all(word.decoded is not None for word in self.words)


@dataclass(frozen=True, slots=True)
class ProcessTable(Answered):
    """The process table that 'pids' lists: its real address and how many entries it has. That of a KVM guest (``lpid``
    is not 0) is guest real."""

    topic: ClassVar[str] = "roots"
    address: int
    entries: int
    lpid: int = 0


@dataclass(frozen=True, slots=True)
class LiveEntry(Answered):
    """One live entry, and the vCPUs whose current PID it is. Those of a KVM guest (``lpid`` is not 0) hold guest real
    addresses, and are at such."""

    topic: ClassVar[str] = "roots"
    process: Process
    current_on: tuple[int, ...]
    lpid: int = 0


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Part of a process table, or of the partition table, that could not be read, so that what is in it is not told.
    ``address`` is the first real address of it (guest real where ``lpid`` is not 0) and ``where`` the same in words,
    ``length`` all its bytes, and ``table`` whose it is."""

    topic: ClassVar[str] = "roots"
    lpid: int
    table: str
    address: int
    where: str
    length: int
    cause: str
    reason: str

    @property
    def ok(self) -> bool:
        """A finding: the answer is not whole."""
        return False


def unlisted(missed: Missed) -> Iterator[Unlisted]:
    """That the answer is not whole, where it is not."""
    first = missed.first
    if first is not None:
        of = (missed.lpid, missed.name, missed.address, missed.where, missed.length)
        yield Unlisted(*of, f"table-{first.slug}", first.why)


# -- roots -------------------------------------------------------------------------------------------------------------


def _word(guest: Guest, name: str, address: int, form: Format) -> Word:
    """A doubleword of memory, decoded."""
    try:
        return Word(name, address, form.decode(guest.memory.read_u64(address)))
    except MemoryReadError as error:
        return Word(name, address, None, error.why)


def _kernel_entry(guest: Guest, process_table: int) -> Word:
    return _word(guest, "process table, PID 0", process_table & PRTB_MASK, PRTE0)


def _words(guest: Guest, found: Roots) -> Iterator[Word]:
    """The words on the way to the kernel's tree, and to the current partition's."""
    if found.process_table is not None:
        yield Word("process table", None, PROCESS_TABLE.decode(found.process_table))
        yield _kernel_entry(guest, found.process_table)
    if found.ptcr is None:
        return
    yield Word("PTCR", None, PTCR.decode(found.ptcr))
    lpidr = guest.registers(names=("lpidr",)).get("lpidr") or 0
    for lpid in dict.fromkeys((0, lpidr)):
        if lpid * ENTRY_BYTES >= table_bytes(found.ptcr & PTCR_PATS):
            continue
        address = (found.ptcr & PTCR_PATB) + lpid * ENTRY_BYTES
        yield _word(guest, f"PATE0 of LPID {lpid}", address, PATE0)
        second = _word(guest, f"PATE1 of LPID {lpid}", address + 8, PATE1)
        yield second
        if lpid == 0 and second.decoded is not None and second.decoded.value:
            yield _kernel_entry(guest, second.decoded.value)


def _roots(session: Session, _arguments: Namespace) -> Iterator[RootsFound | Note]:
    guest = session.at
    yield from if_changing(guest)
    found = guest.roots
    yield RootsFound(found, tuple(_words(guest, found)))


# -- pids --------------------------------------------------------------------------------------------------------------


def current_pids(guest: Guest, lpid: int = 0) -> dict[int, tuple[int, ...]]:
    """The PIDs of the process table of ``lpid`` that vCPUs have as their current one, and which vCPUs those are.

    A vCPU that runs another partition (LPIDR is another on a bare machine) has a PID of that partition's table. While
    the guest runs there is no such thing to tell."""
    current: dict[int, tuple[int, ...]] = {}
    if guest.running:
        return current
    for cpu in guest.target.cpus:
        known = guest.registers(cpu, ("pid", "lpidr"))
        pid = known.get("pid")
        if pid is not None and (guest.roots.flat or (known.get("lpidr") or 0) == lpid):
            current[pid] = (*current.get(pid, ()), cpu)
    return current


def _pids(session: Session, arguments: Namespace) -> Iterator[ProcessTable | LiveEntry | Unlisted | RootsFound | Note]:
    guest = session.at
    yield from if_changing(guest)
    if guest.roots.state != "radix":
        yield RootsFound(guest.roots, ())
        return
    lpid = lpid_of(session, arguments)
    nested = nested_of(session, arguments)
    if nested:
        yield whose_guest(lpid, nested)
    within = guest.partition(lpid, nested) if lpid else None
    lpid = within.lpid if within else 0
    if within is not None and not within.registered:
        yield Note(within.unregistered)
        return
    address, size = guest.process_table() if within is None else within.process_table
    yield ProcessTable(address, size // ENTRY_BYTES, lpid)
    current = {} if nested else current_pids(guest, lpid)  # an L2 runs under an LPID of KVM's own
    seen = set()
    missed = Missed(lpid=lpid)
    for process in guest.processes(missed) if within is None else within.processes(missed):
        seen.add(process.pid)
        yield LiveEntry(process, current.get(process.pid, ()), lpid)
    yield from unlisted(missed)
    for pid, cpus in current.items():
        if pid not in seen and missed.first is None:
            who = ", ".join(map(str, cpus))
            yield Note(f"PID {pid}, the current one of vCPU {who}, has no live entry in this table")


def _pids_arguments(parser: Parser) -> None:
    parser.add_argument("--lpid", metavar="N", help="those of the KVM guest with this LPID; 'lpids' lists them")
    parser.add_argument("--nested", metavar="PTCR:N", help=NESTED)


COMMANDS = (
    Command(
        "roots",
        "where the tables begin, how that was found, and how sure it is",
        _roots,
        no_arguments,
        (Example("roots", "the process table or partition table, and every way that was tried"),),
        "In this order: --process-table; PTCR, which leads a bare machine to its partition table; what a snapshot "
        "recorded; the kernel's process_tb, with --vmlinux; a search of RAM. A root that was found by search is "
        "confirmed by walking from it. Where there is none, this says what the guest is doing instead.",
    ),
    Command(
        "pids",
        "the live entries of the process table",
        _pids,
        _pids_arguments,
        (Example("pids", "every address space there is, and which of them vCPUs run in"),),
        "A radix PID is an address space, not a task: threads share one, and PID 0 is the kernel. On a bare machine "
        "the table is the host's own, of LPID 0; that of a KVM guest is told with --lpid, and its addresses are guest "
        "real. --nested tells those of that guest's own guest (L2), whose addresses are what that calls real.",
    ),
)
