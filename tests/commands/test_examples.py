"""Every example that help shows works, fits its reader, and says the same in colour."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from inspector.commands.registry import MODULES, Example, command, run
from inspector.render.style import Style
from tests.commands.asking import lines, objects, session
from tests.fakes import FakeControl, bare_target, guest, linux_target

EXAMPLES = [example for name in MODULES for example in command(name).examples]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
MACHINES = {"pseries": linux_target, "powernv": bare_target}


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
    assert [line for line in plain if len(line) > 80] == []
    assert [line for line in plain if line != line.rstrip() or "\n" in line or "\t" in line] == []
    assert [COLOUR.sub("", line).rstrip() for line in lines(results, Style(True))] == plain
    assert all(isinstance(each, dict) for each in objects(results))


def test_every_command_has_one() -> None:
    assert {example.words.split()[0] for example in EXAMPLES} == set(MODULES)
