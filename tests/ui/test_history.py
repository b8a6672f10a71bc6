"""What was typed is kept for the next session, privately, and where it cannot be kept nothing breaks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from prompt_toolkit.history import InMemoryHistory

from inspector.ui.history import KeptHistory, history_path, open_history


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $XDG_STATE_HOME, not yet made."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_it_is_kept_between_sessions(state: Path) -> None:
    first = open_history()
    first.append_string("xlate $nip")
    first.append_string("maps --pid 4\nmaps")
    assert list(open_history().load_history_strings()) == ["maps --pid 4\nmaps", "xlate $nip"]
    assert (state / "ppc64-inspector" / "history").exists()


def test_nobody_else_reads_it(state: Path) -> None:
    file = state / "ppc64-inspector" / "history"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o644)
    open_history().append_string("xlate 0")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_new_folder_is_private(state: Path) -> None:
    open_history()
    assert stat.S_IMODE((state / "ppc64-inspector").stat().st_mode) == 0o700


def test_where_it_is_without_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert history_path() == tmp_path / ".local/state/ppc64-inspector/history"
    monkeypatch.setenv("XDG_STATE_HOME", "relative/path")
    assert history_path() == tmp_path / ".local/state/ppc64-inspector/history"


def test_a_folder_that_cannot_be_made(state: Path) -> None:
    state.write_text("a file, where a folder should be")
    history = open_history()
    assert isinstance(history, InMemoryHistory)
    history.append_string("xlate 0")
    assert history.get_strings() == ["xlate 0"]


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_something_else_of_that_name_is_left_alone(state: Path, kind: str) -> None:
    path = state / "ppc64-inspector" / "history"
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir(mode=0o755)
    else:
        os.mkfifo(path, 0o644)
    assert isinstance(open_history(), InMemoryHistory)
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044


def test_a_file_that_goes_away_meanwhile(state: Path) -> None:
    history = open_history()
    assert isinstance(history, KeptHistory)
    path = Path(os.fspath(str(history.filename)))
    path.unlink()
    path.mkdir()
    history.append_string("xlate 0")
    assert history.get_strings() == ["xlate 0"]
    assert list(history.load_history_strings()) == []


def test_bytes_that_are_no_text(state: Path) -> None:
    history = open_history()
    assert isinstance(history, KeptHistory)
    Path(os.fspath(str(history.filename))).write_bytes(b"+maps\n\xff\xfe\0\n+read \xff\n")
    assert list(history.load_history_strings()) == ["read �", "maps"]
