"""What goes wrong in KVM's own walk of a guest's tables, and behind them."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.triage.causes.refusals import check, lineage, refusal, whose
from inspector.triage.evidence import Evidence
from inspector.triage.found import CONFIDENCES, ENOUGH, Cause, Confidence, Found
from inspector.triage.storage import Owner, Storage, finding_of, instruction, times, unbacked

MOST_SPANS = 3
"""Of the stretches of a guest's memory that are told."""


def _emulated(evidence: Evidence) -> Iterator[tuple[Storage, Owner]]:
    """Storage interrupts of data at an address with nothing behind it, which KVM must emulate, by an instruction that
    the hardware fetches."""
    for last in evidence.storage:
        for owner in last.owners:
            if not (last.fetched or last.of_table) and unbacked(owner) and owner.fetch.ok:
                yield last, owner


def _software_walk(evidence: Evidence) -> Iterator[Found]:
    """KVM's walk does not find the instruction, or may not read it."""
    for last, owner in _emulated(evidence):
        if owner.walk is not None and not owner.finds and not _elsewhere(owner):
            yield _walk_failed(last, owner)


def _astray(evidence: Evidence) -> Iterator[Found]:
    """KVM's walk goes well, and ends where the hardware's does not."""
    for last, owner in _emulated(evidence):
        if _elsewhere(owner):
            yield _gone_astray(last, owner)


def _elsewhere(owner: Owner) -> bool:
    return owner.astray and (owner.refused is None or owner.refused[1] == "code-unreadable")


def _sure(last: Storage, owner: Owner) -> Confidence:
    sure: Confidence = "medium"
    if owner.loads is False or last.past:
        sure = "low"
    elif last.seen + last.instead >= ENOUGH and last.canaries < last.seen:
        sure = "high"
    return _less(sure) if owner.others else sure


def _less(sure: Confidence) -> Confidence:
    return CONFIDENCES[min(CONFIDENCES.index(sure) + 1, len(CONFIDENCES) - 1)]


def _walk_failed(last: Storage, owner: Owner) -> Found:
    walk = owner.walk
    assert walk is not None
    errno, slug, reason = refusal(owner)
    ends = f"ends in {errno} ({slug})" if not walk.ok else f"goes well, and the reading then ends in {errno} ({slug})"
    said = (
        *_of_data(last, owner),
        f"to emulate it KVM looks for the instruction: its walk of {last.nip:#x} reads {len(walk.steps)} entries and "
        f"{ends}: {reason}",
        check(slug),
        f"the hardware's walk of {last.nip:#x} goes well and ends at {_real(owner)}",
        lineage(owner),
        whose(owner),
        *_tried(last),
    )
    return _found(last, owner, errno, said)


def _gone_astray(last: Storage, owner: Owner) -> Found:
    walk = owner.walk
    assert walk is not None
    assert walk.ra is not None
    errno, slug, _ = refusal(owner)
    then = (
        "no slot of the guest's holds that address, so that KVM reads nothing and has the guest try again"
        if errno
        else "what is there is another instruction, which KVM would emulate in its place"
    )
    said = (
        *_of_data(last, owner),
        f"to emulate it KVM looks for the instruction: its walk of {last.nip:#x} goes well and ends at guest real "
        f"{walk.ra:#x}, the hardware's at guest real {owner.place or 0:#x}: {then}",
        *((check(slug),) if errno else ()),
        lineage(owner),
        whose(owner),
        *_tried(last),
    )
    return _found(last, owner, errno or None, said)


def _found(last: Storage, owner: Owner, errno: str | None, said: tuple[str, ...]) -> Found:
    walker = owner.walk.walker if owner.walk is not None else owner.fetch.walker
    return finding_of(last, owner, _sure(last, owner), walker, said, errno)


def _of_data(last: Storage, owner: Owner) -> Iterator[str]:
    yield (
        f"vCPU {last.cpu} holds the guest's last storage interrupt{times(last)}: at NIP {last.nip:#x}"
        f"{instruction(owner.text)}, of EA {last.ea:#x}, guest real {last.guest_real:#x}"
    )
    yield (
        f"the tables of {_who(owner)} lead that EA there, and the host has nothing behind it ({owner.data.reason}): it "
        f"is a device's, and KVM has to emulate the access{_memory(owner)}"
    )
    if owner.others:
        yield f"{owner.others} more of the guests' processes lead there as well: it may be one of them"


