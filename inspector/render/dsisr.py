"""The answers of ``dsisr``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.dsisr import Dsisr
from inspector.render import fields
from inspector.render.style import Style


def text(result: Dsisr, style: Style) -> Iterator[str]:
    """Lines for a person: only the bits that are set."""
    decoded = result.decoded
    yield f"{style('value', f'{decoded.value:#010x}')}  DSISR, or HDSISR of a fault that KVM handles"
    if result.handling.outcome == "RETRY":
        yield from _handling(result, style)
        return
    if not any(part.raw for part in decoded.fields):
        yield style("dim", "  no bit is set that has a name")
    for part in decoded.fields:
        if part.raw:
            start = f"  {part.field.bits:>2}  {style('name', f'{part.field.name.lower():<10}')}"
            lines = style.wrap(part.field.meaning, " " * 16)
            yield f"{start}{lines[0].strip()}"
            yield from lines[1:]
    if decoded.residue:
        yield fields.unknown(decoded.residue, style)
    yield from _handling(result, style)


def _handling(result: Dsisr, style: Style) -> Iterator[str]:
    yield style("head", f"KVM ({result.version})")
    for sentence in result.handling.says:
        first, *rest = style.wrap(sentence, "    ")
        yield f"  - {first.strip()}"
        yield from rest


def objects(result: Dsisr) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    yield {
        **fields.obj(result.decoded),
        "set": [part.field.name.lower() for part in result.decoded.fields if part.raw],
        "kvm": {
            "as": result.version,
            "result": result.handling.outcome,
            "says": list(result.handling.says),
        },
    }
