"""What a snapshot has to hold for triage to answer from it as it did: samples, devices, and every byte that it reads.

Those bytes are found by asking: triage and a look at every queue run once over the guest as the snapshot will have it,
with its registers and samples standing for themselves, and what they read is noted. Of code whole pages are kept, of
all else just the bytes: a ring's neighbour in its page may be anyone's. No buffer of a device is ever read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inspector.capture import PAGE
from inspector.errors import InspectorError, MemoryReadError, TargetError
from inspector.guest import Guest
from inspector.memory.physical import Clock, MemorySource, PhysicalMemory, RamMap
from inspector.radix.address import Context, quadrant
from inspector.radix.bits import MSR_HV, MSR_PR
from inspector.radix.prediction import interrupted
from inspector.recording import More, Share
from inspector.targets.base import KnownRoots, Registers, RunState
from inspector.triage.catalogue import diagnosed
from inspector.triage.devices import Watch
from inspector.triage.evidence import Evidence, gathered
from inspector.triage.found import Finding
from inspector.triage.recorded import First, Kept
from inspector.triage.samples import Sampling, ran_since, taken
from inspector.virtio.bus import bus_of_device
from inspector.virtio.layout import MOST_ENTRIES
from inspector.virtio.ring import read_queue
from inspector.virtio.state import VirtioState
from inspector.walkers import hardware

STACK = 2048
"""Bytes of a stack that are kept from its pointer on; and what else its back chain is read from."""
MOST_NOTED = 1 << 16
"""Reads that are noted; what triage reads besides tables is a few thousand words. What is read after them is not in the
snapshot, which says that there was more."""


@dataclass(frozen=True, slots=True)
class Code:
    """A page of code at real address ``page``: of ``lpid`` and ``pid``, or (``pid`` None) of the kernel of ``lpid``."""

    page: int
    lpid: int
    pid: int | None


def all_code(_code: Code) -> bool:
    """Keep it, whoever's it is."""
    return True


def no_code(_code: Code) -> bool:
    """Keep none."""
    return False


@dataclass
class Noted:
    """A MemorySource that notes what is read of a guest's memory (address, size): in ``noted``, in order, the first
    MOST_NOTED, and in ``further`` as many of those that came then."""

    memory: PhysicalMemory
    noted: dict[tuple[int, int], None] = field(default_factory=dict)
    further: set[tuple[int, int]] = field(default_factory=set)
    description: str = "the guest, noting what is read"
    cheap: bool = True
    gap: int = 0

    @property
    def captured(self) -> Sequence[tuple[int, int]] | None:
        """As the guest's own."""
        return self.memory.captured

    @property
    def zeros(self) -> Sequence[tuple[int, int]]:
        """As the guest's own."""
        return self.memory.zeros

    def read(self, address: int, length: int) -> bytes:
        """As the guest's memory reads."""
        data = self.memory.read(address, length)
        if not self.full:
            self.noted[address, length] = None
        elif len(self.further) < MOST_NOTED:
            self.further.add((address, length))
        return data

    @property
    def full(self) -> bool:
        """Whether no more are noted."""
        return len(self.noted) >= MOST_NOTED

    @property
    def more(self) -> bool:
        """Whether something was read that is not among those noted."""
        return not self.further <= self.noted.keys()

    def begin(self) -> None:
        """Note anew."""
        self.noted.clear()
        self.further.clear()

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """As the guest's memory reads many at once, which is done for page tables alone: these are not noted."""
        return self.memory.read_runs(runs)


@dataclass
class Still:
    """A guest as its snapshot will have it, as a Target (see :mod:`inspector.targets.base`)."""

    guest: Guest
    source: MemorySource
    triage: Mapping[str, Any]
    virtio: Mapping[str, Any] | None
    control: None = None
    state: RunState = RunState.RECORDED
    clock: Clock = field(default_factory=Clock)

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self.guest.target.name

    @property
    def ram(self) -> RamMap:
        """What is RAM."""
        return self.guest.memory.ram

    @property
    def cpus(self) -> Sequence[int]:
        """The guest's vCPUs."""
        return self.guest.target.cpus

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        """All registers that the snapshot will hold."""
        return self.guest.registers(cpu)

    @property
    def known_roots(self) -> KnownRoots:
        """What the snapshot will say of them."""
        roots = self.guest.roots
        return KnownRoots(roots.process_table, roots.how, roots.sure)

    @property
    def vmcoreinfo(self) -> bytes | None:
        """Nobody asks here."""
        return None

    @property
    def machine(self) -> Mapping[str, Any]:
        """The guest's."""
        return self.guest.target.machine

    def close(self) -> None:
        """It is the guest's to close."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What is to be recorded besides tables, what triage finds in it, and for how many seconds the guest was let run
    for its samples."""

    more: More
    found: tuple[Finding, ...]
    ran: float


