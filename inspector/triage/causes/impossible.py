"""What cannot be in a virtio device's queues: rings and buffers where no RAM is, and indices beyond all bounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inspector.triage.causes.devices import found_of_queue, healed, held, since
from inspector.triage.devices import DeviceLook
from inspector.triage.evidence import Evidence
from inspector.triage.found import Cause, Confidence, Found
from inspector.virtio import words
from inspector.virtio.ring import Problem

WAS_SO = "so it was when the guest was stopped at first"


def _problems(evidence: Evidence, wanted: Callable[[DeviceLook, Problem], bool], part: str) -> Iterator[Found]:
    """Problems of queues, those of a device that gave up over them included."""
    for look in evidence.devices.looks:
        for queue in look.queues if look.driven else ():
            said = tuple(each.reason for each in queue.queue.problems if wanted(look, each))
            before = () if said or queue.first is None else queue.first.problems
            gone = tuple(each.reason for each in before if wanted(look, each))
            if gone:
                yield found_of_queue(look, queue, "medium", part, *gone, WAS_SO, *healed(queue))
            if said:
                rings = (queue.queue.state.desc, queue.queue.state.avail, queue.queue.state.used)
                as_now = queue.was is not None and (queue.was.desc, queue.was.avail, queue.was.used) == rings
                still = queue.still if queue.marks else as_now
                sure: Confidence = "high" if still and held(evidence) else "medium"
                more = (f"it is so {since(evidence)}",) if sure == "high" else ()
                yield found_of_queue(look, queue, sure, part, *said, *more)


INDICES = (
    "index-impossible", "used-differs", "inuse-impossible", "size-impossible", "head-impossible", "marks-impossible",
    "event-impossible",
)  # fmt: skip
CHAINS = (
    "descriptor-impossible", "chain-cycle", "chain-long", "chain-open", "indirect-nested", "indirect-more",
    "indirect-length",
)  # fmt: skip


def _index(look: DeviceLook, problem: Problem) -> bool:
    # A device that the host's kernel sees to has its indices there, and QEMU's are old.
    theirs = ("used-differs", "inuse-impossible") if look.device.vhost else ()
    return problem.slug in (*INDICES, *CHAINS) and problem.slug not in theirs


def _own_addresses(look: DeviceLook) -> bool:
    """Whether the addresses that it is given are real ones: what an IOMMU makes of others is only presumed."""
    return not words.has(look.device.features, words.ACCESS_PLATFORM)


def _ring_index_impossible(evidence: Evidence) -> Iterator[Found]:
    yield from _problems(evidence, _index, "avail")


def _ring_not_ram(evidence: Evidence) -> Iterator[Found]:
    yield from _problems(evidence, lambda look, each: each.slug == "ring-not-ram" and _own_addresses(look), "desc")


def _buffer_not_ram(evidence: Evidence) -> Iterator[Found]:
    slugs = ("buffer-not-ram", "table-not-ram")
    yield from (
        each
        for each in _problems(evidence, lambda look, one: one.slug in slugs and _own_addresses(look), "desc")
        if each.ra is not None
    )


CAUSES: tuple[Cause, ...] = (
    Cause(
        "ring-not-ram",
        "a ring is where no RAM is",
        "The device was given an address for a part of a queue that no RAM is behind, or that is RAM no more.",
        "Look at the addresses by 'virtio', and for who wrote them or took the memory away.",
        _ring_not_ram,
    ),
    Cause(
        "buffer-not-ram",
        "a buffer that was made available is where no RAM is",
        "A descriptor behind a pending head holds an address that no RAM is behind: the device gives up over it, or "
        "drops it.",
        "Look at the chain by 'virtio', and at the driver that put the address there.",
        _buffer_not_ram,
    ),
    Cause(
        "ring-index-impossible",
        "an index in a ring cannot be",
        "An index is further ahead than the queue is large, is not what the device wrote, or names a descriptor that "
        "is not there; or the marks of a packed ring are of no round that it can be in: something wrote over the ring.",
        "Look at the ring by 'virtio', and for who else writes to its memory.",
        _ring_index_impossible,
    ),
)
