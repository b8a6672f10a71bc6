"""Whose tables lead where a KVM guest's storage interrupt was: the processes of a host's guests, asked one by one, the
ones that were seen to run first and never more than a stop is to cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from inspector import partitions, walkers
from inspector.errors import InspectorError, MemoryReadError, TargetError
from inspector.fetching import instruction_behind
from inspector.guest import Guest
from inspector.mappings import behind as _behind  # noqa: F401  (numpy is read in before the guest stands still)
from inspector.radix import software_walk, walk
from inspector.radix.address import Context
from inspector.radix.bits import DSISR_ISSTORE, MSR_DR, MSR_IR, MSR_LE, MSR_PR, PATE1_GR
from inspector.radix.software_walk import VARIANTS
from inspector.radix.translation import Access, Translation
from inspector.trees import Tree
from inspector.triage.hostkernel import SEED, HostWalk, host_walk
from inspector.triage.samples import Sample
from inspector.triage.storage import Owner, Storage, of_kernel, same_place, together

MOST_RECORDS, MOST_GUESTS, MOST_WALKS = 6, 24, 300
"""Of records, of guests whose processes are looked at, and of processes asked in one triage: a tenth of a second."""
MOST_OWNERS = 8
"""Of the processes that lead to the same place: each is walked by every walker."""


@dataclass
class _Partition:
    """A guest, once looked at: its processes' PIDs, and a reader of what it calls real memory."""

    tree: Tree
    pids: tuple[int, ...]
    read: Callable[[int], int]
    spans: tuple[tuple[int, int], ...]


@dataclass
class Search:
    """The owners of storage interrupts. ``host`` is the kernel whose walk counts, None where it is to be found."""

    guest: Guest
    samples: Sequence[Sample]
    missed: list[str]
    host: HostWalk | None = None
    walks: int = MOST_WALKS
    _trees: tuple[Tree, ...] | None = None
    _known: dict[int, _Partition | None] = field(default_factory=dict)
    _ran: Counter[int] = field(default_factory=Counter)
    _ran_pids: Counter[tuple[int, int]] = field(default_factory=Counter)

    def of_all(self, found: Iterator[Storage]) -> tuple[Storage, ...]:
        """Each with those whose tables lead there; what could not be followed is told to ``missed``."""
        records = _distinct(found)
        if not records or not partitions.in_sight(self.guest):
            return tuple(records)
        self._count()
        if len(records) > MOST_RECORDS:
            self.missed.append(
                f"the registers hold {len(records)} storage interrupts of guests; the {MOST_RECORDS} that were seen "
                "most often were followed"
            )
        try:
            followed = [self._with_owners(each) for each in records[:MOST_RECORDS]]
        except TargetError:
            raise
        except InspectorError as error:
            self.missed.append(f"not all guests' tables could be followed: {error}")
            return tuple(records)
        if self.walks < 0:
            self.missed.append(
                f"there are more processes of guests than are asked in one stop ({MOST_WALKS}); not all were asked "
                "whether a storage interrupt is theirs"
            )
        return (*followed, *records[MOST_RECORDS:])

    def _count(self) -> None:
        for sample in self.samples:
            for known in sample.cpus.values():
                if lpid := known.get("lpidr"):
                    self._ran[lpid] += 1
                    self._ran_pids[lpid, known.get("pid", 0)] += 1

    def _partitions(self) -> Iterator[_Partition]:
        """The guests, the ones that were seen to run first."""
        if self._trees is None:
            there = sorted(partitions.of_guests(self.guest), key=lambda each: (-self._ran[each.lpid], each.lpid))
            self._trees = tuple(there[:MOST_GUESTS])
            if len(there) > MOST_GUESTS:
                self.missed.append(f"there are {len(there)} guests; the processes of {MOST_GUESTS} were looked at")
        for tree in self._trees:
            if tree.lpid not in self._known:
                self._known[tree.lpid] = self._looked_at(tree)
            found = self._known[tree.lpid]
            if found is not None:
                yield found

    def _looked_at(self, tree: Tree) -> _Partition | None:
        try:
            one = self.guest.partition(tree.lpid)
            pids = [each.pid for each in one.processes()]
            spans = tuple(one.behind.spans())
        except TargetError:
            raise
        except InspectorError as error:
            self.missed.append(f"the processes of LPID {tree.lpid} could not be told: {error}")
            return None
        pids.sort(key=lambda pid: (-self._ran_pids[tree.lpid, pid], pid))
        return _Partition(tree, tuple(pids), one.memory.read_u64, spans)

    def _with_owners(self, last: Storage) -> Storage:
        found: list[Owner] = []
        for one in self._partitions():
            for pid in self._pids(one, last):
                self.walks -= 1
                if self.walks < 0:
                    break
                if len(found) < MOST_OWNERS and (owner := self._owner(one, pid, last)) is not None:
                    found.append(owner)
        return together(last, _likeliest(found))

    def _pids(self, one: _Partition, last: Storage) -> tuple[int | None, ...]:
        if not last.msr & (MSR_IR | MSR_DR):
            return (None,)
        if of_kernel(last):
            return (0,)
        return one.pids

    def _owner(self, one: _Partition, pid: int | None, last: Storage) -> Owner | None:
        context = replace(
            self.guest.context(last.cpu), msr=last.msr, lpidr=one.tree.lpid, pid=pid or 0, amr=None, iamr=None
        )
        asked_for: Access = "x" if last.fetched else "w" if last.bits & DSISR_ISSTORE else "r"
        if last.relocated and not last.of_table and not _may_lead(one, context, last):
            return None
        data = walkers.hardware(self.guest, context, last.ea, asked_for, None)
        if not same_place(data, last):
            return None
        fetch = data if last.fetched else walkers.hardware(self.guest, context, last.nip, "x", None)
        code = instruction_behind(self.guest, fetch, bool(last.msr & MSR_LE))
        loads = None if code is None else bool(code.operation)
        if not last.relocated and not last.fetched and (loads is not True):
            return None  # a real address is the same in every process: the instruction has to be one that accesses
        by = self._host()
        walked, refused = None, None
        if last.msr & MSR_IR and not last.fetched:
            walked = self._walked(context, last.nip, by.walker)
            refused = _refused(one, walked)
        text = "" if code is None else code.text
        shown = pid if last.msr & (MSR_IR | MSR_DR) else None
        running = self._ran[one.tree.lpid]
        owner = Owner(one.tree.lpid, shown, data, fetch, walked, by, (), refused, text, loads, running, spans=one.spans)
        if owner.finds:
            return owner
        return replace(owner, passing=tuple(self._passing(one, context, last.nip, owner.place)))

    def _host(self) -> HostWalk:
        if self.host is None:
            self.host = host_walk(self.guest)
        return self.host

    def _walked(self, context: Context, ea: int, name: str) -> Translation:
        """As the host's kernel walks; told as the seed's walk where that goes the same way."""
        answer, seed = self._walk(context, ea, name), self._walk(context, ea, SEED)
        same = (answer.errno, answer.cause, answer.ra, len(answer.steps))
        return seed if same == (seed.errno, seed.cause, seed.ra, len(seed.steps)) else answer

    def _walk(self, context: Context, ea: int, name: str) -> Translation:
        return walkers.software(self.guest, context, ea, software_walk.variant(name), None)

    def _passing(self, one: _Partition, context: Context, ea: int, place: int | None) -> Iterator[str]:
        for name in VARIANTS:
            answer = self._walk(context, ea, name)
            if answer.ok and answer.ra == place and _refused(one, answer) is None:
                yield name


