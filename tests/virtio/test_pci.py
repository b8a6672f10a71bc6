from __future__ import annotations

from itertools import pairwise

import pytest

from inspector.virtio import pci


@pytest.mark.parametrize(
    ("pci_id", "device"),
    [(0x1000, 1), (0x1001, 2), (0x1005, 4), (0x1042, 2), (0x1044, 4), (0x1040, None), (0x3F, None)],
)
def test_the_device_behind_a_pci_id(pci_id: int, device: int | None) -> None:
    assert pci.virtio_id(pci_id) == device


def test_parts_by_their_names() -> None:
    assert pci.part_words("virtio-pci-notify-virtio-blk").startswith("notification (")
    assert pci.part_words("virtio-pci-notify-pio-virtio-blk") == "notification by I/O port"
    assert pci.part_words("virtio-pci") == "legacy registers"
    assert pci.part_words("msix-table") == "MSI-X table"
    assert pci.part_words("something") == "something"


def test_fields_do_not_overlap() -> None:
    for one, other in pairwise(pci.COMMON):
        assert one.offset + one.size <= other.offset
        assert one.offset % one.size == 0


def test_a_write_names_its_queue() -> None:
    assert pci.notified_queue(0) == 0
    assert pci.notified_queue(12) == 3
    assert pci.notified_queue(0x2000, pci.PAGE_PER_QUEUE) == 2
    assert (pci.common_field(0x14), pci.common_field(0x24), pci.common_field(0x3C)) == (
        "device_status",
        "queue_desc",
        "",
    )
