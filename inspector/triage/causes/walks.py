"""What goes wrong in KVM's own walk of a guest's tables."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.triage.evidence import Evidence
from inspector.triage.found import ENOUGH, Cause, Confidence, Found
from inspector.triage.storage import Owner, Storage, instruction, times, unbacked


def _software_walk(evidence: Evidence) -> Iterator[Found]:
    """A storage interrupt at an address with nothing behind it, which KVM must emulate, by an instruction that the
    hardware fetches and KVM's walk does not find."""
    for last in evidence.storage:
        for owner in last.owners:
            if unbacked(owner) and owner.fetch.ra is not None and not owner.walk.ok:
                yield _walk_failed(last, owner)


def _walk_failed(last: Storage, owner: Owner) -> Found:
    walk = owner.walk
    confidence: Confidence = "medium"
    if owner.loads is False:
        confidence = "low"
    elif last.seen >= ENOUGH and last.canaries < last.seen:
        confidence = "high"
    return Found(
        confidence,
        last.cpu,
        owner.lpid,
        owner.pid,
        last.nip,
        last.ea,
        last.guest_real,
        walk.walker,
        walk.errno,
        None,
        (
            f"vCPU {last.cpu} holds the guest's last storage interrupt{times(last)}: at NIP {last.nip:#x}"
            f"{instruction(owner.text)}, of EA {last.ea:#x}, guest real {last.guest_real:#x}",
            f"the tables of LPID {owner.lpid}, PID {owner.pid} lead that EA there, and the host has nothing behind it "
            f"({owner.data.reason}): it is a device's, and KVM has to emulate the access",
            f"to emulate it KVM looks for the instruction: its walk of {last.nip:#x} reads {len(walk.steps)} entries "
            f"and ends in {walk.errno} ({walk.cause}): {walk.reason}",
            f"the hardware's walk of {last.nip:#x} goes well and ends at {owner.fetch.ra:#x}",
            f"walkers that would find it: {', '.join(owner.passing)}"
            if owner.passing
            else "no variant of KVM's walk that is known here would find it",
        ),
    )


CAUSES: tuple[Cause, ...] = (
    Cause(
        "software-walk-fails",
        "KVM's walk of the guest's tables fails where the hardware's goes well",
        "The guest accesses a device that KVM emulates. For that KVM looks for the instruction by a walk of its own, "
        "in software, which is stricter than the MMU or mistaken; where it fails the guest is sent back to try again, "
        "for ever, and nobody is told.",
        "Mend the entry that the walk refuses in the guest's tables ('compare' shows every walker), or run a host "
        "kernel whose walk accepts it.",
        _software_walk,
    ),
)
