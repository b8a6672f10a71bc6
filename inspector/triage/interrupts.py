"""What one vCPU's registers hold, at one stop, of a KVM guest's last hypervisor storage interrupt, and of what KVM made
of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.radix.address import quadrant
from inspector.radix.bits import MSR_HV
from inspector.radix.prediction import FETCH_ONLY, SHARED, SRR1_CAUSES
from inspector.triage.found import ENOUGH

if TYPE_CHECKING:
    from inspector.triage.samples import Sample

OF_PROCESS, OF_KERNEL = 1, 2
"""The quadrants by which KVM has the MMU read a guest's code: of a process's, and of its kernel's, for which PID is 0
(Linux 6.1, ``__kvmhv_copy_tofrom_guest_radix``). No guest's own access is in them: it would be a segment interrupt."""
IN_QUADRANT = (1 << 62) - 1
FETCH, DATA = "fetch", "data"


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A guest's: its NIP, MSR, EA and guest real address, of its data or of a fetch."""

    cpu: int
    nip: int
    msr: int
    ea: int
    guest_real: int
    kind: str


def interrupt_of(cpu: int, known: Mapping[str, int]) -> Interrupt | None:
    """The one that these registers hold, if they hold one.

    HSRR0 and HSRR1 are a guest's only where HSRR1[HV] is 0: an interrupt of the host's own takes them too, one that KVM
    brings about by reading the guest's code among them, which takes the others as well; only the first two are the
    guest's again when it is entered. Where ASDR and HDAR are 0 there was none."""
    nip, msr, at = (known.get(name) for name in ("hsrr0", "hsrr1", "asdr"))
    if nip is None or msr is None or at is None or msr & MSR_HV or not msr:
        return None
    if msr & (FETCH_ONLY | SHARED) and at:
        return Interrupt(cpu, nip, msr & ~SRR1_CAUSES, nip, at, FETCH)
    ea = known.get("hdar")
    if ea is None or not known.get("hdsisr") or not (ea or at) or quadrant(ea) in (OF_PROCESS, OF_KERNEL):
        return None
    return Interrupt(cpu, nip, msr, ea, at, DATA)


def sought(known: Mapping[str, int]) -> frozenset[int]:
    """What KVM had the MMU look for last, in vain, as addresses without their quadrants: instructions of a guest's. It
    is DAR that tells where the guest's own tables refuse it, and HDAR where the host's do."""
    addresses = (known.get(name, 0) for name in ("dar", "hdar"))
    return frozenset(each & IN_QUADRANT for each in addresses if quadrant(each) in (OF_PROCESS, OF_KERNEL))


def seeks(known: Mapping[str, int], nip: int) -> bool:
    """Whether it is the instruction there that KVM had looked for last."""
    return nip & IN_QUADRANT in sought(known)


def hidden(samples: list[Sample]) -> set[int]:
    """The vCPUs that had KVM look for one and the same instruction of a guest's in ENOUGH samples, of which none holds
    the interrupt that it is looked for after: more samples may. Only of those that were in a guest meanwhile, as LPIDR
    tells or HDSISR, which KVM sets as it enters one: others hold what was long ago."""
    times: Counter[tuple[int, int]] = Counter()
    causes: dict[tuple[int, int], set[int | None]] = {}
    told: set[tuple[int, int]] = set()
    entered: set[int] = set()
    for sample in samples:
        for cpu, known in sample.cpus.items():
            last = interrupt_of(cpu, known)
            if last is not None:
                told.add((cpu, last.nip & IN_QUADRANT))
            if known.get("lpidr"):
                entered.add(cpu)
            if not sample.halted.get(cpu):
                for nip in sought(known):
                    times[cpu, nip] += 1
                    causes.setdefault((cpu, nip), set()).add(known.get("hdsisr"))
    return {
        cpu
        for (cpu, nip), often in times.items()
        if often >= ENOUGH and (cpu, nip) not in told and (cpu in entered or len(causes[cpu, nip]) > 1)
    }
