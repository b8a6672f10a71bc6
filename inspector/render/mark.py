"""The answers of ``mark``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from inspector.commands.mark import Marked
from inspector.render.style import Style, counted, safe, short_size


def text(result: Marked, style: Style) -> Iterator[str]:
    """Lines for a person."""
    done = "" if result.done == "kept" else f" {result.done}"
    when = time.strftime("%H:%M:%S", time.localtime(result.at))
    yield f"{style('name', safe(result.name))}{done}: {safe(result.of)}{'' if result.done == 'made' else f' at {when}'}"
    yield (
        f"  {counted(result.ranges, 'range')} of {counted(result.processes, 'PID')}, "
        f"{counted(result.tables, 'table page')}; it takes {_memory(result.size)} of memory"
    )
    if result.changing:
        yield style("warn", "  the guest was running: not all of it need belong to one moment")


def _memory(size: int) -> str:
    text = short_size(size)
    return f"{text} bytes" if text.isdigit() else text


def objects(result: Marked) -> Iterator[dict[str, Any]]:
    """An object with "mark"."""
    yield {
        "mark": result.name,
        "done": result.done,
        "of": result.of,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(result.at)),
        "processes": result.processes,
        "ranges": result.ranges,
        "tables": result.tables,
        "size": result.size,
        "changing": result.changing,
    }
