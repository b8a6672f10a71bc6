"""What virtio's numbers are called: device types, status bits, feature bits.

Virtio 1.2, sections 2.1 (status), 5 (device types), 6 (feature bits), and Linux 6.1
``include/uapi/linux/virtio_config.h``, ``virtio_ids.h``, ``virtio_ring.h`` and each device's own header. QEMU 7.2 names
features by the headers' names (hw/virtio/virtio.c), and those that it does not know by their bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED = 1, 2, 4, 8, 0x40, 0x80

STATUS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        ACKNOWLEDGE: ("ACKNOWLEDGE", "the guest has seen the device"),
        DRIVER: ("DRIVER", "the guest has a driver for it"),
        FEATURES_OK: ("FEATURES_OK", "both sides agree on the features"),
        DRIVER_OK: ("DRIVER_OK", "the driver is ready to go"),
        NEEDS_RESET: ("NEEDS_RESET", "the device cannot go on until it is reset"),
        FAILED: ("FAILED", "the driver has given the device up"),
    }
)
"""Bits of the device's status by value, in the order in which they are set (virtio 1.2, 2.1)."""

NET, BLOCK, CONSOLE, RNG, BALLOON, SCSI, GPU, INPUT, VSOCK, CRYPTO, IOMMU, MEM, SOUND, FS, PMEM = (
    *(1, 2, 3, 4, 5, 8, 16, 18, 19, 20, 23, 24, 25, 26, 27),
)
DEVICES: Mapping[int, str] = MappingProxyType(
    {
        NET: "network card", BLOCK: "block device", CONSOLE: "console", RNG: "entropy source", BALLOON: "balloon",
        6: "I/O memory", 7: "rpmsg", SCSI: "SCSI host", 9: "9P transport", 10: "WLAN", 11: "rproc serial",
        12: "CAIF", 13: "memory balloon", GPU: "GPU", 17: "clock", INPUT: "input device", VSOCK: "socket",
        CRYPTO: "crypto device", 21: "signal distribution", 22: "pstore", IOMMU: "IOMMU", MEM: "memory device",
        SOUND: "sound card", FS: "file system", PMEM: "persistent memory", 28: "RPMB", 32: "SCMI", 34: "I2C adapter",
        35: "watchdog", 36: "CAN", 38: "parameter server", 39: "audio policy", 40: "Bluetooth", 41: "GPIO",
    }
)  # fmt: skip
"""Device types (virtio 1.2, 5; Linux ``virtio_ids.h``)."""

QUEUES: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        RNG: ("requests",),
        BALLOON: ("inflate", "deflate", "statistics", "free pages", "reporting"),
        SCSI: ("control", "events"),
        GPU: ("control", "cursor"),
        INPUT: ("events", "status"),
        VSOCK: ("receive", "transmit", "events"),
        IOMMU: ("requests", "events"),
        MEM: ("requests",),
        SOUND: ("control", "events", "transmit", "receive"),
        FS: ("high priority",),
        PMEM: ("requests",),
    }
)
"""What a device's first queues are for (virtio 1.2, 5.x.2). Which of the balloon's later ones there are depends on its
features; those of network cards, consoles and block devices are told by :func:`queue_name`."""

VERSION_1, ACCESS_PLATFORM, RING_PACKED, EVENT_IDX, INDIRECT_DESC, NOTIFY_ON_EMPTY = 32, 33, 34, 29, 28, 24

COMMON: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        NOTIFY_ON_EMPTY: ("VIRTIO_F_NOTIFY_ON_EMPTY", "interrupts when a queue runs empty, whatever is suppressed"),
        26: ("VHOST_F_LOG_ALL", "vhost logs what it writes"),
        27: ("VIRTIO_F_ANY_LAYOUT", "requests may be cut into buffers as one likes"),
        INDIRECT_DESC: ("VIRTIO_RING_F_INDIRECT_DESC", "a descriptor may point to a table of more"),
        EVENT_IDX: ("VIRTIO_RING_F_EVENT_IDX", "each side says by an index when it wants to be told"),
        30: ("VHOST_USER_F_PROTOCOL_FEATURES", "vhost-user's own features (or BAD_FEATURE, of old)"),
        VERSION_1: ("VIRTIO_F_VERSION_1", "modern: little-endian, virtio 1.0 or later"),
        ACCESS_PLATFORM: ("VIRTIO_F_ACCESS_PLATFORM", "addresses go through the platform's IOMMU"),
        RING_PACKED: ("VIRTIO_F_RING_PACKED", "packed rings"),
        35: ("VIRTIO_F_IN_ORDER", "buffers are used in the order in which they were made available"),
        36: ("VIRTIO_F_ORDER_PLATFORM", "memory is ordered as the platform has it"),
        37: ("VIRTIO_F_SR_IOV", "single-root I/O virtualization"),
        38: ("VIRTIO_F_NOTIFICATION_DATA", "the driver says more when it notifies"),
        39: ("VIRTIO_F_NOTIF_CONFIG_DATA", "the device says what to write to notify"),
        40: ("VIRTIO_F_RING_RESET", "queues can be reset one by one"),
    }
)
"""Feature bits that any device may have (virtio 1.2, 6)."""

