"""Where a real address leads: to RAM, to a register of a device, or nowhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from inspector.errors import NotSupported
from inspector.guest import Guest
from inspector.virtio.hmp import flat_parts
from inspector.virtio.place import place_of
from inspector.virtio.state import Part, VirtioState


@dataclass
class Leads:
    """Tells it of one guest that stands still, by what QEMU says of its devices."""

    guest: Guest
    state: VirtioState | None = None
    _parts: list[Part] | None = field(default=None, init=False)

    def says(self, address: int) -> str:
        """In words, what is at a real address of the machine."""
        held = next((each for each in self.guest.memory.ram if each.start <= address < each.end), None)
        if held is not None:
            return "RAM"
        place = None if self.state is None else place_of(self.state, address)
        if place is not None:
            return place.says
        parts = self._devices()
        if parts is None:
            return "no RAM; which device is there is not known"
        part = next((each for each in parts if each.start <= address < each.start + each.size), None)
        if part is None:
            return "nothing: neither RAM nor a device"
        return f"no RAM: QEMU has {part.name} there, {address - part.start:#x} in"

    def _devices(self) -> list[Part] | None:
        """What is I/O in the CPU's addresses; None of a guest that nobody can be asked about."""
        control = self.guest.target.control
        if self._parts is None and control is not None:
            try:
                said = control.monitor(["info mtree -f"])[0]
            except NotSupported:
                return None
            self._parts = flat_parts(said) if said else None
        return self._parts
