"""The choice among the ways to RAM, and what is said of it."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import cast

import pytest

from inspector.errors import NotSupported, Unreadable
from inspector.gdbmi.session import GdbSession
from inspector.memory import pmemsave, tiers
from inspector.memory.hostprocess import Served
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.memory.tiers import SOON_BYTES, SOON_READS, TieredSource
from tests.memory.sessions import SIZE, FakeSession, pattern


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in a folder of the test's, and no process that serves unless the test says so."""
    (tmp_path / "files").mkdir()
    monkeypatch.setattr(pmemsave, "FOLDERS", (str(tmp_path / "files"),))
    monkeypatch.setattr(tiers, "of_client", lambda *_: Served((), "nobody serves"))


def source_of(session: FakeSession, only: str | None = None) -> TieredSource:
    return TieredSource(cast(GdbSession, session), only)


def held(data: bytes) -> tuple[mmap.mmap, int]:
    """``data`` in this process, and where."""
    there = mmap.mmap(-1, len(data))
    there[:] = data
    return there, ctypes.addressof(ctypes.c_char.from_buffer(there))


def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeSession, mmap.mmap]:
    """A guest to whose RAM all ways lead."""
    session = FakeSession()
    there, session.host = held(session.data)
    (tmp_path / "ram").write_bytes(session.data)
    session.path, session.share = str(tmp_path / "ram"), True
    session.save = session.write
    monkeypatch.setattr(tiers, "of_client", lambda *_: Served((os.getpid(),)))
    return session, there


def test_the_fastest_way_that_leads_there_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    seen = []
    for lost in ("", "share", "host", "save"):
        if lost:
            setattr(session, lost, False if lost == "share" else None)
        source = source_of(session)
        source.settle()
        seen.append(source.tier)
        assert source.read(8, 1000) == session.data[8:1008]
        assert source.read_runs([(0, 8), (SIZE - 70_000, 70_000)]) == [session.data[:8], session.data[-70_000:]]
        assert set(source.why_not) == set(tiers.TIERS[: tiers.TIERS.index(source.tier)])
        for why in source.why_not.values():
            assert why in source.description
        session.clock.running = True
        if source.tier in ("ram", "process"):
            assert source.read(8, 1000) == session.data[8:1008]
        else:
            with pytest.raises(Unreadable, match="interrupt"):
                source.read(8, 1000)
        session.clock.running = False
        source.close()
        source.close()
        assert source.read(8, 1000) == session.data[8:1008], "gdb is always there"
    assert seen == list(tiers.TIERS)


@pytest.mark.parametrize("tier", ["ram", "process"])
def test_what_is_of_another_guest_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tier: str) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    other, host = held(pattern(SIZE, 5))
    if tier == "ram":
        (tmp_path / "ram").write_bytes(other[:])
        assert "not this guest's RAM" in chosen(session, "process").why_not["ram"]
    else:
        session.share, session.host = False, host
        assert "holds something else" in chosen(session, "pmemsave").why_not["process"]


def chosen(session: FakeSession, tier: str) -> TieredSource:
    """A settled source, which has to go this way."""
    source = source_of(session)
    source.settle()
    assert source.tier == tier, source.description
    return source


def test_a_shared_file_that_is_not_to_be_told_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    (tmp_path / "ram").write_bytes(session.data + b"more")
    assert "not the file" in chosen(session, "process").why_not["ram"]
    (tmp_path / "ram").unlink()
    assert "No such file" in chosen(session, "process").why_not["ram"]
    session.path = "ram"
    assert "whole name" in chosen(session, "process").why_not["ram"]
    session.path = ""
    assert "names no backend" in chosen(session, "process").why_not["ram"]
    empty = FakeSession(data=bytes(SIZE), path=str(tmp_path / "ram"), share=True)
    (tmp_path / "ram").write_bytes(bytes(SIZE))
    assert "nothing yet" in chosen(empty, "gdb").why_not["ram"]


