"""vCPUs that run a user's code though the process table has nothing for its PID: the translations that they go by were
kept from before, and the next that has to be looked up fails."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.errors import InspectorError, TargetError
from inspector.guest import Guest
from inspector.radix.bits import MSR_IR, MSR_PR
from inspector.radix.translation import Translation
from inspector.triage.samples import Sample
from inspector.walkers import hardware

ROOTLESS = ("process-entry-empty", "pid-beyond-table")


@dataclass(frozen=True, slots=True)
class Orphan:
    """One: ``fetch`` is what a walk for its next instruction meets. ``seen`` is in how many samples it ran user code of
    this PID."""

    cpu: int
    nip: int
    fetch: Translation
    seen: int


def orphans(guest: Guest, samples: list[Sample]) -> tuple[Orphan, ...]:
    """All of the last sample, which is of the tables as they are now.

    Only user code tells: Linux leaves PIDR at the last user's process while it runs kernel threads or idles, and clears
    that process's entry once it is gone (``radix__destroy_context``, ``arch_exit_mmap``, Linux 6.1)."""
    found = []
    for cpu, known in samples[-1].cpus.items() if samples else ():
        nip, msr, pid = known.get("nip"), known.get("msr"), known.get("pid")
        if nip is None or msr is None or not pid or samples[-1].halted.get(cpu):
            continue
        if msr & (MSR_PR | MSR_IR) != MSR_PR | MSR_IR or guest.roots.state != "radix":
            continue
        try:
            fetch = hardware(guest, guest.context(cpu), nip, "x", None)
        except TargetError:
            raise
        except InspectorError:
            continue
        if fetch.cause in ROOTLESS and fetch.stage == 1 and fetch.pid == pid:
            found.append(Orphan(cpu, nip, fetch, _seen(samples, cpu, pid, known.get("lpidr"))))
    return tuple(found)


def _seen(samples: list[Sample], cpu: int, pid: int, lpidr: int | None) -> int:
    """In how many samples the vCPU ran user code of this PID."""
    all_of_it = (sample.cpus.get(cpu, {}) for sample in samples)
    return sum(
        bool(known.get("msr", 0) & MSR_PR) and known.get("pid") == pid and known.get("lpidr") == lpidr
        for known in all_of_it
    )
