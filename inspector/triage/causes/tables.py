"""Accesses that the tables or the keys forbid, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inspector.linux.regions import IO_REGIONS, region_of
from inspector.triage.evidence import Evidence
from inspector.triage.found import ENOUGH, Cause, Found
from inspector.triage.storage import instruction
from inspector.triage.stuck import Stuck


def _stuck(evidence: Evidence, matches: Callable[[Stuck], bool]) -> Iterator[Found]:
    for each in evidence.stuck:
        if not matches(each):
            continue
        answer = each.answer
        kind = {"r": "a load", "w": "a store", "x": "the fetch of itself"}[answer.access or "r"]
        times = "" if evidence.samples == 1 else f" in {each.seen} of {evidence.samples} samples"
        yield Found(
            "high" if each.seen >= ENOUGH else "medium",
            each.cpu,
            answer.lpid,
            answer.pid,
            each.nip,
            answer.ea,
            answer.gra,
            answer.walker,
            evidence=(
                _where(each, times),
                f"{kind} at {answer.ea:#x} by {'user' if each.user else 'privileged'} code would fault now: "
                f"{answer.reason}",
                f"{each.record.registers[0]} {each.record.ea:#x} and {each.record.registers[1]} "
                f"{each.record.bits:#x} record just this",
            ),
        )


def _where(each: Stuck, times: str) -> str:
    register = "HSRR0" if each.record.hypervisor else "SRR0"
    if each.handling:
        return (
            f"vCPU {each.cpu} holds the same interrupt{times}: {register} says that it came from "
            f"{each.nip:#x}{instruction(each.text)}"
        )
    return (
        f"vCPU {each.cpu} is at NIP {each.nip:#x}{instruction(each.text)}{times}, which is where {register} says "
        "that its last interrupt came from"
    )


def _not_mapped(each: Stuck) -> bool:
    return each.answer.cause in ("not-present", "no-process-table", "process-entry-empty") and each.answer.access != "x"


def _of_a_device(each: Stuck) -> bool:
    region = region_of(each.answer.ea)
    return region is not None and region.name in IO_REGIONS


def _mmio_not_mapped(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: _not_mapped(each) and _of_a_device(each))


def _page_not_mapped(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: _not_mapped(each) and not _of_a_device(each))


def _key_closed(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: each.answer.cause == "key" and each.answer.access != "x")


def _privileged(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: each.answer.cause == "privilege" and each.user)


def _execute(evidence: Evidence) -> Iterator[Found]:
    causes = ("protection", "guarded", "key")
    yield from _stuck(evidence, lambda each: each.answer.cause in causes and each.answer.access == "x")


CAUSES: tuple[Cause, ...] = (
    Cause(
        "mmio-page-not-mapped",
        "a device's page is not mapped",
        "The kernel touches an address where it maps devices, and no entry leads on from there.",
        "Look for who unmapped it, or never mapped it: 'xlate' shows where the walk ends, 'maps' what is there.",
        _mmio_not_mapped,
    ),
    Cause(
        "page-not-mapped",
        "a page that is touched is not mapped, and the interrupt did not map it",
        "The instruction faults, the handler returns to it, and the tables are as they were.",
        "Look at what the handler does with it: 'xlate' shows where the walk ends.",
        _page_not_mapped,
    ),
    Cause(
        "key-closed",
        "a key forbids it (KUAP left closed)",
        "AMR forbids data accesses through key 0: the kernel touches user memory outside of its windows for that.",
        "Look for a path that closes the window too early, or that forgot to open it: 'regs' shows AMR.",
        _key_closed,
    ),
    Cause(
        "privileged-from-user",
        "user code touches a privileged page",
        "The leaf is for privileged code only (EAA[0]), and MSR[PR] is set.",
        "Look at how the page came to be the kernel's, or the vCPU to problem state: 'xlate' shows the leaf.",
        _privileged,
    ),
    Cause(
        "execute-protected",
        "the code's page cannot be executed",
        "The leaf has no execute right, is a device's, or IAMR forbids it (KUEP).",
        "Look at the leaf by 'xlate', and at IAMR by 'regs'.",
        _execute,
    ),
)
