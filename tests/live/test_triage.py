"""``triage`` on a guest that hangs by KVM's software walk, and on busy ones in which nothing is wrong."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from inspector.cli import main
from scripts.guests import Machine
from scripts.hang import NIP, PID, Hung, hang
from scripts.qmp import PATIENCE
from scripts.scene import DEVICE, DEVICE_EA, Scene

pytestmark = pytest.mark.live

TIMES = 4
WORK = "while :; do ls -lR /sys /proc/self; dd if=/dev/zero of=/tmp/filled bs=64k count=64; sync; sleep 0; done"
"""New processes, page faults of every kind, and system calls."""


@pytest.fixture(scope="module")
def hung() -> Iterator[Hung]:
    with hang() as hung:
        yield hung


def told(machine: Machine, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the findings; the guest runs on."""
    status = main([machine.target, "triage", "--json", *words])
    said = capsys.readouterr()
    assert not said.err
    found = list(map(json.loads, said.out.splitlines()))
    assert found[0]["stood_ms"] > 0
    assert machine.running
    return status, found


@contextmanager
def busy(machine: Machine) -> Iterator[None]:
    """Every vCPU of the guest has something to do."""
    tasks = machine.shell(f"for n in 1 2 3; do setsid sh -c '{WORK}' >/dev/null 2>&1 & echo $!; done").split()
    try:
        machine.spends(1)
        yield
    finally:
        for task in tasks:  # with what it began, which would keep the guest busy in the next test
            machine.kill_group(task)
        machine.shell("rm -f /tmp/filled")


@pytest.mark.parametrize("words", [(), ("--seconds", "0.5")], ids=["as it is", "briefly"])
def test_the_hang_is_named(hung: Hung, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    status, (found,) = told(hung.machine, capsys, "--ram", str(hung.machine.ram_file), *words)
    assert status == 1
    assert (found["verdict"], found["walker"], found["errno"]) == ("software-walk-fails", "kvm", "EINVAL")
    assert (found["lpid"], found["pid"]) == (hung.guest.lpid, PID)
    assert (found["nip"], found["ea"], found["ra"]) == (f"{NIP:#x}", f"{DEVICE_EA:#x}", f"{DEVICE:#x}")
    assert found["confidence"] in (("high", "medium") if words else ("high",)), "briefly, fewer stops may find it"
    assert "ld r5" in found["evidence"][0]


def test_one_that_is_stopped_is_left_so(hung: Hung, capsys: pytest.CaptureFixture[str]) -> None:
    hung.stopped()
    try:
        assert main([hung.machine.target, "triage", "--json"]) == 1
        found = json.loads(capsys.readouterr().out.splitlines()[0])
        assert (found["verdict"], found["confidence"]) == ("software-walk-fails", "medium")
        assert not hung.machine.running
    finally:
        hung.machine.cont()


@pytest.mark.guests("pseries-p9", "powernv9")
def test_nothing_is_wrong_with_a_busy_guest(guest: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with busy(guest):
        for _ in range(TIMES):
            status, found = told(guest, capsys, "--seconds", "1")
            assert (status, [each["verdict"] for each in found]) == (0, ["healthy"]), found
            assert found[0]["confidence"] == "medium"


@pytest.mark.guests("pseries-p9", "powernv9")
def test_the_time_that_is_told_is_not_less_than_it_was(guest: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """But for the first stand, which begins before its reply is there, and for the last, which ends as it leaves."""
    for words in (("--ram", str(guest.ram_file)), ()):
        guest.stands()
        _, (found,) = told(guest, capsys, "--seconds", "1", *words)
        _, *between, _ = (each * 1000 for each in guest.stands())
        with capsys.disabled():
            print(
                f"\n{guest.kind.name} {words[:1]}: told {found['stood_ms']} ms, {sum(between):.0f} ms of them between"
            )
        assert len(between) >= found["samples"] - 2
        assert found["stood_ms"] + 1 >= sum(between)


@pytest.mark.guests("pseries-p9", "powernv9")
def test_a_loop_of_a_user_runs_and_the_other_vcpu_is_idle(guest: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    task = guest.shell("taskset 2 sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!").strip()
    try:
        guest.computes(int(task))
        seen = [
            told(guest, capsys, "--seconds", "1", "--ram", str(guest.ram_file))[1][0]["vcpus"] for _ in range(TIMES)
        ]
    finally:
        guest.shell(f"kill {task}")
    idle, looping = [each[0] for each in seen], [each[1] for each in seen]
    assert {each["halted"] for each in looping} == {0}
    assert {each["doing"] for each in looping} <= {"running", "spinning"}
    assert "user" in {each["mode"] for each in looping}
    assert all(each["time_base"] > 0 for each in looping)
    assert any(each["doing"] == "halted" for each in idle)


@pytest.mark.guests("pseries-firmware")
def test_firmware_is_called_so(guest: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([guest.target, "triage", "--json"]) in (0, 1)
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["vcpus"][0]["mode"] == "firmware"
    assert found["samples"] == 1


@pytest.mark.guests("pseries-p9", "powernv9")
def test_a_back_trace_is_the_kernels_own(guest: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """An idle vCPU comes into its loop the same way each time, and the kernel tells it, by SysRq's ``l``."""
    idle: list[list[str]] = []
    deadline = time.monotonic() + PATIENCE
    while not idle:  # a vCPU that has something to do just then tells of that
        assert time.monotonic() < deadline, "the kernel told of no vCPU that idles"
        guest.shell("dmesg -c >/dev/null; echo l > /proc/sysrq-trigger")
        guest.shell(f"until [ $(dmesg | grep -c 'Call Trace:') -ge {guest.kind.cpus} ]; do sleep 0.1; done; sleep 1")
        traces = guest.shell("dmesg").split("Call Trace:")[1:]
        ways = [re.findall(r"\] (\w+)\+0x[0-9a-f]+/0x[0-9a-f]+$", each, re.MULTILINE) for each in traces]
        idle = [way[way.index("do_idle") :] for way in ways if "do_idle" in way]
    mine: list[list[str]] = []
    deadline = time.monotonic() + PATIENCE
    while len(mine) < guest.kind.cpus:  # until all of them idle
        assert time.monotonic() < deadline, "triage met no moment at which all vCPUs idle"
        assert main([guest.target, "triage", "--json", "--seconds", "1", "--vmlinux", str(guest.vmlinux)]) == 0
        (found,) = map(json.loads, capsys.readouterr().out.splitlines())
        mine = [
            [step["name"].partition("+")[0] for step in each["trace"] if step["how"] == "saved"]
            for each in found["vcpus"]
            if each["doing"] == "halted"
        ]
    assert all(way in [each[each.index("do_idle") :] for each in mine] for way in idle), (idle, mine)


@pytest.mark.guests("powernv9-kvm")
def test_nothing_is_wrong_with_a_host_whose_guests_are_fine(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    with busy(scene.machine):
        for number in range(TIMES):
            each = scene.guests[number % 2]
            each.monitor.ask(f"load 5 {DEVICE_EA:x} 0 {0x8000000000001033:x} 0")
            status, found = told(scene.machine, capsys, "--seconds", "0.5")
            assert (status, [one["verdict"] for one in found]) == (0, ["healthy"]), found
