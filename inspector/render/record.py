"""The answer of ``record``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from inspector.commands.record import Recorded
from inspector.render.style import Style, compact_size, counted, safe

if TYPE_CHECKING:
    from inspector.snapshot.manifest import Content
    from inspector.triage.found import Finding


def text(result: Recorded, style: Style) -> Iterator[str]:
    """Lines for a person."""
    done = result.summary
    held = (
        f"{compact_size(done.captured - result.pool_captured)} of {compact_size(result.ram - result.pool)} RAM "
        f"in {counted(done.runs, 'run')}, {counted(done.cpus, 'vCPU')}"
    )
    if result.dry:
        yield from style.wrap(f"{safe(done.path)} was not written; it would be {done.file_size} bytes unpacked", "")
        yield f"  {held}"
    else:
        yield f"{style('good', safe(done.path))}: {done.file_size} bytes; {held}"
    for line in contents(result.contents):
        yield from style.wrap(line, "  ")
    if result.found:
        told = dict.fromkeys(f"{each.cause.slug} ({each.found.confidence})" for each in result.found)
        yield from style.wrap(f"'triage' says of it: {', '.join(told)}", "  ")
    if result.pool:
        yield f"  besides, {compact_size(result.pool_captured)} of {compact_size(result.pool)} of the overlay's pool"
    if done.unreadable:
        yield style("warn", f"  {done.unreadable} bytes that were asked for could not be read")
    if result.changing:
        yield style("warn", "  the guest was running: its tables may have changed meanwhile")


def contents(of: Iterable[Content]) -> Iterator[str]:
    """What is in a snapshot, a line for each kind."""
    for each in of:
        size = compact_size(each.size)
        size = "" if not each.size else f"{size} bytes of " if size.isdigit() else f"{size} of "
        yield safe(f"{size}{each.text}")


def as_objects(of: Iterable[Content]) -> list[dict[str, Any]]:
    """The same for a program: sizes in bytes, 0 of what has none."""
    return [{"kind": each.kind, "size": each.size, "text": each.text} for each in of]


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
        "contents": as_objects(result.contents),
        **({"dry_run": True} if result.dry else {}),
        **({"findings": findings} if (findings := [_finding(each) for each in result.found]) else {}),
    }


def _finding(each: Finding) -> dict[str, Any]:
    return {"verdict": each.cause.slug, "confidence": each.found.confidence}
