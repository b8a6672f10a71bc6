"""Which register of which device a real address is."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.virtio import pci, words
from inspector.virtio.state import Bar, DeviceState, Part, VirtioState


@dataclass(frozen=True, slots=True)
class Place:
    """``offset`` bytes into ``part`` of a device's BAR; ``part`` is None between the parts. ``queue`` is the one that a
    write there notifies, presumed with QEMU's usual distance of 4 bytes between queues; ``field`` names what of the
    common configuration it is."""

    device: DeviceState
    bar: Bar
    part: Part | None
    offset: int
    queue: int | None = None
    field: str = ""

    @property
    def says(self) -> str:
        """In words: which device, and which of its registers."""
        device = f"{self.device.slot} {self.device.name}".strip()
        if self.part is None:
            return f"BAR {self.bar.number} of {device}, {self.offset:#x} in, where nothing answers"
        if self.queue is not None:
            name = words.queue_name(self.device.device_id, self.queue, self.device.count, self.device.features)
            return f"{self.part.name}: notifies queue {self.queue}{f' ({name})' if name else ''} of {device}"
        more = f", {self.field}" if self.field else ""
        return f"{self.part.name}, {self.offset:#x} in{more}: {pci.part_words(self.part.name)} of {device}"


def place_of(state: VirtioState, address: int) -> Place | None:
    """What of a virtio device is at a real address; None where none of their BARs is."""
    for device in state.devices:
        for bar in device.bars:
            if bar.real is None or not bar.real <= address < bar.real + bar.size:
                continue
            part = next((each for each in bar.parts if each.start <= address < each.start + each.size), None)
            if part is None:
                return Place(device, bar, None, address - bar.real)
            offset = address - part.start
            queue = pci.notified_queue(offset) if part.name.startswith("virtio-pci-notify") else None
            known = queue if queue is not None and queue < device.count else None
            field = pci.common_field(offset) if part.name.startswith("virtio-pci-common") else ""
            return Place(device, bar, part, offset, known, field)
    return None
