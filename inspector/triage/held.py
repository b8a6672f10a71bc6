"""Accesses that vCPUs recorded, held to the tables: at every stop while samples are taken, and again at the last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from inspector.errors import InspectorError, TargetError
from inspector.guest import Guest
from inspector.radix.address import Context, in_range, quadrant
from inspector.radix.bits import (
    DSISR_ISSTORE,
    DSISR_PRTABLE_FAULT,
    DSISR_SET_RC,
    MSR_DR,
    MSR_HV,
    MSR_IR,
    MSR_PR,
    PTE_C,
    PTE_R,
)
from inspector.radix.hindsight import Now, held
from inspector.radix.prediction import Record, interrupted, predict, records
from inspector.radix.translation import Translation
from inspector.triage.found import ENOUGH
from inspector.walkers import hardware

if TYPE_CHECKING:
    from inspector.triage.samples import Sample

SEGMENT = ("ea-out-of-range", "quadrant")
"""Causes of a segment interrupt, which leaves the address and no cause (Power ISA 3.0B, book III, 6.5.4, 6.5.6)."""


STOPS_ENOUGH = 36
"""Stops, each with a user's page refused, that are no chance any more: a program that has its kernel fetch a page again
and again is met with it refused at four of five (QEMU 7.2 and Linux 6.1: the kernel clears 64 KiB meanwhile)."""
STOPS_SOME = 12
"""Stops that are none for most programs, though one that has huge pages cleared is met so at nearly all of them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a sample's registers say of an access: all that two samples have to have in common to be of the same."""

    cpu: int
    nip: int
    msr: int
    record: Record
    pid: int
    lpidr: int


def accesses_of(cpu: int, known: Mapping[str, int]) -> Iterator[tuple[Seen, bool]]:
    """The accesses that a vCPU recorded, and whether it is about to make each of them again."""
    nip, msr = known.get("nip"), known.get("msr")
    if nip is None or msr is None:
        return
    for record in (*records(known), *_segments(known)):
        prefix = "h" if record.hypervisor else ""
        at, then = known.get(f"{prefix}srr0"), known.get(f"{prefix}srr1")
        if at is None or then is None or (record.access is None and in_a_segment(record.ea)):
            continue
        if record.hypervisor and (then & MSR_HV or not known.get("lpidr")):
            continue  # a KVM guest's, which its host's registers alone say nothing of: storage.py
        there = at == nip and bool(then & MSR_PR) == bool(msr & MSR_PR)
        yield Seen(cpu, at, then, record, known.get("pid", 0), known.get("lpidr", 0)), there


def in_a_segment(ea: int) -> bool:
    """Whether it is one that a tree translates for any software: in range, and in quadrant 0 or 3."""
    return in_range(ea) and quadrant(ea) in (0, 3)


def _segments(known: Mapping[str, int]) -> Iterator[Record]:
    """What a segment interrupt would have left, whatever older ones left beside it."""
    dar, srr0 = known.get("dar"), known.get("srr0")
    if dar is not None and known.get("dsisr") and not in_a_segment(dar):
        yield Record(("DAR", "DSISR"), dar, 0, None)
    if srr0 is not None and not in_a_segment(srr0):
        yield Record(("SRR0", "SRR1"), srr0, 0, "x")


def context_of(guest: Guest, seen: Seen, there: Mapping[str, int] | None) -> Context:
    """The vCPU as it made the access; ``there`` are its registers where it is about to make it again."""
    context = replace(guest.context(seen.cpu), pid=seen.pid, lpidr=seen.lpidr)
    if there is None:
        return interrupted(context, seen.msr)
    return replace(context, msr=there["msr"], amr=there.get("amr"), iamr=there.get("iamr"))


def agrees(record: Record, answer: Translation, context: Context) -> bool:
    """Whether the tables would have it recorded just so now."""
    if answer.cause in SEGMENT:
        return not record.bits and not record.hypervisor
    if record.bits & ~(DSISR_ISSTORE | DSISR_PRTABLE_FAULT) == DSISR_SET_RC:
        return answer.ok and _unset(record, answer)
    prediction = predict(answer, context)
    return prediction is not None and held(record, [Now("", answer, prediction)], None).verdict == "agrees"


def _unset(record: Record, answer: Translation) -> bool:
    """Whether a leaf on the way lacks the R, or the last one the C, that this access has to set."""
    leaves = [step.value or 0 for step in answer.steps if step.kind == "leaf" and (step.stage > 1) == record.hypervisor]
    if not leaves:
        return False
    return not all(leaf & PTE_R for leaf in leaves) or bool(record.bits & DSISR_ISSTORE and not leaves[-1] & PTE_C)


