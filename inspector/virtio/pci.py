"""Virtio over PCI: identities, the common configuration and the notification, as data.

Virtio 1.2, 4.1.2 (identities), 4.1.4.3 (common configuration), 4.1.4.4 (notification); Linux 6.1
``include/uapi/linux/virtio_pci.h``. QEMU 7.2 puts the structures into BAR 4, each in 4 KiB (hw/virtio/virtio-pci.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

VENDOR = 0x1AF4
MODERN = 0x1040
"""A modern device's PCI id is this and its virtio id."""
TRANSITIONAL: Mapping[int, int] = MappingProxyType(
    {0x1000: 1, 0x1001: 2, 0x1002: 5, 0x1003: 3, 0x1004: 8, 0x1005: 4, 0x1009: 9}
)
"""PCI id -> virtio id of devices that also work for drivers from before 1.0 (4.1.2.1)."""


@dataclass(frozen=True, slots=True)
class Field:
    """``size`` bytes at ``offset`` of a structure; ``name`` is the specification's."""

    offset: int
    size: int
    name: str


COMMON: tuple[Field, ...] = (
    Field(0, 4, "device_feature_select"), Field(4, 4, "device_feature"), Field(8, 4, "driver_feature_select"),
    Field(12, 4, "driver_feature"), Field(16, 2, "config_msix_vector"), Field(18, 2, "num_queues"),
    Field(20, 1, "device_status"), Field(21, 1, "config_generation"), Field(22, 2, "queue_select"),
    Field(24, 2, "queue_size"), Field(26, 2, "queue_msix_vector"), Field(28, 2, "queue_enable"),
    Field(30, 2, "queue_notify_off"), Field(32, 8, "queue_desc"), Field(40, 8, "queue_driver"),
    Field(48, 8, "queue_device"), Field(56, 2, "queue_notify_data"), Field(58, 2, "queue_reset"),
)  # fmt: skip
"""The common configuration structure (4.1.4.3), little-endian."""

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "virtio-pci-common": "common configuration",
        "virtio-pci-isr": "interrupt status (a read acknowledges it)",
        "virtio-pci-device": "device configuration",
        "virtio-pci-notify": "notification (a write kicks the device)",
        "virtio-pci-notify-pio": "notification by I/O port",
        "msix-table": "MSI-X table",
        "msix-pba": "MSI-X pending bits",
        "virtio-pci": "legacy registers",
    }
)
"""What QEMU's names for memory regions mean; from 6.1 a device's name follows them."""

MULTIPLIER, PAGE_PER_QUEUE = 4, 0x1000
"""QEMU's ``notify_off_multiplier``: 4, or 4 KiB with page-per-vq (hw/virtio/virtio-pci.c)."""


def virtio_id(pci_id: int) -> int | None:
    """The type of virtio device that a PCI device id names; None where it names none."""
    if pci_id in TRANSITIONAL:
        return TRANSITIONAL[pci_id]
    return pci_id - MODERN if MODERN < pci_id <= MODERN + 0x3F else None


def part_words(name: str) -> str:
    """What a part of a device is, by QEMU's name for it; that name itself where nothing is known of it."""
    fitting = [known for known in PARTS if name == known or name.startswith(f"{known}-")]
    return PARTS[max(fitting, key=len)] if fitting else name


def common_field(offset: int) -> str:
    """The field of the common configuration at ``offset``; empty where there is none."""
    return next((each.name for each in COMMON if each.offset <= offset < each.offset + each.size), "")


def notified_queue(offset: int, multiplier: int = MULTIPLIER) -> int:
    """The queue that a write at ``offset`` of the notification structure kicks, where queue N has notify offset N, as
    QEMU has it (4.1.4.4: offset = queue_notify_off * notify_off_multiplier)."""
    return offset // multiplier
