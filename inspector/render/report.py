"""The answer of ``report``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.report import Reported
from inspector.render.style import Style, counted, safe


def text(result: Reported, style: Style) -> Iterator[str]:
    """Lines for a person."""
    done = result.written
    yield f"{style('good', safe(done.path))}: {done.file_size} bytes"
    yield (
        f"  {counted(done.ranges, 'range')} of {counted(done.processes, 'LPID' if result.behind else 'PID')}, "
        f"{counted(done.findings, 'finding')} of the audit"
    )
    if result.changing:
        yield style("warn", "  the guest was running: its tables may have changed meanwhile")


def objects(result: Reported) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    done = result.written
    yield {
        "path": done.path,
        "file_size": done.file_size,
        "ranges": done.ranges,
        "left_out": done.left_out,
        "processes": done.processes,
        "findings": done.findings,
        "changing": result.changing,
    }
