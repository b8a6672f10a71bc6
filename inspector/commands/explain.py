"""``explain``: which fixes KVM's kernel lacks, by what it left in a guest's second-level tree."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import Beside, beside
from inspector.commands.whose import number, vmm_pid
from inspector.errors import UsageError
from inspector.kvm.history import CHANGES, NEWEST, VERSIONS, Change
from inspector.kvm.slots import MemorySlot

if TYPE_CHECKING:
    from inspector.kvm.explain import Finding, Seen
    from inspector.radix.columns import Columns


@dataclass(frozen=True, slots=True)
class Explained:
    """One mark that a missing fix leaves, or may leave, in the tree of ``lpid``."""

    topic: ClassVar[str] = "explain"
    lpid: int
    finding: Finding

    @property
    def ok(self) -> bool:
        """Whether it need not come from a missing fix."""
        return self.finding.mark.kind != "defect"


@dataclass(frozen=True, slots=True)
class Judged(Answered):
    """The end of what is told of ``lpid``: what was looked through, how many marks of a defect there are, which kernels
    of those known here leave them all, and what could not be looked for (``lacking``: "slots", "vmm")."""

    topic: ClassVar[str] = "explain"
    lpid: int
    leaves: int
    tables: int
    defects: int
    hints: int
    versions: tuple[str, ...]
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed(Answered):
    """One change, and what tells of it in a tree: "tree", "slots" or "vmm" must be known; None where nothing does."""

    topic: ClassVar[str] = "explain"
    change: Change
    told_by: str | None


def _explain(session: Session, arguments: Namespace) -> Iterator[Explained | Judged | Listed | Beside]:
    if arguments.list:
        if arguments.lpid or arguments.vmm is not None:
            raise UsageError("--list tells the changes themselves, of no guest; leave --lpid and --vmm out")
        yield from _listed()
        return
    lpids = _lpids(session, arguments)
    if not lpids:
        yield Note("there is no KVM guest of radix trees here; 'lpids' lists what the partition table has")
    vmm = None
    if arguments.vmm is not None:
        vmm = vmm_pid(session, arguments.vmm)
        if len(lpids) != 1:
            raise UsageError("--vmm is the process of one guest; say whose with one --lpid N, 'lpids' lists them")
    for lpid in lpids:
        yield from _of_guest(session, lpid, vmm)


def _listed() -> Iterator[Listed]:
    from inspector.kvm.explain import MARKS

    told = {slug: mark.needs for mark in reversed(MARKS) if mark.kind != "fixed" for slug in mark.slugs}
    for change in CHANGES:
        yield Listed(change, told.get(change.slug))


def _lpids(session: Session, arguments: Namespace) -> list[int]:
    """The guests that are asked about: all where none is named. Raises UsageError."""
    if arguments.lpid:
        way = "'lpids' lists those there are"
        lpids = [number(session, text, "--lpid", "an LPID", way) for text in arguments.lpid]
        if 0 in lpids:
            raise UsageError(f"LPID 0 is the host itself, and KVM makes no tree for it; {way}")
        return list(dict.fromkeys(lpids))
    from inspector.partitions import of_guests, partition_table

    guest = session.at
    made = [] if guest.whatif is None else sorted(guest.whatif.made)
    if not made:
        partition_table(guest)  # refused where the hypervisor is out of sight
    return sorted({*made, *(tree.lpid for tree in of_guests(guest))})


def _of_guest(session: Session, lpid: int, vmm: int | None) -> Iterator[Explained | Judged | Beside]:
    from inspector.kvm.explain import Entries, Seen, explain, half_cleared, versions

    guest = session.at
    spaces = guest.spaces(lpid=lpid, partition=True)
    leaves, tables = spaces.columns, spaces.sweep.tables()
    left, unread = half_cleared(tables, guest.memory.read_runs)
    known = None if guest.whatif is None else guest.whatif.machine.vms.get(lpid)
    slots = () if known is None else tuple(known.slots.each)
    host = None
    if vmm is not None:
        mapped = guest.spaces([vmm], lpid=0).columns
        slots, host = _placed(leaves, mapped, slots, vmm), Entries.of(mapped)
    seen = Seen(Entries.of(leaves), left, slots, host)
    findings = explain(seen)
    for finding in findings:
        yield Explained(lpid, finding)
    if unread:
        yield Note(f"{unread:,} tables could not be read, and what lacks PRESENT in them is not known")
    kinds = [finding.mark.kind for finding in findings]
    marks = (kinds.count("defect"), kinds.count("hint"))
    lacking = tuple(_lacking(seen))
    yield Judged(lpid, len(leaves), len(tables), *marks, versions(findings), lacking)
    yield from beside(spaces)


def _lacking(seen: Seen) -> Iterator[str]:
    if not any(slot.flags for slot in seen.slots):
        yield "slots"
    if seen.vmm is None:
        yield "vmm"


def _placed(leaves: Columns, mapped: Columns, slots: tuple[MemorySlot, ...], vmm: int) -> tuple[MemorySlot, ...]:
    """The slots, with where the VMM has them: as they say it, or as both trees tell. Raises UsageError where neither
    does."""
    from inspector.vmm import infer

    placed = tuple(slot for slot in slots if slot.hva is not None)
    if placed:
        return slots
    found = infer(leaves, mapped)
    if found is None:
        raise UsageError(
            f"PID {vmm} maps nothing of what this guest has, so it is not its VMM; 'pids' lists the processes there are"
        )
    return (*slots, *(MemorySlot(each.base, each.size, 0, each.hva) for each in found.slots))


def _explain_arguments(parser: Parser) -> None:
    parser.add_argument("--lpid", metavar="N", action="append", help="of this KVM guest; all of them if left out")
    parser.add_argument("--vmm", metavar="PID", help="the host's process, by radix PID, that is its virtual machine")
    parser.add_argument("--list", action="store_true", help="tell the changes that are known, of no guest")


COMMANDS = (
    Command(
        "explain",
        "the fixes whose lack would give the state of a guest's tree",
        _explain,
        _explain_arguments,
        (Example("explain --list", "every change that is known here, oldest first"),),
        f"KVM's second-level code was mended many times between {VERSIONS[0]} (Linux 4.11) and {NEWEST}, and some of "
        "what was wrong stays in the tree: entries that say leaf and lack PRESENT, leaves that are changed and allow "
        "no stores, large leaves of slots whose pages are logged. Each mark that is found is told with the commits "
        "whose lack leaves it. A hint may have other causes as well: small leaves where a large one would do are right "
        "where the host has small pages. Slots are those that 'slot' told of; with --vmm, what that process maps is "
        "held against the leaves. The exit status is 1 where a mark is found that only a missing fix leaves.",
    ),
)
