"""The guests are what their kinds say, and the harness leaves nothing of them behind."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from inspector.errors import NotSupported, ProtocolError, ReplyTimeout, TargetLost
from scripts.guests import Machine
from scripts.kinds import KINDS, Kind
from tests.live.conftest import Boot

pytestmark = pytest.mark.live

HV = 1 << 60
RELOCATION = 0x30
LITTLE = 1


def msr(machine: Machine, cpu: int = 0) -> int:
    """The MSR of a vCPU as QEMU's own monitor prints it."""
    found = re.findall(r"^MSR ([0-9a-f]+)", machine.hmp("info registers -a"), re.MULTILINE)
    return int(found[cpu], 16)


@pytest.mark.guests("pseries-p9", "pseries-p10", "pseries-hash", "powernv9", "powernv9-kvm")
def test_linux_runs_with_the_mmu_that_its_kind_names(guest: Machine) -> None:
    said = guest.shell("grep MMU /proc/cpuinfo; grep -c '^processor' /proc/cpuinfo")
    assert ("Hash" if guest.kind.name == "pseries-hash" else "Radix") in said
    assert said.splitlines()[-1] == str(guest.kind.cpus)
    guest.pause()
    assert bool(msr(guest) & HV) == (guest.kind.machine == "powernv9")
    # The kernel that runs is the image whose symbols the inspector gets.
    release = re.search(rb"Linux version (\S+) ", guest.vmlinux.read_bytes())
    assert release is not None
    guest.cont()
    assert guest.shell("uname -r").strip() == release[1].decode()


@pytest.mark.guests("pseries-p9", "powernv9")
def test_several_processes_live_and_a_virtio_device_is_driven(guest: Machine) -> None:
    assert guest.shell("ps").count("sleep") >= 2
    assert "virtio0" in guest.shell("ls /sys/bus/virtio/drivers/virtio_rng")


@pytest.mark.guests("pseries-firmware")
def test_firmware_stands_still_big_endian_with_its_mmu_off(guest: Machine) -> None:
    assert guest.status == "paused"
    assert msr(guest) & (RELOCATION | LITTLE) == 0
    with pytest.raises(NotSupported):
        guest.shell("true")
    with pytest.raises(NotSupported):
        _ = guest.vmlinux


def test_the_monitor_is_asked_of_one_vcpu(guest: Machine) -> None:
    guest.pause()
    stacks = {guest.hmp("p/x $r1", cpu=cpu) for cpu in range(guest.kind.cpus)}
    assert len(stacks) == guest.kind.cpus, "each vCPU has a stack of its own"
    guest.cont()


@pytest.mark.guests("pseries-reset", "ppc32")
def test_a_guest_before_its_first_instruction(guest: Machine) -> None:
    assert guest.status == "prelaunch"


def test_the_ram_file_is_the_guests_ram(guest: Machine) -> None:
    guest.pause()
    try:
        shown = guest.hmp("xp /4bx 0x2000000")
        with guest.ram_file.open("rb") as ram:
            ram.seek(0x2000000)
            assert [int(word, 16) for word in shown.split()[1:]] == list(ram.read(4))
        assert guest.ram_file.stat().st_size == guest.ram_size
    finally:
        guest.cont()


def test_shell_gives_the_output_of_this_very_command(guest: Machine) -> None:
    assert guest.shell("echo one; echo 'two  \"3\"' >&2") == 'one\ntwo  "3"\n'
    assert guest.shell("printf 'no newline'; echo") == "no newline\n"
    assert guest.shell("cat") == "", "a command must not eat the console"
    with pytest.raises(ProtocolError, match="status 7"):
        guest.shell("exit 7")
    assert guest.shell("echo '(' ; ) (", check=False).startswith("sh:")
    assert guest.shell("true") == ""


def test_a_guest_that_stands_still_answers_when_it_runs_again(guest: Machine) -> None:
    guest.pause()
    assert not guest.running
    with pytest.raises(ReplyTimeout):
        guest.shell("echo late", timeout=0.5)
    guest.cont()
    assert guest.shell("echo now") == "now\n"


def test_qemu_refusing_is_an_error_with_its_words(guest: Machine) -> None:
    with pytest.raises(ProtocolError, match="no-such-command"):
        guest.qmp("no-such-command")


@pytest.mark.parametrize("gdb", ["tcp", "unix"])
def test_two_at_once_do_not_collide_and_leave_nothing(boot: Boot, gdb: str) -> None:
    machines = [boot("pseries-reset", gdb=gdb) for _ in range(2)]
    assert machines[0].gdb_address != machines[1].gdb_address
    for machine in machines:
        where = machine.gdb_address
        if gdb == "unix":
            with socket.socket(socket.AF_UNIX) as stub:
                stub.settimeout(10)
                stub.connect(where.removeprefix("unix:"))
        else:
            host, port = where.split(":")
            with socket.create_connection((host, int(port)), timeout=10) as stub:
                assert host == "127.0.0.1"
    places = [machine.directory for machine in machines]
    for machine in machines:
        machine.close()
        assert not machine.alive
    assert [place for place in places if place.exists()] == []


def test_programs_can_be_put_into_the_guest(boot: Boot) -> None:
    machine = boot(extra_files={"/opt/own/hello": b"#!/bin/sh\necho hello from $0\n"})
    assert machine.shell("/opt/own/hello") == "hello from /opt/own/hello\n"
    machine.kill()
    for ask in (lambda: machine.shell("true"), lambda: machine.hmp("info status"), lambda: machine.running):
        with pytest.raises(TargetLost, match="SIGKILL"):
            ask()


def test_qemu_that_ends_at_once_says_why() -> None:
    kind = Kind("odd", "no such machine", "no-such-machine", "POWER9", linux=False, paused=True)
    machine = Machine(kind)
    with pytest.raises(TargetLost, match="unsupported machine type"):
        machine.start()
    assert machine.directory != Path()
    assert not machine.directory.exists()


def test_qemu_that_is_slow_to_listen_is_waited_for(tmp_path: Path) -> None:
    slow = tmp_path / "slow-qemu"
    slow.write_text('#!/bin/sh\nsleep 1\nexec qemu-system-ppc64 "$@"\n')
    slow.chmod(0o755)
    with Machine(replace(KINDS["pseries-reset"], emulator=str(slow))) as machine:
        assert machine.status == "prelaunch"


def test_every_kind_has_a_test_of_its_own_name() -> None:
    source = Path(__file__).read_text()
    assert [name for name in KINDS if f'"{name}"' not in source] == []
