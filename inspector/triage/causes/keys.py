"""Key 0 of AMR, by which Linux keeps its own code from user pages (KUAP): left closed, or left open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inspector.radix.bits import AMR_NO_READ, AMR_NO_WRITE, MSR_EE, MSR_IR, MSR_PR
from inspector.triage.causes.accesses import signature
from inspector.triage.evidence import Evidence
from inspector.triage.found import ENOUGH, Cause, Found

BOTH = AMR_NO_READ | AMR_NO_WRITE
MOST_STATES = 3
"""Of registers and NIP, that a short loop shows: one that copies has others at each turn."""
MOST_OF_THEM = 0.75
"""Of a vCPU's samples; in the rest interrupts may have shut the key for their while."""
RUNNING = ("nip", "lr", "ctr", *(f"r{number}" for number in range(32)))


def _kernels(known: Mapping[str, int]) -> bool:
    """Whether it is the kernel's, with its addresses translated and interrupts on: where one has just been taken they
    are off, and the key is not shut yet."""
    return known.get("msr", 0) & (MSR_PR | MSR_IR | MSR_EE) == MSR_IR | MSR_EE and "amr" in known


def _open(evidence: Evidence) -> Iterator[Found]:
    """A vCPU that stays in one short loop of the kernel with the key open, where the kernel is seen to shut it
    elsewhere. A long copy has it open in many samples too, but its registers go on."""
    samples = evidence.sampling.samples
    shut = [
        cpu
        for sample in samples
        for cpu, known in sample.cpus.items()
        if _kernels(known) and known["amr"] & BOTH == BOTH
    ]
    for cpu in sorted({cpu for sample in samples for cpu in sample.cpus}):
        seen = [sample.cpus[cpu] for sample in samples if cpu in sample.cpus and not sample.halted.get(cpu)]
        opened = [known for known in seen if _kernels(known) and known["amr"] & BOTH != BOTH]
        if len(opened) < ENOUGH or len(opened) < MOST_OF_THEM * len(samples) or not shut:
            continue
        if any(known.get("msr", 0) & MSR_PR for known in seen):
            continue
        states = {tuple(known.get(name) for name in RUNNING) for known in opened}
        if len(states) > min(MOST_STATES, len(opened) - ENOUGH + 1):
            continue
        last = opened[-1]
        yield Found(
            "low",
            cpu,
            last.get("lpidr"),
            last.get("pid"),
            last.get("nip"),
            evidence=(
                f"vCPU {cpu} is in the kernel at NIP {last.get('nip', 0):#x} in {len(opened)} of {len(samples)} "
                "samples and comes no further",
                f"AMR {last['amr']:#x} leaves key 0 open there, so that the kernel may touch user pages",
                f"the kernel is seen with key 0 shut on vCPU {shut[0]}, so it does shut it",
            ),
        )


CAUSES: tuple[Cause, ...] = (
    Cause(
        "key-closed",
        "a key forbids it (KUAP left closed)",
        "Key 0 of AMR forbids data accesses to user pages: the kernel touches user memory outside of its windows for "
        "that.",
        "Look for a path that closes the window too early, or that forgot to open it: 'regs' shows AMR.",
        signature("key-closed"),
    ),
    Cause(
        "key-open",
        "the kernel comes no further with user memory open to it (KUAP left open)",
        "Key 0 of AMR is open, as it should be for the length of a copy from or to user memory only.",
        "Look at what it waits for by its back trace, and which path opened the window: 'regs' shows AMR and LR.",
        _open,
    ),
)
