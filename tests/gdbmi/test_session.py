"""Attaching, reading, running and leaving, against a scripted gdb and a scripted stub."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import ConnectError, NotSupported, ProtocolError, TargetLost, ToolMissing, UsageError
from inspector.gdbmi import launch
from inspector.gdbmi.endpoint import Endpoint
from inspector.gdbmi.reading import PIECE_BYTES
from inspector.gdbmi.run import GuestControl
from inspector.gdbmi.session import GdbSession, attach
from inspector.gdbmi.transport import Transport
from inspector.memory.physical import Clock
from tests.gdbmi.fakes import (
    MTREE,
    FakeGdb,
    FakeStub,
    attach_rules,
    memory_record,
    record,
    register_values,
    target_text,
)

STOPPED = '*stopped,reason="signal-received",signal-name="SIGINT",thread-id="1",stopped-threads="all"\n'


@contextmanager
def attached(gdb: FakeGdb, stub: FakeStub, timeout: float = 10.0) -> Iterator[tuple[FakeGdb, GdbSession]]:
    """A session over both fakes, closed at the end."""
    session = attach(Endpoint("127.0.0.1", stub.port), Clock(), gdb=gdb.path, timeout=timeout)
    try:
        yield gdb, session
    finally:
        session.close()


def session_with(folder: Path, *rules: dict[str, Any], running: bool = True) -> Any:
    """A session whose gdb answers by ``rules`` first."""

    @contextmanager
    def make() -> Iterator[tuple[FakeGdb, GdbSession]]:
        with FakeStub(running=running) as stub, attached(FakeGdb(folder, [*rules, *attach_rules()]), stub) as both:
            yield both

    return make()


def test_attaching_tells_gdb_nothing_of_the_users_text_and_guards_before_it_reads(tmp_path: Path) -> None:
    with session_with(tmp_path) as (gdb, session):
        assert [cpu.number for cpu in session.cpus] == [0, 1]
        assert session.gdb_version == "13.1"
        assert session.guarded
        assert session.register_numbers["xer"] == 37, "the first of two registers of one name counts"
        assert session.ram.spans() == [(0, 0x1000_0000)]
        commands = gdb.commands
        at = {
            word: next(i for i, command in enumerate(commands) if word in command)
            for word in ("found_stopped", "-target-select", "PhyMemMode:1", "info mtree", "mem 0 268435456 ro")
        }
        assert list(at.values()) == sorted(at.values())
        assert commands[at["-target-select"]] == f"-target-select remote 127.0.0.1:{session.stub.gdb_address[10:]}"


def test_a_unix_path_never_reaches_gdb(tmp_path: Path) -> None:
    start = launch.prepare("gdb")
    try:
        link = launch.link_socket(start, "| touch x")
        assert os.path.dirname(link) == start.directory
        assert os.readlink(link) == os.path.abspath("| touch x")
        assert "touch" not in " ".join(start.argv)
    finally:
        start.remove_directory()
    assert not os.path.exists(start.directory)


def test_gdb_is_started_with_nothing_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEBUGINFOD_URLS", "PYTHONPATH", "GDBHISTFILE", "LD_PRELOAD"):
        monkeypatch.setenv(name, "x")
    start = launch.prepare("gdb")
    start.remove_directory()
    assert set(start.env) == {"PATH", "HOME", "LC_ALL", "TERM"}
    assert start.argv[:3] == ("gdb", "-nx", "-nh")
    settings = start.argv
    first_read = settings.index(launch.REFUSE_ALL)
    assert settings[first_read - 1] == "-iex"
    for setting in ("set auto-load off", "set debuginfod enabled off", "set may-write-memory off"):
        assert setting in settings


@pytest.mark.parametrize(("running", "way"), [(True, "-target-detach"), (False, "disconnect")])
def test_leaving_as_found(tmp_path: Path, running: bool, way: str) -> None:
    with session_with(tmp_path, running=running) as (gdb, session):
        assert session.found_running is running
    assert gdb.ended()
    commands = [command for command in gdb.commands if command != "<end of input>"]
    assert commands[-1] == way
    assert commands[-2] == "maintenance packet Qqemu.PhyMemMode:0"
    assert commands[-3] == "disable mem"
    session.close()


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        ({"match": "powerpc:common64", "say": record('error,msg="Undefined item"')}, ToolMissing, "gdb-multiarch"),
        ({"match": "^-target-select", "say": record('error,msg="Connection timed out"')}, ConnectError, "timed out"),
        ({"match": "PhyMemMode:1", "say": '~"received: \\"\\"\\n"\n' + record("done")}, ProtocolError, "4.1"),
        ({"match": "info mtree", "say": target_text("unknown command")}, ProtocolError, "no RAM"),
        ({"match": "^-thread-info", "say": record("done,threads=[]")}, ProtocolError, "no vCPU"),
        ({"match": "^-thread-info", "say": 'TOKEN^done,threads=[{id="1', "die": True}, TargetLost, "reattach"),
    ],
)
def test_what_goes_wrong_while_attaching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: dict[str, Any], error: type[Exception], words: str
) -> None:
    mine = tmp_path / "temporary"
    mine.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(mine))
    with pytest.raises(error, match=words) as caught, session_with(tmp_path, rule):
        pass
    assert "\n" not in str(caught.value)
    assert os.listdir(mine) == []


def test_small_reads_are_one_record_and_refusals_are_none(tmp_path: Path) -> None:
    with session_with(
        tmp_path,
        {"match": "memory-bytes 4096 8$", "say": memory_record(4096, b"abcdefgh")},
        {"match": "memory-bytes 8192 8$", "say": memory_record(8192, b"abcd")},
        {"match": "memory-bytes 12288 8$", "say": record('error,msg="Unable to read memory."')},
        {"match": "memory-bytes 16384 8$", "say": record('error,msg="Remote connection closed"')},
    ) as (gdb, session):
        assert session.read(4096, 8) == b"abcdefgh"
        assert session.read(8192, 8) is None
        assert session.read(12288, 8) is None
        told = len(gdb.commands)
        assert session.read(0x1000_0000 - 4, 8) is None
        assert session.read(0x6030203180000, 8) is None
        assert len(gdb.commands) == told, "gdb was asked for what is not RAM"
        with pytest.raises(TargetLost):
            session.read(16384, 8)


def reading(*runs: tuple[int, int]) -> str:
    """A pattern of the command that reads these runs."""
    return r"inspector_read\('/proc/self/fd/\d+'" + "".join(rf",\({at},{length}\)" for at, length in runs) + r"\)"


def test_bulk_reads_are_pieced_together(tmp_path: Path) -> None:
    tail = 5000
    with session_with(
        tmp_path,
        {"match": reading((65536, PIECE_BYTES)), "scratch": "11" * PIECE_BYTES},
        {"match": reading((65536 + PIECE_BYTES, tail)), "scratch": "22" * tail},
    ) as (_, session):
        assert session.read(65536, PIECE_BYTES + tail) == b"\x11" * PIECE_BYTES + b"\x22" * tail


def test_a_bulk_read_refused_in_the_middle_is_none_and_the_next_is_right(tmp_path: Path) -> None:
    refused = record('error,msg="Cannot access memory at address 0x1"')
    with session_with(
        tmp_path,
        {"match": reading((PIECE_BYTES, PIECE_BYTES)), "say": refused, "once": True},
        {"match": reading((2 * PIECE_BYTES, PIECE_BYTES)), "scratch": "33" * PIECE_BYTES},
        {"match": "inspector_read", "scratch": "44" * PIECE_BYTES},
    ) as (_, session):
        assert session.read(0, 3 * PIECE_BYTES) is None
        assert session.read(PIECE_BYTES, 2 * PIECE_BYTES) == b"\x44" * PIECE_BYTES + b"\x33" * PIECE_BYTES


def test_many_runs_are_one_command_and_a_refused_one_takes_no_other_along(tmp_path: Path) -> None:
    with session_with(
        tmp_path,
        {
            "match": reading((0, 8), (4096, 4), (8192, 4)),
            "scratch": "11" * 8 + "33" * 4,
            "say": '~"1\\n"\n' + record("done"),
        },
    ) as (gdb, session):
        told = len(gdb.commands)
        runs = [(0, 8), (0x1000_0000, 8), (4096, 4), (8192, 4), (8192, 0)]
        assert session.read_runs(runs) == [b"\x11" * 8, None, None, b"\x33" * 4, b""]
        assert len(gdb.commands) == told + 1
        assert session.read_runs([]) == []


def test_runs_are_shared_out_to_commands_that_fit_a_line(tmp_path: Path) -> None:
    runs = [(at * 4096, 2048) for at in range(600)]
    with session_with(tmp_path, {"match": "inspector_read", "scratch": "55" * PIECE_BYTES}) as (gdb, session):
        told = len(gdb.commands)
        assert session.read_runs(runs) == [b"\x55" * 2048] * 600
        sent = gdb.commands[told:]
        asked = [(int(at), int(size)) for line in sent for at, size in re.findall(r"\((\d+),(\d+)\)", line)]
        assert asked == runs
        assert max(map(len, sent)) < 4000
        assert len(sent) < 12


def test_what_is_no_list_of_numbers_or_too_short_is_said(tmp_path: Path) -> None:
    with session_with(
        tmp_path,
        {"match": reading((0, 8), (4096, 4)), "say": '~"surprise\\n"\n' + record("done")},
        {"match": "inspector_read", "scratch": "11" * 11},
    ) as (_, session):
        with pytest.raises(ProtocolError, match="again"):
            session.read_runs([(0, 8), (4096, 4)])
        with pytest.raises(ProtocolError, match="fewer bytes"):
            session.read_runs([(0, 8), (8192, 4)])


def test_a_gdb_without_python_reads_in_records(tmp_path: Path) -> None:
    with session_with(
        tmp_path,
        {"match": "inspector_guard", "say": record('done,value="void"')},
        {"match": "memory-bytes 4096 4096$", "say": memory_record(4096, b"ab" * 2048)},
        {"match": "memory-bytes 0 8$", "say": memory_record(0, b"abcdefgh")},
    ) as (_, session):
        assert not session.guarded
        assert session.read_runs([(0, 8), (4096, 4096)]) == [b"abcdefgh", b"ab" * 2048]


def test_running_makes_reads_virtual_and_impossible_until_it_stops(tmp_path: Path) -> None:
    with session_with(
        tmp_path,
        {"match": "^-exec-continue", "say": record("running")},
        {"match": "^-exec-interrupt", "say": record("done") + STOPPED},
    ) as (gdb, session):
        control = GuestControl(session)
        told = len(gdb.commands)
        control.resume()
        assert session.clock.running
        assert session.clock.epoch == 1
        assert gdb.commands[told:][:3] == [
            "disable mem", "maintenance packet Qqemu.PhyMemMode:0", "-list-features",
        ]  # fmt: skip
        with pytest.raises(NotSupported):
            control.resume()
        with pytest.raises(NotSupported):
            control.step(0)
        assert not control.wait(0.05)
        told = len(gdb.commands)
        control.interrupt()
        assert not session.clock.running
        assert session.clock.epoch == 2
        assert gdb.commands[told:] == [
            "-exec-interrupt --all", "maintenance packet Qqemu.PhyMemMode:1", "monitor info mtree -f", "enable mem",
        ]  # fmt: skip


def test_vcpus_that_wait_for_an_interrupt(tmp_path: Path) -> None:
    def answers(number: int, body: str) -> dict[str, Any]:
        received = f'~"received: \\"{body}\\"\\n"\n'
        return {"match": f"qThreadExtraInfo,p1.{number}", "say": received + record("done")}

    halted, running = b"CPU#0 [halted ]".hex(), b"CPU#1 [running]".hex()
    with session_with(tmp_path, answers(1, halted), answers(2, running)) as (_, session):
        assert GuestControl(session).halted() == {0: True, 1: False}
        session.clock.running = True
        with pytest.raises(NotSupported, match="interrupt"):
            GuestControl(session).halted()
        session.clock.running = False
    with session_with(tmp_path, answers(1, ""), answers(2, "E01")) as (_, session):
        assert session.halted() == {}, "what it does not say is not known"


def test_a_ram_map_that_changed_while_running_replaces_the_old_one(tmp_path: Path) -> None:
    grown = MTREE.replace("0fffffff (prio 0, ram): ram", "1fffffff (prio 0, ram): ram")
    with session_with(
        tmp_path,
        {"match": "info mtree", "say": target_text(MTREE), "once": True},
        {"match": "info mtree", "say": target_text(grown)},
        {"match": "^-exec-continue", "say": record("running") + STOPPED},
    ) as (gdb, session):
        control = GuestControl(session)
        control.resume()
        assert control.wait(10)
        assert session.ram.spans() == [(0, 0x2000_0000)]
        assert gdb.commands[-3:] == ["delete mem", launch.REFUSE_ALL, "mem 0 536870912 ro"]


def test_a_running_guest_is_left_running_by_ending_gdb_at_once(tmp_path: Path) -> None:
    with session_with(tmp_path, {"match": "^-exec-continue", "say": record("running")}) as (gdb, session):
        GuestControl(session).resume()
        told = len(gdb.commands)
    assert gdb.commands[told:] == [], "gdb was told something that would stop the guest"
    with pytest.raises(ProcessLookupError):
        os.kill(session.transport.pid, 0)


def at(nip: int, **once: bool) -> dict[str, Any]:
    """gdb's answer to a question for registers: a vCPU with no more than a NIP and an MSR."""
    answer = register_values(_32=hex(nip), _33="0x9000")
    return {"match": "register-values --thread 2", "say": answer, **once}


