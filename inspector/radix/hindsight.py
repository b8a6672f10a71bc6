"""What a vCPU's registers recorded of a fault, held to what the tables say now; and where they differ, why.

Pure: the answers are the caller's, asked as the vCPU is and as it was when it was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from inspector.radix.address import quadrant
from inspector.radix.bits import (
    DSISR_BADCONFIG,
    DSISR_ISSTORE,
    DSISR_NOEXEC_OR_GUARDED,
    DSISR_NOPTE,
    DSISR_PROTFAULT,
    DSISR_PRTABLE_FAULT,
    DSISR_SET_RC,
)
from inspector.radix.prediction import LEAST_PAGE, RADIX_CAUSES, Prediction, Record
from inspector.radix.translation import Translation

Verdict = Literal["agrees", "other-address", "other-partition", "changed-since", "other-walker", "not-radix"]

SAID: Mapping[int, str] = MappingProxyType(
    {
        DSISR_PRTABLE_FAULT: "an entry of the tables could not be reached",
        DSISR_BADCONFIG: "the tables were of an unsupported shape",
        DSISR_NOPTE: "no translation was found",
        DSISR_NOEXEC_OR_GUARDED: "the page could not be executed",
        DSISR_PROTFAULT: "the access was not permitted",
        DSISR_SET_RC: "R or C could not be set",
    }
)
"""What each cause came to, the weightiest first."""
ERRNO_BITS: Mapping[str, int] = MappingProxyType(
    {"EINVAL": DSISR_BADCONFIG, "ENOENT": DSISR_NOPTE, "EFAULT": DSISR_PRTABLE_FAULT}
)
"""What KVM makes of its software walk's errno for a guest (Linux 6.1, ``kvmhv_translate_addr_nested``)."""


@dataclass(frozen=True, slots=True)
class Held:
    """A record, and what is to be said of it."""

    record: Record
    verdict: Verdict
    says: str


@dataclass(frozen=True, slots=True)
class Now:
    """The same access by the tables as they are: ``state`` says as what kind of vCPU it was asked."""

    state: str
    answer: Translation
    prediction: Prediction | None


def elsewhere(record: Record) -> Held:
    """Of a record that is of another page."""
    return Held(record, "other-address", f"{record.registers[0]} is of another address; it says nothing of this one")


def out_of_a_guest(record: Record) -> Held:
    """Of what a guest met, where the vCPU runs the host by now."""
    says = (
        "it was recorded while a guest ran, and LPIDR is the host's now; name the guest with --lpid N, its process "
        "with --pid P, and --as-of hsrr1"
    )
    return Held(record, "other-partition", says)


def held(record: Record, asked: Sequence[Now], software: Translation | None) -> Held:
    """A record of this page, held to what each of ``asked`` predicts: one that agrees is enough. ``software`` is KVM's
    walk of the same address where there is one."""
    for now in asked:
        if _same(record, now.prediction) or _same(record, now.prediction and now.prediction.older_qemu):
            return Held(record, "agrees", f"the tables explain it {now.state}")
    foreign = record.bits & ~RADIX_CAUSES
    if foreign:
        says = (
            f"{record.registers[1]} has bits ({foreign:#x}) that the radix MMU does not set: a watchpoint, the hashed "
            "page table's walk, or an instruction that may not be used there"
        )
        return Held(record, "not-radix", says)
    now = next((each for each in asked if each.answer.ok), asked[0])
    if software is not None and now.answer.ok and record.bits & ERRNO_BITS.get(software.errno or "", 0):
        says = (
            f"the hardware finds a page, and KVM's software walk ends in {software.errno} ({software.reason}): it was "
            "KVM that walked, and told the guest"
        )
        return Held(record, "other-walker", says)
    return Held(record, "changed-since", _changed(record, now))


def _same(record: Record, prediction: Prediction | None) -> bool:
    if prediction is None or prediction.name.startswith("H") != record.hypervisor:
        return False
    if record.access is None:
        return prediction.name == "DSEG"
    if prediction.bits != record.bits or (record.access == "x") != prediction.name.endswith("ISI"):
        return False
    asdr = prediction.registers.get("asdr")
    return asdr is None or record.guest_real is None or record.guest_real & ~LEAST_PAGE == asdr & ~LEAST_PAGE


def _cause(bits: int) -> str:
    return next((words for bit, words in SAID.items() if bits & bit), "no cause is said")


def _changed(record: Record, now: Now) -> str:
    if record.access is None:
        then = "only DAR is set, as a segment interrupt leaves it"
    else:
        kind = {"r": "a load", "w": "a store", "x": "a fetch"}[record.access]
        then = f"{_cause(record.bits & ~DSISR_ISSTORE)} then, of {kind}"
    if now.prediction is None and now.answer.ok:
        today = f"and now it goes well {now.state}"
    elif now.prediction is None:
        today = f"and now it ends otherwise ({now.answer.cause})"
    else:
        today = f"and now it raises {now.prediction.name} ({now.answer.cause})"
    why = ["the tables changed since, as when the fault was handled"]
    if record.bits & (DSISR_PROTFAULT | DSISR_NOEXEC_OR_GUARDED):
        why = ["the leaf, the keys (AMR, IAMR) or MSR[PR] changed since"]
        if record.bits & DSISR_ISSTORE and not record.hypervisor:
            why.append("KVM refused a store to a read-only slot, and told the guest so")
    if quadrant(record.ea) == 0:
        why.append("PIDR was another process's")
    return f"{then}, {today}: {', or '.join(why)}"
