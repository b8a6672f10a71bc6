"""A word taken apart, bit by bit: what ``regs --bits`` and ``decode`` have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.radix.fields import Decoded, DecodedField, number_text
from inspector.render.style import Style, hexadecimal


def text(decoded: Decoded, style: Style) -> Iterator[str]:
    """A line a field, with its bits as Linux and as IBM count them; then the bits that nobody claims."""
    names = max((len(part.field.name) for part in decoded.fields), default=5)
    values = max((len(number_text(part.raw)) for part in decoded.fields), default=5)
    if decoded.fields:
        yield style("head", f"  {'bits':<6} {'IBM':<6} {'field':<{names}}  value")
    for part in decoded.fields:
        yield from _field(part, decoded.format.width, (names, values), style)
    if decoded.residue:
        yield unknown(decoded.residue, style)
    if decoded.linux:
        yield from style.wrap(f"to Linux: {decoded.linux}", "  ", kind="dim")


def unknown(residue: int, style: Style, indent: str = "  ") -> str:
    """The line that tells of bits which nobody claims."""
    return indent + style("warn", f"unknown bits set: {residue:#x}")


def _field(part: DecodedField, width: int, columns: tuple[int, int], style: Style) -> Iterator[str]:
    """Its first line holds the columns; what does not fit beside them goes on below."""
    names, values = columns
    start = f"  {part.field.bits:<6} {part.field.ibm(width):<6} {part.field.name:<{names}}  "
    indent = " " * (len(start) + values + 2)
    told = [line[len(indent) :] for line in style.wrap(words(part), indent)] or [""]
    if not part.raw:
        told = [style("dim", line) for line in told]
    yield f"{start}{style('value' if part.raw else 'dim', f'{number_text(part.raw):<{values}}')}  {told[0]}"
    yield from (indent + line for line in told[1:])


def words(part: DecodedField) -> str:
    """What a field is and what its value says, as one phrase."""
    meaning = part.field.meaning
    if part.field.linux and part.raw:
        meaning = f"{meaning}; to Linux: {part.field.linux}"
    return meaning if part.text in (str(part.raw), f"{part.raw:#x}") else f"{meaning} = {part.text}"


def obj(decoded: Decoded) -> dict[str, Any]:
    """The same for JSON: values in hex, bits as the ISA's two ways of counting have them."""
    return {
        "format": decoded.format.name,
        "title": decoded.format.title,
        "value": hexadecimal(decoded.value),
        "meaning": decoded.meaning,
        "linux": decoded.linux or None,
        "residue": hexadecimal(decoded.residue),
        "fields": [
            {
                "name": part.field.name,
                "bits": part.field.bits,
                "ibm": part.field.ibm(decoded.format.width),
                "value": hexadecimal(part.raw),
                "text": part.text,
                "meaning": part.field.meaning,
                "isa": part.field.isa or None,
            }
            for part in decoded.fields
        ],
    }
