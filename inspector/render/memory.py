"""The answers of ``read`` and ``ram``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.memory import LINE, Missing, Ram, Shown
from inspector.errors import NotCaptured, NotRam, Unreadable
from inspector.radix.fields import size_text
from inspector.render.style import Style, counted, hexadecimal, safe, short_size

NOT_READ = frozenset(error.slug for error in (NotRam, NotCaptured, Unreadable))
"""Causes that are the inspector's or the target's, not the guest's."""


def text(result: Shown | Missing | Ram, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Ram):
        yield from _ram(result, style)
    elif isinstance(result, Missing):
        yield from _missing(result, style)
    else:
        yield from _words(result, style) if result.width else _dump(result, style)


def _missing(missing: Missing, style: Style) -> Iterator[str]:
    others = missing.entries - 1
    more = f"; the same holds for the {others} entries after it" if others > 1 else ""
    more = "; the same holds for the entry after it" if others == 1 else more
    verb = "not read" if missing.cause in NOT_READ else "not there"
    told = f"{size_text(missing.length)} {verb} ({missing.cause}): {missing.reason}{more}"
    first, *rest = style.wrap(told, " " * 18)
    yield f"{style('address', f'{missing.address:016x}')}{style('dim', ':')} {style('bad', first.lstrip())}"
    yield from (style("bad", line) for line in rest)


def _dump(shown: Shown, style: Style) -> Iterator[str]:
    """Sixteen bytes a line, with what they say as text."""
    for at in range(0, len(shown.data), LINE):
        line = shown.data[at : at + LINE]
        said = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)
        address = style("address", f"{shown.address + at:016x}") + style("dim", ":")
        yield f"{address} {line.hex(' ', -2):<39}  {style('dim', said)}"


def _words(shown: Shown, style: Style) -> Iterator[str]:
    width = 2 * shown.width
    words = shown.words
    across = LINE // shown.width
    for at in range(0, len(words), across):
        cells = ["?" * width if word is None else f"{word:0{width}x}" for word in words[at : at + across]]
        address = f"{shown.address + at * shown.width:016x}"
        yield f"{style('address', address)}{style('dim', ':')} {style('value', ' '.join(cells))}"


def _ram(ram: Ram, style: Style) -> Iterator[str]:
    for n, each in enumerate(ram.ranges):
        where = f"{style('address', f'{each.start:#014x}')} - {style('address', f'{each.end - 1:#014x}')}"
        held = "" if ram.captured is None else f"  {_share(ram.captured[n], each.size):<16}"
        name = safe(each.name)
        room = style.width - (50 if ram.captured is None else 68)
        yield f"{where}  {short_size(each.size):>7}{held}  {name if len(name) <= room else ''}".rstrip()
        if len(name) > room:
            yield f"  {name}"
    told = f"{short_size(ram.total)} of RAM in {counted(len(ram.ranges), 'range')}"
    if ram.captured is not None:
        told += f", of which this holds {short_size(sum(ram.captured))}"
    yield style("dim", told)


def _share(part: int, whole: int) -> str:
    return "captured" if part >= whole else "not captured" if not part else f"{short_size(part)} captured"


def objects(result: Shown | Missing | Ram) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    if isinstance(result, Ram):
        captured: list[int] | list[None] = [None] * len(result.ranges)
        if result.captured is not None:
            captured = list(result.captured)
        yield {
            "total": result.total,
            "captured": None if result.captured is None else sum(result.captured),
            "ranges": [
                {"start": hexadecimal(each.start), "size": each.size, "name": each.name, "captured": held}
                for each, held in zip(result.ranges, captured, strict=True)
            ],
        }
        return
    if isinstance(result, Missing):
        yield {
            "space": result.space,
            "address": hexadecimal(result.address),
            "length": result.length,
            "status": "fault",
            "cause": result.cause,
            "reason": result.reason,
            "entry_address": hexadecimal(result.entry),
            "entries": result.entries,
        }
        return
    answer: dict[str, Any] = {
        "space": result.space,
        "address": hexadecimal(result.address),
        "length": len(result.data),
        "status": "ok",
        "ra": hexadecimal(result.ra),
    }
    if result.width:
        answer |= {
            "width": result.width,
            "order": result.order,
            "words": [hexadecimal(word) for word in result.words],
        }
    else:
        answer["data"] = result.data.hex()
    yield answer
