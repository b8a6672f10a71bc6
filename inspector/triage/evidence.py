"""What triage goes by: the guest's last hypervisor storage interrupts and the accesses at NIP, held to the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from inspector import partitions
from inspector.errors import InspectorError, TargetError
from inspector.fetching import fetched
from inspector.guest import Guest
from inspector.instructions.effective import reach
from inspector.radix.address import quadrant
from inspector.radix.bits import MSR_DR, MSR_HV, MSR_IR, MSR_LE, MSR_PR
from inspector.radix.hindsight import Now, held
from inspector.radix.prediction import HDSISR_CANARY, LEAST_PAGE, Record, predict, records, same_page
from inspector.radix.software_walk import VARIANTS
from inspector.radix.translation import Translation
from inspector.triage.samples import Sample, Sampling

KVM = "kvm"


@dataclass(frozen=True, slots=True)
class Owner:
    """A guest's process whose tables lead a faulting EA to the guest real address that was recorded: ``data`` is that
    translation, ``fetch`` the hardware's of the instruction and ``walk`` KVM's; ``passing`` are the walkers that find
    it. ``text`` is the instruction, "" where it is not known; ``loads`` says whether it accesses memory."""

    lpid: int
    pid: int
    data: Translation
    fetch: Translation
    walk: Translation
    passing: tuple[str, ...] = ()
    text: str = ""
    loads: bool | None = None


@dataclass(frozen=True, slots=True)
class Storage:
    """A KVM guest's last hypervisor storage interrupt, as one vCPU's registers hold it: its NIP, MSR, EA and guest real
    address. ``seen`` is in how many samples, of how many, and ``canaries`` in how many of these KVM had just put its
    own value into HDSISR, being about to enter the guest."""

    cpu: int
    nip: int
    msr: int
    ea: int
    guest_real: int
    seen: int
    samples: int
    canaries: int
    owners: tuple[Owner, ...] = ()

    @property
    def translated(self) -> bool:
        """Whether the guest had relocation on, for its code and its data."""
        return self.msr & (MSR_IR | MSR_DR) == MSR_IR | MSR_DR


@dataclass(frozen=True, slots=True)
class Stuck:
    """An access of the instruction at a vCPU's own NIP that would fault now, as the vCPU recorded. ``seen`` is in how
    many samples, ``user`` whether MSR[PR] is set."""

    cpu: int
    nip: int
    answer: Translation
    record: Record
    user: bool
    text: str
    seen: int = 1


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the signatures of causes are looked for in."""

    sampling: Sampling
    storage: tuple[Storage, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    moved: frozenset[int] = frozenset()
    """vCPUs whose NIP was not the same in all samples."""
    missed: tuple[str, ...] = ()
    """What could not be looked at, a sentence each."""

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.sampling.samples)


@dataclass
class Looking:
    """Gathers evidence from a guest: :meth:`at_nip` at every stop, :meth:`evidence` at the last one."""

    guest: Guest
    found: dict[tuple[int, int, int, str | None], Stuck] = field(default_factory=dict)

    def at_nip(self) -> None:
        """Hold the instruction at each vCPU's NIP to what the vCPU recorded, where its last interrupt was of just this
        instruction: SRR0 is NIP, or NIP itself could not be fetched."""
        for cpu in self.guest.target.cpus:
            known = self.guest.registers(cpu, ("nip", "msr", "srr0", "srr1", "dar", "dsisr"))
            nip = known.get("nip")
            if nip is None or nip != known.get("srr0") or known.get("msr") is None:
                continue
            try:
                each = self._stuck(cpu, nip)
            except TargetError:
                raise
            except InspectorError:
                continue
            if each is not None:
                key = (cpu, each.nip, each.answer.ea, each.answer.access)
                before = self.found.get(key)
                seen = 1 + (before.seen if before else 0)
                self.found[key] = Stuck(cpu, nip, each.answer, each.record, each.user, each.text, seen)

    def _stuck(self, cpu: int, nip: int) -> Stuck | None:
        registers = self.guest.registers(cpu)
        msr = registers.need("msr")
        told = [record for record in records(registers.values) if not record.hypervisor and record.access is not None]
        fetch = self.guest.translate(nip, access="x", cpu=cpu)
        asked, text = [fetch], ""
        if fetch.ok:
            found = fetched(self.guest, nip, cpu=cpu).instruction
            reached = None if found is None else reach(found, registers.get)
            if found is None or reached is None or reached.ea is None or reached.hint or reached.real:
                return None
            text = found.text
            asked = [self.guest.translate(at, access=reached.way, cpu=cpu) for at in {reached.ea, reached.last or 0}]
        context = self.guest.context(cpu)
        for answer in asked:
            prediction = predict(answer, context)
            for record in told if prediction is not None else ():
                if not same_page(record, answer.ea) or record.access != answer.access:
                    continue
                if held(record, [Now("", answer, prediction)], None).verdict == "agrees":
                    return Stuck(cpu, nip, answer, record, bool(msr & MSR_PR), text)
        return None

    def evidence(self, sampling: Sampling) -> Evidence:
        """All of it; the guest stands still meanwhile."""
        missed: list[str] = []
        storage = tuple(_with_owners(self.guest, each, missed) for each in last_interrupts(sampling.samples))
        return Evidence(sampling, storage, tuple(self.found.values()), moved(sampling.samples), tuple(missed))


