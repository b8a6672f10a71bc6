"""The answer of ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.doctor import Examined
from inspector.doctor import Finding
from inspector.render.style import Style, safe


def text(result: Examined, style: Style) -> Iterator[str]:
    """Lines for a person: each thing, what it gives, and how to get it where it is missing."""
    width = max(len(each.name) for each in result.findings)
    for each in result.findings:
        yield from _finding(each, width, style)
    missing = [each for each in result.findings if not each.present]
    if not missing:
        yield style("good", "nothing is missing")
    elif result.ok:
        yield "nothing that the inspector itself needs is missing"
    else:
        needed = ", ".join(each.name for each in missing if each.needed)
        yield style("bad", f"the inspector needs what is missing here: {needed}")


def _finding(each: Finding, width: int, style: Style) -> Iterator[str]:
    indent = " " * (width + 4)
    state, kind = ("+", "good") if each.present else ("-", "bad" if each.needed else "warn")
    version = safe(each.version or ("there" if each.present else "missing"))
    lines = style.wrap(f"{version}: {each.gives}", indent)
    yield f"{style(kind, state)} {style('name', f'{each.name:<{width}}')}  {lines[0].lstrip()}"
    yield from lines[1:]
    if each.note and not each.present:
        yield from style.wrap(each.note, indent, kind="dim")
    if each.get and not each.present:
        yield indent + style("head", safe(each.get))


def objects(result: Examined) -> Iterator[dict[str, Any]]:
    """One object a thing."""
    for each in result.findings:
        yield {
            "name": each.name,
            "present": each.present,
            "version": each.version,
            "gives": each.gives,
            "get": each.get,
            "needed": each.needed,
            "note": each.note or None,
        }
