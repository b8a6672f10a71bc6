"""A queue as it stands: its ring out of RAM, held against what the device says of it.

What the driver has done is in the available ring, what the device has done in the used ring and in the device itself
(state.QueueState). What the driver has taken out of the used ring is in neither: only with EVENT_IDX does the index at
which it wants the next interrupt tell how far it had come (virtio 1.2, 2.7.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from inspector.errors import MemoryReadError
from inspector.memory.physical import PhysicalMemory
from inspector.virtio import packed, words
from inspector.virtio.bus import Bus
from inspector.virtio.chain import Chain, bounded, follow
from inspector.virtio.layout import (
    ALIGNMENT,
    DESCRIPTOR_BYTES,
    MOST_ENTRIES,
    NO_INTERRUPT,
    NO_NOTIFY,
    Available,
    Descriptor,
    Used,
    behind,
    descriptor,
    sizes,
    wants_event,
)
from inspector.virtio.state import DeviceState, QueueState

CHAINS = 4
"""Pending chains, and the latest used ones, that are followed where nothing is said."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of a queue's three parts: ``size`` bytes at bus address ``address``; ``real`` where that is RAM, or ``why``
    not. ``name`` is desc, avail or used, and ``title`` what that is in words: in a packed ring another thing."""

    name: str
    address: int
    size: int
    real: int | None
    why: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What cannot be right: a slug, and the sentence."""

    slug: str
    reason: str


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue. ``available`` and ``used`` are None where they could not be read.

    ``pending`` counts buffers that the driver made available and the device has not taken, ``taken`` those that it has
    and did not give back; ``untaken`` is how many used ones the driver may not have looked at yet, at most. None: not
    known. ``packed`` is a packed ring, which has no ``available`` and ``used``; ``taken`` and ``untaken`` then count
    descriptors.
    ``chains`` are those behind pending heads, the oldest first; ``latest`` is (head, bytes) of what the device gave
    back last, the latest first. ``recent`` are the first descriptors of what the driver made available last, the latest
    first, as they stand in the table now: those that were given back since may have been used anew."""

    state: QueueState
    name: str
    parts: tuple[Part, ...] = ()
    available: Available | None = None
    used: Used | None = None
    pending: int | None = None
    taken: int | None = None
    untaken: int | None = None
    interrupt_off: bool | None = None
    notify_off: bool | None = None
    kick_due: bool | None = None
    chains: tuple[Chain, ...] = ()
    latest: tuple[tuple[int, int], ...] = ()
    recent: tuple[Descriptor, ...] = ()
    problems: tuple[Problem, ...] = ()
    packed: packed.Ring | None = None

    @property
    def set_up(self) -> bool:
        """The driver has given it rings."""
        return bool(self.state.desc)


def read_queue(memory: PhysicalMemory, bus: Bus, device: DeviceState, state: QueueState, chains: int = CHAINS) -> Queue:
    """The queue ``state`` of a device, its rings read from RAM and nothing but RAM; at most ``chains`` chains, fewer
    where these have very many descriptors (chain.MOST_LINKS)."""
    name = words.queue_name(device.device_id, state.index, device.count, device.features)
    if not state.desc:
        return Queue(state, name)
    if not 0 < state.num <= MOST_ENTRIES:
        wrong = Problem("size-impossible", f"the queue has {state.num} entries, and 1 to {MOST_ENTRIES} are possible")
        return Queue(state, name, problems=(wrong,))
    if words.has(device.features, words.RING_PACKED):
        return _packed(memory, bus, device, state, name, chains)
    parts = tuple(_part(memory, bus, state, which, size, NAMES) for which, size in sizes(state.num).items())
    problems = list(_of_parts(parts, ALIGNMENT))
    by_name = {each.name: each for each in parts}
    raw = {which: _bytes(memory, by_name[which], problems) for which in ("avail", "used")}
    available = Available.parse(raw["avail"], state.num, device.little) if raw["avail"] is not None else None
    used = Used.parse(raw["used"], state.num, device.little) if raw["used"] is not None else None
    queue = _Judged(device, state, available, used)
    problems += queue.problems()
    found: tuple[Chain, ...] = ()
    pending = queue.pending
    if available is not None and pending is not None and state.last_avail_idx is not None and pending <= state.num:
        heads = [available.ring[(state.last_avail_idx + n) % state.num] for n in range(min(pending, chains))]
        found = tuple(bounded(follow(memory, bus, state.desc, state.num, head, device.little) for head in heads))
        problems += [Problem(each.problem, f"head {each.head}: {each.reason}") for each in found if each.problem]
    latest: tuple[tuple[int, int], ...] = ()
    if used is not None:
        told = min(used.idx if used.idx < state.num else state.num, chains)
        latest = tuple(used.ring[(used.idx - 1 - n) % state.num] for n in range(told))
    return Queue(
        state,
        name,
        parts,
        available,
        used,
        pending,
        state.inuse,
        queue.untaken,
        queue.interrupt_off,
        queue.notify_off,
        queue.kick_due,
        found,
        latest,
        tuple(_recent(memory, by_name["desc"], available, state.num, device.little, chains)),
        tuple(problems),
    )


def _part(
    memory: PhysicalMemory, bus: Bus, state: QueueState, which: str, size: int, titles: Mapping[str, str]
) -> Part:
    address = {"desc": state.desc, "avail": state.avail, "used": state.used}[which]
    return Part(which, address, size, *bus.real(memory.ram, address, size), titles[which])


NAMES = {"desc": "descriptor table", "avail": "available ring", "used": "used ring"}


def _of_parts(parts: tuple[Part, ...], alignment: Mapping[str, int]) -> Iterator[Problem]:
    for part in parts:
        if part.address % alignment[part.name]:
            at = f"{part.address:#x}, no multiple of {alignment[part.name]}"
            yield Problem("ring-misaligned", f"the {part.title} is at {at}")
        if part.real is None and "cannot be followed" not in part.why:
            yield Problem("ring-not-ram", f"the {part.title}: {part.why}")


def _packed(memory: PhysicalMemory, bus: Bus, device: DeviceState, state: QueueState, name: str, chains: int) -> Queue:
    """The same of a packed ring."""
    sized = packed.sizes(state.num).items()
    parts = tuple(_part(memory, bus, state, which, size, packed.NAMES) for which, size in sized)
    problems = list(_of_parts(parts, packed.ALIGNMENT))
    raw = {part.name: _bytes(memory, part, problems) for part in parts}
    driver, own = (
        None if data is None else packed.Events.parse(data, device.little) for data in (raw["avail"], raw["used"])
    )
    problems += _of_events(driver, own, state.num, words.has(device.features, words.EVENT_IDX))
    told = Queue(state, name, parts, taken=state.inuse, problems=tuple(problems))
    if raw["desc"] is None:
        return told
    ring = packed.Ring(tuple(packed.entries(raw["desc"], state.num, device.little)), driver, own)
    told = replace(told, packed=ring)
    place = state.last_avail_idx
    if place is None:
        return told
    if place >= state.num or state.used_idx >= state.num:
        reason = f"the device has come to {place} and {state.used_idx} in a ring of {state.num}"
        return replace(told, problems=(*problems, Problem("index-impossible", reason)))
    wrap = ring.round_at(place, state.inuse)
    waiting = ring.waiting(place, wrap)
    problems += _of_marks(state, ring, place, wrap)
    buffers = list(ring.buffers(place, wrap))
    found = tuple(bounded(packed.chain(memory, bus, each, device.little) for each in buffers[:chains]))
    problems += [Problem(each.problem, f"buffer {each.head}: {each.reason}") for each in found if each.problem]
    ahead = state.used_idx > place or (state.used_idx == place and state.inuse > 0)
    signalled = (state.used_idx - state.signalled_used) % state.num if state.signalled_used_valid else 0
    due = driver.want(state.used_idx, signalled, state.num, wrap ^ ahead) if driver is not None and signalled else None
    after = place + waiting
    return replace(
        told,
        pending=len(buffers),
        untaken=packed.passed(state.used_idx, wrap ^ ahead, driver, state.num),
        interrupt_off=None if due is None else not due,
        notify_off=None if own is None or own.flags == packed.AT else own.flags == packed.DISABLE,
        kick_due=own.want(after % state.num, waiting, state.num, wrap ^ (after >= state.num))
        if own is not None and waiting
        else None,
        chains=found,
        problems=tuple(problems),
    )


def _of_events(driver: packed.Events | None, own: packed.Events | None, num: int, places: bool) -> Iterator[Problem]:
    for which, events in (("avail", driver), ("used", own)):
        why = "" if events is None else events.wrong(num, places)
        if why:
            yield Problem("event-impossible", f"the {packed.NAMES[which]}: {why}")


def _of_marks(state: QueueState, ring: packed.Ring, place: int, wrap: bool) -> Iterator[Problem]:
    """What of a packed ring's descriptors cannot be, by who may use each."""
    if state.inuse > state.num:
        yield Problem("inuse-impossible", f"the device holds {state.inuse} descriptors of a ring of {state.num}")
    stray = ring.stray(place, wrap)
    if stray is not None:
        one = ring.entries[stray]
        yield Problem(
            "marks-impossible",
            f"the device has come to {place}, and descriptor {stray} is marked available {int(one.available)}, used "
            f"{int(one.used)}, as it can be in no round of the ring: something else wrote there, or the ring is "
            "elsewhere",
        )