ALIASES: Mapping[str, str] = MappingProxyType({"VIRTIO_F_IOMMU_PLATFORM": "VIRTIO_F_ACCESS_PLATFORM"})

OWN: Mapping[int, Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        NET: {
            0: ("VIRTIO_NET_F_CSUM", "takes packets with half a checksum"),
            1: ("VIRTIO_NET_F_GUEST_CSUM", "the driver takes such packets"),
            2: ("VIRTIO_NET_F_CTRL_GUEST_OFFLOADS", "offloads change while it runs"),
            3: ("VIRTIO_NET_F_MTU", "says its MTU"),
            5: ("VIRTIO_NET_F_MAC", "says its MAC address"),
            6: ("VIRTIO_NET_F_GSO", "segmentation of any kind (of old)"),
            7: ("VIRTIO_NET_F_GUEST_TSO4", "the driver takes TSOv4"),
            8: ("VIRTIO_NET_F_GUEST_TSO6", "the driver takes TSOv6"),
            9: ("VIRTIO_NET_F_GUEST_ECN", "the driver takes TSO with ECN"),
            10: ("VIRTIO_NET_F_GUEST_UFO", "the driver takes UFO"),
            11: ("VIRTIO_NET_F_HOST_TSO4", "takes TSOv4"),
            12: ("VIRTIO_NET_F_HOST_TSO6", "takes TSOv6"),
            13: ("VIRTIO_NET_F_HOST_ECN", "takes TSO with ECN"),
            14: ("VIRTIO_NET_F_HOST_UFO", "takes UFO"),
            15: ("VIRTIO_NET_F_MRG_RXBUF", "merges receive buffers"),
            16: ("VIRTIO_NET_F_STATUS", "says whether the link is up"),
            17: ("VIRTIO_NET_F_CTRL_VQ", "has a control queue"),
            18: ("VIRTIO_NET_F_CTRL_RX", "receive modes by that queue"),
            19: ("VIRTIO_NET_F_CTRL_VLAN", "VLAN filters by that queue"),
            20: ("VIRTIO_NET_F_CTRL_RX_EXTRA", "more receive modes"),
            21: ("VIRTIO_NET_F_GUEST_ANNOUNCE", "asks the driver to announce itself"),
            22: ("VIRTIO_NET_F_MQ", "has several pairs of queues"),
            23: ("VIRTIO_NET_F_CTRL_MAC_ADDR", "its MAC address by that queue"),
            53: ("VIRTIO_NET_F_NOTF_COAL", "notifications are put together"),
            57: ("VIRTIO_NET_F_HASH_REPORT", "reports a hash for each packet"),
            60: ("VIRTIO_NET_F_RSS", "spreads what it receives"),
            61: ("VIRTIO_NET_F_RSC_EXT", "counts coalesced segments"),
            62: ("VIRTIO_NET_F_STANDBY", "stands by for another device"),
            63: ("VIRTIO_NET_F_SPEED_DUPLEX", "says speed and duplex"),
        },
        BLOCK: {
            0: ("VIRTIO_BLK_F_BARRIER", "barriers (of old)"),
            1: ("VIRTIO_BLK_F_SIZE_MAX", "says how large a segment may be"),
            2: ("VIRTIO_BLK_F_SEG_MAX", "says how many segments a request may have"),
            4: ("VIRTIO_BLK_F_GEOMETRY", "says its geometry"),
            5: ("VIRTIO_BLK_F_RO", "read-only"),
            6: ("VIRTIO_BLK_F_BLK_SIZE", "says its block size"),
            7: ("VIRTIO_BLK_F_SCSI", "SCSI commands (of old)"),
            9: ("VIRTIO_BLK_F_FLUSH", "can flush its cache"),
            10: ("VIRTIO_BLK_F_TOPOLOGY", "says its topology"),
            11: ("VIRTIO_BLK_F_CONFIG_WCE", "its cache can be turned on and off"),
            12: ("VIRTIO_BLK_F_MQ", "has several queues"),
            13: ("VIRTIO_BLK_F_DISCARD", "can discard"),
            14: ("VIRTIO_BLK_F_WRITE_ZEROES", "can write zeros"),
            15: ("VIRTIO_BLK_F_LIFETIME", "says how worn it is"),
            16: ("VIRTIO_BLK_F_SECURE_ERASE", "can erase for good"),
        },
        CONSOLE: {
            0: ("VIRTIO_CONSOLE_F_SIZE", "says its columns and rows"),
            1: ("VIRTIO_CONSOLE_F_MULTIPORT", "has several ports"),
            2: ("VIRTIO_CONSOLE_F_EMERG_WRITE", "can be written to before it is set up"),
        },
        BALLOON: {
            0: ("VIRTIO_BALLOON_F_MUST_TELL_HOST", "pages are used again only after the host was told"),
            1: ("VIRTIO_BALLOON_F_STATS_VQ", "has a statistics queue"),
            2: ("VIRTIO_BALLOON_F_DEFLATE_ON_OOM", "deflates when memory runs out"),
            3: ("VIRTIO_BALLOON_F_FREE_PAGE_HINT", "hints at free pages"),
            4: ("VIRTIO_BALLOON_F_PAGE_POISON", "says what free pages hold"),
            5: ("VIRTIO_BALLOON_F_REPORTING", "reports free pages"),
        },
        SCSI: {
            0: ("VIRTIO_SCSI_F_INOUT", "a request may both read and write"),
            1: ("VIRTIO_SCSI_F_HOTPLUG", "units come and go"),
            2: ("VIRTIO_SCSI_F_CHANGE", "says when a unit changes"),
            3: ("VIRTIO_SCSI_F_T10_PI", "protection information"),
        },
        GPU: {
            0: ("VIRTIO_GPU_F_VIRGL", "3D"),
            1: ("VIRTIO_GPU_F_EDID", "EDID"),
            2: ("VIRTIO_GPU_F_RESOURCE_UUID", "resources have UUIDs"),
            3: ("VIRTIO_GPU_F_RESOURCE_BLOB", "blob resources"),
            4: ("VIRTIO_GPU_F_CONTEXT_INIT", "contexts of several kinds"),
        },
        VSOCK: {1: ("VIRTIO_VSOCK_F_SEQPACKET", "SOCK_SEQPACKET")},
        IOMMU: {
            0: ("VIRTIO_IOMMU_F_INPUT_RANGE", "says which addresses it takes"),
            1: ("VIRTIO_IOMMU_F_DOMAIN_RANGE", "says which domains it takes"),
            2: ("VIRTIO_IOMMU_F_MAP_UNMAP", "maps and unmaps"),
            3: ("VIRTIO_IOMMU_F_BYPASS", "lets through what is not attached"),
            4: ("VIRTIO_IOMMU_F_PROBE", "can be probed"),
            5: ("VIRTIO_IOMMU_F_MMIO", "maps MMIO"),
            6: ("VIRTIO_IOMMU_F_BYPASS_CONFIG", "letting through can be set"),
        },
        MEM: {
            0: ("VIRTIO_MEM_F_ACPI_PXM", "says its NUMA node"),
            1: ("VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE", "what is unplugged may not be touched"),
        },
    }
)
"""Feature bits of one type of device, by its id (virtio 1.2, 5.x.3)."""


