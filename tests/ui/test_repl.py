"""The REPL, driven through prompt_toolkit's own pipe instead of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from inspector.commands.registry import Session
from inspector.interrupts import Interrupts
from inspector.render.style import Style
from inspector.targets.base import RunState
from inspector.ui.repl import OVERLAY_PROMPT, PROMPT, RUNNING_OVERLAY_PROMPT, RUNNING_PROMPT, Repl, repl
from inspector.ui.suggest import Suggestion, Vocabulary, suggest
from tests.fakes import NIP, FakeControl, FakeTarget

CTRL_C, CTRL_D, UP, TAB = "\x03", "\x04", "\x1b[A", "\t"

Type = Callable[[str], tuple[str, str]]


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """Where keys are sent."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


@pytest.fixture
def type_keys(keyboard: PipeInput, session: Session, capsys: pytest.CaptureFixture[str]) -> Type:
    """A whole session: types the keys, and gives (standard output, standard error)."""

    def typed(keys: str) -> tuple[str, str]:
        keyboard.send_text(keys)
        assert repl(session, Style()) == 0
        return capsys.readouterr()

    return typed


def control(session: Session) -> FakeControl:
    found = session.at.target.control
    assert isinstance(found, FakeControl)
    return found


def test_a_command_and_leaving(type_keys: Type) -> None:
    out, err = type_keys("xlate 0xc000000000000000\n" + CTRL_D)
    assert out.startswith("0xc000000000000000 -> 0x0")
    assert "fake: stopped, 2 vCPUs; 'help' lists the commands" in err.replace("\n", " ")


def test_quit(type_keys: Type) -> None:
    out, _ = type_keys("count 1\nquit\ncount 2\n")
    assert out == "line 0\n"


def test_ctrl_c_clears_what_is_typed(type_keys: Type) -> None:
    out, err = type_keys(f"nonsense{CTRL_C}count 1\n{CTRL_D}")
    assert out == "line 0\n"
    assert "nonsense" not in err


def test_ctrl_c_on_an_empty_line_says_how_to_leave(type_keys: Type) -> None:
    out, err = type_keys(f"{CTRL_C}count 1\nquit\n")
    assert "nothing runs; Ctrl-D or 'quit' leaves" in err
    assert out == "line 0\n"


def test_ctrl_c_stops_a_running_guest(type_keys: Type, session: Session) -> None:
    out, err = type_keys(f"continue\n{CTRL_C}quit\n")
    assert out.splitlines() == ["it runs", "it stands"]
    assert "by itself" not in err
    assert session.at.target.state is RunState.STOPPED


def test_ctrl_c_clears_a_line_before_it_stops_the_guest(type_keys: Type, session: Session) -> None:
    type_keys(f"continue\nxlate{CTRL_C}quit\n")
    assert session.at.target.state is RunState.RUNNING


def test_a_guest_that_stops_by_itself_is_told(type_keys: Type, session: Session) -> None:
    control(session).stops_after = 0
    _, err = type_keys("continue\nquit\n")
    assert f"the guest has stopped by itself at NIP {NIP + 0x100:#x}" in err


def test_a_target_that_is_lost_between_two_commands(type_keys: Type, session: Session) -> None:
    target = session.at.target
    assert isinstance(target, FakeTarget)

    def gone() -> None:
        target.state = RunState.LOST

    control(session).on_wait = gone
    out, err = type_keys("continue\nreattach\nxlate 0xc000000000000000\nquit\n")
    assert err.count("fake is lost") == 1
    assert err.count("'reattach' opens it again") == 1
    assert "-> 0x0" in out


def test_a_target_that_is_lost_in_a_command_is_told_once(type_keys: Type) -> None:
    _, err = type_keys("lose\nquit\n")
    assert err.count("has gone") == 1
    assert err.count("'reattach' opens it again") == 1


def test_history_is_there_the_next_time(type_keys: Type, tmp_path: Path) -> None:
    type_keys("count 1\nquit\n")
    assert (tmp_path / "state/ppc64-inspector/history").read_text().count("+count 1\n") == 1
    out, _ = type_keys(f"cou{UP}\nquit\n")
    assert out == "line 0\n"


def test_completion(type_keys: Type, keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch) -> None:
    def suggest_then_type_on(text: str, cursor: int, vocabulary: Vocabulary) -> list[Suggestion]:
        keyboard.send_text(" 2\nquit\n")
        return suggest(text, cursor, vocabulary)

    monkeypatch.setattr("inspector.ui.completer.suggest", suggest_then_type_on)
    out, _ = type_keys(f"cou{TAB}")
    assert out == "line 0\nline 1\n"


def test_a_bug_in_completion_does_not_disturb_typing(type_keys: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr("inspector.ui.completer.suggest", fails)
    out, _ = type_keys(f"count{TAB} 2\nquit\n")
    assert out == "line 0\nline 1\n"


def test_bracketed_paste_of_several_lines(type_keys: Type) -> None:
    out, _ = type_keys("\x1b[200~count 1\n# and\ncount 2\n\x1b[201~\nquit\n")
    assert out == "line 0\nline 0\nline 1\n"


def test_the_prompt_says_that_the_guest_runs(keyboard: PipeInput, session: Session) -> None:
    with Interrupts() as interrupts:
        shown = Repl(session, Style(), interrupts)
        shown.refresh()
        assert shown._message() == PROMPT
        control(session).resume()
        assert shown._message() == PROMPT  # drawing looks at nothing but the status
        shown.refresh()
        assert shown._message() == RUNNING_PROMPT
        control(session).calls.clear()
        assert "running" in shown._toolbar()
        assert control(session).calls == []


def test_the_prompt_says_that_an_overlay_is_on(keyboard: PipeInput, session: Session) -> None:
    with Interrupts() as interrupts:
        shown = Repl(session, Style(), interrupts)
        session.at.lay_over()
        shown.refresh()
        assert shown._message() == OVERLAY_PROMPT
        assert "overlay" in shown._toolbar()
        control(session).resume()
        shown.refresh()
        assert shown._message() == RUNNING_OVERLAY_PROMPT
        session.at.lift()
        shown.refresh()
        assert shown._message() == RUNNING_PROMPT
