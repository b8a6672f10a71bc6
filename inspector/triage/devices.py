"""A guest's virtio devices over the time that it was sampled: what moved in their queues, what maps their registers.

The device's own side is asked of the monitor at the first and at the last stop; the rings are read from RAM at every
one. A device's registers are never touched."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Thread
from zlib import crc32

from inspector.devicemaps import BarAt, Mapped, bars_among, mapped_io, nowhere
from inspector.devices import of_guest, of_monitor_again
from inspector.errors import InspectorError, MemoryReadError, NotSupported, TargetError
from inspector.guest import Guest
from inspector.radix.bits import KERNEL_PID
from inspector.triage.recorded import firsts_of, states_of
from inspector.triage.samples import Mark, PackedMark, RingMark, Sample, Sampling
from inspector.virtio import packed, words
from inspector.virtio.bus import Bus, bus_of_device
from inspector.virtio.layout import MOST_ENTRIES, USED_BYTES
from inspector.virtio.ring import Problem, Queue, device_problems, read_queue
from inspector.virtio.state import DeviceState, QueueState, VirtioState

MOST_LOOKED_AT = 1 << 20
"""Entries of all queues together that are looked at: a thousand queues as large as QEMU has them, 1024
(VIRTQUEUE_MAX_SIZE). A stranger's snapshot may claim a hundred thousand, and each entry is held in memory."""


MOST_NAMED = 4
"""Devices that are named in one sentence."""


@dataclass(frozen=True, slots=True)
class QueueLook:
    """A queue as it stood at the last stop. ``was`` is the device's side at the first one (None: not known), ``marks``
    its rings at each stop; ``first`` is all of it at the first one, where buffers were pending then and that was looked
    at: QEMU looks at the queues again when a guest that it stopped goes on, and then they are as if notified."""

    queue: Queue
    was: QueueState | None
    marks: tuple[Mark, ...]
    first: Queue | None = None

    @property
    def still(self) -> bool:
        """That nothing of it moved from the first stop to the last; of one stop that cannot be said."""
        if len(self.marks) < 2 or (self.was is not None and self.was != self.queue.state):
            return False
        return len(set(self.marks)) == 1

    @property
    def given(self) -> bool:
        """Whether its rings show that the driver has made something available in them, at some time."""
        ring = self.queue.packed
        if ring is not None:
            return any(each.available for each in ring.entries)
        return any(isinstance(each, RingMark) and each.avail for each in self.marks[:1])


@dataclass(frozen=True, slots=True)
class DeviceLook:
    """A device at the last stop: what its own status says is wrong, its queues, and what maps its BARs."""

    device: DeviceState
    problems: tuple[Problem, ...]
    queues: tuple[QueueLook, ...]
    bars: tuple[BarAt, ...]
    was: DeviceState | None = None

    @property
    def name(self) -> str:
        """Its place on PCI and its name."""
        return f"{self.device.slot} {self.device.name}".strip()

    @property
    def driven(self) -> bool:
        """Whether a driver said that it is ready to go."""
        return bool(self.device.status & words.DRIVER_OK)

    @property
    def unwatched(self) -> bool:
        """Whether it has a queue that is in use, and whose rings were seen at no stop."""
        return self.driven and any(each.queue.set_up and not each.marks for each in self.queues)


@dataclass(frozen=True, slots=True)
class Devices:
    """All that was seen of virtio devices. ``state`` is as it was asked at the first stop and at the last (empty: not
    asked); ``io`` is what the kernel maps in its regions of devices, ``nowhere`` those of it with nothing behind them
    (None: not known); ``seconds`` lie between the stops."""

    looks: tuple[DeviceLook, ...] = ()
    io: tuple[Mapped, ...] = ()
    seconds: float = 0.0
    state: tuple[VirtioState, ...] = ()
    nowhere: tuple[Mapped, ...] | None = None


