"""``virtio`` on the fake pseries guest, its monitor answering as QEMU 7.2's did."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.commands.registry import Result, run
from inspector.errors import FormatError, NotSupported, UsageError
from inspector.render.style import Style
from inspector.virtio.state import DeviceState, QueueState, VirtioState
from inspector.virtio.waiting import Waits
from tests.commands.asking import ask, lines, objects, session, shown, told
from tests.commands.test_examples import too_long
from tests.fakes import FakeControl, FakeTarget, linux_target
from tests.virtio import recorded

HANGS = Path(__file__).parent.parent.parent / "fixtures/hangs"
PARTS = ("common", "isr", "device", "notify")
BALLOON_AT, BALLOON_MAPPED = 0x2100_0001_0000, 0x2100_0000_0000
"""Where the balloon's BAR 4 was when it was recorded, and where the fake guest maps a device."""


class Recorded(FakeTarget):
    """One that carries its devices."""

    virtio: object = None


def answers() -> dict[str, str]:
    """By command. The balloon's BAR is where the fake guest maps one."""
    found = {
        "info virtio": recorded.LISTED,
        f"info virtio-status {recorded.BLOCK}": recorded.STATUS_BLK,
        f"info virtio-status {recorded.BALLOON}": recorded.STATUS_BALLOON,
        f"info virtio-status {recorded.BEHIND}": recorded.STATUS_BEHIND,
        f"info virtio-queue-status {recorded.BLOCK} 1": recorded.QUEUE_BLK,
        f"info virtio-queue-status {recorded.BALLOON} 2": recorded.QUEUE_BALLOON,
        f"info virtio-queue-status {recorded.BEHIND} 1": recorded.QUEUE_BEHIND,
        "info pci": recorded.PCI,
        "info mtree": recorded.TREE,
        "info mtree -f": recorded.FLAT,
        "qom-get /machine/peripheral-anon/device[2] addr": "16",
        "qom-get /machine/peripheral-anon/device[1] addr": "8",
        "qom-get /machine/peripheral/behind addr": "40",
    }
    for name in ("info pci", "info mtree -f"):
        for at in range(0, 0x4000, 0x1000):
            for last in (0, 0xFFF):
                old, new = f"{BALLOON_AT + at + last:012x}", f"{BALLOON_MAPPED + at + last:012x}"
                found[name] = found[name].replace(old, new)
    return {name: text.replace("\n", "\r\n") for name, text in found.items()}


def machine() -> FakeTarget:
    """The guest with the balloon's statistics queue as it was: one buffer out, none used."""
    target = linux_target()
    FakeControl(target).monitor_says = answers()
    target.source.put(0x23B_0000, struct.pack("<QIHH", 0x4D_3553C, 100, 0, 0))
    target.source.put(0x23B_0800, struct.pack("<HH", 0, 1))
    target.source.put(0x23B_0980 + 4 + 8 * 128, struct.pack("<H", 1))
    return target


def calls(target: FakeTarget) -> list[str]:
    assert isinstance(target.control, FakeControl)
    return target.control.calls


def answer(target: FakeTarget, command: str, text: str) -> None:
    assert isinstance(target.control, FakeControl)
    target.control.monitor_says[command] = text


def device(name: str, target: FakeTarget | None = None) -> dict[str, Any]:
    (found,) = [each for each in told(f"virtio {name}", target or machine()) if "virtio" in each]
    return found


def test_a_healthy_device() -> None:
    found = device("balloon")
    assert (found["slot"], found["status"], found["features"]) == ("00:01.0", "0xf", "0x10130000002")
    assert found["problems"] == []
    bar = next(each for each in found["bars"] if each["bar"] == 4)
    assert (bar["ra"], bar["mappings"]) == ("0x210000000000", 2)
    assert [(each["ea"], each["attribute"], each["io"]) for each in bar["mapped"]] == [
        ("0xc00a000080020000", "non-idempotent", True),
        ("0xc00a000080040000", "non-idempotent", True),
    ]
    (queue,) = found["queues"]
    assert (queue["pending"], queue["with_device"], queue["untaken_at_most"], queue["problems"]) == (0, 1, 0, [])
    assert queue["recent"] == [
        {
            "index": 0,
            "address": "0x4d3553c",
            "length": 100,
            "device_writes": False,
            "indirect_table": False,
            "next": None,
        }
    ], "as 'info virtio-queue-element' said"
    ring = queue["rings"]["avail"]
    assert (ring["address"], ring["ra"], ring["ram"], ring["mapped"][0]["ea"]) == (
        "0x23b0800",
        "0x23b0800",
        True,
        "0xc0000000023b0800",
    )


