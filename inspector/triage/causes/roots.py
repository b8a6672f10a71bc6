"""Process and partition tables that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.triage.causes.accesses import signature
from inspector.triage.evidence import Evidence
from inspector.triage.found import Cause, Confidence, Found


def _of(slug: str, cause: str, evidence: Evidence) -> Iterator[Found]:
    """The accesses that are stuck by it, and the vCPUs that run a user's code in spite of it."""
    stuck = list(signature(slug)(evidence))
    yield from stuck
    told = {(each.lpid, each.pid) for each in stuck}
    for each in evidence.orphans:
        fetch = each.fetch
        if fetch.cause != cause or (fetch.lpid, fetch.pid) in told:
            continue
        times = "" if evidence.samples == 1 else f" in {each.seen} of {evidence.samples} samples, the last among them"
        end: tuple[str, ...] = ()
        if fetch.steps:
            entry = fetch.steps[-1]
            end = (f"its entry is at {entry.address:#x} and holds {entry.value or 0:#x}",)
        confidence: Confidence = "high" if each.seen > 1 else "medium"
        yield Found(
            confidence,
            each.cpu,
            fetch.lpid,
            fetch.pid,
            each.nip,
            each.nip,
            fetch.steps[-1].address if fetch.steps else None,
            fetch.walker,
            evidence=(
                f"vCPU {each.cpu} runs user code of PID {fetch.pid}{times}, at NIP {each.nip:#x}",
                f"a walk for its next instruction fails: {fetch.reason}",
                *end,
                "it goes by translations that were kept from before; the next that has to be looked up faults",
            ),
        )


def _cleared(evidence: Evidence) -> Iterator[Found]:
    return _of("process-entry-cleared", "process-entry-empty", evidence)


def _past(evidence: Evidence) -> Iterator[Found]:
    return _of("pid-past-table", "pid-beyond-table", evidence)


CAUSES: tuple[Cause, ...] = (
    Cause(
        "process-entry-cleared",
        "the process table has no entry for the PID that runs",
        "PIDR names a process whose process-table entry is empty: it was cleared, or never written, while the process "
        "runs. What its vCPU keeps of earlier walks may carry it a while; then every user address faults.",
        "Look at who clears it: an address space that is torn down while one of its threads runs, or a PID that was "
        "given away twice. 'xlate' shows the entry, 'regs' PIDR.",
        _cleared,
    ),
    Cause(
        "pid-past-table",
        "the PID lies past the process table",
        "PIDR names a process beyond the last entry of the process table, so that no user address can be translated.",
        "Compare the size that was registered for the process table with the PIDs that are given out: 'roots', 'regs'.",
        _past,
    ),
    Cause(
        "process-table-outside-ram",
        "the process table lies where no RAM is",
        "The walk reads its process's entry where nothing is behind the address.",
        "Look at the address that was registered for the process table: 'roots' shows it.",
        signature("process-table-outside-ram"),
    ),
    Cause(
        "partition-entry-bad",
        "the partition table leads nowhere",
        "PTCR or the partition's entry describes no radix tables: it is misaligned or outside RAM, the LPID lies past "
        "it, HR is clear in the entry, or LPID is 0 without MSR[HV].",
        "Look at PTCR and LPIDR by 'regs', and at the entry by 'lpids'.",
        signature("partition-entry-bad"),
    ),
)
