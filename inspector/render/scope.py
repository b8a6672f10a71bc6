"""What is said besides the mappings: where a tree is not as it should be, and that not all is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.scope import Odd, Unfinished
from inspector.radix.oddities import tree_name
from inspector.render.style import Style, hexadecimal


def text(result: Odd | Unfinished, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Unfinished):
        yield from style.wrap(result.text, kind="bad")
        return
    more = f" ({result.more} more like this)" if result.more else ""
    whose = tree_name(result.lpid, result.pid)
    yield from style.wrap(f"{whose}, {result.ea:#x}: {result.cause}: {result.reason}{more}", "  ", kind="bad")


def objects(result: Odd | Unfinished) -> Iterator[dict[str, Any]]:
    """An oddity is an object with "oddity", its cause; that not all is told, one with "unfinished"."""
    if isinstance(result, Unfinished):
        yield {"unfinished": result.text}
        return
    yield {
        "oddity": result.cause,
        "reason": result.reason,
        "lpid": result.lpid,
        "pid": result.pid,
        "ea": hexadecimal(result.ea),
        "more": result.more,
    }
