"""The answers of ``regs`` and ``cpu``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inspector.commands.registers import Cpu, CpuList, RegisterFile
from inspector.radix.registers import describe_msr
from inspector.render import fields
from inspector.render.style import Style, hexadecimal

ACROSS = 3
UNKNOWN = "?"


def text(result: RegisterFile | CpuList, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, CpuList):
        yield style("head", f"  {'vCPU':<5} {'NIP':<16}  {'PID':<6} {'LPID':<5} mode")
        for cpu in result.cpus:
            yield from _cpu(cpu, style)
        return
    if result.several:
        yield style("head", f"vCPU {result.cpu}")
    if result.decoded:
        shown = dict(result.decoded)
        rest = [pair for group in result.groups for pair in group.values if pair[0] not in shown]
        for name, decoded in result.decoded:
            value = style("value", f"{decoded.value:#018x}")
            yield f"{style('name', name.upper())} {value}  {style('dim', decoded.format.title)}"
            yield from style.wrap(decoded.meaning, "  ")
            yield from fields.text(decoded, style)
        yield from _table(rest, style)
        return
    for group in result.groups:
        if group.head:
            yield style("dim", group.head)
        yield from _table(group.values, style)


def _table(values: Sequence[tuple[str, int | None]], style: Style) -> Iterator[str]:
    """Three registers a line."""
    for at in range(0, len(values), ACROSS):
        cells = []
        for name, value in values[at : at + ACROSS]:
            shown = style("dim", f"{UNKNOWN:<16}") if value is None else style("value", f"{value:016x}")
            cells.append(f"{style('name', f'{name:<6}')} {shown}")
        yield "  " + "  ".join(cells).rstrip()


def _cpu(cpu: Cpu, style: Style) -> Iterator[str]:
    nip = UNKNOWN if cpu.nip is None else f"{cpu.nip:016x}"
    pid = UNKNOWN if cpu.pid is None else str(cpu.pid)
    lpid = UNKNOWN if cpu.lpid is None else str(cpu.lpid)
    mode = UNKNOWN if cpu.msr is None else describe_msr(cpu.msr)
    indent = " " * 39
    first, *rest = style.wrap(mode, indent)
    mark = style("good", "*") if cpu.chosen else " "
    yield f"{mark} {cpu.cpu:<5} {style('address', f'{nip:<16}')}  {pid:<6} {lpid:<5} {first[len(indent) :]}"
    yield from rest


def objects(result: RegisterFile | CpuList) -> Iterator[dict[str, Any]]:
    """One object a vCPU."""
    if isinstance(result, CpuList):
        for cpu in result.cpus:
            yield {
                "cpu": cpu.cpu,
                "chosen": cpu.chosen,
                "nip": hexadecimal(cpu.nip),
                "msr": hexadecimal(cpu.msr),
                "mode": None if cpu.msr is None else describe_msr(cpu.msr),
                "pid": cpu.pid,
                "lpid": cpu.lpid,
            }
        return
    answer: dict[str, Any] = {
        "cpu": result.cpu,
        "registers": {name: hexadecimal(value) for group in result.groups for name, value in group.values},
    }
    if result.decoded:
        answer["bits"] = {name: fields.obj(decoded) for name, decoded in result.decoded}
    yield answer
