"""Split rings as they lie in memory (virtio 1.2, 2.7; Linux 6.1 ``include/uapi/linux/virtio_ring.h``).

All numbers are little-endian for a device that has VERSION_1, and the guest's own for a legacy one (2.7.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

NEXT, WRITE, INDIRECT = 1, 2, 4
"""Flags of a descriptor (2.7.5)."""
NO_INTERRUPT = 1
"""Flag of the available ring: the driver wants no interrupt (2.7.6)."""
NO_NOTIFY = 1
"""Flag of the used ring: the device wants no notification (2.7.8)."""
DESCRIPTOR_BYTES, USED_BYTES = 16, 8
MOST_ENTRIES = 32768
ALIGNMENT = {"desc": 16, "avail": 2, "used": 4}
"""What each part's address is a multiple of (2.7)."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One entry of a descriptor table: a buffer of ``length`` bytes at ``address`` (2.7.5)."""

    index: int
    address: int
    length: int
    flags: int
    next: int

    @property
    def more(self) -> bool:
        """Another follows, ``next``."""
        return bool(self.flags & NEXT)

    @property
    def written(self) -> bool:
        """The device writes it; else it reads it."""
        return bool(self.flags & WRITE)

    @property
    def indirect(self) -> bool:
        """It holds a table of descriptors."""
        return bool(self.flags & INDIRECT)


def order(little: bool) -> str:
    """The byte order as ``struct`` writes it."""
    return "<" if little else ">"


def descriptor(data: bytes, index: int, little: bool = True) -> Descriptor:
    """Entry ``index`` of the table in ``data``. Raises struct.error where that is too short."""
    return Descriptor(index, *struct.unpack_from(f"{order(little)}QIHH", data, index * DESCRIPTOR_BYTES))


def sizes(num: int) -> dict[str, int]:
    """Bytes of each part of a queue of ``num`` entries, its event index included: 16 an entry; 6 and 2 an entry; 6 and
    8 an entry (2.7)."""
    return {"desc": DESCRIPTOR_BYTES * num, "avail": 6 + 2 * num, "used": 6 + USED_BYTES * num}


@dataclass(frozen=True, slots=True)
class Available:
    """The available ring, which the driver writes: flags, its next index, heads, and ``used_event`` (2.7.6, 2.7.7)."""

    flags: int
    idx: int
    ring: tuple[int, ...]
    event: int

    @classmethod
    def parse(cls, data: bytes, num: int, little: bool = True) -> Available:
        """Out of ``sizes(num)["avail"]`` bytes."""
        flags, idx, *ring, event = struct.unpack(f"{order(little)}HH{num}HH", data)
        return cls(flags, idx, tuple(ring), event)


@dataclass(frozen=True, slots=True)
class Used:
    """The used ring, which the device writes: flags, its next index, (head, bytes written), ``avail_event`` (2.7.8)."""

    flags: int
    idx: int
    ring: tuple[tuple[int, int], ...]
    event: int

    @classmethod
    def parse(cls, data: bytes, num: int, little: bool = True) -> Used:
        """Out of ``sizes(num)["used"]`` bytes."""
        flags, idx, *ring, event = struct.unpack(f"{order(little)}HH{2 * num}IH", data)
        return cls(flags, idx, tuple(zip(ring[::2], ring[1::2], strict=True)), event)


def behind(later: int, earlier: int) -> int:
    """How far ``earlier`` is behind ``later``: both run freely in 16 bits."""
    return (later - earlier) & 0xFFFF


def wants_event(event: int, new: int, old: int) -> bool:
    """Whether moving an index from ``old`` to ``new`` is to be told to a side whose event index is ``event``
    (2.7.7.1 and 2.7.10.1; ``vring_need_event``)."""
    return behind(new, event + 1) < behind(new, old)
