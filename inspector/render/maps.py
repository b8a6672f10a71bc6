"""The answers of ``maps``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.maps import AddressSpace, Mapped
from inspector.render import fields, runs
from inspector.render.style import Style
from inspector.spaces import KERNEL_PID


def text(result: AddressSpace | Mapped, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, AddressSpace):
        whose = " (the kernel)" if result.pid == KERNEL_PID else ""
        yield style("head", f"PID {result.pid}{whose}") + style("dim", f"  process-table entry {result.entry:#018x}")
        return
    yield runs.line(result.run, result.in_ram, style)
    if result.run.unknown_flags:
        yield fields.unknown(result.run.unknown_flags, style)


def objects(result: AddressSpace | Mapped) -> Iterator[dict[str, Any]]:
    """An object a run."""
    if isinstance(result, Mapped):
        yield runs.obj(result.run, result.in_ram)
