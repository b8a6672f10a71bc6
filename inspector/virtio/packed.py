"""The packed layout of a queue (virtio 1.2, 2.8): one ring of descriptors, which driver and device both write, and 4
bytes of each side that say when it is to be told.

Who may use a descriptor is in two of its flags, against a counter that flips with each round of the ring. QEMU 7.2
tells how far the device has come and not which round that is (``VirtQueueStatus`` in qapi/virtio.json), neither by its
human monitor nor by QMP; but the round can be told from what stands just before: all that the device has taken in it is
marked with it. That is a guess, and :meth:`Ring.stray` holds the whole ring to it.

How far the driver has come is told by nobody: what it made available is marked, but its taking back what was used
leaves no mark. Only with EVENT_IDX, and once it has asked for an interrupt by place, does that place tell how far it
had come (Linux 6.1, ``virtqueue_get_buf_ctx_packed`` and ``virtqueue_enable_cb_prepare_packed``)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from inspector.errors import MemoryReadError
from inspector.memory.physical import PhysicalMemory
from inspector.virtio.bus import Bus
from inspector.virtio.chain import MOST_FOLLOWED, Chain, Link
from inspector.virtio.layout import DESCRIPTOR_BYTES, MOST_ENTRIES, Descriptor, order, wants_event

AVAILABLE, USED = 1 << 7, 1 << 15
"""Flags of a descriptor: the driver's and the device's mark (2.8.1)."""
EVENT_BYTES = 4
ENABLE, DISABLE, AT = 0, 1, 2
"""A side is to be told always, never, or when one place is reached (2.8.10)."""
ALIGNMENT = {"desc": 16, "avail": 4, "used": 4}
NAMES = {"desc": "descriptor ring", "avail": "driver's event area", "used": "device's event area"}
"""By the words for the parts of a split ring, whose addresses a device keeps them under (2.8.10)."""


def sizes(num: int) -> dict[str, int]:
    """Bytes of each part of a queue of ``num`` entries."""
    return {"desc": DESCRIPTOR_BYTES * num, "avail": EVENT_BYTES, "used": EVENT_BYTES}


@dataclass(frozen=True, slots=True)
class Events:
    """When a side wants to be told: ``flags`` are ENABLE, DISABLE or AT, and nothing else can be; of the last,
    ``offset`` and ``wrap`` are the place in the ring and its round (2.8.10). The other 14 bits of the flags are
    reserved, and QEMU 7.2 compares them all (``virtio_packed_should_notify``)."""

    flags: int
    offset: int
    wrap: bool

    @property
    def word(self) -> int:
        """The place and its round as they lie in memory."""
        return self.offset | self.wrap << 15

    @classmethod
    def parse(cls, data: bytes, little: bool = True) -> Events:
        """Out of EVENT_BYTES bytes."""
        place, flags = struct.unpack(f"{order(little)}HH", data)
        return cls(flags, place & 0x7FFF, bool(place >> 15))

    def want(self, place: int, count: int, num: int, wrap: bool) -> bool | None:
        """Whether a side that went on by ``count`` descriptors and came to ``place``, which is in the round ``wrap``,
        was to tell the other (2.8.10; ``vring_packed_need_event``); None for flags that there are none of."""
        if self.flags != AT:
            return {ENABLE: True, DISABLE: False}.get(self.flags)
        event = self.offset if self.wrap == wrap else self.offset - num
        return wants_event(event & 0xFFFF, place, (place - count) & 0xFFFF)

    def wrong(self, num: int, places: bool) -> str:
        """Why this cannot be, in a ring of ``num`` (empty: it can); ``places`` is whether EVENT_IDX was agreed on,
        which AT is for (2.8.10)."""
        if self.flags not in (ENABLE, DISABLE, AT):
            return f"its flags are {self.flags:#x}, which mean nothing"
        if self.flags == AT and not places:
            return "it asks by place, and VIRTIO_F_EVENT_IDX was not agreed on"
        if self.flags == AT and self.offset >= num:
            return f"it asks for place {self.offset} of a ring of {num}"
        return ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One descriptor of the ring. ``id`` is the buffer's."""

    descriptor: Descriptor
    id: int
    available: bool
    used: bool


