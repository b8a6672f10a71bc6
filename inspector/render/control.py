"""The answers of ``continue``, ``interrupt``, ``stepi`` and ``gdb``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.control import Console, Went
from inspector.radix.registers import describe_msr
from inspector.render.style import Style, hexadecimal, safe


def text(result: Went | Console, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Console):
        for line in result.output.splitlines():
            yield safe(line.expandtabs())
        return
    kind = "warn" if result.state == "running" else "good"
    first, *rest = style.wrap(f"{result.state}: {result.happened}")
    yield first.replace(result.state, style(kind, result.state), 1)
    yield from rest
    if result.nip is not None:
        mode = "" if result.msr is None else describe_msr(result.msr)
        place = f"  vCPU {result.cpu} at {result.nip:#018x}"
        beside = len(place) + 2 + len(mode) <= style.width
        place = place.replace(f"{result.nip:#018x}", style("address", f"{result.nip:#018x}"))
        yield f"{place}  {mode}".rstrip() if beside else place
        if not beside:
            yield f"  {mode}"


def objects(result: Went | Console) -> Iterator[dict[str, Any]]:
    """One object an answer."""
    if isinstance(result, Console):
        yield {"command": result.command, "output": result.output}
        return
    yield {
        "happened": result.happened,
        "state": result.state,
        "epoch": result.epoch,
        "cpu": result.cpu,
        "nip": hexadecimal(result.nip),
        "msr": hexadecimal(result.msr),
    }
