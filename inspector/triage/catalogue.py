"""The causes in order, and the two ways of finding none. Pure, over the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from inspector.triage.causes import devices, impossible, keys, registers, rings, roots, tables, walks
from inspector.triage.evidence import Evidence
from inspector.triage.found import CONFIDENCES, ENOUGH, HEALTHY, UNEXPLAINED, Cause, Confidence, Finding, Found
from inspector.triage.storage import finding_of, instruction, times, unbacked

CAUSES: tuple[Cause, ...] = (
    *walks.CAUSES,
    *roots.CAUSES,
    *tables.CAUSES,
    *keys.CAUSES,
    *registers.CAUSES,
    *impossible.CAUSES,
    *rings.CAUSES,
    *devices.CAUSES,
)
"""In the order in which they are told where they are equally sure: what explains most first."""


# -- none of these -----------------------------------------------------------------------------------------------------


def _again_and_again(evidence: Evidence) -> Iterator[Found]:
    """KVM enters a guest again and again at one instruction whose address has nothing behind it, and its walk does find
    that instruction: what goes wrong then is in the emulation, or in its VMM."""
    for last in evidence.storage:
        if last.seen < ENOUGH or last.seen < last.samples or not 0 < last.canaries < last.seen or last.past:
            continue
        for owner in last.owners:
            if unbacked(owner) and owner.finds and not (last.fetched or last.of_table or owner.others):
                said = (
                    f"the guest comes back to NIP {last.nip:#x}{instruction(owner.text)}{times(last)}, for EA "
                    f"{last.ea:#x}, guest real {last.guest_real:#x}, which has nothing behind it",
                    "KVM's walk finds that instruction, so the tables do not explain it: it may be one that KVM "
                    "cannot emulate, or a device that is polled",
                )
                yield finding_of(last, owner, "low", None, said)


def _nothing(evidence: Evidence) -> Iterator[Found]:
    """That nothing was found, and what that is worth."""
    said = []
    if evidence.samples == 1:
        said.append(f"one sample only, which cannot show whether it moves: {evidence.sampling.why_one}")
    else:
        cpus = sorted(evidence.sampling.samples[0].cpus)
        still = [cpu for cpu in cpus if cpu not in evidence.moved]
        goes = ", ".join(f"vCPU {cpu}" for cpu in sorted(evidence.moved)) or "no vCPU"
        said.append(f"in {evidence.samples} samples {goes} went on to another NIP")
        if still:
            at = ", ".join(f"vCPU {cpu}" for cpu in still)
            said.append(f"{at} {'was' if len(still) == 1 else 'were'} at the same NIP each time, as one that idles is")
    said.append("no fault that a vCPU recorded of its own NIP is one that the tables would raise now")
    owners = [owner for last in evidence.storage for owner in last.owners]
    if owners and all(owner.finds for owner in owners):
        said.append("KVM's walk finds the instruction of every storage interrupt that a guest left in the registers")
    elif evidence.storage:
        said.append("what a guest's storage interrupt left in the registers is of no process, or has memory by now")
    said.extend(evidence.missed)
    sure: Confidence = "medium" if evidence.moved else "low"
    yield Found(sure, evidence=tuple(said))


UNKNOWN = Cause(
    UNEXPLAINED,
    "something comes no further, and nothing in the tables explains it",
    "The same thing is seen again and again, and every walk that it needs goes well.",
    "Look at the device and at who emulates it: 'virtio' shows its queues, 'regs' the vCPUs.",
    _again_and_again,
)
NOTHING = Cause(
    HEALTHY,
    "nothing wrong was found",
    "None of the causes that are known here has left its signature.",
    "If it hangs all the same, sample it longer where it is live (--seconds), and look at its devices by 'virtio'.",
    _nothing,
)


def diagnosed(evidence: Evidence) -> tuple[Finding, ...]:
    """What is the matter, the most likely first; never empty."""
    found = [Finding(cause, each) for cause in CAUSES for each in _distinct(cause.signature(evidence))]
    if found:
        return tuple(sorted(found, key=lambda each: CONFIDENCES.index(each.found.confidence)))
    found = [Finding(UNKNOWN, each) for each in _distinct(UNKNOWN.signature(evidence))]
    return tuple(found or [Finding(NOTHING, each) for each in NOTHING.signature(evidence)])


def _distinct(found: Iterable[Found]) -> Iterator[Found]:
    """One of those that are of the same access: the guest may have been seen on several vCPUs."""
    told = set()
    for each in sorted(found, key=lambda one: CONFIDENCES.index(one.confidence)):
        what = (each.lpid, each.pid, each.nip, each.ea, each.device)
        if what not in told:
            told.add(what)
            yield each