@dataclass(frozen=True, slots=True)
class Ring:
    """The whole of it, at least one descriptor, or its event areas alone. ``driver`` and ``device`` say when each side
    wants to be told (None: not read)."""

    entries: tuple[Entry, ...]
    driver: Events | None
    device: Events | None

    def round_at(self, place: int, held: int) -> bool:
        """The round that the device is in, which has come to ``place`` and has so many ``held``: what stands before it
        was made available in it. Where all of the ring waits, the driver has gone round and marked that too."""
        if not held and all(each.available != each.used for each in self.entries):
            return self.entries[place].available
        return self.entries[place - 1].available if place else not self.entries[-1].available

    def waiting(self, place: int, wrap: bool) -> int:
        """How many descriptors from ``place`` on the driver has made available in the round ``wrap`` and the next."""
        for count in range(len(self.entries)):
            one = self.entries[(place + count) % len(self.entries)]
            now = wrap ^ (place + count >= len(self.entries))
            if one.available != now or one.used == now:
                return count
        return len(self.entries)

    def stray(self, place: int, wrap: bool) -> int | None:
        """The first descriptor whose marks cannot be where the device has come to ``place`` in the round ``wrap``; None
        where all can. Past those that wait a descriptor is as the round before left it, with the other round's mark of
        the driver; in the first round of all it is 0, which is the same. A driver writes the first descriptor of a
        buffer last (2.8.6): so those after it, alone, may be of a buffer that is about to be made available."""
        num, waiting, half = len(self.entries), self.waiting(place, wrap), True
        for count in range(waiting, num):
            index = (place + count) % num
            now = self.entries[index].available == (wrap ^ (place + count >= num))
            if now and (count == waiting or not half):
                return index
            half = half and (now or count == waiting)
        return None

    def buffers(self, place: int, wrap: bool) -> Iterator[tuple[Entry, ...]]:
        """The descriptors of each buffer that waits from ``place`` on, the oldest first; of the last one some may be
        missing."""
        left = self.waiting(place, wrap)
        while left > 0:
            found: list[Entry] = []
            while left > 0 and (not found or found[-1].descriptor.more):
                found.append(self.entries[place % len(self.entries)])
                place, left = place + 1, left - 1
            yield tuple(found)


def entries(data: bytes, num: int, little: bool = True) -> Iterator[Entry]:
    """The descriptors in so many bytes (2.8.13). What follows one is the next of the ring."""
    for index in range(num):
        address, length, number, flags = struct.unpack_from(f"{order(little)}QIHH", data, DESCRIPTOR_BYTES * index)
        one = Descriptor(index, address, length, flags & 7, (index + 1) % num)
        yield Entry(one, number, bool(flags & AVAILABLE), bool(flags & USED))


def may_wait(data: bytes, place: int, little: bool = True) -> bool:
    """Whether the descriptor at ``place`` of those in so many bytes may be available, whatever round it is: for who has
    not the time to look at them all."""
    if not 0 <= DESCRIPTOR_BYTES * place < len(data):
        return False
    (flags,) = struct.unpack_from(f"{order(little)}H", data, DESCRIPTOR_BYTES * place + 14)
    return bool(flags & AVAILABLE) != bool(flags & USED)


def chain(memory: PhysicalMemory, bus: Bus, buffer: Sequence[Entry], little: bool) -> Chain:
    """A buffer that waits, one of those that :meth:`Ring.buffers` tells, with the table that an indirect one leads to.
    Reads RAM alone."""
    return _chain(memory, bus, buffer[-1], [_link(memory, bus, each.descriptor, False) for each in buffer], little)


def _link(memory: PhysicalMemory, bus: Bus, one: Descriptor, inside: bool) -> Link:
    real, why = bus.real(memory.ram, one.address, max(one.length, 1))
    return Link(one, inside, real, why)


def _chain(memory: PhysicalMemory, bus: Bus, last: Entry, links: list[Link], little: bool) -> Chain:
    if last.descriptor.more:
        return Chain(last.id, tuple(links), "chain-open", "its last descriptor that is available names a next one")
    first = links[0]
    if first.descriptor.indirect:
        size = first.descriptor.length
        count = size // DESCRIPTOR_BYTES
        if len(links) > 1 or not size or size % DESCRIPTOR_BYTES or count > MOST_ENTRIES:
            why = f"an indirect table of {size} bytes holds no number of descriptors, or more follow it"
            return Chain(last.id, tuple(links), "indirect-length", why)
        if first.real is None:
            where = f"the indirect table at {first.descriptor.address:#x}: {first.why}"
            return Chain(last.id, tuple(links), "table-not-ram", where)
        try:
            data = memory.read(first.real, min(count, MOST_FOLLOWED) * DESCRIPTOR_BYTES)
        except MemoryReadError as error:
            return Chain(last.id, tuple(links), "table-unreadable", f"its indirect table could not be read ({error})")
        for each in entries(data, len(data) // DESCRIPTOR_BYTES, little):
            # of a table's entries only the flag that the device writes means anything (2.8.8)
            links.append(_link(memory, bus, replace(each.descriptor, flags=each.descriptor.flags & 2), True))
    bad = next((each for each in links if each.real is None), None)
    if bad is not None:
        reason = f"the buffer of descriptor {bad.descriptor.index}: {bad.why}"
        return Chain(last.id, tuple(links), "buffer-not-ram", reason)
    return Chain(last.id, tuple(links))


def passed(place: int, wrap: bool, event: Events | None, num: int) -> int | None:
    """How far ``place``, in the round ``wrap``, is past the place at which a side wants to be told; None where it names
    none, or one that is still to come."""
    if event is None or event.flags != AT or event.offset >= num:
        return None
    far = place - event.offset + (num if event.wrap != wrap else 0)
    return far if 0 <= far <= num else None
