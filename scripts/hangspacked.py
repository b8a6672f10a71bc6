"""Ways to hang a guest at a disk whose rings are packed (virtio 1.2, 2.8), beside those of scripts/hangs.py.

What QEMU does at each of them is in hw/virtio/virtio.c of 7.2, in the functions called ``…_packed_…``."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from inspector.virtio.layout import DESCRIPTOR_BYTES
from inspector.virtio.packed import AVAILABLE, DISABLE, USED
from scripts.hangs import DESC, MEMORY, Way, command, elsewhere, memory_on, put_back_and_kick, vector_mask
from scripts.hangsguest import PACKED, HungGuest

FLAGS = 2
"""Where they are in an event area, after the place."""


def _marks(guest: HungGuest, name: str, index: int) -> tuple[bool, bool]:
    """Of a descriptor: the driver's and the device's."""
    flags = guest.peek("<H", guest.queue(name).desc + DESCRIPTOR_BYTES * index + 14)
    return bool(flags & AVAILABLE), bool(flags & USED)


def _pending(guest: HungGuest, name: str) -> bool:
    """The descriptor that the device is to take next is available; the driver uses one a request."""
    queue = guest.queue(name)
    assert queue.last_avail_idx is not None
    available, used = _marks(guest, name, queue.last_avail_idx)
    return available != used and queue.last_avail_idx == queue.used_idx


def _done_untold(guest: HungGuest, name: str) -> bool:
    """The device has used what it took, and the driver's event area is of a descriptor before that."""
    queue = guest.queue(name)
    asked = guest.peek("<H", queue.avail) & 0x7FFF
    return queue.used_idx == queue.last_avail_idx and asked == (queue.used_idx - 1) % queue.num


def _deaf(guest: HungGuest, name: str) -> None:
    """Have the device want no kick at all."""
    guest.poke(name, "<H", guest.queue(name).used + FLAGS, DISABLE)


def _silent(guest: HungGuest, name: str) -> None:
    """Have the driver want no interrupt at all."""
    guest.poke(name, "<H", guest.queue(name).avail + FLAGS, DISABLE)


def _blank(guest: HungGuest, name: str) -> None:
    """Write zeros over the whole ring once a request is out."""
    queue = guest.queue(name)
    with guest.ram() as ram:
        struct.pack_into(f"{DESCRIPTOR_BYTES * queue.num}x", ram, queue.desc)


_ROWS = (
    Way(f"{PACKED}deaf", "available-not-notified", "the device's event area says that it wants no kick", _deaf,
        undo=put_back_and_kick, sees=_pending),
    Way(f"{PACKED}memory-off", "available-not-taken", "it does not answer to its memory addresses: kicks are lost",
        command(MEMORY), undo=memory_on, sees=_pending),
    Way(f"{PACKED}masked", "interrupt-not-taken", "its queue's MSI-X vector is masked", vector_mask(True),
        undo=vector_mask(False), sees=_done_untold),
    Way(f"{PACKED}silent", "used-not-taken", "the driver's event area says that it wants no interrupt", _silent,
        sees=_done_untold, sure="medium"),
    Way(f"{PACKED}blank", "ring-index-impossible", "zeros are written over its ring while a request is out", _deaf,
        then=_blank),
    Way(f"{PACKED}not-ram", "ring-not-ram", "the device has its descriptor ring where no RAM is", elsewhere(DESC)),
)  # fmt: skip
PACKED_WAYS: Mapping[str, Way] = MappingProxyType({way.name: way for way in _ROWS})
"""Every one of them by its name, which is its disk's too."""