def stepped(reply: str) -> dict[str, Any]:
    """The stub's answer to a step of vCPU 1."""
    return {"match": r"vCont;s:p1\.2", "say": f'~"received: \\"{reply}\\"\\n"\n' + record("done")}


@pytest.mark.parametrize(("reply", "steps"), [("T05thread:p01.02;", True), ("T02thread:p01.02;", False)])
def test_stepping(tmp_path: Path, reply: str, steps: bool) -> None:
    with session_with(tmp_path, stepped(reply), at(0x100, once=True), at(0x104)) as (gdb, session):
        control = GuestControl(session)
        epoch = session.clock.epoch
        if steps:
            control.step(1)
        else:
            with pytest.raises(NotSupported, match="halted"):
                control.step(1)
        assert session.clock.epoch > epoch
        assert "maintenance flush register-cache" in gdb.commands
        assert sum("vCont;s" in command for command in gdb.commands) == 1
        with pytest.raises(UsageError, match="vCPU 2"):
            control.step(2)


@pytest.mark.parametrize(("alike", "asked"), [(1, 1), (2, 2), (4, 4), (99, 4)])
def test_a_step_that_executed_nothing_is_made_again_and_one_that_branches_to_itself_not_for_ever(
    tmp_path: Path, alike: int, asked: int
) -> None:
    rules = [stepped("T05thread:p01.02;"), *[at(0x100, once=True)] * alike, at(0x104)]
    with session_with(tmp_path, *rules) as (gdb, session):
        GuestControl(session).step(1)
        assert sum("vCont;s" in command for command in gdb.commands) == asked


