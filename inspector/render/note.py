"""What is said besides the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.notes import Note
from inspector.render.style import Style


def text(result: Note, style: Style) -> Iterator[str]:
    """Lines for a person."""
    yield from style.wrap(f"note: {result.text}", kind="warn")


def objects(result: Note) -> Iterator[dict[str, Any]]:
    """An object that holds nothing but "note"."""
    yield {"note": result.text}