@dataclass
class Watch:
    """Looks at a guest's devices while it is sampled."""

    guest: Guest
    states: list[VirtioState] = field(default_factory=list)
    why_not: str = ""
    begun: bool = False
    firsts: dict[tuple[str, int], Queue] = field(default_factory=dict)
    offered: set[tuple[str, int]] = field(default_factory=set)

    def _begin(self) -> None:
        try:
            state = of_guest(self.guest)
        except NotSupported as error:
            self.why_not = f"virtio devices were not looked at: {error}"
            return
        if state is not None:
            self.states.append(state)

    def marks(self) -> tuple[Mark, ...]:
        """Every queue's rings as they are now; at the first stop the devices are asked for."""
        first = not self.begun
        if first:
            self.begun = True
            memory = self.guest.memory
            memory.expect(memory.ram.total)  # the fastest way to RAM is looked for before it is run: rather at once
            self._begin()
        if not self.states:
            return ()
        marks = tuple(self._marks(self.states[0]))
        if first:
            self._look_first(self.states[0], marks)
            Thread(target=_made_ready, daemon=True).start()
        return marks

    def _look_first(self, state: VirtioState, marks: tuple[Mark, ...]) -> None:
        """See what is pending before the guest goes on."""
        available = {(each.device, each.queue): each.avail for each in marks if isinstance(each, RingMark)}
        for device in state.devices:
            for queue in device.queues:
                which = device.path, queue.index
                if which in self.offered or available.get(which, queue.last_avail_idx) != queue.last_avail_idx:
                    found = read_queue(self.guest.memory, bus_of_device(device, state), device, queue)
                    if found.packed is not None:  # nobody needs all its descriptors again, and a recording keeps this
                        found = replace(found, packed=replace(found.packed, entries=()))
                    self.firsts[which] = found

    def _marks(self, state: VirtioState) -> Iterator[Mark]:
        left = MOST_LOOKED_AT
        for device in state.devices:
            bus = bus_of_device(device, state)
            split = not words.has(device.features, words.RING_PACKED)
            for queue in device.queues:
                mark: Mark | None = None
                if queue.desc and split:
                    mark = self._mark(device, bus, queue)
                elif queue.desc and 0 < queue.num <= min(left, MOST_ENTRIES):
                    left -= queue.num
                    mark = self._packed_mark(device, bus, queue)
                if mark is not None:
                    yield mark

    def _packed_mark(self, device: DeviceState, bus: Bus, queue: QueueState) -> PackedMark | None:
        """All of a packed ring is read: what moves in it may be anywhere."""
        read: dict[str, bytes] = {}
        places = {"desc": queue.desc, "avail": queue.avail, "used": queue.used}
        for name, size in packed.sizes(queue.num).items():
            real, _ = bus.real(self.guest.memory.ram, places[name], size)
            if real is None:
                return None
            try:
                read[name] = self.guest.memory.read(real, size)
            except MemoryReadError:
                return None
        driver, own = (packed.Events.parse(read[name], device.little) for name in ("avail", "used"))
        if packed.may_wait(read["desc"], queue.last_avail_idx or 0, device.little):
            self.offered.add((device.path, queue.index))
        summed = crc32(read["desc"])
        return PackedMark(device.path, queue.index, summed, driver.flags, driver.word, own.flags, own.word)

    def _mark(self, device: DeviceState, bus: Bus, queue: QueueState) -> RingMark | None:
        order = "little" if device.little else "big"
        memory, values = self.guest.memory, []
        spans = ((queue.avail, 2, queue.num * 2), (queue.used, 2, queue.num * USED_BYTES))
        for ring, header, entries in spans:
            for at, size in ((ring, 2 * header), (ring + 2 * header + entries, 2)):
                real, _ = bus.real(memory.ram, at, size)
                if real is None:
                    return None
                try:
                    data = memory.read(real, size)
                except MemoryReadError:
                    return None
                values += [int.from_bytes(data[n : n + 2], order) for n in range(0, size, 2)]  # type: ignore[arg-type]
        avail_flags, avail, used_event, used_flags, used, avail_event = values
        return RingMark(device.path, queue.index, avail, avail_flags, used_event, used, used_flags, avail_event)

    def end(self, sampling: Sampling) -> None:
        """Ask for the devices as they are at the last stop; where the samples were recorded, the devices were too."""
        control = self.guest.target.control
        if not self.begun:
            self.begun = True
            self.states, self.why_not = states_of(self.guest.target)
            self.firsts = firsts_of(self.guest.target)
        elif control is not None and len(self.states) == 1:
            resting = at_rest(self.states[0], sampling.samples)
            still = unmoved(self.states[0], resting)
            self.states.append(of_monitor_again(control.monitor, self.states[0], resting, still))

    def devices(self, sampling: Sampling, missed: list[str]) -> Devices:
        """What was seen, at the last stop; what could not be is added to ``missed``."""
        self.end(sampling)
        if self.why_not:
            missed.append(self.why_not)
        if not self.states:
            return Devices()
        first, last = self.states[0], self.states[-1]
        was = {each.path: each for each in first.devices}
        try:
            spaces = self.guest.spaces([KERNEL_PID])
        except TargetError:
            raise
        except InspectorError as error:
            missed.append(f"what maps the devices' registers could not be told: {error}")
            spaces = None
        io = None if spaces is None else mapped_io(spaces)
        marks: dict[tuple[str, int], list[Mark]] = {}
        for mark in (mark for sample in sampling.samples for mark in sample.marks):
            marks.setdefault((mark.device, mark.queue), []).append(mark)
        looks, left = [], MOST_LOOKED_AT
        for device in last.devices:
            before = was.get(device.path) if len(self.states) > 1 else None
            seen = []
            for queue in device.queues:
                left -= queue.num if queue.desc else 0
                if left >= 0:
                    seen.append(queue)
            queues = tuple(self._queue(device, queue, before, last, marks) for queue in seen)
            looks.append(DeviceLook(device, tuple(device_problems(device)), queues, bars_among(io, device), before))
        if left < 0:
            missed.append(f"there are more queues than are looked at, {MOST_LOOKED_AT} entries of them in all")
        if unwatched := [each.name for each in looks if each.unwatched]:
            of = ", ".join(unwatched[:MOST_NAMED]) + (" and more" if len(unwatched) > MOST_NAMED else "")
            missed.append(
                f"whether anything moved in the queues of {of} is not known: their rings could not be read, or "
                "are packed and were recorded before such were watched; 'virtio' tells what waits in them"
            )
        lost = None if io is None else nowhere(io, last, self.guest.memory.ram)
        return Devices(tuple(looks), io or (), sampling.seconds, tuple(self.states), lost)

    def _queue(
        self,
        device: DeviceState,
        queue: QueueState,
        before: DeviceState | None,
        state: VirtioState,
        marks: Mapping[tuple[str, int], Sequence[Mark]],
    ) -> QueueLook:
        was = None if before is None else next((each for each in before.queues if each.index == queue.index), None)
        return QueueLook(
            read_queue(self.guest.memory, bus_of_device(device, state), device, queue),
            was,
            tuple(marks.get((device.path, queue.index), ())),
            self.firsts.get((device.path, queue.index)),
        )


