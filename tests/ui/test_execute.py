"""Whatever a line does, it is answered in words and the session goes on."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.commands.registry import Session
from inspector.errors import ConnectError
from inspector.guest import Guest
from inspector.ui.execute import Executor
from tests.fakes import FakeTarget
from tests.ui import standin


def press() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def fake(session: Session) -> FakeTarget:
    target = session.at.target
    assert isinstance(target, FakeTarget)
    return target


def test_a_command_is_answered(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    assert executor.execute("xlate 0xc000000000400000")
    out, err = capsys.readouterr()
    assert out.startswith("0xc000000000400000 -> 0x400000")
    assert err == ""


@pytest.mark.parametrize("line", ["--json xlate 0xc000000000400000", "xlate --json 0xc000000000400000"])
def test_json_for_one_line(executor: Executor, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    executor.execute(line)
    executor.execute("count 1")
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first)["ra"] == "0x400000"
    assert second == "line 0"


@pytest.mark.parametrize("line", ["", "   ", "# xlate nonsense", "\n\n"])
def test_nothing_is_nothing(executor: Executor, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert executor.execute(line)
    assert capsys.readouterr() == ("", "")


def test_comments_and_quotes(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    executor.execute("xlate '0xc000000000400000 + 0x10'   # the banner")
    assert capsys.readouterr().out.startswith("0xc000000000400010 -> 0x400010")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "there is no command 'nonsense'"),
        ("xlate", "the following arguments are required"),
        ("xlate 1 --walker nobody", "there is no walker 'nobody'"),
        ("xlate (", "cannot read '('"),
        ("xlate 'open", "a quote is not closed"),
        ("xlate 1 \\", "nothing follows the backslash"),
        ("--json", "--json goes with a command"),
        ("quit now", "quit takes no words after it"),
        ("!ls", "there is no command '!ls'"),
    ],
)
def test_wrong_words_are_told_and_the_session_goes_on(
    executor: Executor, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert executor.execute(line)
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err.replace("\n", " ")
    assert "Traceback" not in err


@pytest.mark.parametrize("line", ["quit", "exit", "  quit # enough", "count 1\nquit\ncount 2"])
def test_leaving(executor: Executor, line: str) -> None:
    assert not executor.execute(line)


def test_pasted_lines_run_one_after_another(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    assert executor.execute("count 1\nnonsense\n# rest\ncount 2")
    out, err = capsys.readouterr()
    assert out.splitlines() == ["line 0", "line 0", "line 1"]
    assert "nonsense" in err


def test_help_on_what_only_the_repl_has(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    executor.execute("help reattach")
    assert "open it again" in capsys.readouterr().out
    executor.execute("help")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-3:]] == ["reattach", "quit", "exit"]
    executor.execute("help --json")
    assert "reattach" not in capsys.readouterr().out


# -- bugs --------------------------------------------------------------------------------------------------------------


def test_a_bug_in_a_command_is_one_sentence_and_a_file(
    executor: Executor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert executor.execute("broken")
    assert executor.execute("leaves")
    out, err = capsys.readouterr()
    assert out.splitlines() == ["so far", "so far"]
    told = err.replace("\n", " ")
    assert "this is a bug in the inspector, which goes on: KeyError: 'nothing by this name'" in told
    assert "SystemExit: 5" in told
    [file] = tmp_path.glob("inspector-bug-*.txt")
    assert str(file) in told
    kept = file.read_text()
    assert kept.startswith("# broken\nTraceback")
    assert "# leaves\n" in kept
    assert file.stat().st_mode & 0o077 == 0


def test_the_traceback_is_shown_to_who_asks(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INSPECTOR_TRACEBACK", "1")
    executor.execute("broken")
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert not list(tmp_path.glob("inspector-bug-*"))


def test_a_traceback_that_cannot_be_kept(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert executor.execute("broken")
    assert "INSPECTOR_TRACEBACK=1" in capsys.readouterr().err


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


def test_an_interrupted_command_is_closed_and_said(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.ui.standin.time.sleep", lambda _seconds: press())
    assert executor.execute("endless\ncount 3")
    out, err = capsys.readouterr()
    assert out.splitlines() == ["cleaned up", "began"] or out.splitlines() == ["began", "cleaned up"]
    assert err == "interrupted\n"
    executor.execute("count 1")
    assert "line 0" in capsys.readouterr().out


def test_ctrl_c_between_commands_is_no_harm(executor: Executor) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    assert executor.execute("count 1")


def test_a_second_ctrl_c_does_not_cut_the_cleaning_up_short(
    executor: Executor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reader goes on pressing while a command that was stopped between two results is closed."""

    def render(_result: object, _style: object) -> Iterator[str]:
        press()
        yield "the signal came to nothing"

    closed = []

    def clean_up(*words: str, **_how: object) -> None:
        press()
        closed.append(words)

    monkeypatch.setattr("inspector.render.show.text", render)
    monkeypatch.setattr(standin, "print", clean_up, raising=False)
    assert executor.execute("endless")
    assert capsys.readouterr() == ("", "interrupted\n")
    assert closed == [("cleaned up",)]


def test_the_signal_is_given_back(session: Session) -> None:
    from inspector.interrupts import Interrupts

    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


# -- the target lost ---------------------------------------------------------------------------------------------------


def test_a_lost_target_is_said_and_can_be_opened_again(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    old = fake(executor.session)
    assert executor.execute("cpu 1")
    assert executor.execute("lose")
    assert "fake has gone; start it again\n'reattach' opens it again\n" in capsys.readouterr().err
    assert executor.execute("reattach")
    assert old.closed
    assert fake(executor.session) is not old
    assert "fake is open again, stopped" in capsys.readouterr().err
    executor.session.at.lay_over()
    assert executor.execute("reattach")
    assert "stopped, and its overlay is gone\n" in capsys.readouterr().err
    assert executor.session.at.cpu == 1


def test_a_target_that_is_not_back_yet(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    session = executor.session
    works = session.reopen

    def fails() -> Guest:
        raise ConnectError("nothing answers at 127.0.0.1:1; start QEMU with -gdb tcp:127.0.0.1:1")

    session.reopen = fails
    assert executor.execute("reattach\nxlate 0")
    told = capsys.readouterr().err
    assert re.search(r"nothing answers .*\n.*the target is not open; 'reattach' opens it again\n\Z", told, re.DOTALL)
    session.reopen = works
    assert executor.execute("reattach\nxlate 0xc000000000000000")
    assert "-> 0x0" in capsys.readouterr().out


def test_an_interrupted_reattach_leaves_a_session(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    def hangs() -> Guest:
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the signal came to nothing")

    executor.session.reopen = hangs
    assert executor.execute("reattach")
    assert capsys.readouterr().err == "interrupted\n"


def test_nothing_to_open_again(executor: Executor, capsys: pytest.CaptureFixture[str]) -> None:
    executor.session.reopen = None
    assert executor.execute("reattach")
    assert "there is nothing to open again here" in capsys.readouterr().err
    assert fake(executor.session).closed is False


def test_a_session_closes_the_guest_that_it_has_in_the_end() -> None:
    with Session(reopen=lambda: Guest(standin.target())) as session:
        first = session.reattach().target
        second = session.reattach().target
        assert isinstance(first, FakeTarget)
        assert isinstance(second, FakeTarget)
        assert (first.closed, second.closed) == (True, False)
    assert second.closed