def test_a_process_that_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    session.share = False

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tiers, "ProcessSource", denied)
    source = chosen(session, "pmemsave")
    assert "not permitted (Permission denied)" in source.description
    assert "pmemsave into" in source.description


def test_a_stub_elsewhere_is_never_told_to_write_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(address="192.0.2.7:1234")
    session.save = session.write
    assert "not on this machine" in chosen(session, "gdb").why_not["pmemsave"]
    assert not any("pmemsave" in line for line in session.said)


def test_nothing_is_looked_for_until_it_is_worth_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    source = source_of(session)
    for _ in range(SOON_READS - 1):
        source.read(0, 8)
    source.expect(4096)
    assert session.said == []
    assert source.tier == "gdb"
    assert "until enough is read" in source.description
    source.read(0, 8)
    assert source.tier == "ram"
    for way in ("read", "expect", "read_runs"):
        source = source_of(session)
        memory = PhysicalMemory(source, session.ram, session.clock)
        if way == "read":
            memory.read(0, SOON_BYTES)
        elif way == "expect":
            memory.expect(SOON_BYTES)
        else:
            memory.read_runs([(at * 4096, 4096) for at in range(SOON_BYTES // 4096)])
        assert source.tier == "ram", way


def test_nothing_is_looked_for_while_the_guest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    source = source_of(session)
    session.clock.running = True
    source.settle()
    with pytest.raises(Unreadable, match="interrupt"):
        source.read(0, SOON_BYTES)
    assert session.said == []
    session.clock.running = False
    source.settle()
    assert source.tier == "ram"


def test_other_ram_after_a_run_is_looked_for_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    source = chosen(session, "ram")
    asked = len(session.said)
    session.clock.tick()
    assert source.read(0, 8) == session.data[:8]
    assert (source.tier, len(session.said)) == ("ram", asked)
    session.data += pattern(SIZE, 8)
    session.ram = RamMap([Range(0, SIZE, "ram"), Range(SIZE, SIZE, "dimm1")])
    session.clock.tick()
    assert source.read(2 * SIZE - 8, 8) == session.data[-8:]
    assert source.tier == "gdb"


def test_a_way_that_is_wanted_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    for tier in tiers.TIERS:
        source = source_of(session, tier)
        source.settle()
        assert source.tier == tier
        assert "(" not in source.description
        source.close()
    bare = FakeSession()
    for tier in tiers.TIERS[:-1]:
        with pytest.raises(NotSupported, match=f"--source {tier}"):
            source_of(bare, tier).settle()
    gdb = source_of(session, "gdb")
    told = len(session.said)
    gdb.read(0, SIZE)
    assert (gdb.tier, len(session.said)) == ("gdb", told)


def test_windows_are_the_shared_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    source = chosen(session, "ram")
    memory = PhysicalMemory(source, session.ram, session.clock)
    [(address, data)] = memory.windows
    assert (address, bytes(data)) == (0, session.data)
    source.close()
    assert bytes(data[:8]) == session.data[:8], "whoever has a window keeps it"
    assert source_of(session, "process").windows == []


def test_blocks_that_are_not_in_one_piece_are_left_to_gdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _there = everything(tmp_path, monkeypatch)
    session.share = False
    session.ram = RamMap([Range(0, SIZE // 2, "ram"), Range(SIZE // 2, SIZE // 2, "torn")])
    real = session.monitor
    session.monitor = lambda command: (  # type: ignore[method-assign]
        real(command) if command != f"gpa2hva {SIZE - 1:#x}" else "Host virtual address for 0x1 (torn) is 0x10\r\n"
    )
    source = chosen(session, "process")
    session.reads.clear()
    assert source.read(SIZE // 2 - 8, 16) == session.data[SIZE // 2 - 8 : SIZE // 2 + 8]
    assert session.reads == [(SIZE // 2, 8)]