@dataclass(frozen=True, slots=True)
class Bit:
    """One bit that is set: its number, its name, and what it says; name and words are empty where it is not known."""

    number: int
    name: str
    says: str


def status_bits(value: int) -> Iterator[Bit]:
    """The bits of a device's status that are set, in the order in which a driver sets them."""
    left = value
    for mask, (name, says) in STATUS.items():
        if value & mask:
            left &= ~mask
            yield Bit(mask.bit_length() - 1, name, says)
    for number in range(left.bit_length()):
        if left >> number & 1:
            yield Bit(number, "", "")


def feature_bits(device_id: int, value: int) -> Iterator[Bit]:
    """The features that are set, from bit 0 on. A device's own names go before the common ones."""
    own = OWN.get(device_id, {})
    for number in range(value.bit_length()):
        if value >> number & 1:
            yield Bit(number, *(own.get(number) or COMMON.get(number) or ("", "")))


def feature_number(device_id: int, name: str) -> int | None:
    """The bit of a feature by its header's name; None where that is not known."""
    name = ALIASES.get(name, name)
    for names in (OWN.get(device_id, {}), COMMON):
        for number, (known, _) in names.items():
            if known == name:
                return number
    return None


def has(features: int, number: int) -> bool:
    """Whether this feature bit is set."""
    return bool(features >> number & 1)


def queue_name(device_id: int, number: int, count: int, features: int) -> str:
    """What queue ``number`` of ``count`` is for; empty where that is not known.

    Network cards (5.1.2) have pairs and, with CTRL_VQ, a control queue behind them; consoles (5.3.2) a pair, with
    MULTIPORT a control pair and then a pair for each port; block devices (5.2.2) and file systems requests alone."""
    if device_id == BLOCK:
        return "requests"
    if device_id == NET:
        if number == count - 1 and count % 2:
            return "control"
        return f"{'transmit' if number % 2 else 'receive'} {number // 2}"
    if device_id == CONSOLE:
        way = "transmit" if number % 2 else "receive"
        if number in (2, 3):
            return f"control {way}"
        return f"{way} {0 if number < 2 else number // 2 - 1}"
    if device_id == BALLOON and number >= 2 and not has(features, 1):
        return ""
    names = QUEUES.get(device_id, ())
    if number < len(names):
        return names[number]
    return "requests" if device_id in (SCSI, FS) else ""
