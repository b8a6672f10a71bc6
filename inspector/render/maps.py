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
            if result.holes:
                yield runs.hole_line(run, style, mixed=result.mixed)
            elif run.gra is not None:
                yield from runs.led_on_lines(run, in_ram, style, mixed=result.mixed)
            else:
                yield line(run, in_ram, style)
            if run.unknown_flags:
                yield fields.unknown(run.unknown_flags, style)
    elif isinstance(result, AddressSpace):
        tree = result.tree
        whose = " (the kernel)" if tree.pid == KERNEL_PID else ""
        table = "partition-table" if tree.pid is None else "process-table"
        real = "" if tree.pid is not None else ", addresses are guest real" if tree.lpid else ", the host kernel's own"
        yield style("head", f"{tree.name}{whose}") + style("dim", f"  {table} entry {tree.entry:#018x}{real}")
    elif isinstance(result, InRegion):
        yield style("dim", f"---[ {result.region or 'no region of Linux'} ]---")
    elif isinstance(result, Sorted):
        yield style("head", _head(result))
    else:
        yield from style.wrap(_total(result), kind="dim")


def _head(result: Sorted) -> str:
    """What stands above ranges of several trees."""
    if result.holes:
        return runs.HOLES_HEAD
    if result.led_on:
        return runs.LED_ON_HEAD
    return runs.BEHIND_HEAD if result.behind else runs.MIXED_HEAD


def _total(result: Total) -> str:
    leaves = sum(count for _, count in result.leaves)
    of_sizes = ", ".join(f"{count:,} of {compact_size(1 << shift)}" for shift, count in result.leaves)
    what, inside = ("leaves", "") if leaves == result.ranges else ("ranges", f" in {leaves:,} leaves")
    trees = counted(result.processes, "LPID" if result.behind else "PID")
    begin = f"{'so far' if result.partial else 'in all'}: {result.ranges:,}"
    if result.holes:
        return f"{begin} holes of {trees}, {short_size(result.size)}"
    return f"{begin} {what} of {trees}, {short_size(result.size)}{inside}: {of_sizes}"


def objects(result: Answer) -> Iterator[dict[str, Any]]:
    """An object a range; a hole has no "ra"."""
    if isinstance(result, RangeBlock):
        for run, in_ram in _rows(result):
            yield runs.hole(run) if result.holes else runs.obj(run, in_ram)


def _rows(result: RangeBlock) -> Iterable[tuple[Run, bool]]:
    return zip(runs_of(result.ranges), result.in_ram.tolist(), strict=True)
