"""Memory through gdb as the rest of the program sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inspector.errors import NotRam, TargetLost, Unreadable
from inspector.memory.gdb import GdbMemory
from inspector.memory.physical import PhysicalMemory
from tests.gdbmi.fakes import FakeGdb, FakeStub, attach_rules, memory_record, record
from tests.gdbmi.test_session import attached


def test_reads_refusals_and_losses_are_told_apart(tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = [
        {"match": "memory-bytes 4096 8$", "say": memory_record(4096, b"abcdefgh")},
        {"match": "memory-bytes 8192 8$", "say": record('error,msg="Unable to read memory."')},
        {"match": "memory-bytes", "say": "", "die": True},
    ]
    with FakeStub() as stub, attached(FakeGdb(tmp_path, [*rules, *attach_rules()]), stub) as (gdb, session):
        source = GdbMemory(session)
        memory = PhysicalMemory(source, session.ram, session.clock)
        assert source.read(4096, 8) == b"abcdefgh"
        assert source.read(4096, 0) == b""
        with pytest.raises(Unreadable, match="0x2000"):
            source.read(8192, 8)
        told = len(gdb.commands)
        with pytest.raises(NotRam):
            memory.read(0x1000_0000, 8)
        with pytest.raises(Unreadable):
            source.read(0x1000_0000, 8)
        assert len(gdb.commands) == told
        session.clock.running = True
        with pytest.raises(Unreadable, match="--ram"):
            source.read(4096, 8)
        session.clock.running = False
        assert "gdb at 127.0.0.1" in source.description
        with pytest.raises(TargetLost):
            source.read(0, 8)
