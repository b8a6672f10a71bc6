"""Accesses that a tree of tables does not lead on, or forbids, again and again."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.triage.causes import registers, walks
from inspector.triage.causes.accesses import OTHER, signature
from inspector.triage.evidence import Evidence
from inspector.triage.found import Cause, Found


def _cause(slug: str, title: str, meaning: str, advice: str) -> Cause:
    return Cause(slug, title, meaning, advice, signature(slug))


def _mmio_not_mapped(evidence: Evidence) -> Iterator[Found]:
    """By an access that faults, and by a device whose registers nothing maps."""
    yield from signature("mmio-page-not-mapped")(evidence)
    yield from registers.not_mapped(evidence)


def _second_stage_hole(evidence: Evidence) -> Iterator[Found]:
    """By a vCPU's own interrupt, and by what a KVM guest left in one."""
    yield from signature("second-stage-hole")(evidence)
    yield from walks.hole(evidence)


CAUSES: tuple[Cause, ...] = (
    Cause(
        "mmio-page-not-mapped",
        "a device's page is not mapped",
        "No entry leads to a device's registers where the kernel maps devices, or on from where it touches them.",
        "Look for who unmapped it, or never mapped it: 'xlate' shows where the walk ends, 'maps' what is there.",
        _mmio_not_mapped,
    ),
    _cause(
        "page-not-mapped",
        "a page that is touched is not mapped, and the interrupt did not map it",
        "The instruction faults, the handler returns to it, and the tables are as they were.",
        "Look at what the handler does with it: 'xlate' shows where the walk ends.",
    ),
    _cause(
        "directory-misaligned",
        "a directory's base is not aligned to its table",
        "Low bits of the base are dropped (the ISA wants them 0), so the MMU reads other entries than were written, "
        "and none of these leads on. QEMU 7.2 takes a guest's misaligned root as it stands.",
        "Look at how the table that it names was allocated and its address put in: it has to be aligned to its size.",
    ),
    _cause(
        "directory-outside-ram",
        "a directory names a table where no RAM is",
        "The walk is led to an address that nothing is behind. QEMU reads zeros there, so that nothing seems mapped; a "
        "real machine may check-stop.",
        "Look at who wrote that entry, and whether its memory was taken away: 'xlate' shows it, 'ram' what RAM there "
        "is.",
    ),
    _cause(
        "bad-configuration",
        "an entry describes a table that cannot be",
        "A table's size (NLS, RPDS), the tree's (RTS) or a table's alignment is none that the MMU supports, or the "
        "walk comes to a directory where only a leaf may stand.",
        "Look at that entry by 'xlate': POWER9 and POWER10 take RTS 52 bits and tables of 2^13, 2^9, 2^9, and 2^9 or "
        "2^5 entries.",
    ),
    _cause(
        "privileged-from-user",
        "user code touches a privileged page",
        "The leaf is for privileged code only (EAA[0]), and MSR[PR] is set.",
        "Look at how the page came to be the kernel's, or the vCPU to problem state: 'xlate' shows the leaf.",
    ),
    _cause(
        "execute-protected",
        "the code's page cannot be executed",
        "The leaf has no execute right, is a device's (non-idempotent I/O is guarded), or key 0 of IAMR forbids the "
        "kernel to run a user's page (KUEP).",
        "Look at the leaf by 'xlate', and at IAMR by 'regs'.",
    ),
    _cause(
        "write-protected",
        "a page that is stored to is not writable, and the interrupt did not make it so",
        "The leaf has no write right; a handler that copies on write would have given it one, or have ended who asks.",
        "Look at what the handler does with it, and at the leaf by 'xlate'.",
    ),
    Cause(
        "second-stage-hole",
        "nothing is behind a guest real address",
        "The guest's own tables lead on, and the partition-scoped tree of its hypervisor has nothing there: the "
        "hypervisor takes the interrupt, and returns with the hole as it was.",
        "Look at why the hypervisor does not fill it: 'xlate' shows both stages, 'maps --partition' what is there.",
        _second_stage_hole,
    ),
    _cause(
        "second-stage-protection",
        "the hypervisor's tables forbid what the guest's allow",
        "The partition-scoped leaf lacks the right, or is a device's where code is fetched.",
        "Look at that leaf by 'xlate', and at why the hypervisor does not give the right.",
    ),
    _cause(
        "rc-not-settable",
        "the reference or change bit is not set, however often it is asked for",
        "The access is allowed, but R or C is clear in a leaf; this CPU leaves it to software to set them "
        "(DSISR_SET_RC, as QEMU does from 10.0), and none does.",
        "Look at whether the handler sets R and C, and in that very leaf: 'xlate' shows it.",
    ),
    _cause(
        "ea-out-of-range",
        "the address is one that no tree translates",
        "It has bits set above the 52 that a tree covers, or lies in a quadrant that only a hypervisor may use: a "
        "segment interrupt, which nothing in the tables can mend.",
        "Look at where the address comes from: the registers of the instruction, or the pointer that was jumped to.",
    ),
    _cause(
        OTHER,
        "an access faults, and nothing mends that",
        "The instruction faults, the handler returns to it, and the tables are as they were.",
        "'why' and 'xlate' show what forbids it.",
    ),
)
