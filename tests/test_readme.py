"""The README tells the truth: every transcript in it is what the inspector prints."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def transcripts() -> Iterator[tuple[str, str]]:
    """Every command of a console block that looks into the demo guest, and the output shown under it."""
    for block in re.findall(r"^```console\n(.*?)^```", README, re.DOTALL | re.MULTILINE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@pytest.mark.parametrize(("command", "output"), list(transcripts()), ids=[c for c, _ in transcripts()])
def test_a_transcript_is_what_is_printed(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    assert words[0] == "scripts/run", "a transcript shows what a reader can type"
    main(words[1:])
    assert capsys.readouterr().out == output


def test_there_are_transcripts() -> None:
    assert len(list(transcripts())) >= 3


def test_its_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^In Python:\n\n((?:    .*\n|\n)+)", README, re.MULTILINE)
    exec(textwrap.dedent(block).replace("gdb:localhost:1234", "demo"), {})
    assert capsys.readouterr().out.startswith("0 21 r-x (Step(")


def test_every_path_it_names_is_there() -> None:
    named = re.findall(r"`((?:inspector|scripts|tests|fixtures)/[\w./-]*)`", README)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_room_is_in_the_architecture() -> None:
    rooms = {path.parent.name for path in ROOT.glob("inspector/*/__init__.py")}
    assert [room for room in sorted(rooms) if f"{room}/" not in README] == []


def test_every_module_at_the_top_is_in_the_architecture() -> None:
    modules = {path.name for path in ROOT.glob("inspector/*.py")} - {"__init__.py", "__main__.py"}
    assert [name for name in sorted(modules) if not re.search(rf"[`/]{re.escape(name)}`", README)] == []