def _bytes(memory: PhysicalMemory, part: Part, problems: list[Problem]) -> bytes | None:
    if part.real is None:
        return None
    try:
        return memory.read(part.real, part.size)
    except MemoryReadError as error:
        problems.append(Problem("ring-unreadable", f"the {part.title} could not be read ({error})"))
        return None


def _recent(
    memory: PhysicalMemory, table: Part, available: Available | None, num: int, little: bool, most: int
) -> Iterator[Descriptor]:
    if available is None or table.real is None:
        return
    heads = [available.ring[(available.idx - 1 - n) % num] for n in range(min(available.idx, num, most))]
    for head in dict.fromkeys(heads):
        if head < num:
            try:
                raw = memory.read(table.real + head * DESCRIPTOR_BYTES, DESCRIPTOR_BYTES)
            except MemoryReadError:
                continue
            yield replace(descriptor(raw, 0, little), index=head)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What follows from both sides of one queue."""

    device: DeviceState
    state: QueueState
    available: Available | None
    used: Used | None

    @property
    def events(self) -> bool:
        """Whether event indices say who is to be told, and not the flags."""
        return words.has(self.device.features, words.EVENT_IDX)

    @property
    def pending(self) -> int | None:
        """Available, and not taken by the device."""
        if self.available is None or self.state.last_avail_idx is None:
            return None
        return behind(self.available.idx, self.state.last_avail_idx)

    @property
    def untaken(self) -> int | None:
        """Used, and not taken by the driver, at most: with EVENT_IDX the driver had come as far as ``used_event``."""
        if self.available is None or self.used is None:
            return None
        if self.used.idx == 0 and self.available.idx == 0:
            return 0
        far = behind(self.used.idx, self.available.event) if self.events else None
        # A driver that wants no interrupt at all leaves an old index there.
        return far if far is not None and far <= self.state.num else None

    @property
    def interrupt_off(self) -> bool | None:
        """Whether the driver asked not to be interrupted for what is in the used ring after the last interrupt."""
        if self.available is None or self.used is None:
            return None
        if not self.events:
            return bool(self.available.flags & NO_INTERRUPT)
        if not self.state.signalled_used_valid or self.used.idx == self.state.signalled_used:
            return None
        return not wants_event(self.available.event, self.used.idx, self.state.signalled_used)

    @property
    def notify_off(self) -> bool | None:
        """Whether the device asked not to be notified; with EVENT_IDX its index says that, and this is None."""
        return None if self.used is None or self.events else bool(self.used.flags & NO_NOTIFY)

    @property
    def kick_due(self) -> bool | None:
        """Whether the driver had to notify the device of what is pending. None where nothing is pending."""
        if self.used is None or self.available is None or not self.pending or self.state.last_avail_idx is None:
            return None
        if self.events:
            return wants_event(self.used.event, self.available.idx, self.state.last_avail_idx)
        return not self.used.flags & NO_NOTIFY

    def problems(self) -> Iterator[Problem]:
        """What of the indices cannot be."""
        state, num = self.state, self.state.num
        if self.available is not None and self.pending is not None and self.pending > num:
            yield Problem(
                "index-impossible",
                f"the driver's index is {self.available.idx} and the device had come to {state.last_avail_idx}: "
                f"that is {self.pending} buffers in a queue of {num}",
            )
        if self.used is not None and self.used.idx != state.used_idx:
            yield Problem(
                "used-differs",
                f"the used ring's index is {self.used.idx} in RAM, and the device wrote {state.used_idx}: something "
                "else wrote there, or the ring is elsewhere",
            )
        if self.available is not None and self.used is not None:
            out = behind(self.available.idx, self.used.idx)
            if out > num and (self.pending or 0) <= num:
                yield Problem("index-impossible", f"{out} buffers are out, and the queue has {num}")
        if state.inuse > num:
            yield Problem("inuse-impossible", f"the device holds {state.inuse} buffers of a queue of {num}")


def device_problems(device: DeviceState) -> Iterator[Problem]:
    """What a device's own status says is wrong."""
    if device.broken:
        yield Problem("device-broken", "QEMU has given the device up, and takes nothing more until it is reset")
    if device.status & words.NEEDS_RESET:
        yield Problem("needs-reset", "the device has met an error and says that it must be reset")
    if device.status & words.FAILED:
        yield Problem("driver-failed", "the driver has given the device up (FAILED)")
    if device.status & words.DRIVER_OK and not device.status & words.FEATURES_OK and modern(device):
        yield Problem("status-impossible", "DRIVER_OK is set and FEATURES_OK is not")
    if device.disabled and any(each.desc for each in device.queues):
        # QEMU's word for it (hw/virtio/virtio-pci.c, virtio_write_config); rightly so where no driver has set it up.
        reason = "its driver has set queues up, and bus mastering is off in its PCI command register"
        yield Problem("device-disabled", reason)


def modern(device: DeviceState) -> bool:
    """Whether the driver took the device for one of virtio 1.0 or later."""
    return words.has(device.features, words.VERSION_1)
