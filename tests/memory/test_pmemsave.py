"""RAM through files that QEMU writes: what is in them, and that nothing of them stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from inspector.errors import Unreadable
from inspector.gdbmi.session import GdbSession
from inspector.memory import pmemsave
from inspector.memory.gdb import GdbMemory
from inspector.memory.pmemsave import FILES, SMALL, PmemsaveSource
from tests.memory.sessions import SIZE, FakeSession


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where files are made."""
    monkeypatch.setattr(pmemsave, "FOLDERS", (str(tmp_path),))
    return tmp_path


def opened(session: FakeSession) -> PmemsaveSource:
    real = cast(GdbSession, session)
    return PmemsaveSource(real, GdbMemory(real))


def test_large_runs_are_files_and_small_ones_are_not(folder: Path) -> None:
    session = FakeSession()
    session.save = session.write
    source = opened(session)
    runs = [(64, 8), (0, SMALL), (SIZE - SMALL, SMALL), (128, SMALL - 1), (4096, 3 * SMALL), (0, 0)]
    assert source.read_runs(runs) == [session.data[at : at + size] for at, size in runs]
    assert [line.split()[1:3] for line in session.said] == [
        ["0x0", f"{SMALL:#x}"], [f"{SIZE - SMALL:#x}", f"{SMALL:#x}"], ["0x1000", f"{3 * SMALL:#x}"],
    ]  # fmt: skip
    assert session.reads == [(64, 8), (128, SMALL - 1), (0, 0)]
    assert source.read(8, SMALL) == session.data[8 : 8 + SMALL]
    assert list(folder.iterdir()) == []


def test_files_are_private_and_gone_whatever_happens(folder: Path) -> None:
    session = FakeSession()
    seen = []

    def save(_address: int, _length: int, path: str) -> str:
        inside = os.stat(path)
        above = os.stat(os.path.dirname(path))
        seen.append((stat.S_IMODE(above.st_mode), stat.S_IMODE(inside.st_mode), inside.st_size))
        raise KeyboardInterrupt

    session.save = save
    with pytest.raises(KeyboardInterrupt):
        opened(session).read(0, SMALL)
    assert seen == [(0o700, 0o600, 0)]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("fault", ["refuses", "is elsewhere", "disk full", "too much"])
def test_what_qemu_does_not_write_gdb_reads(folder: Path, fault: str) -> None:
    session = FakeSession()

    def save(address: int, length: int, path: str) -> str:
        if fault == "refuses":
            return "Error: Could not open: Permission denied\r\n"
        if fault == "disk full":
            return session.write(address, length // 2, path)
        if fault == "too much":
            return session.write(address, length + 1, path)
        return ""

    session.save = save
    source = opened(session)
    assert source.check(0, 4096) != ""
    assert source.read(4096, SMALL) == session.data[4096 : 4096 + SMALL]
    assert list(folder.iterdir()) == []


def test_it_is_checked_against_what_the_stub_says(folder: Path) -> None:
    session, other = FakeSession(), FakeSession(data=bytes(SIZE))
    session.save = session.write
    assert opened(session).check(0, 4096) == ""
    session.save = other.write
    assert "something else" in opened(session).check(0, 4096)


def test_many_and_long_runs_go_in_turns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession()
    most = []

    def save(address: int, length: int, path: str) -> str:
        most.append(len(list(Path(path).parent.iterdir())))
        assert length <= 4 * SMALL
        return session.write(address, length, path)

    session.save = save
    source = opened(session)
    runs = [(at * 2 * SMALL, SMALL) for at in range(3 * FILES)]
    assert source.read_runs(runs) == [session.data[at : at + size] for at, size in runs]
    assert max(most) == FILES
    monkeypatch.setattr(pmemsave, "FILE_BYTES", 4 * SMALL)
    most.clear()
    assert source.read_runs([(0, SMALL), (64, 10 * SMALL), *runs]) == [
        session.data[at : at + size] for at, size in [(0, SMALL), (64, 10 * SMALL), *runs]
    ]
    assert max(most) == 4


def test_only_ram_and_only_while_the_guest_stands(folder: Path) -> None:
    session = FakeSession()
    session.save = session.write
    source = opened(session)
    with pytest.raises(Unreadable):
        source.read(SIZE - 8, SMALL)
    assert session.said == []
    session.clock.running = True
    with pytest.raises(Unreadable, match="interrupt"):
        source.read(0, SMALL)
    assert session.said == []


def test_a_folder_whose_name_the_monitor_could_misread_is_not_used(tmp_path: Path, monkeypatch: Any) -> None:
    bad = tmp_path / 'a "b'
    bad.mkdir()
    monkeypatch.setattr(pmemsave, "FOLDERS", (str(bad),))
    session = FakeSession()
    session.save = session.write
    assert "TMPDIR" in opened(session).check(0, 4096)
    assert session.said == []
