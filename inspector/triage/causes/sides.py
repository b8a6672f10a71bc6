"""How far driver and device have come in a queue of which nothing moved, and how each asked to be told: in a split
ring, and in a packed one.

What of a packed ring cannot be known is left out rather than guessed. Where the driver has come is in it only with
EVENT_IDX, and once the driver has asked for an interrupt by place; without, nothing is said of used buffers. A driver
that wants no interrupt at all may as well poll, as Linux does some queues of a disk (``poll_queues``): it is taken to
have been silenced only where it had asked by place before, which who polls never does."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.triage.causes.devices import mappings, registers
from inspector.triage.devices import DeviceLook, QueueLook
from inspector.triage.found import Confidence
from inspector.triage.samples import RingMark
from inspector.virtio import packed, words
from inspector.virtio.layout import NO_INTERRUPT, behind
from inspector.virtio.ring import Queue
from inspector.virtio.state import QueueState


@dataclass(frozen=True, slots=True)
class Untaken:
    """Used ``count`` buffers, or descriptors of a packed ring (``unit``), that the driver wanted to be told of and did
    not take. ``asked`` says how; ``sure`` is that it is not one that polls."""

    count: int
    unit: str
    asked: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Silenced:
    """A driver that asked for no interrupt: ``given`` says what the device gave back, ``way`` how it asked."""

    sure: Confidence
    given: str
    way: str


def by_place(look: DeviceLook) -> bool:
    """Whether a side says from which place on it wants to be told: EVENT_IDX."""
    return words.has(look.device.features, words.EVENT_IDX)


def indices(queue: QueueLook) -> str:
    """Where both sides are, in words."""
    mark, state = queue.marks[-1], queue.queue.state
    if isinstance(mark, RingMark):
        said = f"the driver's index is {mark.avail}, the device's in the used ring {mark.used}"
        return said if state.last_avail_idx is None else f"{said}; the device has taken up to {state.last_avail_idx}"
    taken = "" if state.last_avail_idx is None else f"taken up to descriptor {state.last_avail_idx} and "
    return f"in its packed ring of {state.num} the device has {taken}given back up to {state.used_idx}"


# -- what is used ------------------------------------------------------------------------------------------------------


def untaken(look: DeviceLook, queue: QueueLook) -> Untaken | None:
    """What the driver has not taken: one that takes a used buffer asks for the next."""
    mark, state = queue.marks[-1], queue.queue.state
    if isinstance(mark, RingMark):
        far = behind(mark.used, mark.used_event)
        if not by_place(look) or not 0 < far <= state.num:
            return None
        asked = f"the device's index is {mark.used}, the driver asked to be interrupted after {mark.used_event}"
        # Linux leaves 0 there for a queue that it polls.
        return Untaken(far, "used buffer", asked, bool(mark.used_event))
    driver, passed = _driver(queue), queue.queue.untaken
    if driver is None or driver.flags != packed.AT or not passed or not _agrees(state):
        return None
    asked = (
        f"the device has given back up to descriptor {state.used_idx}, the driver asked to be interrupted at "
        f"{driver.offset}"
    )
    return Untaken(passed, "used descriptor", asked, True)


def silenced(look: DeviceLook, queue: QueueLook) -> Silenced | None:
    """Whether the driver wants no interrupt for what it was given back, although nothing else is out."""
    mark = queue.marks[-1]
    if not isinstance(mark, RingMark):
        return _silenced_packed(queue)
    if mark.avail != mark.used or untaken(look, queue) or not mark.used:
        return None
    given = f"the device has given back all that it was given, {mark.used} in all"
    if by_place(look):
        way = f"by used_event, which is {mark.used_event}, while the device's index is {mark.used}"
        return Silenced("medium", given, way) if mark.used_event not in (0, mark.used) else None
    off = bool(mark.avail_flags & NO_INTERRUPT) and bool(mappings(registers(look)))
    return Silenced("low", given, "by the flag of its available ring") if off else None


def _silenced_packed(queue: QueueLook) -> Silenced | None:
    driver, ring, state = _driver(queue), queue.queue.packed, queue.queue.state
    at_rest = queue.queue.pending == 0 and not state.inuse and _agrees(state)
    if driver is None or ring is None or not at_rest or driver.offset >= state.num:
        return None
    given = f"the device has given back all that it was given, up to descriptor {state.used_idx}"
    now = packed.Events(packed.AT, state.used_idx, ring.round_at(state.used_idx, 0)).word
    if driver.flags == packed.AT and driver.word != now and not queue.queue.untaken:
        return Silenced("medium", given, f"but at descriptor {driver.offset}, by its event area")
    before = packed.Events(packed.AT, driver.offset, driver.wrap)
    late = packed.passed(state.used_idx, bool(now >> 15), before, state.num)
    if driver.flags == packed.DISABLE and driver.word and late:
        said = f"by the flags of its event area; the last that it asked for was at descriptor {driver.offset}"
        return Silenced("medium", given, said)
    return None


def _driver(queue: QueueLook) -> packed.Events | None:
    """How the driver of a packed ring asked; None where nothing can be made of the ring."""
    ring = queue.queue.packed
    return None if ring is None or queue.queue.problems else ring.driver


def _agrees(state: QueueState) -> bool:
    """Whether the device holds as many descriptors as lie between its two places, as it does in QEMU but after errors
    (7.2, ``virtqueue_packed_pop``, ``virtqueue_packed_flush``): in which round it gives back is made out by that."""
    taken = state.last_avail_idx
    return taken is not None and (taken - state.used_idx - state.inuse) % state.num == 0


# -- what is available -------------------------------------------------------------------------------------------------


def notified_at(look: DeviceLook, queue: Queue) -> str:
    """When the device asked to be notified, to follow a word as "to be notified"."""
    if queue.packed is not None:
        device = queue.packed.device
        at = device is not None and device.flags == packed.AT
        always = device is not None and device.flags == packed.ENABLE
        where = f"only at descriptor {device.offset}" if device is not None and at else "always" if always else "never"
        return f"{where} (its event area)"
    if by_place(look) and queue.used is not None:
        return f"only after {queue.used.event} (avail_event)"
    return "never (NO_NOTIFY in the used ring)"


def noun(queue: QueueLook, one: str) -> str:
    """What is counted in a queue: descriptors, of a packed ring."""
    return one if queue.queue.packed is None else "descriptor"
