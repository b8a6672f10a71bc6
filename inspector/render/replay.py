"""The answers of ``replay``: lines of JSON for persons as well, for they are read by programs."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from typing import Any

from inspector.commands.replay import Replayed
from inspector.render.style import Style


def text(result: Replayed, _style: Style) -> Iterator[str]:
    """The same lines as for a program."""
    return map(dumps, result.answers)


def objects(result: Replayed) -> Iterator[dict[str, Any]]:
    """The answers."""
    yield from result.answers