def _made_ready() -> None:
    """Load what is needed once the guest is stopped for the last time, while it still runs."""
    import inspector.mappings.ranges
    import inspector.mappings.runs
    import inspector.radix.sweep
    import inspector.spaces  # noqa: F401


def at_rest(state: VirtioState, samples: Sequence[Sample]) -> frozenset[tuple[str, int]]:
    """The queues, by their device's path and index, of which nothing moved although all that was made available had
    been taken and given back, and those that have no rings: the device's side of them need not be asked for again. Of
    a packed ring no mark tells whether something waits in it, and it is asked for."""
    seen: dict[tuple[str, int], set[RingMark]] = {}
    for sample in samples:
        for mark in sample.rings:
            seen.setdefault((mark.device, mark.queue), set()).add(mark)
    found = set()
    for device in state.devices:
        for queue in device.queues:
            which = device.path, queue.index
            marks = seen.get(which, set())
            settled = {(each.avail, each.used) for each in marks} == {(queue.last_avail_idx, queue.last_avail_idx)}
            if not queue.desc or (len(marks) == 1 and settled and not queue.inuse):
                found.add(which)
    return frozenset(found)


def unmoved(state: VirtioState, resting: Container[tuple[str, int]]) -> frozenset[str]:
    """The devices, by path, of which every queue is at rest, and that a driver had made ready with nothing wrong: they
    need not be asked for again either. QEMU prints some sixty lines of each, for which a guest stands still a good
    millisecond. One that is reset within these seconds, its rings left as they were, is seen to be by the next look."""
    return frozenset(
        device.path
        for device in state.devices
        if device.status & words.DRIVER_OK
        and not any(device_problems(device))
        and all((device.path, queue.index) in resting for queue in device.queues)
    )