def _distinct(found: Iterator[Storage]) -> list[Storage]:
    """One of those that are of the same access: a guest may have been run on several vCPUs."""
    told: dict[tuple[int, int, int, int, str], Storage] = {}
    for each in found:
        what = (each.nip, each.msr & MSR_PR, each.ea, each.guest_real, each.kind)
        told.setdefault(what, each)
    return list(told.values())


def _may_lead(one: _Partition, context: Context, last: Storage) -> bool:
    """Whether the process's own tree leads to the page that was recorded, by what the guest calls real memory: much
    sooner told than by both stages."""
    flat = replace(context, flat=True, process_table=one.tree.second | PATE1_GR, lpidr=None)
    answer = walk.translate(one.read, flat, last.ea)
    return not answer.ok or same_place(replace(answer, gra=answer.ra), last)


def _likeliest(found: list[Owner]) -> tuple[Owner, ...]:
    """Those of the guests that were seen to run, where one of them was."""
    ran = [each for each in found if each.running]
    return tuple(ran or found)


def _refused(one: _Partition, answer: Translation) -> tuple[str, str, str] | None:
    """Why KVM cannot read the instruction where its walk goes well: ``kvmppc_ld`` of Linux 6.1 wants the rights to read
    and to execute, and then reads the guest's memory (``kvm_read_guest``)."""
    if not answer.ok:
        return None
    if not answer.rights.read:
        return "EPERM", "no-read-right", "the leaf allows no reading, and KVM reads the instruction as data"
    if not answer.rights.execute:
        return "ENOEXEC", "no-execute-right", "KVM's walk finds no right to execute"
    assert answer.ra is not None
    try:
        one.read(answer.ra & ~7)
    except MemoryReadError:
        return "EFAULT", "code-unreadable", f"the walk ends at guest real {answer.ra:#x}, which no slot holds"
    return None
