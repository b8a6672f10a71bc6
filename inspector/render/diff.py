"""What is said of one side of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.diff import OfSide
from inspector.render import show
from inspector.render.style import Style


def text(result: OfSide, style: Style) -> Iterator[str]:
    """Lines for a person: which side, and what is said of it."""
    word = result.side if result.side == "both" else f"{result.side} ("
    yield from style.wrap(f"{word}{'' if result.side == 'both' else result.name + ')'}:", kind="bad")
    yield from show.text(result.of, style)


def objects(result: OfSide) -> Iterator[dict[str, Any]]:
    """The object of what is said, with "side"."""
    import json

    for line in show.json_lines(result.of):
        yield {"side": result.side, **json.loads(line)}