def kept(guest: Guest, seconds: float | None = None, code: Callable[[Code], bool] = all_code) -> Keeping:
    """Sample a guest, which is let run and stopped as :func:`inspector.triage.samples.taken` says, and find out what a
    snapshot has to hold of it now. ``code`` says which pages of code are kept; where that is not all of it, nothing of
    any stack is, and of what triage reads only the rings."""
    watch = Watch(guest)
    begun = time.monotonic()
    sampling = taken(guest, seconds, watch.marks)
    ran = ran_since(begun, sampling)
    watch.end(sampling)
    before = watch.states[0] if len(watch.states) > 1 else None
    last = replace(watch.states[-1], source="recorded") if watch.states else None
    firsts = tuple(First(path, queue) for (path, _), queue in watch.firsts.items())
    document = Kept(sampling, before, watch.why_not, firsts).to_json()
    virtio = None if last is None else last.to_json()
    noted = Noted(guest.memory)
    still = Still(guest, noted, document, virtio)
    seen = Guest(still, symbols=guest.symbols, cpu=guest.cpu)
    _ = seen.roots
    found, evidence, read = _asked(seen, noted)
    rings = _rings(seen, last, noted)
    pages = list(dict.fromkeys(_code(seen, sampling, evidence)))
    chosen = [each for each in pages if code(each)]
    shares = [*_of_code(chosen), rings]
    if len(chosen) == len(pages) and code is not no_code:
        shares.insert(-1, Share("stacks", STACKS, tuple(_stacks(seen))))
        shares.append(read)
    moments = f"at {len(sampling.samples)} moments in {sampling.seconds:.1f} s" if len(sampling.samples) > 1 else ""
    return Keeping(More(tuple(shares), virtio, document, moments), found, ran)


RINGS = "rings of virtio queues and the descriptors of what is pending, but no buffer that they lead to"
STACKS = "the top of the stacks of the vCPUs, where data of the kernel or of a program may lie"
READ = "what else triage reads: words of stacks on the way back through their frames, and of code"
MORE_RINGS = "there is more than is kept: of what is pending in the last queues, tables it leads to may be missing"
MORE_READ = "it reads more than is kept, and the last of it is missing"


def _asked(seen: Guest, noted: Noted) -> tuple[tuple[Finding, ...], Evidence, Share]:
    """What triage finds, by which evidence, and what it reads for that."""
    noted.begin()
    watch = Watch(seen)
    evidence = gathered(seen, taken(seen, None, watch.marks), watch, every=True)
    found = diagnosed(evidence)
    return found, evidence, Share("read", READ, tuple(noted.noted), cut=MORE_READ if noted.more else "")


def _rings(seen: Guest, state: VirtioState | None, noted: Noted) -> Share:
    """What is read to tell of every queue, all that is pending included: once MOST_NOTED reads are noted, of further
    queues their rings alone."""
    noted.begin()
    if state is None:
        return Share("rings", RINGS, ())
    passed_over = False
    for device in state.devices:
        bus = bus_of_device(device, state)
        for queue in device.queues:
            most = 0 if noted.full else MOST_ENTRIES
            look = read_queue(seen.memory, bus, device, queue, most)
            noted.noted.update(((part.real, part.size), None) for part in look.parts if part.real is not None)
            passed_over |= not most and bool(look.pending)
    cut = MORE_RINGS if noted.more or passed_over else ""
    return Share("rings", RINGS, tuple(noted.noted), cut=cut)


def _code(seen: Guest, sampling: Sampling, evidence: Evidence) -> Iterator[Code]:
    """The pages of what the vCPUs were at, of what called that, and of what an interrupt came upon."""
    for sample in sampling.samples:
        for cpu, known in sample.cpus.items():
            now = seen.context(cpu)
            pid, lpidr = known.get("pid", now.pid), known.get("lpidr", now.lpidr)
            context = replace(now, msr=known.get("msr", now.msr), pid=pid, lpidr=lpidr)
            places = [(context, known.get("nip")), (context, known.get("lr"))]
            for prefix in ("", "h"):
                then = known.get(f"{prefix}srr1")
                if then and not (prefix and not then & MSR_HV and not context.lpidr):
                    places.append((interrupted(context, then), known.get(f"{prefix}srr0")))
            for as_then, ea in places:
                yield from _page(seen, as_then, ea)
    for last in evidence.storage:
        for owner in last.owners:
            for way in (owner.fetch, owner.walk):
                if way is not None and way.ra is not None:
                    yield Code(way.ra // PAGE * PAGE, owner.lpid, owner.pid or None)


def _page(seen: Guest, context: Context, ea: int | None) -> Iterator[Code]:
    if ea is None or context.msr is None:
        return
    try:
        way = hardware(seen, context, ea & ~3, "x", None)
    except TargetError:
        raise
    except InspectorError:
        return
    if way.ra is None or not seen.memory.ram.covers(way.ra, 4):
        return
    user = bool(context.msr & MSR_PR) and not quadrant(ea)
    lpid = 0 if context.msr & MSR_HV else context.lpidr or 0
    yield Code(way.ra // PAGE * PAGE, lpid, context.pid if user else None)


def _of_code(pages: Iterable[Code]) -> Iterator[Share]:
    """A share for each of those whose code it is."""
    whose: dict[tuple[int, int | None], list[tuple[int, int]]] = {}
    for each in pages:
        whose.setdefault((each.lpid, each.pid), []).append((each.page, PAGE))
    for (lpid, pid), spans in sorted(whose.items(), key=lambda each: (each[0][0], each[0][1] or 0)):
        of = "the kernel" if pid is None else f"the program of PID {pid}"
        guest = f" in the guest of LPID {lpid}" if lpid else ""
        yield Share("code", f"code of {of}{guest}, around where vCPUs were", tuple(spans), whole=True)


def _stacks(seen: Guest) -> Iterator[tuple[int, int]]:
    """The top of every vCPU's stack, as far as the tables lead to it."""
    for cpu in seen.target.cpus:
        context, pointer = seen.context(cpu), seen.registers(cpu).get("r1")
        if not pointer or context.msr is None:
            continue
        at, end = pointer, min(pointer + STACK, 1 << 64)
        while at < end:
            upto = min(at // PAGE * PAGE + PAGE, end)
            try:
                way = hardware(seen, context, at, None, None)
            except TargetError:
                raise
            except InspectorError:
                break
            if way.ra is not None:
                yield way.ra, upto - at
            at = upto
