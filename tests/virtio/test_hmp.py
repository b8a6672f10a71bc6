"""What QEMU 7.2's monitor printed, read. The features are those that the guest's own sysfs showed meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.virtio import hmp, query
from inspector.virtio.state import QueueState, Window
from tests.virtio import recorded

SYSFS_BLOCK = "0010101001111110000000000000110010000000100000000000000000000000"
SYSFS_BEHIND = "0010101001111110000000000000110011000000100000000000000000000000"
SYSFS_BALLOON = "0100000000000000000000000000110010000000100000000000000000000000"


def bits(sysfs: str) -> int:
    """The features as /sys/bus/virtio/devices/*/features writes them: bit 0 first."""
    return int(sysfs[::-1], 2)


@pytest.mark.parametrize(
    ("path", "text", "device_id", "features"),
    [
        (recorded.BLOCK, recorded.STATUS_BLK, 2, SYSFS_BLOCK),
        (recorded.BALLOON, recorded.STATUS_BALLOON, 5, SYSFS_BALLOON),
        (recorded.BEHIND, recorded.STATUS_BEHIND, 2, SYSFS_BEHIND),
    ],
)
def test_a_device_is_what_the_guest_has_it_for(path: str, text: str, device_id: int, features: str) -> None:
    device = hmp.status(path, text.replace("\n", "\r\n"))
    assert device is not None
    assert (device.path, device.device_id, device.status) == (path, device_id, 0xF)
    assert device.features == bits(features)
    assert device.features & ~device.offered == 0
    assert device.little
    assert device.started
    assert not device.broken
    assert device.others == ()


def test_the_devices_listed() -> None:
    assert hmp.devices(recorded.LISTED.replace("\n", "\r\n")) == [
        (recorded.BEHIND, "virtio-blk"),
        (recorded.BLOCK, "virtio-blk"),
        (recorded.BALLOON, "virtio-balloon"),
    ]
    assert hmp.devices("No VirtIO devices\r\n") == []
    assert hmp.no_virtio_command("unknown command: 'info virtio'\r\n")


def test_a_broken_device_and_what_nobody_knows() -> None:
    text = recorded.STATUS_BLK.replace("broken:                  false", "broken:                  true")
    text = text.replace("endianness:              little", "endianness:              big")
    text = text.replace("VIRTIO_BLK_F_MQ:", "VIRTIO_BLK_F_NEW:")
    ready = "Driver setup and ready\n"
    more = "Driver setup and ready,\n\tVIRTIO_CONFIG_S_NEEDS_RESET: x\n  unknown-statuses(0x00000010)\n"
    text = text.replace(ready, more)
    device = hmp.status(recorded.BLOCK, text)
    assert device is not None
    assert (device.broken, device.little, device.status) == (True, False, 0x5F)
    assert device.others == ("VIRTIO_BLK_F_NEW",)
    assert device.features == bits(SYSFS_BLOCK) & ~(1 << 12)


def test_a_queue() -> None:
    assert hmp.queue(recorded.QUEUE_BALLOON) == QueueState(
        2, 128, 0x23B0000, 0x23B0800, 0x23B0980, used_idx=0, last_avail_idx=1, shadow_avail_idx=1, inuse=1
    )
    assert hmp.queue("Error: Path x is not a realized VirtIODevice\r\n") is None


def test_bars_are_where_a_cpu_has_them() -> None:
    functions = hmp.functions(recorded.PCI)
    assert [each.slot for each in functions] == ["00:01.0", "00:02.0", "00:05.0"]
    device = hmp.status(recorded.BLOCK, recorded.STATUS_BLK)
    assert device is not None
    placed = hmp.placed(
        device,
        hmp.function_of(device, 2 << 3, functions),
        hmp.apertures(recorded.TREE),
        hmp.flat_parts(recorded.FLAT),
    )
    assert placed.slot == "00:02.0"
    # the guest's /sys/bus/pci/devices/0000:00:02.0/resource says 0x200080010000 and 0x210000020000
    assert [(bar.number, bar.io, bar.real, bar.size) for bar in placed.bars] == [
        (0, True, 0x2000_0000_0080, 0x80),
        (1, False, 0x2000_8001_0000, 0x1000),
        (4, False, 0x2100_0002_0000, 0x4000),
    ]
    assert [part.name for part in placed.bars[2].parts] == [
        f"virtio-pci-{part}-virtio-blk" for part in ("common", "isr", "device", "notify")
    ]


def test_which_function_a_device_is_behind() -> None:
    functions = hmp.functions(recorded.PCI)
    block = hmp.status(recorded.BLOCK, recorded.STATUS_BLK)
    behind = hmp.status(recorded.BEHIND, recorded.STATUS_BEHIND)
    assert block is not None
    assert behind is not None
    named = hmp.function_of(behind, None, functions)
    assert named is not None
    assert named.slot == "00:05.0"
    alone = hmp.function_of(block, None, functions)
    assert alone is not None, "the other of its type has a name, and this has none"
    assert alone.slot == "00:02.0"
    two = [*functions, replace(functions[1], bus=1)]
    assert hmp.function_of(block, 2 << 3, two) is None, "there are two that it could be"
    assert hmp.function_of(replace(block, device_id=1), None, functions) is None


def test_the_windows_of_the_iommu() -> None:
    assert hmp.windows(recorded.FLAT) == [
        Window("tce-iommu-80000000", 0, 1 << 30),
        Window("tce-iommu-80000001", 1 << 59, 1 << 30),
    ]
    bridge = "  000600c3c0000000-000600c3c0001fff (prio 0, i/o): phb4-0.0-regs\n"
    assert hmp.windows(bridge) == [Window("phb4-0.0 bypass", 1 << 59, 1 << 59)]


@given(st.text(), st.data())
def test_no_text_is_too_strange(text: str, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([recorded.STATUS_BLK, recorded.QUEUE_BLK, recorded.PCI, recorded.FLAT]))
    cut = data.draw(st.integers(0, len(whole)))
    for each in (text, whole[:cut] + text + whole[cut:]):
        hmp.devices(each)
        hmp.status("/x", each)
        hmp.queue(each)
        hmp.functions(each)
        hmp.apertures(each)
        hmp.flat_parts(each)
        hmp.windows(each)


def test_qmp_says_the_same() -> None:
    device = hmp.status(recorded.BALLOON, recorded.STATUS_BALLOON)
    common = [
        "VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled",
        "VIRTIO_RING_F_INDIRECT_DESC: Indirect descriptors supported",
        "VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)",
    ]
    more = [
        "VIRTIO_F_ANY_LAYOUT: Device accepts arbitrary desc. layouts",
        "VIRTIO_F_NOTIFY_ON_EMPTY: Notify when device runs out of avail. descs. on VQ",
    ]
    stats = "VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available"
    poison = "VIRTIO_BALLOON_F_PAGE_POISON: Guest page poisoning enabled"
    names = ("ACKNOWLEDGE", "DRIVER", "FEATURES_OK", "DRIVER_OK")
    said = query.status(
        recorded.BALLOON,
        {
            "device-endian": "little", "bus-name": "", "name": "virtio-balloon", "started": True, "device-id": 5,
            "isr": 0, "broken": False, "num-vqs": 3, "disabled": False, "vhost-started": False,
            "status": {"statuses": [f"VIRTIO_CONFIG_S_{name}: words" for name in names]},
            "guest-features": {"unknown-dev-features": 1 << 40, "dev-features": [stats], "transports": common},
            "host-features": {
                "unknown-dev-features": 1 << 40 | 1 << 30,
                "dev-features": [poison, stats],
                "transports": [*common, *more],
            },
        },
    )  # fmt: skip
    assert said == device
    queue = {
        "signalled-used": 0, "inuse": 1, "name": "virtio-balloon", "vring-align": 4096, "vring-desc": 0x23B0000,
        "signalled-used-valid": False, "vring-num-default": 128, "vring-avail": 0x23B0800, "queue-index": 2,
        "last-avail-idx": 1, "vring-used": 0x23B0980, "used-idx": 0, "shadow-avail-idx": 1, "vring-num": 128,
    }  # fmt: skip
    assert query.queue(queue) == hmp.queue(recorded.QUEUE_BALLOON)