def _who(owner: Owner) -> str:
    return f"LPID {owner.lpid}" if owner.pid is None else f"LPID {owner.lpid}, PID {owner.pid}"


def _real(owner: Owner) -> str:
    return "nothing" if owner.fetch.ra is None else f"{owner.fetch.ra:#x}"


def _memory(owner: Owner) -> str:
    """Where the guest has memory, as far as it was touched."""
    if not owner.spans:
        return ""
    told = ", ".join(f"{start:#x} to {start + size - 1:#x}" for start, size in sorted(owner.spans)[:MOST_SPANS])
    more = len(owner.spans) - MOST_SPANS
    rest = f" and {more} stretches more" if more > 0 else ""
    return f"; of memory the guest was seen to have {told}{rest}"


def _tried(last: Storage) -> Iterator[str]:
    if last.tried:
        yield (
            f"in {last.tried} of the samples the host's DAR or HDAR is that NIP in a quadrant of the guest's: KVM had "
            "the MMU look for the instruction, in vain"
        )


# -- nothing behind what the guest itself needs ------------------------------------------------------------------------


def hole(evidence: Evidence) -> Iterator[Found]:
    """A fetch, or an entry of the guest's own tables, at a guest real address that nothing is behind, again and again
    under a KVM that runs the guest. One that is being filled goes after a moment."""
    for last in evidence.storage:
        if last.seen < ENOUGH or not (last.fetched or last.of_table):
            continue
        for owner in last.owners:
            if unbacked(owner) and last.lpids.get(owner.lpid):
                sure: Confidence = "medium" if last.seen * 2 < last.samples else "high"
                said = (*_of_hole(last, owner), *_tried(last))
                yield finding_of(last, owner, _less(sure) if owner.others else sure, owner.data.walker, said)


def _of_hole(last: Storage, owner: Owner) -> Iterator[str]:
    what = "the fetch of itself" if last.fetched else f"EA {last.ea:#x}"
    register = "HSRR1" if last.fetched else "HDSISR"
    yield (
        f"vCPU {last.cpu} holds the guest's last storage interrupt{times(last)}: at NIP {last.nip:#x}"
        f"{instruction(owner.text)}, of {what}, guest real {last.guest_real:#x} ({register} {last.bits:#x})"
    )
    place = f"{_who(owner)}: {owner.data.reason}{_memory(owner)}"
    if last.of_table:
        yield f"that is where an entry of the guest's own tables is looked for, and nothing is behind it, of {place}"
        yield "Linux gives the guest a data storage interrupt for it, and the guest's handler goes back to try again"
    else:
        yield f"nothing is behind the code, of {place}"
        yield "KVM takes that for a device's too, cannot read the instruction either, and has the guest try again"
    if owner.others:
        yield f"{owner.others} more of the guests' processes lead there as well: it may be one of them"


CAUSES: tuple[Cause, ...] = (
    Cause(
        "software-walk-fails",
        "KVM's walk of the guest's tables fails where the hardware's goes well",
        "The guest accesses a device that KVM emulates. For that KVM looks for the instruction by a walk of its own, "
        "in software, which is stricter than the MMU or mistaken; where it fails the guest is sent back to try again, "
        "for ever, and nobody is told.",
        "Mend the entry that the walk refuses in the guest's tables ('compare' shows every walker), or, if there is a "
        "kernel whose walk accepts it, run that one on the host.",
        _software_walk,
    ),
    Cause(
        "software-walk-astray",
        "KVM's walk of the guest's tables ends elsewhere than the hardware's",
        "The guest accesses a device that KVM emulates, and KVM takes the instruction from another place than the "
        "hardware does: it finds none and the guest tries again for ever, or it emulates another one.",
        "Look at the leaf of the code ('compare' shows where each walker ends), and mend its page number.",
        _astray,
    ),
)
