"""What triage goes by: all that is gathered from a guest and its samples, for causes to look for their signatures."""

from __future__ import annotations

from dataclasses import dataclass, field

from inspector.guest import Guest
from inspector.triage.devices import Devices, Watch
from inspector.triage.found import ENOUGH
from inspector.triage.held import not_held
from inspector.triage.hostkernel import HostWalk
from inspector.triage.leading import Leads
from inspector.triage.orphans import Orphan, orphans
from inspector.triage.owners import Search
from inspector.triage.samples import Sample, Sampling
from inspector.triage.storage import Storage, last_interrupts
from inspector.triage.stuck import Stuck, stuck
from inspector.triage.vcpus import Vcpu, seen


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the signatures of causes are looked for in."""

    sampling: Sampling
    storage: tuple[Storage, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    orphans: tuple[Orphan, ...] = ()
    moved: frozenset[int] = frozenset()
    """vCPUs whose NIP was not the same in all samples."""
    devices: Devices = field(default_factory=Devices)
    vcpus: tuple[Vcpu, ...] = ()
    missed: tuple[str, ...] = ()
    """What could not be looked at, a sentence each."""

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.sampling.samples)


def gathered(
    guest: Guest, sampling: Sampling, watch: Watch, *, every: bool = False, host: HostWalk | None = None
) -> Evidence:
    """All of it, of a guest that stands still and was sampled; ``every`` vCPU is looked at closely, however many there
    are. ``host`` is the kernel whose walk counts for its guests, None where it is to be found."""
    missed = list(not_held(guest, sampling.samples[-1].cpus if sampling.samples else {}))
    storage = Search(guest, sampling.samples, missed, host).of_all(last_interrupts(sampling.samples))
    again = stuck(guest, sampling.samples, ENOUGH)
    lost = orphans(guest, sampling.samples)
    devices = watch.devices(sampling, missed)
    leads = Leads(guest, devices.state[-1] if devices.state else None)
    vcpus = seen(guest, sampling, leads, {each.cpu for found in (storage, again, lost) for each in found}, every)
    return Evidence(sampling, storage, again, lost, moved(sampling.samples), devices, vcpus=vcpus, missed=tuple(missed))


def moved(samples: list[Sample]) -> frozenset[int]:
    """The vCPUs whose NIP was not the same in all samples."""
    nips: dict[int, set[int | None]] = {}
    for sample in samples:
        for cpu, known in sample.cpus.items():
            nips.setdefault(cpu, set()).add(known.get("nip"))
    return frozenset(cpu for cpu, seen in nips.items() if len(seen) > 1)
