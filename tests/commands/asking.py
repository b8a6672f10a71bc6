"""Runs a command over a fake target, and shows what it answered as a user would see it."""

from __future__ import annotations

import io
import json
import shlex
from typing import Any

from inspector.commands.registry import Result, Session, run
from inspector.guest import Guest
from inspector.render import show
from inspector.render.style import Style
from tests.fakes import FakeTarget, guest


def ask(words: str, target: FakeTarget | Guest | None = None, stdin: str = "") -> list[Result]:
    """The results of one command, on the pseries guest where no other is given."""
    return list(run(session(target, stdin), shlex.split(words)))


def session(target: FakeTarget | Guest | None = None, stdin: str = "") -> Session:
    """A session over a target."""
    at = target if isinstance(target, Guest) else guest(target)
    return Session(at, stdin=io.StringIO(stdin))


def lines(results: list[Result], style: Style | None = None) -> list[str]:
    """The lines that a person sees."""
    return [line for result in results for line in show.text(result, style or Style())]


def objects(results: list[Result]) -> list[dict[str, Any]]:
    """What the lines of JSON hold."""
    return [json.loads(line) for result in results for line in show.json_lines(result)]


def shown(words: str, target: FakeTarget | Guest | None = None, stdin: str = "") -> str:
    """What a person sees of one command."""
    return "\n".join(lines(ask(words, target, stdin)))


def told(words: str, target: FakeTarget | Guest | None = None, stdin: str = "") -> list[dict[str, Any]]:
    """What a program gets of one command."""
    return objects(ask(words, target, stdin))


def newest(words: str) -> str:
    """The same, as Linux 6.1 does it where the words say nothing of versions."""
    return words if "--as" in words else f"{words} --as 6.1"