def test_a_pending_chain_is_told() -> None:
    target = machine()
    target.source.put(0x23B_0802, struct.pack("<HHH", 2, 0, 0))
    target.source.put(0x23B_0000, struct.pack("<QIHH", 0x100_0000, 100, 0, 0))
    found = device("balloon", target)
    assert found["queues"][0]["pending"] == 1
    assert found["queues"][0]["notification_due"] is True
    (chain,) = found["queues"][0]["chains"]
    assert chain["descriptors"][0] == {
        "index": 0,
        "address": "0x1000000",
        "ra": "0x1000000",
        "length": 100,
        "device_writes": False,
        "indirect_table": False,
        "of_indirect": False,
        "ram": True,
    }
    text = shown("virtio balloon", target)
    assert "1 pending; the driver was to notify" in text
    assert "pending head 0: 1 descriptor, 100 bytes" in text


def test_what_was_seen_before_has_waited_since() -> None:
    target = machine()
    target.source.put(0x23B_0802, struct.pack("<HHH", 2, 0, 0))
    at = session(target)
    at.waits = Waits(iter((100.0, 107.5, 109.0)).__next__)
    waited = []
    for index in (2, 3, 1):
        target.source.put(0x23B_0802, struct.pack("<H", index))
        (found,) = [each for each in run(at, ["virtio", "balloon"]) if each.topic == "virtio"]
        waited.append(objects([found])[0]["queues"][0]["waited_s"])
        if index == 3:
            assert "2 pending, for 7.5 s at least" in " ".join(lines([found]))
    assert waited == [0, 7.5, None]


def test_a_packed_ring_is_told_in_its_own_words() -> None:
    """One descriptor waits, which the device is to be notified of at the second place only."""
    live = linux_target()
    target = Recorded(live.source, live.ram, live.files, live.known_roots)
    queue = QueueState(0, 8, 0x23B_0000, 0x23B_0800, 0x23B_0900, last_avail_idx=0)
    features = 1 << 32 | 1 << 34 | 1 << 29
    target.virtio = VirtioState(
        (DeviceState("/machine/x", "virtio-rng", 4, 0xF, features, features, count=1, queues=(queue,)),)
    )
    target.source.put(0x23B_0000, bytes(0x1000))
    target.source.put(0x23B_0000, struct.pack("<QIHH", 0x100_0000, 64, 3, 1 << 7 | 2))
    target.source.put(0x23B_0900, struct.pack("<HH", 1 | 1 << 15, 2))
    (found,) = told("virtio rng", target)[0]["queues"]
    assert (found["pending"], found["notification_due"], found["available"], found["used"]) == (1, False, None, None)
    assert found["packed"]["device_event"] == {"flags": 2, "offset": 1, "wrap": True}
    assert found["problems"] == []
    text = " ".join(shown("virtio rng", target).split())
    assert "1 pending; notification suppressed; 0 descriptors with the device" in text
    assert "the driver wants every interrupt, the device one notification, at 1 (round 1)" in text
    assert "pending head 3: 1 descriptor, 64 bytes" in text
    target.source.put(0x23B_0900, struct.pack("<HH", 1 | 1 << 15, 0x8002))
    text = " ".join(shown("virtio rng", target).split())
    assert "the device what flags 0x8002 do not tell" in text
    assert "the device's event area: its flags are 0x8002, which mean nothing" in text


def test_registers_that_nothing_maps_as_it_should_be() -> None:
    results = ask("virtio 00:02.0", machine())
    found = objects([each for each in results if each.topic == "virtio"])[0]
    assert {each["cause"] for each in found["problems"]} == {"mmio-not-mapped", "mmio-not-io"}
    assert not all(each.ok for each in results)
    assert "without the attribute of I/O" in " ".join(" ".join(lines(results)).split())


def test_behind_the_iommu_the_window_is_said() -> None:
    found = device("behind")
    assert any("taken for Linux's" in each for each in found["remarks"])
    ring = found["queues"][0]["rings"]["desc"]
    assert int(ring["address"], 16) - int(ring["ra"], 16) == 1 << 59
    target = machine()
    answer(target, "info mtree -f", recorded.FLAT.replace("tce-iommu-80000001", "other"))
    blind = device("behind", target)
    assert any("cannot be followed" in each for each in blind["remarks"])
    assert blind["queues"][0]["pending"] is None


