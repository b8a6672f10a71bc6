"""What a stuck access is a case of, and how a finding of it is put. Every cause of the hardware's walk leads to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inspector.linux.regions import IO_REGIONS, region_of
from inspector.radix.bits import PTE_PRIVILEGED, RPDB_MASK, RPDS_MASK
from inspector.radix.translation import Step, Translation
from inspector.triage.evidence import Evidence
from inspector.triage.found import ENOUGH, Confidence, Found
from inspector.triage.held import SEGMENT, STOPS_SOME
from inspector.triage.storage import instruction
from inspector.triage.stuck import Stuck

KINDS = {"r": "a load", "w": "a store", "x": "the fetch of itself"}
OUTSIDE = {
    "radix": "directory-outside-ram",
    "process-table": "process-table-outside-ram",
    "partition-table": "partition-entry-bad",
}
BY_CAUSE = {
    "process-entry-empty": "process-entry-cleared",
    "pid-beyond-table": "pid-past-table",
    "process-table-misaligned": "bad-configuration",
    "tree-size": "bad-configuration",
    "table-size": "bad-configuration",
    "no-leaf": "bad-configuration",
    "partition-table-misaligned": "partition-entry-bad",
    "partition-not-radix": "partition-entry-bad",
    "lpid-beyond-table": "partition-entry-bad",
    "lpid-zero": "partition-entry-bad",
    "privilege": "privileged-from-user",
    **dict.fromkeys(SEGMENT, "ea-out-of-range"),
}
"""Causes of a walk that are the same whatever the access and the stage."""
OTHER = "access-faults"


def slug_of(each: Stuck) -> str:
    """The one cause that a stuck access is a case of."""
    answer = each.answer
    cause, fetch = answer.cause, answer.access == "x"
    if answer.ok:
        return "rc-not-settable"
    if cause in BY_CAUSE:
        return BY_CAUSE[cause]
    if cause == "table-not-ram":
        return OUTSIDE[answer.steps[-1].table] if answer.steps else OTHER
    second = (answer.stage or 1) > 1
    if cause == "not-present":
        if misaligned(answer) is not None:
            return "directory-misaligned"
        if second:
            return "second-stage-hole"
        return "mmio-page-not-mapped" if _of_a_device(each) and not fetch else "page-not-mapped"
    if second and cause in ("protection", "guarded"):
        return "second-stage-protection"
    if cause in ("protection", "guarded", "key") and fetch:
        return "execute-protected"
    if cause == "key":
        return "key-closed"
    return "write-protected" if cause == "protection" and answer.access == "w" else OTHER


def _of_a_device(each: Stuck) -> bool:
    region = region_of(each.answer.ea)
    return region is not None and region.name in IO_REGIONS


def misaligned(answer: Translation) -> Step | None:
    """The last entry on the way of the tree walk that ended it whose table's base is not aligned to that table's
    size."""
    stage = answer.stage or 1
    found = None
    for step in answer.steps:
        root = step.table != "radix" and (step.table == "process-table") == (stage == 1)
        if step.stage != stage or step.value is None:
            continue
        if step.kind == "leaf":
            found = None  # of a walk that went well
        elif (root or step.kind == "directory") and step.value & RPDB_MASK & ((8 << (step.value & RPDS_MASK)) - 1):
            found = step
    return found


def signature(slug: str) -> Callable[[Evidence], Iterator[Found]]:
    """Every stuck access that is a case of this."""

    def found(evidence: Evidence) -> Iterator[Found]:
        for each in evidence.stuck:
            if slug_of(each) == slug:
                yield found_at(evidence, each, slug)

    return found


def found_at(evidence: Evidence, each: Stuck, slug: str) -> Found:
    """A stuck access, put as a finding."""
    answer = each.answer
    times = "" if evidence.samples == 1 else f" in {each.seen} of {evidence.samples} samples"
    return Found(
        _sure(each),
        each.cpu,
        answer.lpid,
        answer.pid,
        each.nip,
        answer.ea,
        _real(answer, slug),
        answer.walker,
        evidence=(_where(each, times), _what(each), *_end(answer, slug), _record(each), *_doubt(each)),
    )


def _sure(each: Stuck) -> Confidence:
    if each.paging:
        return "medium" if each.refused >= STOPS_SOME else "low"
    return "high" if each.seen >= ENOUGH else "medium"


def _doubt(each: Stuck) -> Iterator[str]:
    if each.paging and each.refused >= STOPS_SOME:
        yield (
            f"the tables refused it at {each.refused} stops while it was watched, and allowed it at none; a program "
            "that gives a huge page back and touches it again, over and over, looks much the same"
        )
    elif each.paging:
        yield (
            "it was not seen to be gone back to with the tables as they are: a program that gives a page back and "
            "touches it again, over and over, looks the same"
        )
    elif each.refused:
        yield f"the tables refused it at {each.refused} stops while it was watched, and allowed it at none"


def _real(answer: Translation, slug: str) -> int | None:
    """The real address that it is about: of the table's entry where a table is at fault, else of the page."""
    if slug in ("directory-outside-ram", "process-table-outside-ram", "process-entry-cleared", "partition-entry-bad"):
        return answer.steps[-1].address if answer.steps else None
    if slug == "directory-misaligned":
        step = misaligned(answer)
        return None if step is None else step.address
    return answer.gra if answer.table_gra is None else answer.table_gra


