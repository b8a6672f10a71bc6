from __future__ import annotations

import pytest

from inspector.virtio.place import place_of
from inspector.virtio.state import Bar, DeviceState, Part, VirtioState

AT = 0x2100_0002_0000
PARTS = tuple(
    Part(f"virtio-pci-{name}-virtio-blk", AT + n * 0x1000, 0x1000)
    for n, name in enumerate(("common", "isr", "device", "notify"))
)
BARS = (
    Bar(1, 0x8000_0000, 0x1000, real=0x2000_8000_0000, parts=(Part("msix-table", 0x2000_8000_0000, 0x30),)),
    Bar(4, AT, 0x4000, real=AT, parts=PARTS),
    Bar(5, 0, 0x1000),
)
STATE = VirtioState((DeviceState("/m", "virtio-blk", 2, 0xF, 0, 0, count=2, slot="00:02.0", bars=BARS),))


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (AT + 0x3004, "virtio-pci-notify-virtio-blk: notifies queue 1 (requests) of 00:02.0 virtio-blk"),
        (AT + 0x3008, "virtio-pci-notify-virtio-blk, 0x8 in: notification (a write kicks the device) of 00:02.0"),
        (AT + 0x14, "virtio-pci-common-virtio-blk, 0x14 in, device_status: common configuration of 00:02.0 virtio-blk"),
        (AT + 0x1000, "interrupt status (a read acknowledges it) of 00:02.0 virtio-blk"),
        (0x2000_8000_0010, "msix-table, 0x10 in: MSI-X table of 00:02.0 virtio-blk"),
        (0x2000_8000_0100, "BAR 1 of 00:02.0 virtio-blk, 0x100 in, where nothing answers"),
    ],
)
def test_a_register_by_its_real_address(address: int, says: str) -> None:
    place = place_of(STATE, address)
    assert place is not None
    assert says in place.says


@pytest.mark.parametrize("address", [0, AT - 1, AT + 0x4000, (1 << 64) - 1])
def test_what_is_no_device(address: int) -> None:
    assert place_of(STATE, address) is None
