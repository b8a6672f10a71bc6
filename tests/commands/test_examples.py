"""Every example that help shows works, fits its reader, and says the same in colour."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import inspector
from inspector.commands.registry import MODULES, Example, command, run
from inspector.errors import NotSupported
from inspector.render.style import Style
from tests.commands.asking import lines, objects, session
from tests.fakes import FakeControl, bare_target, guest, linux_target

EXAMPLES = [example for name in MODULES for example in command(name).examples]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MACHINES = {"pseries": linux_target, "powernv": bare_target}
CONTROL = {"continue", "interrupt", "stepi", "gdb"}


def too_long(shown: list[str]) -> list[str]:
    """What is wider than a terminal, but for a line that installs what is missing: it is there to be copied whole."""
    return [line for line in shown if len(line) > 80 and "apt-get install" not in line]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.words)
def test_an_example(example: Example, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = MACHINES[machine]()
    FakeControl(target)
    results = list(run(session(guest(target)), shlex.split(example.words)))
    assert results
    assert all(each.ok for each in results if each.topic != "translation"), "an example shows no fault"
    plain = lines(results)
    assert plain
    assert too_long(plain) == []
    assert [line for line in plain if line != line.rstrip() or "\n" in line or "\t" in line] == []
    assert [COLOUR.sub("", line).rstrip() for line in lines(results, Style(True))] == plain
    assert all(isinstance(each, dict) for each in objects(results))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: each.words)
def test_an_example_on_the_guest_that_ships(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with inspector.open_target("demo") as demo:
        asked = session(demo)
        if example.words.split()[0] in CONTROL or "--run" in example.words:
            with pytest.raises(NotSupported):
                list(run(asked, shlex.split(example.words)))
            return
        results = list(run(asked, shlex.split(example.words)))
        shown = lines(results)
    assert shown
    assert too_long(shown) == []
    if "read $nip" not in example.words and "--also" not in example.words:  # no code is in this snapshot
        assert [each for each in results if not each.ok and each.topic != "translation"] == []


def test_every_command_has_one() -> None:
    assert {example.words.split()[0] for example in EXAMPLES} == set(MODULES)
