"""Commands that the REPL is tried with, since none of the real ones is long, broken or lost on demand.

``python -m tests.ui.standin`` is a REPL over a fake guest with these commands, for tests at a real terminal.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from inspector.commands import registry
from inspector.commands.registry import Command, Parser, Session, no_arguments
from inspector.errors import TargetLost
from inspector.guest import Guest
from inspector.render.style import Style
from tests.fakes import FakeControl, FakeTarget, linux_target

TOPIC = "ui_standin"
LIMIT = 60.0
"""Seconds after which a command that waits to be interrupted gives up."""


@dataclass(frozen=True, slots=True)
class Said:
    """A line."""

    topic: ClassVar[str] = TOPIC
    text: str
    ok: bool = True


def _endless(_session: Session, _arguments: Namespace) -> Iterator[Said]:
    began = time.monotonic()
    try:
        yield Said("began")
        while time.monotonic() - began < LIMIT:
            time.sleep(0.01)
        yield Said("gave up waiting for Ctrl-C")
    finally:
        print("cleaned up", flush=True)


def _count(_session: Session, arguments: Namespace) -> Iterator[Said]:
    try:
        for n in range(int(arguments.lines)):
            yield Said(f"line {n}")
    finally:
        print("counted", file=sys.stderr, flush=True)


def _broken(_session: Session, _arguments: Namespace) -> Iterator[Said]:
    yield Said("so far")
    raise KeyError("nothing by this name")


def _leaves(_session: Session, _arguments: Namespace) -> Iterator[Said]:
    yield Said("so far")
    raise SystemExit(5)


def _lose(session: Session, _arguments: Namespace) -> Iterator[Said]:
    yield Said("so far")
    raise TargetLost(f"{session.at.target.name} has gone; start it again")


def _go(session: Session, _arguments: Namespace) -> Iterator[Said]:
    control = session.at.target.control
    assert control is not None
    control.resume()
    yield Said("it runs")


def _halt(session: Session, _arguments: Namespace) -> Iterator[Said]:
    control = session.at.target.control
    assert control is not None
    control.interrupt()
    yield Said("it stands")


def _lines(parser: Parser) -> None:
    parser.add_argument("lines")


COMMANDS = {
    "endless": Command("endless", "never ends", _endless, no_arguments, ()),
    "count": Command("count", "counts lines", _count, _lines, ()),
    "broken": Command("broken", "has a bug", _broken, no_arguments, ()),
    "leaves": Command("leaves", "calls exit", _leaves, no_arguments, ()),
    "lose": Command("lose", "loses the target", _lose, no_arguments, ()),
    "continue": Command("continue", "lets it run", _go, no_arguments, ()),
    "interrupt": Command("interrupt", "stops it", _halt, no_arguments, ()),
}


def modules() -> dict[str, ModuleType]:
    """What to put in ``sys.modules``."""
    commands: Any = ModuleType("inspector.commands.ui_standin")
    commands.COMMANDS = tuple(COMMANDS.values())
    renderer: Any = ModuleType("inspector.render.ui_standin")

    def text(result: Said, style: Style) -> Iterator[str]:
        yield style("value", result.text)

    renderer.text = text
    renderer.objects = lambda result: [{"said": result.text}]
    return {"inspector.commands.ui_standin": commands, "inspector.render.ui_standin": renderer}


def known() -> dict[str, str]:
    """What to put in the place of the registry's MODULES."""
    return {**registry.MODULES, **dict.fromkeys(COMMANDS, "ui_standin")}


def target() -> FakeTarget:
    """A guest that stands still and can run."""
    made = linux_target()
    FakeControl(made)
    return made


def main() -> int:
    """A REPL on this terminal."""
    sys.modules.update(modules())
    registry.MODULES = known()
    from inspector.ui.repl import repl

    with Session(reopen=lambda: Guest(target())) as session:
        session.reattach()
        return repl(session, Style(sys.stdout.isatty()))


if __name__ == "__main__":
    sys.exit(main())