@pytest.mark.parametrize("running", [True, False])
def test_a_gdb_that_cannot_attach_leaves_the_guest_as_it_was(tmp_path: Path, running: bool) -> None:
    refuses = {"match": "^-target-select", "say": record('error,msg="Connection refused."')}
    with FakeStub(running=running) as stub:
        with pytest.raises(ConnectError, match="could not attach"):
            attach(Endpoint("127.0.0.1", stub.port), Clock(), gdb=FakeGdb(tmp_path, [refuses, *attach_rules()]).path)
        assert stub.closed.wait(10)
        assert (stub.packets[-1] == b"D;1") is running


def test_the_guest_stands_from_the_first_look_on(tmp_path: Path) -> None:
    """gdb is told to attach before the connection that holds the guest is closed, and that lets nothing go."""
    with FakeStub() as stub:
        session = attach(Endpoint("127.0.0.1", stub.port), Clock(), gdb=FakeGdb(tmp_path, attach_rules()).path)
        assert stub.closed.wait(10)
        assert b"D;1" not in stub.packets
        assert session.attached_at > 0
        session.close()


def test_what_is_cut_short_before_gdb_is_told_to_attach_lets_the_guest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = Transport.submit

    def cut_short(self: Transport, text: str) -> int:
        if text.startswith("-target-select"):
            raise KeyboardInterrupt
        return submit(self, text)

    monkeypatch.setattr(Transport, "submit", cut_short)
    with FakeStub() as stub:
        with pytest.raises(KeyboardInterrupt):
            attach(Endpoint("127.0.0.1", stub.port), Clock(), gdb=FakeGdb(tmp_path, attach_rules()).path)
        first = stub.packets.index(b"D;1")
        assert stub.packets.count(b"D;1") == 2, "by who held it, and once more should gdb have come in between"
        assert all(b"PhyMemMode" not in each for each in stub.packets[:first]), "and not by a second client in vain"


def test_a_gdb_that_dies_makes_the_guest_let_go_over_a_bare_socket(tmp_path: Path) -> None:
    dies = {"match": "memory-bytes", "say": "", "die": True}
    with FakeStub() as stub:
        session = attach(Endpoint("127.0.0.1", stub.port), Clock(), gdb=FakeGdb(tmp_path, [dies, *attach_rules()]).path)
        with pytest.raises(TargetLost):
            session.read(0, 8)
        told = len(stub.packets)
        stub.closed.clear()
        session.close()
        assert stub.closed.wait(10)
        assert stub.packets[told:] == [stub.packets[0], b"Qqemu.PhyMemMode:0", b"D;1"]
