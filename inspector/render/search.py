"""The answers of ``search``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.search import Hit, Searched
from inspector.memory.plainfile import sized
from inspector.render import runs
from inspector.render.rmap import holding, holds_objects, mapping
from inspector.render.style import Style, counted, hexadecimal, safe

LINE = 16
"""Bytes of a hit that are shown in hexadecimal."""


def text(result: Hit | Searched, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Searched):
        yield from style.wrap(_searched(result), kind="dim" if result.ok else "bad")
        return
    yield f"{style('address', f'{result.ra:#x}')}  {style('value', _preview(result))}".rstrip()
    if result.holds:
        yield from style.wrap(f"it is in {holding(result.holds)}", "  ")
    for run, in_ram in result.mappings or ():
        yield from mapping(run, in_ram, style)
    if result.mappings == ():
        yield style("dim", "  nothing maps it")


def objects(result: Hit | Searched) -> Iterator[dict[str, Any]]:
    """An object a hit, and then one with "searched"."""
    if isinstance(result, Searched):
        yield {
            "searched": result.done,
            "of": result.total,
            "hits": result.hits,
            "last": hexadecimal(result.last),
            "not_captured": result.missing,
            "not_read": result.unread,
            "limited": result.limited,
            "interrupted": result.interrupted,
        }
        return
    mappings = result.mappings
    yield {
        "ra": hexadecimal(result.ra),
        "length": result.length,
        "data": result.data.hex(),
        "holds": [] if result.holds is None else holds_objects(result.holds),
        "mappings": None if mappings is None else [runs.obj(run, in_ram) for run, in_ram in mappings],
    }


def _preview(hit: Hit) -> str:
    """The first bytes of a hit and of what follows, as text or in hexadecimal."""
    if hit.text:
        # What follows the text is told up to the end of its line.
        end = next((at for at in range(hit.length, len(hit.data)) if hit.data[at] in b"\0\n\r"), len(hit.data))
        return safe(hit.data[:end].decode("utf-8", "replace"))[:56]
    shown = hit.data[:LINE]
    plain = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in shown)
    return f"{shown.hex(' ', -4)}  {plain}"


def _searched(result: Searched) -> str:
    found = counted(result.hits, "hit") if result.hits else "no hit"
    if result.interrupted:
        left = f"{sized(result.total - result.done)} of {sized(result.total)} left unsearched"
        said = [f"{found}; interrupted: {left}"]
    elif result.limited:
        upto = "" if result.last is None else f" up to {result.last:#x}"
        said = [f"{found}{upto}: ended by the limit, and there may be more; --limit N tells more"]
    elif result.total:
        said = [f"{found} in {sized(result.done)}"]
    else:
        said = ["nothing was searched: none of what was asked for is RAM that can be read"]
    if result.missing:
        said.append(f"{sized(result.missing)} of RAM not searched: this snapshot did not capture it")
    if result.unread:
        said.append(f"{sized(result.unread)} could not be read: {result.why}")
    return "; ".join(said)