def moved(samples: list[Sample]) -> frozenset[int]:
    """The vCPUs whose NIP was not the same in all samples."""
    nips: dict[int, set[int | None]] = {}
    for sample in samples:
        for cpu, known in sample.cpus.items():
            nips.setdefault(cpu, set()).add(known.get("nip"))
    return frozenset(cpu for cpu, seen in nips.items() if len(seen) > 1)


def last_interrupts(samples: list[Sample]) -> Iterator[Storage]:
    """What the registers hold of guests' storage interrupts, the most often seen first.

    HSRR0 and HSRR1 are a guest's only where HSRR1[HV] is 0: an interrupt of the host's own takes them too. Where ASDR
    and HDAR are 0 there was none."""
    seen: Counter[tuple[int, int, int, int, int]] = Counter()
    canaries: Counter[tuple[int, int, int, int, int]] = Counter()
    for sample in samples:
        for cpu, known in sample.cpus.items():
            last = _last(cpu, known)
            if last is not None:
                seen[last] += 1
                canaries[last] += known.get("hdsisr") == HDSISR_CANARY
    for last, times in seen.most_common():
        yield Storage(*last, times, len(samples), canaries[last])


def _last(cpu: int, known: Mapping[str, int]) -> tuple[int, int, int, int, int] | None:
    nip, msr, ea, at = (known.get(name) for name in ("hsrr0", "hsrr1", "hdar", "asdr"))
    if nip is None or msr is None or ea is None or at is None or not known.get("hdsisr"):
        return None
    if msr & MSR_HV or not msr:
        return None
    return cpu, nip, msr, ea, at


def _with_owners(guest: Guest, last: Storage, missed: list[str]) -> Storage:
    if not last.translated or guest.roots.state != "radix":
        return last
    owners = []
    try:
        for tree in partitions.of_guests(guest):
            owners += list(_owners(guest, tree.lpid, last))
    except TargetError:
        raise
    except InspectorError as error:
        missed.append(f"not all guests' tables could be followed: {error}")
    return Storage(
        last.cpu,
        last.nip,
        last.msr,
        last.ea,
        last.guest_real,
        last.seen,
        last.samples,
        last.canaries,
        tuple(owners),
    )


def _owners(guest: Guest, lpid: int, last: Storage) -> Iterator[Owner]:
    """The processes of this guest that have the recorded guest real address at the recorded EA."""
    kernels = quadrant(last.ea) and quadrant(last.nip)
    pids = (0,) if kernels else (process.pid for process in guest.partition(lpid).processes())
    for pid in pids:
        data = guest.translate(last.ea, lpid=lpid, pid=pid)
        if data.gra is None or data.gra & ~LEAST_PAGE != last.guest_real & ~LEAST_PAGE:
            continue
        fetch = guest.translate(last.nip, lpid=lpid, pid=pid)
        walk = guest.translate(last.nip, lpid=lpid, pid=pid, walker=KVM)
        passing: tuple[str, ...] = ()
        if not walk.ok:
            ask = ((name, guest.translate(last.nip, lpid=lpid, pid=pid, walker=name)) for name in VARIANTS)
            passing = tuple(name for name, answer in ask if answer.ok)
        found = fetched(guest, last.nip, little=bool(last.msr & MSR_LE), lpid=lpid, pid=pid).instruction
        text = "" if found is None else found.text
        yield Owner(lpid, pid, data, fetch, walk, passing, text, None if found is None else bool(found.operation))
