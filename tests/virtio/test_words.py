from __future__ import annotations

import pytest

from inspector.virtio import words


def test_a_status_in_the_order_in_which_a_driver_sets_it() -> None:
    assert [bit.name for bit in words.status_bits(0xF)] == ["ACKNOWLEDGE", "DRIVER", "FEATURES_OK", "DRIVER_OK"]
    assert [(bit.number, bit.name) for bit in words.status_bits(0xD0)] == [
        (6, "NEEDS_RESET"),
        (7, "FAILED"),
        (4, ""),
    ]
    assert list(words.status_bits(0)) == []


def test_one_bit_is_another_feature_of_another_device() -> None:
    said = {device: next(words.feature_bits(device, 1 << 2)).name for device in (words.BLOCK, words.NET, words.SCSI)}
    assert said == {
        words.BLOCK: "VIRTIO_BLK_F_SEG_MAX",
        words.NET: "VIRTIO_NET_F_CTRL_GUEST_OFFLOADS",
        words.SCSI: "VIRTIO_SCSI_F_CHANGE",
    }
    assert next(words.feature_bits(words.RNG, 1 << 2)).name == ""


@pytest.mark.parametrize("device", words.DEVICES)
def test_every_name_leads_back_to_its_bit(device: int) -> None:
    for bit in words.feature_bits(device, (1 << 64) - 1):
        if bit.name:
            assert words.feature_number(device, bit.name) == bit.number
            assert bit.says


def test_an_old_name_is_known() -> None:
    assert words.feature_number(words.BLOCK, "VIRTIO_F_IOMMU_PLATFORM") == words.ACCESS_PLATFORM
    assert words.feature_number(words.RNG, "VIRTIO_BLK_F_MQ") is None


@pytest.mark.parametrize(
    ("device", "number", "count", "name"),
    [
        (words.NET, 0, 3, "receive 0"),
        (words.NET, 1, 3, "transmit 0"),
        (words.NET, 2, 3, "control"),
        (words.NET, 2, 5, "receive 1"),
        (words.CONSOLE, 1, 4, "transmit 0"),
        (words.CONSOLE, 2, 4, "control receive"),
        (words.CONSOLE, 5, 64, "transmit 1"),
        (words.BLOCK, 7, 8, "requests"),
        (words.BALLOON, 2, 3, ""),
        (words.SCSI, 1, 3, "events"),
        (words.SCSI, 2, 3, "requests"),
        (99, 0, 1, ""),
    ],
)
def test_what_a_queue_is_for(device: int, number: int, count: int, name: str) -> None:
    assert words.queue_name(device, number, count, 0) == name