def _where(each: Stuck, times: str) -> str:
    register = "HSRR0" if each.record.hypervisor else "SRR0"
    if each.handling:
        return (
            f"vCPU {each.cpu} holds the same interrupt{times}: {register} says that it came from "
            f"{each.nip:#x}{instruction(each.text)}"
        )
    return (
        f"vCPU {each.cpu} comes back to NIP {each.nip:#x}{instruction(each.text)}{times}, which is where {register} "
        "says that its last interrupt came from"
    )


def _what(each: Stuck) -> str:
    answer = each.answer
    who = "user" if each.user else "privileged"
    access = f"{KINDS[answer.access or 'r']} at {answer.ea:#x} by {who} code"
    if answer.ok:
        bit = "R or C" if answer.access == "w" else "R"
        return f"{access} is allowed by the tables, but a leaf on its way has {bit} clear, which it has to set"
    return f"{access} would fault now: {answer.reason}"


def _end(answer: Translation, slug: str) -> Iterator[str]:
    """The entry at which the walk ends, and what is at fault with it or before it."""
    if slug == "directory-misaligned":
        step = misaligned(answer)
        if step is not None and step.value is not None:
            base, size = step.value & RPDB_MASK, 8 << (step.value & RPDS_MASK)
            yield (
                f"{_entry(step)}, gives its next table the base {base:#x}, which is not a multiple of that table's "
                f"{size:#x} bytes: the MMU looks elsewhere than whoever wrote it"
            )
    if not answer.steps:
        return
    last = answer.steps[-1]
    if last.value is None:
        yield f"the walk ends at {_name(last)} at {last.address:#x}, where no RAM is"
        return
    privileged = ""
    if last.kind == "leaf" and last.stage == 1:
        privileged = ", for privileged code only" if last.value & PTE_PRIVILEGED else ", a user's page"
    yield f"the walk ends at {_entry(last)}{privileged}"


def _entry(step: Step) -> str:
    return f"{_name(step)} at {step.address:#x}, {step.value or 0:#018x}"


def _name(step: Step) -> str:
    if step.table != "radix":
        return f"the {step.table} entry {step.index}"
    stage = "" if step.stage == 1 else f" of stage {step.stage}"
    return f"the level {step.level} entry{stage}"


def _record(each: Stuck) -> str:
    where, why = each.record.registers
    if each.answer.cause in SEGMENT:
        return f"{where} {each.record.ea:#x} records just this: a segment interrupt leaves no cause"
    return f"{where} {each.record.ea:#x} and {why} {each.record.bits:#x} record just this"
