"""A KVM guest's last hypervisor storage interrupts, as a host's vCPUs still hold them. Pure, over samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from inspector.radix.address import quadrant
from inspector.radix.bits import DSISR_PRTABLE_FAULT, MSR_DR, MSR_IR, TREE_BITS
from inspector.radix.prediction import HDSISR_CANARY, LEAST_PAGE, SRR1_CAUSES
from inspector.radix.translation import Translation
from inspector.triage.found import Confidence, Found
from inspector.triage.hostkernel import HostWalk
from inspector.triage.interrupts import DATA, FETCH, Interrupt, interrupt_of, seeks
from inspector.triage.samples import Sample

WORD = 4
"""Bytes of an instruction; those of 8 access no device."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A guest's process whose tables lead a faulting EA to the guest real address that was recorded: ``data`` is that
    translation (of a fetch's fault, the same as ``fetch``), ``fetch`` the hardware's of the instruction and ``walk``
    the one of the host's kernel, None where relocation was off and nothing is walked; ``by`` says which kernel that is.
    ``passing`` are the walkers that find the instruction. ``refused`` is why KVM cannot read it where the walk itself
    goes well, as (errno, cause, sentence). ``text`` is the instruction, "" where it is not known; ``loads`` says
    whether it accesses memory. ``pid`` is None with relocation off. ``running`` is in how many samples LPIDR was this
    guest's, ``others`` how many more processes lead there just as well. ``spans`` is where the guest has memory, as far
    as its partition-scoped tree tells: (guest real address, bytes)."""

    lpid: int
    pid: int | None
    data: Translation
    fetch: Translation
    walk: Translation | None
    by: HostWalk
    passing: tuple[str, ...] = ()
    refused: tuple[str, str, str] | None = None
    text: str = ""
    loads: bool | None = None
    running: int = 0
    others: int = 0
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def finds(self) -> bool:
        """Whether KVM comes to the instruction where the hardware does."""
        return self.refused is None and (self.walk is None or (self.walk.ok and not self.astray))

    @property
    def astray(self) -> bool:
        """Whether KVM's walk goes well and ends elsewhere than the hardware's."""
        return self.walk is not None and self.walk.ok and self.place is not None and self.walk.ra != self.place

    @property
    def place(self) -> int | None:
        """The guest real address that the hardware fetches from: of what its walk comes to, the bits that a tree
        covers (as QEMU 7.2 has it)."""
        gra = self.fetch.gra
        return None if gra is None else gra & (1 << TREE_BITS) - 1


@dataclass(frozen=True, slots=True)
class Storage:
    """A KVM guest's last hypervisor storage interrupt, as one vCPU's registers hold it: its NIP, MSR, EA and guest real
    address, of its data or of a ``fetch``. ``bits`` are the causes (of HDSISR or HSRR1), 0 where KVM's own value
    had taken their place each time. ``seen`` is in how many samples, of how many, and ``canaries`` in how many of
    these KVM had just put its own value into HDSISR, being about to enter the guest; a fetch leaves HDSISR alone.
    ``tried`` is in how many KVM had the MMU look for the instruction, in vain (the host's DAR or HDAR), ``instead``
    in how many of these the interrupt was gone from the registers for that, and ``past`` in how many the guest had
    gone on to the next instruction. ``lpids`` are those that the vCPU was seen with."""

    cpu: int
    nip: int
    msr: int
    ea: int
    guest_real: int
    seen: int
    samples: int
    canaries: int
    owners: tuple[Owner, ...] = ()
    kind: str = DATA
    bits: int = 0
    tried: int = 0
    instead: int = 0
    past: int = 0
    lpids: Mapping[int, int] = field(default_factory=dict)

    @property
    def fetched(self) -> bool:
        """Whether it was the fetch of the instruction itself that was at fault."""
        return self.kind == FETCH

    @property
    def relocated(self) -> bool:
        """Whether the guest had relocation on for the access."""
        return bool(self.msr & (MSR_IR if self.fetched else MSR_DR))

    @property
    def of_table(self) -> bool:
        """Whether the guest real address is that of an entry of the guest's own tables."""
        return bool(self.bits & DSISR_PRTABLE_FAULT)


def last_interrupts(samples: list[Sample]) -> Iterator[Storage]:
    """What the registers hold of guests' storage interrupts, the most often seen first. A sample in which the vCPU's
    hold instead that KVM had the MMU read the code at an interrupt's NIP is told of beside."""
    seen: Counter[Interrupt] = Counter()
    canaries: Counter[Interrupt] = Counter()
    bits: dict[Interrupt, int] = {}
    at: Counter[tuple[int, int, int, int]] = Counter()
    lpids: dict[int, Counter[int]] = {}
    for sample in samples:
        for cpu, known in sample.cpus.items():
            if lpid := known.get("lpidr"):
                lpids.setdefault(cpu, Counter())[lpid] += 1
            last = interrupt_of(cpu, known)
            if last is None:
                continue
            seen[last] += 1
            at[cpu, last.nip, last.ea, last.guest_real] += 1
            causes = known.get("hsrr1", 0) & SRR1_CAUSES if last.kind == FETCH else known.get("hdsisr", 0)
            canaries[last] += known.get("hdsisr") == HDSISR_CANARY
            if causes != HDSISR_CANARY:
                bits[last] = causes
    tried: Counter[Interrupt] = Counter()
    instead: Counter[Interrupt] = Counter()
    for last in seen:
        for known in (sample.cpus[last.cpu] for sample in samples if last.cpu in sample.cpus):
            if seeks(known, last.nip):
                tried[last] += 1
                instead[last] += interrupt_of(last.cpu, known) is None
    for last, times in seen.most_common():
        known_lpids = dict(lpids.get(last.cpu, {}))
        yield Storage(
            last.cpu,
            last.nip,
            last.msr,
            last.ea,
            last.guest_real,
            times,
            len(samples),
            canaries[last],
            kind=last.kind,
            bits=bits.get(last, 0),
            tried=tried[last],
            instead=instead[last],
            past=at[last.cpu, last.nip + WORD, last.ea, last.guest_real],
            lpids=known_lpids,
        )


def of_kernel(last: Storage) -> bool:
    """Whether both the access and its instruction are in the kernel's quadrant, which is the same in every process."""
    return last.relocated and bool(quadrant(last.ea)) and (bool(quadrant(last.nip)) or not last.msr & MSR_IR)


def same_place(answer: Translation, last: Storage) -> bool:
    """Whether this translation of the EA comes to the guest real address that was recorded."""
    at = answer.table_gra if last.of_table else answer.gra
    return at is not None and at & ~LEAST_PAGE == last.guest_real & ~LEAST_PAGE


def unbacked(owner: Owner) -> bool:
    """Whether the host has nothing behind the guest real address, rather than an entry that cannot be read."""
    return not owner.data.ok and owner.data.stage == 2 and owner.data.cause == "not-present"


def together(last: Storage, owners: tuple[Owner, ...]) -> Storage:
    """The same with these owners, each told of how many others there are."""
    return replace(last, owners=tuple(replace(each, others=len(owners) - 1) for each in owners))


def times(last: Storage) -> str:
    """In how many samples it was seen, to follow what was."""
    entering = last.canaries and not last.fetched
    if last.samples == 1:
        return ", which KVM is about to enter it at again" if entering else ""
    canary = f"; in {last.canaries} of them KVM is about to enter it again" if entering else ""
    reading = f"; in {last.instead} more KVM was reading its instruction" if last.instead else ""
    return f" in {last.seen} of {last.samples} samples{canary}{reading}"


def instruction(text: str) -> str:
    """The instruction in brackets, to follow its address; "" where it is not known."""
    return f" ({text})" if text else ""


def finding_of(
    last: Storage,
    owner: Owner,
    sure: Confidence,
    walker: str | None,
    evidence: Iterable[str],
    errno: str | None = None,
) -> Found:
    """A guest's storage interrupt and the process that it is of, put as a finding."""
    return Found(
        sure,
        last.cpu,
        owner.lpid,
        owner.pid,
        last.nip,
        last.ea,
        last.guest_real,
        walker,
        errno,
        evidence=tuple(evidence),
    )
