"""The RAM file of a running machine as a raw target: what is in it now, by registers of the test's own."""

from __future__ import annotations

from typing import Any

import inspector
from inspector.guest import Guest
from inspector.radix.translation import Access, Translation
from scripts.guests import Machine
from scripts.incontext import special

LPCR_RADIX = 0x50_0400
"""HR, UPRT and GTSE."""


class Image:
    """The inspector, looking at the RAM of a machine that it does not know to be alive."""

    def __init__(self, machine: Machine) -> None:
        fixed = {"ptcr": special(machine, "ptcr"), "lpcr": LPCR_RADIX, "amr": 0, "iamr": 0, "hrmor": 0}
        self.guest: Guest = inspector.open_target(
            f"raw:{machine.ram_file}", overrides=fixed | {"msr": 0, "pid": 0, "lpidr": 0}
        )

    def close(self) -> None:
        self.guest.close()

    def translate(
        self, ea: int, msr: int, *, pid: int = 0, lpidr: int = 0, access: Access | None = None, **more: Any
    ) -> Translation:
        """Where ``ea`` goes on a vCPU with these registers, at this moment."""
        self.guest.overrides.update(msr=msr, pid=pid, lpidr=lpidr)
        self.guest.target.clock.tick()
        return self.guest.translate(ea, access=access, **more)

    def word(self, ra: int) -> int:
        """The little-endian doubleword at a host real address, as a guest stores it."""
        return int.from_bytes(self.guest.memory.read(ra, 8), "little")
