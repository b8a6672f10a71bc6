"""The answers of ``maps``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from inspector.commands.listing import AddressSpace, RangeBlock
from inspector.commands.maps import InRegion, Sorted, Total
from inspector.mappings.runs import Run, runs_of
from inspector.radix.bits import KERNEL_PID
from inspector.render import fields, runs
from inspector.render.style import Style, compact_size, counted, short_size

Answer = AddressSpace | InRegion | Sorted | RangeBlock | Total


def text(result: Answer, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, RangeBlock):
        line = runs.mixed_line if result.mixed else runs.line
        for run, in_ram in _rows(result):
            yield line(run, in_ram, style)
            if run.unknown_flags:
                yield fields.unknown(run.unknown_flags, style)
    elif isinstance(result, AddressSpace):
        tree = result.tree
        whose = " (the kernel)" if tree.pid == KERNEL_PID else ""
        table = "partition-table" if tree.pid is None else "process-table"
        yield style("head", f"{tree.name}{whose}") + style("dim", f"  {table} entry {tree.entry:#018x}")
    elif isinstance(result, InRegion):
        yield style("dim", f"---[ {result.region or 'no region of Linux'} ]---")
    elif isinstance(result, Sorted):
        yield style("head", runs.MIXED_HEAD)
    else:
        yield from style.wrap(_total(result), kind="dim")


def _total(result: Total) -> str:
    leaves = sum(count for _, count in result.leaves)
    of_sizes = ", ".join(f"{count:,} of {compact_size(1 << shift)}" for shift, count in result.leaves)
    what, inside = ("leaves", "") if leaves == result.ranges else ("ranges", f" in {leaves:,} leaves")
    return (
        f"{'so far' if result.partial else 'in all'}: {result.ranges:,} {what} of {counted(result.processes, 'PID')}, "
        f"{short_size(result.size)}{inside}: {of_sizes}"
    )


def objects(result: Answer) -> Iterator[dict[str, Any]]:
    """An object a range."""
    if isinstance(result, RangeBlock):
        for run, in_ram in _rows(result):
            yield runs.obj(run, in_ram)


def _rows(result: RangeBlock) -> Iterable[tuple[Run, bool]]:
    return zip(runs_of(result.ranges), result.in_ram.tolist(), strict=True)
