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
        f"{compact_size(done.captured - result.pool_captured)} of {compact_size(result.ram - result.pool)} RAM "
        f"in {counted(done.runs, 'run')}, {counted(done.cpus, 'vCPU')}"
    )
    if result.pool:
        yield f"  besides, {compact_size(result.pool_captured)} of {compact_size(result.pool)} of the overlay's pool"
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
        **({"pool": result.pool, "pool_captured": result.pool_captured} if result.pool else {}),
        "cpus": done.cpus,
        "changing": result.changing,
    }
