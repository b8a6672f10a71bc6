"""A live target over a scripted gdb: registers kept for an epoch, states, and ways out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import (
    ConnectError,
    FormatError,
    NotSupported,
    ProtocolError,
    TargetLost,
    ToolMissing,
    UnknownRegister,
    UsageError,
)
from inspector.targets.base import RunState
from inspector.targets.live import LiveTarget, open_live
from tests.gdbmi.fakes import FakeGdb, FakeStub, attach_rules, memory_record, record, target_text

STOPPED = '*stopped,reason="signal-received",thread-id="1",stopped-threads="all"\n'


def register_record(values: dict[int, int]) -> str:
    items = ",".join(f'{{number="{number}",value="{value:#x}"}}' for number, value in values.items())
    return record(f"done,register-values=[{items}]")


BIG = 0x8000_0000_0000_1000
RULES: list[dict[str, Any]] = [
    {"match": r"register-values --thread 1 x 33 32$", "say": register_record({33: BIG, 32: 0x100})},
    {"match": r"register-values --thread 1 x 33 40$", "say": register_record({33: BIG, 40: 7})},
    {"match": r"register-values --thread 1 x", "say": register_record({33: BIG, 32: 0x100, 40: 7, 1: 0x1FF0})},
    {"match": r"^-exec-continue", "say": record("running")},
    {"match": r"^-exec-interrupt", "say": record("done") + STOPPED},
    {"match": r"memory-bytes", "say": memory_record(0, b"\x11" * 256)},
    {"match": r"inspector_read", "scratch": "11" * (1 << 15)},
]


@contextmanager
def opened(folder: Path, *rules: dict[str, Any], running: bool = True, **options: Any) -> Iterator[Any]:
    with FakeStub(running=running) as stub:
        gdb = FakeGdb(folder, [*rules, *RULES, *attach_rules()])
        target = open_live(stub.spec, gdb=gdb.path, **options)
        try:
            yield target, gdb
        finally:
            target.close()


def test_the_monitor_is_asked_only_while_the_guest_stands_still(tmp_path: Path) -> None:
    rules = (
        {"match": r"monitor info virtio\"", "say": target_text("/machine/x [virtio-rng]")},
        {"match": r"monitor info none", "say": record('error,msg="Target does not support this command."')},
    )
    with opened(tmp_path, *rules) as (target, _):
        assert target.control.monitor(["info virtio", "info none"]) == ["/machine/x [virtio-rng]\r\n", ""]
        target.control.resume()
        with pytest.raises(NotSupported, match="interrupt"):
            target.control.monitor(["info virtio"])


def test_a_glance_asks_for_no_map_and_makes_nothing_ready(tmp_path: Path) -> None:
    with opened(tmp_path) as (target, gdb):
        control = target.control
        control.resume()
        told = len(gdb.commands)
        control.interrupt(glance=True)
        assert target.registers(0, ["nip"]).need("nip") == 0x100
        control.halted()
        said = " ".join(gdb.commands[told:])
        assert not [word for word in ("mtree", "PhyMemMode", "able mem") if word in said], said
        told = len(gdb.commands)
        assert target.source.read(0, 256) == b"\x11" * 256
        assert "PhyMemMode:1" in " ".join(gdb.commands[told:]), "gdb reads real addresses of RAM or nothing"
        control.resume()
        control.interrupt(glance=True)
        told = len(gdb.commands)
        control.interrupt()
        assert "mtree" in " ".join(gdb.commands[told:])


def test_registers_are_read_once_an_epoch_under_their_own_names(tmp_path: Path) -> None:
    with opened(tmp_path) as (target, gdb):
        assert isinstance(target, LiveTarget)
        assert target.registers(0, ["$pc"]).need("nip") == 0x100
        told = len(gdb.commands)
        assert target.registers(0, ["nip"]).need("pc") == 0x100
        assert len(gdb.commands) == told
        assert target.registers(0, ["pidr"]).need("pid") == 7, "gdb calls it pid here"
        told = len(gdb.commands)
        assert target.registers(0, ["asdr"]).get("asdr") is None
        assert target.registers(0, ["asdr"]).get("nip") == 0x100
        assert len(gdb.commands) - told <= 1, "what the guest does not have was asked for twice"
        with pytest.raises(UnknownRegister, match="--set"):
            target.registers(0).need("asdr")
        assert target.registers(0).need("r1") == 0x1FF0
        told = len(gdb.commands)
        target.clock.tick()
        target.registers(0, ["nip"])
        assert len(gdb.commands) > told
        with pytest.raises(UsageError, match="vCPU 9"):
            target.registers(9)


def test_the_newer_name_of_pidr(tmp_path: Path) -> None:
    names = record('done,register-names=["r0","msr","pidr"]')
    answer = register_record({1: BIG, 2: 9})
    with opened(
        tmp_path,
        {"match": "^-data-list-register-names", "say": names},
        {"match": r"register-values --thread 1 x 1 2$", "say": answer},
    ) as (target, _):
        assert target.registers(0, ["pid"]).need("pid") == 9


def test_states(tmp_path: Path) -> None:
    with opened(tmp_path) as (target, _):
        seen = [target.state]
        target.control.resume()
        seen.append(target.state)
        with pytest.raises(NotSupported, match="interrupt"):
            target.registers(0)
        with pytest.raises(NotSupported, match="interrupt"):
            target.control.console("info registers")
        target.control.interrupt()
        seen.append(target.state)
        assert seen == [RunState.STOPPED, RunState.RUNNING, RunState.STOPPED]
        assert target.found_running is True
        assert target.machine["gdb"] == "13.1"
        assert target.known_roots.process_table is None
        assert list(target.cpus) == [0, 1]


def test_a_lost_target_says_so_closes_and_can_be_opened_again(tmp_path: Path) -> None:
    dies = {"match": "memory-bytes 64 ", "say": 'TOKEN^done,memory=[{begin="0x', "die": True}
    with opened(tmp_path, dies) as (target, _):
        with pytest.raises(TargetLost) as lost:
            target.source.read(64, 8)
        assert target.state is RunState.LOST
        assert target.lost_because == str(lost.value)
        with pytest.raises(TargetLost):
            target.registers(0)
        with pytest.raises(TargetLost):
            target.control.resume()
        target.close()
        target.close()
        assert target.state is RunState.LOST
    with opened(tmp_path) as (target, _):
        assert target.state is RunState.STOPPED


def test_the_console_is_given_only_what_looks(tmp_path: Path) -> None:
    words = {"match": r"info threads", "say": '~"two\\n"\n' + record("done")}
    with opened(tmp_path, words) as (target, gdb):
        assert target.control.console("i threads") == "two\n"
        told = len(gdb.commands)
        with pytest.raises(UsageError):
            target.control.console("set var $r1 = 1")
        assert len(gdb.commands) == told


LITTLE = 0x33B0_8002_0000_0080
"""An MSR of a little-endian vCPU, read big-endian."""


@pytest.mark.parametrize(("msr", "ordered"), [(LITTLE, True), (BIG, False)])
@pytest.mark.parametrize("refused", [False, True])
def test_the_console_shows_the_vcpus_own_byte_order(tmp_path: Path, msr: int, ordered: bool, refused: bool) -> None:
    said = (
        record('error,msg="Cannot access memory at address 0xc000"') if refused else '~"$1 = 1\\n"\n' + record("done")
    )
    rules = (
        {"match": r"register-values x 33$", "say": register_record({33: msr})},
        {"match": r'"x/gx', "say": said},
    )
    with opened(tmp_path, *rules) as (target, gdb):
        told = len(gdb.commands)
        if refused:
            with pytest.raises(ProtocolError, match="real addresses here"):
                target.control.console("x/gx 0xc000")
        else:
            assert target.control.console("x/gx 0xc000") == "$1 = 1\n"
        given = [line for line in gdb.commands[told:] if not line.startswith("-data")]
        between = ["set endian little", "x/gx 0xc000", "set endian big"]
        assert given == (between if ordered else between[1:2])


@pytest.mark.parametrize(("source", "says"), [("fast", "auto, ram"), ("gdb", "leave one of them out")])
def test_a_source_that_is_none_is_said_before_the_guest_is_disturbed(tmp_path: Path, source: str, says: str) -> None:
    with FakeStub() as stub:
        with pytest.raises(UsageError, match=says):
            open_live(stub.spec, source=source, ram_file="file")
        assert stub.packets == []


def test_a_source_that_cannot_be_had_leaves_nothing_open(tmp_path: Path) -> None:
    with FakeStub() as stub:
        gdb = FakeGdb(tmp_path, [*RULES, *attach_rules()])
        with pytest.raises(NotSupported, match="names no backend"):
            open_live(stub.spec, gdb=gdb.path, source="ram")
        assert gdb.ended()
        assert "-target-detach" in gdb.commands


def test_a_ram_file_that_does_not_fit_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(b"\x22" * (1 << 20))
    with FakeStub() as stub:
        gdb = FakeGdb(tmp_path, [*RULES, *attach_rules()])
        with pytest.raises(FormatError, match="not this guest's RAM"):
            open_live(stub.spec, gdb=gdb.path, ram_file=str(tmp_path / "ram"))
        assert gdb.ended()
        assert "-target-detach" in gdb.commands


def test_a_ram_file_that_fits_is_read_while_the_guest_runs(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(b"\x11" * (1 << 20))
    with opened(tmp_path, ram_file=str(tmp_path / "ram")) as (target, _):
        assert target.source.cheap
        target.control.resume()
        assert target.source.read(4096, 8) == b"\x11" * 8


def test_no_gdb(tmp_path: Path) -> None:
    with FakeStub() as stub:
        with pytest.raises(ToolMissing, match="apt install gdb-multiarch"):
            open_live(stub.spec, gdb=str(tmp_path / "missing"))
        assert stub.packets == [], "the guest was disturbed for nothing"


def test_wrong_words_and_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gdb:HOST:PORT"):
        open_live("gdb:nonsense")
    with pytest.raises(ConnectError):
        open_live("gdb:unix:/nonexistent/| true", gdb=FakeGdb(tmp_path, attach_rules()).path)
    with pytest.raises(TargetLost, match="gdb ended"):
        open_live("gdb:unix:/nonexistent/socket", gdb="true")
