"""The answer of ``info``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from inspector.commands.info import Info
from inspector.render.record import as_objects, contents
from inspector.render.style import Style, compact_size, safe

if TYPE_CHECKING:
    from inspector.commands.overlay import Overlay


def text(result: Info, style: Style) -> Iterator[str]:
    """Lines for a person."""
    traffic = result.traffic
    rows = [
        ("target", f"{result.target} ({result.state})"),
        *([("overlay", _overlay(result.overlay))] if result.overlay is not None else []),
        ("read through", result.source),
        ("RAM", compact_size(result.ram)),
        ("vCPUs", f"{len(result.cpus)}, following {result.cpu}"),
        ("roots", result.roots),
        ("symbols", result.symbols or "none; --vmlinux FILE gives them"),
        *(
            ("what-if", _recorded(value)) if name == "whatif" else (name.replace("_", " "), _plain(value))
            for name, value in result.machine.items()
        ),
        ("RAM reads", f"{traffic.reads}, {traffic.bytes} bytes in all; the RAM map refused {traffic.refused}"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        lines = style.wrap(value, " " * (width + 2)) or [""]
        yield f"{style('name', f'{safe(name):<{width}}')}  {lines[0].strip()}"
        yield from lines[1:]
    if result.contents:
        yield style("name", "in it")
        for line in contents(result.contents):
            yield from style.wrap(line, "  ")


def _overlay(on: Overlay) -> str:
    from inspector.render.overlay import memory

    kept = f"{memory(on.kept)} of memory" if on.kept else "nothing"
    return f"on: what is told is as it would be; it keeps {kept}, and 'overlay off' shows the guest itself"


def _recorded(value: object) -> str:
    """That a snapshot is of what would be."""
    said = value if isinstance(value, Mapping) else {}
    lpids = said.get("lpids")
    of = f"LPID {_plain(lpids)} changed" if lpids else "nothing changed"
    return f"recorded from an overlay, and not the guest as it was: {of}; pool {_plain(said.get('pool'))}"


def _plain(value: object) -> str:
    """What a target says of itself, for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def objects(result: Info) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    overlay = None
    if result.overlay is not None:
        from inspector.render.overlay import obj

        overlay = obj(result.overlay)
    yield {
        "target": result.target,
        "state": result.state,
        "source": result.source,
        "machine": dict(result.machine),
        "ram": result.ram,
        "cpus": list(result.cpus),
        "cpu": result.cpu,
        "roots": result.roots,
        "symbols": result.symbols,
        "epoch": result.epoch,
        "reads": result.traffic.reads,
        "bytes_read": result.traffic.bytes,
        "refused": result.traffic.refused,
        "overlay": overlay,
        "contents": as_objects(result.contents),
    }
