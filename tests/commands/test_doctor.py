"""``doctor`` as a command: every finding, and its exit status."""

from __future__ import annotations

import pytest

from inspector.commands import doctor as command
from inspector.doctor import Finding
from tests.commands.asking import ask, shown, told

THERE = Finding("python", True, "3.11.2", "the inspector itself", needed=True)
ABSENT = Finding("gdb-multiarch", False, None, "live guests", "apt-get install gdb-multiarch", note="not on the path")
NEEDED = Finding("numpy", False, "1.0", "sweeps", "pip install 'numpy>=1.26'", needed=True)


def findings(monkeypatch: pytest.MonkeyPatch, *told_of: Finding) -> None:
    monkeypatch.setattr(command, "examine", lambda: list(told_of))


def test_everything_there(monkeypatch: pytest.MonkeyPatch) -> None:
    findings(monkeypatch, THERE)
    (result,) = ask("doctor")
    assert result.ok
    assert "nothing is missing" in shown("doctor")


def test_what_is_missing_comes_with_the_line_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    findings(monkeypatch, THERE, ABSENT)
    (result,) = ask("doctor")
    assert result.ok, "a live guest is not needed"
    text = shown("doctor")
    assert "apt-get install gdb-multiarch" in text.splitlines()[-2]
    assert "not on the path" in text


def test_what_is_needed_and_missing_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    findings(monkeypatch, THERE, NEEDED)
    (result,) = ask("doctor")
    assert not result.ok
    assert "needs what is missing here: numpy" in shown("doctor")


def test_one_object_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    findings(monkeypatch, THERE, ABSENT)
    first, second = told("doctor")
    assert (first["name"], first["present"], first["version"], first["needed"]) == ("python", True, "3.11.2", True)
    assert (second["present"], second["version"], second["get"]) == (False, None, "apt-get install gdb-multiarch")


def test_this_machine_is_examined_for_real() -> None:
    names = {each["name"] for each in told("doctor")}
    assert {"python", "numpy", "gdb-multiarch", "qemu-system-ppc64"} <= names
