"""A snapshot as a target."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.errors import FormatError, NotRam, TargetLost, UnknownRegister, UsageError, WrongArchitecture
from inspector.memory.physical import PhysicalMemory
from inspector.snapshot.write import write_snapshot
from inspector.targets.base import RunState, Target
from inspector.targets.recorded import open_recorded
from tests.memory.elfmaker import elf_core
from tests.snapshot.samples import recording


def test_it_is_a_target_that_stands_still(tmp_path: Path) -> None:
    path = str(tmp_path / "a.core.gz")
    write_snapshot(path, recording())
    target: Target = open_recorded(path)
    assert target.name == path
    assert target.state is RunState.RECORDED
    assert target.control is None
    assert (target.clock.epoch, target.clock.running) == (0, False)
    assert tuple(target.cpus) == (0, 1)
    assert target.registers(0).need("pidr") == 4
    assert target.registers(1, ["nip"]).get("nip") == 0x100
    with pytest.raises(UnknownRegister):
        target.registers(1).need("pid")
    with pytest.raises(UsageError, match="there is no vCPU 2; choose one of these with --cpu: 0, 1"):
        target.registers(2)
    assert target.known_roots.process_table == 0x8000_0000_3E00_000C
    assert target.known_roots.how == "the snapshot, recorded from a search of RAM"
    assert target.known_roots.sure == "likely"
    assert target.machine["kind"] == "snapshot"
    assert target.machine["qemu"] == "7.2.22"
    assert target.machine["recorded_at"] == "2026-01-31T12:00:00Z"
    memory = PhysicalMemory(target.source, target.ram)
    assert memory.read_u64(0x2740000) == 0x0001020304050607
    with pytest.raises(NotRam):
        memory.read_u64(1 << 35)
    target.close()
    target.close()
    with pytest.raises(TargetLost):
        memory.read_u64(0x2740000)


def test_what_a_manifest_says_of_itself_cannot_hide_what_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "a.core")
    write_snapshot(path, recording(machine={"kind": "gdb", "byte_order": "middle", "vmcoreinfo": "no"}))
    machine = open_recorded(path).machine
    assert (machine["kind"], machine["byte_order"], machine["vmcoreinfo"]) == ("snapshot", "little", True)


def test_a_file_that_cannot_be_a_snapshot_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data, error in (
        (b"hello\n", FormatError),
        (elf_core([], machine=62), WrongArchitecture),
        (elf_core([], kind=2), FormatError),
        (b"", FormatError),
    ):
        path.write_bytes(data)
        with pytest.raises(error) as caught:
            open_recorded(str(path))
        words = str(caught.value)
        assert str(path) in words
        assert "\n" not in words
        assert caught.value.exit_status == 3