def refusal(guest: Guest, seen: Seen, there: Mapping[str, int] | None) -> str | None:
    """The cause for which the tables refuse an access now, just as it was recorded; "" where they do not, None where
    that cannot be told."""
    if seen.record.access is None:
        return None
    try:
        context = context_of(guest, seen, there)
        answer = hardware(guest, context, seen.record.ea, seen.record.access, None)
        if agrees(seen.record, answer, context):
            return answer.cause or "reference-change"
    except TargetError:
        raise
    except InspectorError:
        return None
    return "" if answer.ok or answer.interrupt is not None else None


def fetchable(ea: int, cause: str | None) -> bool:
    """Whether it is of a user's page that is not there, or not to be written: what kernels put right all the time."""
    return not quadrant(ea) and cause in ("not-present", "protection")


def goes_on(seen: Seen, known: Mapping[str, int]) -> bool:
    """Whether the process whose memory it is was at another place of its own code: it comes back to the access, as to
    one that its kernel deals with each time."""
    if quadrant(seen.record.ea) or known.get("pid") != seen.pid or known.get("lpidr", 0) != seen.lpidr:
        return False
    places = [(known.get("nip"), known.get("msr"))]
    if not seen.record.hypervisor:
        places.append((known.get("srr0"), known.get("srr1")))
    return any(at != seen.nip for at, msr in places if msr is not None and msr & MSR_PR)


@dataclass
class Refusals:
    """At how many stops the tables refused what vCPUs recorded, and at how many of these it was about to be made again.

    To be cheap where every read is a round trip, only what was recorded at an earlier stop already is held to them, and
    what they once allowed never again. What a hypervisor recorded of its guest is not."""

    guest: Guest
    _before: set[Seen] = field(default_factory=set)
    _stops: dict[Seen, int] = field(default_factory=dict)
    _again: dict[Seen, int] = field(default_factory=dict)
    _causes: dict[Seen, str] = field(default_factory=dict)

    def look(self, cpus: Mapping[int, Mapping[str, int]], halted: Mapping[int, bool]) -> None:
        """At the guest, which stands still with these registers."""
        for cpu, known in cpus.items():
            if halted.get(cpu):
                continue
            for seen in [each for each in self._stops if each.cpu == cpu and goes_on(each, known)]:
                self._stops[seen] = 0
            for seen, there in accesses_of(cpu, known):
                if seen.record.hypervisor or self._stops.get(seen) == 0:
                    continue
                if seen not in self._before:
                    self._before.add(seen)
                    continue
                cause = refusal(self.guest, seen, known if there else None)
                if cause is not None:
                    self._causes[seen] = cause
                    self._stops[seen] = self._stops.get(seen, 0) + 1 if cause else 0
                    self._again[seen] = self._again.get(seen, 0) + (there and bool(cause))

    @property
    def doubtful(self) -> set[int]:
        """The vCPUs with a user's access that may be stuck, or be one that its kernel deals with each time."""
        return {seen.cpu for seen in self._suspected if self._stops[seen] < STOPS_ENOUGH or not self._again[seen]}

    @property
    def not_gone_back(self) -> bool:
        """Whether there is such an access that no vCPU was yet about to make again."""
        return any(not self._again[seen] for seen in self._suspected)

    @property
    def _suspected(self) -> list[Seen]:
        return [
            seen
            for seen, stops in self._stops.items()
            if stops >= ENOUGH and fetchable(seen.record.ea, self._causes[seen])
        ]

    def noted(self, sample: Sample) -> Sample:
        """A sample that was looked at, with what all looks told."""
        refused: dict[int, dict[str, int]] = {}
        again: dict[int, dict[str, int]] = {}
        for cpu, known in sample.cpus.items():
            for seen, _ in accesses_of(cpu, known):
                if seen in self._stops:
                    refused.setdefault(cpu, {})[seen.record.registers[0]] = self._stops[seen]
                    again.setdefault(cpu, {})[seen.record.registers[0]] = self._again.get(seen, 0)
        return replace(sample, refused=refused, again=again)


def not_held(guest: Guest, cpus: Mapping[int, Mapping[str, int]]) -> Iterator[str]:
    """That there are no tables to hold an access to, of vCPUs that translate (a sentence without its stop); nothing of
    real mode, which has none."""
    roots = guest.roots
    translating = [known for known in cpus.values() if known.get("msr", MSR_DR) & (MSR_IR | MSR_DR)]
    if roots.state != "radix" and translating:
        yield f"no access was held to any tables, for there are none to go by: {roots.explanation}"
