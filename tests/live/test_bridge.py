"""The bridge against a real stub: what it reads, what it leaves, and how it runs and stops a guest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from inspector.errors import FormatError, NotSupported, TargetError, Unreadable, UsageError, WrongArchitecture
from inspector.gdbmi.registers import RegisterReader
from inspector.memory.physical import PhysicalMemory
from inspector.targets.base import TRANSLATION, RunState
from inspector.targets.live import LiveTarget, open_live
from scripts.guests import Machine
from tests.live.proxy import Proxy, audit
from tests.live.stub import LIMIT, eventually, open_bytes, opened, physical_mode

pytestmark = pytest.mark.live


@pytest.mark.guests("pseries-p9", "powernv9")
def test_reads_the_ram_and_registers_of_every_vcpu(guest: Machine) -> None:
    with opened(guest.target) as target:
        assert target.found_running is True
        assert target.state is RunState.STOPPED
        assert list(target.cpus) == [0, 1]
        assert target.ram.total >= guest.ram_size
        with guest.ram_file.open("rb") as file:
            for address, length in ((0, 8), (4096, 2048), (0x10000, 2049), (0x100000, 1 << 20), (0x2000000, 700_001)):
                file.seek(address)
                assert target.source.read(address, length) == file.read(length)
        for cpu in target.cpus:
            registers = target.registers(cpu)
            for name in ("nip", "msr", "lr", "lpcr", "ptcr", "pvr", "dar", "dsisr", "pid", "amr", "iamr", "hrmor"):
                said = guest.hmp(f"print/x ${name}", cpu=cpu).strip()
                assert registers.need(name) == int(said, 16), (cpu, name)
            for number in range(32):
                assert registers.need(f"r{number}") == int(guest.hmp(f"print/x $r{number}", cpu=cpu).strip(), 16)
    assert guest.running


def test_the_two_ways_to_a_register_agree(guest: Machine) -> None:
    with opened(guest.target) as target:
        session = target._session
        through_gdb, through_monitor = RegisterReader(session), RegisterReader(session)
        through_monitor.broken.add(0)
        names = [target._gdb_name(name) for name in (*TRANSLATION, "pvr", "dar", "dsisr", "srr0", "asdr", "amor")]
        first = session.cpus[0]
        assert through_gdb.read(first, names) == through_monitor.read(first, names)
        assert set(through_gdb.read(first, names)) == set(names)


@pytest.mark.guests("pseries-firmware", "pseries-reset")
def test_a_big_endian_guest_that_stood_still_is_left_standing(guest: Machine) -> None:
    before = guest.status
    with opened(guest.target) as target:
        assert target.found_running is False
        registers = target.registers(0, ("msr", "nip", "pvr"))
        assert registers.need("pvr") == int(guest.hmp("print/x $pvr", cpu=0).strip(), 16)
        assert registers.need("nip") == int(guest.hmp("print/x $nip", cpu=0).strip(), 16)
        assert registers.need("msr") & 1 == 0
        # a Linux kernel has not run; the first bytes are whatever the machine put there
        assert len(target.source.read(0, 64)) == 64
    assert guest.status == before
    assert not guest.running


@pytest.mark.guests("pseries-p9", "powernv9")
def test_traffic_holds_no_write_and_no_read_outside_ram(guest: Machine) -> None:
    with Proxy(guest.gdb_address) as proxy:
        with opened(f"gdb:{proxy.address}") as target:
            ram = target.ram
            memory = PhysicalMemory(target.source, ram, target.clock)
            memory.read(0, 8)
            memory.read(ram.spans()[0][1] - 8, 8)
            memory.read(0x100000, 300_000)
            for start, end in ram.spans():
                with pytest.raises(Unreadable):
                    target.source.read(end - 8, 16)
                with pytest.raises(Unreadable):
                    target.source.read(end, 8)
                with pytest.raises(Unreadable):
                    target.source.read(end - 4096, 1 << 16)
                assert len(target.source.read(start, 8)) == 8
            for cpu in target.cpus:
                target.registers(cpu)
            target.control.console("x/2gx 0")
            for _, end in ram.spans():  # below both guards, gdb's own regions refuse
                for asked in (f"x/gx {end:#x}", f"x/2gx {end - 8:#x}", f"output *(long *) {end:#x}"):
                    with pytest.raises(TargetError, match="Cannot access memory"):
                        target.control.console(asked)
            with pytest.raises(TargetError, match="Cannot access memory"):
                target.control.console("x/i $pc")
            target.control.console("info threads")
            target.control.console("backtrace 3")
        looked = audit(proxy.packets, ram)
        assert looked > 150
        proxy.packets.clear()
        with opened(f"gdb:{proxy.address}") as target:
            steps(target, 0)
            target.control.resume()
            assert not target.control.wait(0.2)
            target.control.interrupt()
            assert len(target.source.read(0, 8)) == 8
            target.control.resume()
        audit(proxy.packets, ram, run_control=True)
    assert eventually(lambda: guest.running)
    assert physical_mode(guest) == b"0"


def steps(target: LiveTarget, cpu: int) -> bool:
    """Whether ``cpu`` ran an instruction: one that is halted does not."""
    try:
        target.control.step(cpu)
    except NotSupported:
        return False
    return True


@contextmanager
def busy(guest: Machine) -> Iterator[None]:
    """The guest has something to do, so that not all of its vCPUs are halted."""
    process = guest.shell("(while :; do :; done) >/dev/null 2>&1 & echo $!").strip()
    try:
        guest.computes(int(process))
        yield
    finally:
        guest.cont()
        guest.shell(f"kill {process}")


def test_runs_steps_and_stops(guest: Machine) -> None:
    with busy(guest), opened(guest.target) as target:
        control, clock = target.control, target.clock
        epoch = clock.epoch
        before = {cpu: target.registers(cpu, ["nip"]).need("nip") for cpu in target.cpus}
        stepped = next(cpu for cpu in target.cpus if steps(target, cpu))
        assert clock.epoch > epoch
        assert target.registers(stepped, ["nip"]).need("nip") != before[stepped]
        with pytest.raises(UsageError):
            control.step(7)
        epoch = clock.epoch
        control.resume()
        assert target.state.value == "running"
        assert guest.running
        assert clock.epoch > epoch
        assert clock.running
        with pytest.raises(Unreadable, match="interrupt"):
            target.source.read(0, 8)
        with pytest.raises(NotSupported, match="interrupt"):
            target.registers(0)
        with pytest.raises(NotSupported):
            control.resume()
        epoch = clock.epoch
        control.interrupt()
        assert not clock.running
        assert not guest.running
        assert clock.epoch > epoch
        assert len(target.source.read(0, 8)) == 8
        control.resume()
        guest.pause()  # someone else stops it
        assert control.wait(LIMIT)
        assert target.state.value == "stopped"
    assert guest.running


@pytest.mark.parametrize("way", ["close", "resume", "interrupt", "step"])
def test_a_running_guest_runs_afterwards(guest: Machine, way: str) -> None:
    with opened(guest.target) as target:
        if way in ("resume", "interrupt"):
            target.control.resume()
        if way == "interrupt":
            target.control.interrupt()
        if way == "step":
            with suppress(NotSupported):  # an idle vCPU that is halted executes nothing; it was asked all the same
                target.control.step(0)
    assert eventually(lambda: guest.running)
    assert physical_mode(guest) == b"0"


@pytest.mark.parametrize("way", ["close", "resume", "interrupt", "step"])
def test_a_stopped_guest_stands_afterwards_unless_told_to_run(guest: Machine, way: str) -> None:
    guest.pause()
    with opened(guest.target) as target:
        assert target.found_running is False
        if way in ("resume", "interrupt"):
            target.control.resume()
        if way == "interrupt":
            target.control.interrupt()
        if way == "step":
            with suppress(NotSupported):  # an idle vCPU that is halted executes nothing; it was asked all the same
                target.control.step(0)
    assert guest.running == (way == "resume")
    assert physical_mode(guest) == b"0"


@pytest.mark.guests("ppc32")
def test_a_guest_of_another_architecture_is_named_and_left_alone(guest: Machine) -> None:
    before = guest.status
    with pytest.raises(WrongArchitecture, match="32-bit PowerPC"):
        open_live(guest.target)
    assert guest.status == before


def test_unix_sockets_whatever_their_path(boot: Callable[..., Machine], tmp_path: Path) -> None:
    machine = boot("pseries-reset", gdb="unix")
    folder = tmp_path / ("deep" * 40)
    folder.mkdir()
    for name in ("| touch broken", 'a "b" c', "host:1234", "x;y $z `w`", "it's\\n"):
        link = folder / name
        link.symlink_to(machine.gdb_address.removeprefix("unix:"))
        with opened(f"gdb:unix:{link}") as target:
            assert target.found_running is False
            assert len(target.source.read(0, 8)) == 8
    assert not machine.running


def test_ram_file_while_stopped_and_while_running(guest: Machine, tmp_path: Path) -> None:
    with opened(guest.target, ram_file=str(guest.ram_file)) as target:
        assert target.source.cheap
        words = target.source.read(0x100000, 4096)
        assert words == open_bytes(guest.ram_file, 0x100000, 4096)
        target.control.resume()
        assert target.source.read(0x100000, 4096) == words  # kernel text: it does not change
    other = tmp_path / "other"
    other.write_bytes(b"\xff" * (1 << 20))
    with pytest.raises(FormatError, match="not this guest's RAM"):
        open_live(guest.target, ram_file=str(other))
    part = tmp_path / "part"
    part.write_bytes(open_bytes(guest.ram_file, 0, 1 << 20))
    guest.pause()
    part.write_bytes(open_bytes(guest.ram_file, 0, 1 << 20))
    with opened(guest.target, ram_file=str(part)) as target:
        across = (1 << 20) - 32
        assert target.source.read(across, 64) == open_bytes(guest.ram_file, across, 64)
        target.control.resume()
        with pytest.raises(Unreadable, match="running"):
            target.source.read(across, 64)
