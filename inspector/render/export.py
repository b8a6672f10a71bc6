"""The answer of ``export``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.export import STDOUT, Exported
from inspector.render.style import Style, counted, safe


def text(result: Exported, style: Style) -> Iterator[str]:
    """Lines for a person."""
    done = result.written
    path = "standard output" if done.path == STDOUT else safe(done.path)
    yield f"{style('good', path)}: {counted(done.rows, 'row')} of {done.format}, {done.file_size} bytes"


def objects(result: Exported) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    done = result.written
    yield {"path": done.path, "format": done.format, "rows": done.rows, "file_size": done.file_size}
