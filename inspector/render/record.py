"""The answer of ``record``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.record import Recorded
from inspector.render.style import Style, compact_size, counted, safe


def text(result: Recorded, style: Style) -> Iterator[str]:
    """Lines for a person."""
    done = result.summary
    yield (
        f"{style('good', safe(done.path))}: {done.file_size} bytes; "
        f"{compact_size(done.captured)} of {compact_size(result.ram)} RAM "
        f"in {counted(done.runs, 'run')}, {counted(done.cpus, 'vCPU')}"
    )
    if done.unreadable:
        yield style("warn", f"  {done.unreadable} bytes that were asked for could not be read")
    if result.changing:
        yield style("warn", "  the guest was running: its tables may have changed meanwhile")


def objects(result: Recorded) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    done = result.summary
    yield {
        "path": done.path,
        "file_size": done.file_size,
        "runs": done.runs,
        "captured": done.captured,
        "unreadable": done.unreadable,
        "ram": result.ram,
        "cpus": done.cpus,
        "changing": result.changing,
    }
