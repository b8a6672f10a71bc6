"""``virtio`` held against the guest's own sysfs and interrupts, and against the monitor."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.devices import of_guest, of_monitor, of_qmp
from inspector.qmp import Qmp
from inspector.virtio.state import VirtioState
from scripts.guests import Machine
from scripts.kinds import KINDS

pytestmark = pytest.mark.live

SECOND_DISK = "file={directory}/disk,if=none,id=behind-disk,format=raw,readonly=on,file.locking=off"
PACKED_DISK = SECOND_DISK.replace("behind", "packed")
MORE = (
    *("-device", "virtio-net-pci,netdev=net,romfile=", "-netdev", "user,id=net,restrict=on"),
    *("-device", "virtio-serial-pci,id=serial", "-chardev", "null,id=null", "-device", "virtconsole,chardev=null"),
    *("-drive", SECOND_DISK),
    *("-device", "virtio-blk-pci,drive=behind-disk,iommu_platform=on,disable-legacy=on,id=behind"),
    *("-drive", PACKED_DISK),
    *("-device", "virtio-blk-pci,drive=packed-disk,packed=on,disable-legacy=on,id=packed"),
    *("-qmp", "unix:{directory}/qmp2,server=on,wait=off"),
)

SLOT = r"$(readlink -f $d | sed 's/.*0000:\(.*\)\/v.*/\1/')"
"""In the guest's shell, the place on PCI of /sys/bus/virtio/devices/$d."""
NAMES = f"cd /sys/bus/virtio/devices; for d in *; do echo $d {SLOT}; done"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A guest with a device of every sort that its kernel drives, and some that it does not."""
    with Machine(replace(KINDS["pseries-p9"], devices=(*KINDS["pseries-p9"].devices, *MORE))) as guest:
        guest.wait_ready()
        guest.shell(
            "for disk in vda vdb vdc; do dd if=/dev/$disk of=/dev/null bs=64k; done; head -c 64 /dev/hwrng >/dev/null"
        )
        yield guest


def told(guest: Machine, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    status = main([guest.target, "virtio", "--json", *words])
    said = capsys.readouterr()
    assert status == 0, said.err + said.out
    return [json.loads(line) for line in said.out.splitlines()]


def test_every_device_is_what_sysfs_says(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    said = machine.shell(
        f"cd /sys/bus/virtio/devices; for d in *; do echo $d {SLOT} $(cat $d/device $d/status $d/features); done"
    )
    sysfs = {slot: words for _, slot, *words in map(str.split, said.splitlines())}
    found = {each["slot"]: each for each in told(machine, capsys) if "slot" in each}
    assert len(found) == 7
    assert set(found) == set(sysfs)
    for slot, (device_id, status, features) in sysfs.items():
        assert found[slot]["device_id"] == int(device_id, 16)
        assert int(found[slot]["status"], 16) == int(status, 16)
        assert int(found[slot]["features"], 16) == int(features[::-1], 2)
        assert found[slot]["problems"] == []


def test_bars_are_where_the_guest_has_them(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    for device in told(machine, capsys):
        lines = machine.shell(f"cat /sys/bus/pci/devices/0000:{device['slot']}/resource").splitlines()
        for bar in device["bars"]:
            first, last, _ = (int(word, 16) for word in lines[bar["bar"]].split())
            assert bar["size"] == last - first + 1
            assert int(bar["bus_address" if bar["io_space"] else "ra"], 16) == first
            assert all(each["io"] for each in bar["mapped"])
        driven = "DRIVER_OK" in device["status_names"]
        (registers,) = [each for each in device["bars"] if each["bar"] == 4]
        assert registers["mappings"] or not driven


def test_rings_hold_as_much_as_the_guest_asked_for(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests that the guest's block layer counts are the device's used indices; one interrupt may tell of several."""
    counts = {}
    for line in machine.shell("cat /proc/interrupts").splitlines():
        if found := re.search(r"(virtio\d+)-req\.(\d+)$", line):
            counts[found[1], int(found[2])] = sum(int(word) for word in line.split()[1:3])
    names = dict(line.split()[::-1] for line in machine.shell(NAMES).splitlines())
    for device in told(machine, capsys, "blk"):
        name = names[device["slot"]]
        for queue in device["queues"]:
            if queue["packed"]:
                continue
            assert queue["used"]["idx"] == queue["used_idx"] == queue["available"]["idx"]
            assert counts[name, queue["queue"]] <= queue["used_idx"] <= 4 * counts[name, queue["queue"]]
            assert (queue["pending"], queue["untaken_at_most"], queue["with_device"]) == (0, 0, 0)
        stat = machine.shell(f"cat /sys/bus/virtio/devices/{name}/block/*/stat").split()
        assert sum(queue["used_idx"] for queue in device["queues"]) == int(stat[0]) + int(stat[4])
        assert int(stat[0]) >= 8


def test_the_socket_and_the_stub_say_the_same(machine: Machine) -> None:
    machine.pause()
    try:
        with Qmp(f"unix:{machine.directory}/qmp2") as qmp:
            by_socket, by_monitor = of_qmp(qmp), of_monitor(qmp.monitor)
        with inspector.open_target(machine.target) as seen:
            by_stub = of_guest(seen)
    finally:
        machine.cont()
    assert by_stub is not None
    assert by_stub.devices == by_socket.devices == by_monitor.devices
    assert by_stub.windows == by_monitor.windows
    assert VirtioState.from_json(json.loads(json.dumps(by_stub.to_json()))) == by_stub


