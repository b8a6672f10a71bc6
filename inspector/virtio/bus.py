"""From the addresses that a driver gave its device to real ones.

Without ACCESS_PLATFORM a virtio device under QEMU reaches RAM by its real addresses. With it, addresses go through the
bus's IOMMU. Under pseries that is a table of translation control entries which the hypervisor keeps: the guest fills it
by H_PUT_TCE, and no copy of it is in the guest's RAM (PAPR; QEMU 7.2, hw/ppc/spapr_iommu.c), so it cannot be followed
from here. But Linux maps all RAM in order into a 64-bit window where it gets one that is large enough (Linux 6.1,
arch/powerpc/platforms/pseries/iommu.c, ``enable_ddw``); what is in that window can be told, as presumed. On powernv the
bridge's own registers say where tables are, and its devices' registers are never read here; but Linux has it pass
64-bit addresses through at bit 59 (arch/powerpc/platforms/powernv/pci-ioda.c, ``pnv_pci_ioda2_set_bypass``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inspector.memory.physical import RamMap
from inspector.virtio import words
from inspector.virtio.state import DeviceState, VirtioState, Window

DIRECT_FROM = 1 << 59
"""Where QEMU puts the 64-bit window (SPAPR_PCI_DMA64_WIN, include/hw/pci-host/spapr.h, QEMU 7.2), and where a powernv
bus is passed through to real addresses (PHB4: bit 59)."""
BYPASS = "bypass"
"""How the name of a window ends that a bridge passes through as it is."""
PRESUMED = "the IOMMU's table is the hypervisor's, and the window was taken for Linux's, which has all RAM in order"
PASSED = "the bridge was taken to pass addresses with bit 59 through, as Linux sets it up"


@dataclass(frozen=True, slots=True)
class Bus:
    """How a device's addresses lead to RAM: as they are, or where ``translated`` through ``windows``."""

    translated: bool = False
    windows: tuple[Window, ...] = ()

    @property
    def direct(self) -> Window | None:
        """The window that is taken for one with all RAM in order."""
        return next((each for each in self.windows if each.start == DIRECT_FROM), None) if self.translated else None

    @property
    def presumed(self) -> str:
        """What was taken for granted of that window."""
        return PASSED if self.direct is not None and self.direct.name.endswith(BYPASS) else PRESUMED

    def real(self, ram: RamMap, address: int, length: int) -> tuple[int | None, str]:
        """The real address of ``length`` bytes of RAM at a bus address; or None, and why not."""
        if self.translated:
            window = self.direct
            if window is None or not window.start <= address <= window.start + window.size - length:
                return None, f"{address:#x} goes through the IOMMU, whose table cannot be followed from here"
            address -= window.start
        if ram.covers(address, length):
            return address, ""
        some = any(True for _ in ram.within(address, length))
        return None, f"{length:#x} bytes at {address:#x} are not {'all ' if some else ''}RAM"


def bus_of(translated: bool, windows: Sequence[Window]) -> Bus:
    """The bus of a device that has ACCESS_PLATFORM, or not."""
    return Bus(translated, tuple(windows) if translated else ())


def bus_of_device(device: DeviceState, state: VirtioState) -> Bus:
    """The bus of one of a machine's devices, by its features and the machine's windows."""
    return bus_of(words.has(device.features, words.ACCESS_PLATFORM), state.windows)