def test_a_ring_that_is_elsewhere_is_a_finding() -> None:
    target = machine()
    answer(
        target,
        f"info virtio-queue-status {recorded.BALLOON} 2",
        recorded.QUEUE_BALLOON.replace("0x00000000023b0980", "0x0000210000003000"),
    )
    found = device("balloon", target)
    assert [each["cause"] for each in found["queues"][0]["problems"]] == ["ring-not-ram"]
    assert all(0 <= address < 64 << 20 for address, _ in target.source.asked), "a device is never read"


def test_only_what_looks_is_asked_of_the_monitor() -> None:
    target = machine()
    ask("virtio", target)
    asked = [each for each in calls(target) if each.startswith("monitor ")]
    assert asked
    assert all(each.startswith(("monitor info ", "monitor qom-get ")) for each in asked)


@pytest.mark.parametrize("words", ["virtio", "virtio 00:01.0", "virtio blk", "virtio --queue 2", "virtio behind"])
def test_it_fits_and_says_the_same_in_colour(words: str) -> None:
    results: list[Result] = ask(words, machine())
    plain = lines(results)
    assert too_long(plain) == []
    assert plain == [line.rstrip() for line in plain]
    assert len(lines(results, Style(True))) == len(plain)


@pytest.mark.parametrize(
    ("words", "slots"),
    [
        ("00:01.0", ["00:01.0"]),
        ("01.0", ["00:01.0"]),
        ("blk", ["00:02.0", "00:05.0"]),
        ("virtio-balloon", ["00:01.0"]),
        ("behind", ["00:05.0"]),
        (recorded.BLOCK, ["00:02.0"]),
        ("--queue 2", ["00:01.0"]),
    ],
)
def test_which_devices_a_word_means(words: str, slots: list[str]) -> None:
    assert [each["slot"] for each in told(f"virtio '{words}'" if "--" not in words else f"virtio {words}", machine())
            if "slot" in each] == slots  # fmt: skip


def test_words_that_are_wrong() -> None:
    with pytest.raises(UsageError, match=r"there is no virtio device 'gpu'; there are 00:01\.0"):
        ask("virtio gpu", machine())
    with pytest.raises(UsageError, match="has a queue 9"):
        ask("virtio --queue 9", machine())
    with pytest.raises(UsageError, match="--queue takes a number from 0 to 65535, not '-1'"):
        ask("virtio --queue -1", machine())
    with pytest.raises(UsageError, match="--chains takes a number from 0 to 65535, not '-1'"):
        ask("virtio --chains -1", machine())
    with pytest.raises(UsageError, match="no QMP socket"):
        ask("virtio --qmp localhost:1", machine())


def test_a_monitor_that_does_not_know_it() -> None:
    target = machine()
    answer(target, "info virtio", "unknown command: 'info virtio'\r\n")
    with pytest.raises(NotSupported, match=r"from 7\.2 on"):
        ask("virtio", target)


def test_a_recording_without_and_with_its_devices() -> None:
    from inspector.devices import of_guest
    from tests.fakes import guest

    live = machine()
    state = of_guest(guest(live))
    assert state is not None
    carried = state.to_json()
    live.control = None
    assert "without its virtio devices" in shown("virtio", live)
    assert told("virtio", live)[0]["virtio"] is None
    with pytest.raises(UsageError, match="leave --qmp out"):
        ask("virtio --qmp unix:/none", live)
    kept = Recorded(live.source, live.ram, live.files, live.known_roots)
    kept.virtio = carried
    assert VirtioState.from_json(kept.virtio) == state
    assert device("balloon", kept) == device("balloon")
    kept.virtio = {"version": 1}
    with pytest.raises(FormatError, match="virtio state is wrong"):
        ask("virtio", kept)


def test_a_queue_is_not_idle_whose_device_gave_up_over_a_buffer() -> None:
    """It took three, gave back two and holds none: QEMU drops what it fails at."""
    with inspector.open_target(HANGS / "debian-table-not-ram.core.gz") as kept:
        said = shown("virtio 00:00.0", kept)
    assert "idle" not in said
    assert "nothing pending; 0 with the device" in said


def test_no_devices() -> None:
    target = linux_target()
    FakeControl(target)
    assert shown("virtio", target) == "there are no virtio devices"