def test_behind_the_iommu_rings_are_the_devices(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (device,) = told(machine, capsys, "behind")
    assert "VIRTIO_F_ACCESS_PLATFORM" in device["feature_names"]
    assert any("the used indices in it are the device's own" in each for each in device["remarks"])
    assert sum(queue["used"]["idx"] for queue in device["queues"]) >= 4


def test_on_a_bare_machine_the_bridge_passes_addresses_through(capsys: pytest.CaptureFixture[str]) -> None:
    kind = KINDS["powernv9"]
    behind = tuple(word.replace("virtio-rng-pci", "virtio-rng-pci,iommu_platform=on") for word in kind.devices)
    with Machine(replace(kind, devices=behind)) as guest:
        guest.wait_ready()
        guest.shell("head -c 64 /dev/hwrng >/dev/null")
        (device,) = told(guest, capsys)
    assert any("the used indices in it are the device's own" in each for each in device["remarks"])
    (queue,) = device["queues"]
    assert queue["used"]["idx"] == queue["used_idx"] > 0


def test_what_is_pending_and_broken_is_seen(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """Rings are changed in the shared RAM of a guest that stands still, and put back."""
    machine.pause()
    try:
        (before,) = told(machine, capsys, "balloon", "--queue", "2")
        queue = before["queues"][0]
        at = int(queue["rings"]["avail"]["ra"], 16)
        heads = {0: ("pending", None), 500: ("impossible", "head-impossible")}
        for head, (_, cause) in heads.items():
            with open(machine.ram_file, "r+b") as ram:
                ram.seek(at)
                kept = ram.read(64)
                try:
                    taken = queue["last_avail_idx"]
                    ram.seek(at + 2)
                    ram.write(struct.pack("<H", taken + 1))
                    ram.seek(at + 4 + 2 * (taken % queue["entries"]))
                    ram.write(struct.pack("<H", head))
                    ram.flush()
                    status = main([machine.target, "virtio", "balloon", "--queue", "2", "--json"])
                finally:
                    ram.seek(at)
                    ram.write(kept)
            (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert found["queues"][0]["pending"] == 1
            assert [each["cause"] for each in found["queues"][0]["problems"]] == ([cause] if cause else [])
            assert status == (1 if cause else 0)
    finally:
        machine.cont()


def test_a_buffer_with_the_device_is_what_the_monitor_decodes(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """The balloon keeps the driver's statistics buffer until it is asked for; the monitor decodes it by itself."""
    (device,) = told(machine, capsys, "balloon", "--queue", "2")
    element = machine.hmp(f"info virtio-queue-element {device['path']} 2 0")
    found = re.search(r"addr 0x([0-9a-f]+) len (\d+)", element)
    assert found is not None, element
    (queue,) = device["queues"]
    assert queue["with_device"] == 1
    (recent,) = queue["recent"]
    assert (int(recent["address"], 16), recent["length"]) == (int(found[1], 16), int(found[2]))


def test_a_packed_ring_holds_as_much_as_the_guest_asked_for(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each request is one descriptor of the ring, for it leads to a table of its own."""
    (device,) = told(machine, capsys, "packed")
    names = dict(line.split()[::-1] for line in machine.shell(NAMES).splitlines())
    stat = machine.shell(f"cat /sys/bus/virtio/devices/{names[device['slot']]}/block/*/stat").split()
    requests = int(stat[0]) + int(stat[4])
    assert requests >= 8
    entries = {queue["entries"] for queue in device["queues"]}
    assert sum(queue["used_idx"] for queue in device["queues"]) % max(entries) == requests % max(entries)
    for queue in device["queues"]:
        event = queue["packed"]["driver_event"]
        named = event["flags"] == 2  # with EVENT_IDX a place is, from the first interrupt on
        assert named or not queue["used_idx"]
        assert (queue["pending"], queue["untaken_at_most"], queue["with_device"]) == (0, 0 if named else None, 0)
        assert queue["last_avail_idx"] == queue["used_idx"]
        assert queue["problems"] == []


def test_nothing_is_wrong_with_a_packed_ring_that_is_busy(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """``triage`` finds nothing in it, over round after round of the ring, nor once it is at rest."""
    (device,) = told(machine, capsys, "packed")
    names = dict(line.split()[::-1] for line in machine.shell(NAMES).splitlines())
    stat = f"/sys/bus/virtio/devices/{names[device['slot']]}/block"
    node = machine.shell(f"ls {stat}").strip()
    reads = f"while :; do dd if=/dev/{node} of=/dev/null bs=64k; echo 3 >/proc/sys/vm/drop_caches; done"
    task = machine.shell(f"setsid sh -c '{reads}' </dev/null >/dev/null 2>&1 & echo $!").strip()
    try:
        for _ in range(2):
            before = int(machine.shell(f"cat {stat}/*/stat").split()[0])
            assert verdicts(machine, capsys) == ["healthy"]
            machine.shell(f"until set -- $(cat {stat}/*/stat); [ $1 -gt {before} ]; do sleep 0.1; done")
    finally:
        machine.kill_group(task)
    assert verdicts(machine, capsys) == ["healthy"]


def verdicts(guest: Machine, capsys: pytest.CaptureFixture[str]) -> list[str]:
    main([guest.target, "--ram", str(guest.ram_file), "triage", "--json", "--seconds", "0.7"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [each["verdict"] for each in rows if "verdict" in each]
