"""What scripts/test says and how it ends."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from inspector.errors import ToolMissing
from scripts import suite


class Steps:
    """Stands in for the programs of the suite: each ends with the status that the test gives it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status = {"ruff": 0, "mypy": 0, "fast": 0, "live": 0}
        self.words: dict[str, list[str]] = {}
        monkeypatch.setattr(subprocess, "run", self)
        monkeypatch.setattr(suite, "ensure", lambda *_: None)
        monkeypatch.setattr(suite, "guest_files", lambda *_: None)

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        words = command[2:]
        name = words[0] if words[0] != "pytest" else ("fast" if "not live" in words else "live")
        self.words[name] = words
        return subprocess.CompletedProcess(command, self.status[name])


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def test_all_is_run_and_the_words_go_to_pytest(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.main(["-k", "walk"]) == 0
    assert steps.words["fast"][-2:] == ["-k", "walk"]
    assert steps.words["live"][-2:] == ["-k", "walk"]
    said = capsys.readouterr().err
    assert [name for name in ("ruff check", "mypy", "fast tests", "live tests", "in all") if name not in said] == []


def test_fast_runs_no_live_tests_and_asks_for_no_packages(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "ensure", lambda *_: pytest.fail("asked for packages"))
    assert suite.main(["--fast"]) == 0
    assert "live" not in steps.words
    assert "--fast" not in steps.words["fast"]


@pytest.mark.parametrize("step", ["ruff", "mypy", "fast", "live"])
def test_whatever_fails_fails_the_whole_and_the_rest_is_run(steps: Steps, step: str) -> None:
    steps.status[step] = 1
    assert suite.main([]) == 1
    assert set(steps.words) == {"ruff", "mypy", "fast", "live"}


def test_words_that_choose_tests_of_one_kind(steps: Steps) -> None:
    steps.status["fast"] = suite.NO_TESTS
    assert suite.main(["tests/live"]) == 0
    steps.status["live"] = suite.NO_TESTS
    assert suite.main(["-k", "nothing"]) == 1, "no test at all is no success"


def test_packages_that_cannot_be_had_are_told_and_nothing_passes(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise ToolMissing("gdb", "sudo apt-get install gdb")

    monkeypatch.setattr(suite, "ensure", refuse)
    assert suite.main([]) == 3
    assert "sudo apt-get install gdb" in capsys.readouterr().err
    assert steps.words == {}
