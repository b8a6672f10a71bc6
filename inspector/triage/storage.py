"""A KVM guest's last hypervisor storage interrupt, as a host's vCPU still holds it, and whose tables it is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from inspector import partitions
from inspector.errors import InspectorError, TargetError
from inspector.fetching import fetched
from inspector.guest import Guest
from inspector.radix.address import quadrant
from inspector.radix.bits import MSR_DR, MSR_HV, MSR_IR, MSR_LE
from inspector.radix.prediction import HDSISR_CANARY, LEAST_PAGE
from inspector.radix.software_walk import VARIANTS
from inspector.radix.translation import Translation
from inspector.triage.samples import Sample

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


def with_owners(guest: Guest, last: Storage, missed: list[str]) -> Storage:
    """The same with those whose tables lead there; what could not be followed is added to ``missed``."""
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
    return replace(last, owners=tuple(owners))


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


def unbacked(owner: Owner) -> bool:
    """Whether the host has nothing behind the guest real address, rather than an entry that cannot be read."""
    return not owner.data.ok and owner.data.stage == 2 and owner.data.cause == "not-present"


def times(last: Storage) -> str:
    """In how many samples it was seen, to follow what was."""
    if last.samples == 1:
        return ", which KVM is about to enter it at again" if last.canaries else ""
    canary = f"; in {last.canaries} of them KVM is about to enter it again" if last.canaries else ""
    return f" in {last.seen} of {last.samples} samples{canary}"


def instruction(text: str) -> str:
    """The instruction in brackets, to follow its address; "" where it is not known."""
    return f" ({text})" if text else ""
