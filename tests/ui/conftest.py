"""A session over a fake guest, with the stand-in commands in the registry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.commands import registry
from inspector.commands.registry import Session
from inspector.guest import Guest
from inspector.interrupts import Interrupts
from inspector.render.style import Style
from inspector.ui import vocabulary
from inspector.ui.execute import Executor
from tests.ui import standin


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the history, the pager or the temporary files of whoever runs it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PAGER", raising=False)
    monkeypatch.delenv("INSPECTOR_TRACEBACK", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.fixture
def standins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in commands are commands."""
    for name, module in standin.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(registry, "MODULES", standin.known())
    vocabulary.grammar_of.cache_clear()
    vocabulary.summaries.cache_clear()


@pytest.fixture
def session(standins: None) -> Session:
    """A session over a fake guest that can run, and can be opened again."""
    session = Session(reopen=lambda: Guest(standin.target()))
    session.reattach()
    return session


@pytest.fixture
def executor(session: Session) -> Iterator[Executor]:
    """What the REPL runs lines with."""
    with Interrupts() as interrupts:
        yield Executor(session, Style(), interrupts)
