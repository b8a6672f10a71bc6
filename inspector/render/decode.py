"""The answers of ``decode`` and ``rmmu``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.decode import DecodedValue, Kinds, Rmmu
from inspector.radix.geometry import ROOT_LEVEL, decode_ap
from inspector.render import fields
from inspector.render.style import Style, compact_size, hexadecimal


def text(result: DecodedValue | Kinds | Rmmu, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Kinds):
        yield from _kinds(result, style)
    elif isinstance(result, Rmmu):
        yield from _rmmu(result, style)
    else:
        yield from _value(result, style)


def _value(result: DecodedValue, style: Style) -> Iterator[str]:
    decoded = result.decoded
    width = decoded.format.width // 4
    yield f"{style('value', f'{decoded.value:#0{width + 2}x}')}  {decoded.format.title}"
    yield from style.wrap(decoded.meaning, "  ")
    yield from fields.text(decoded, style)
    if result.guessed:
        told = f"taken for a {decoded.format.title}, as no kind was given"
        if result.others:
            told += f", and it could be a {' or a '.join(result.others)} too"
        told += "; 'decode KIND VALUE' takes it for another, 'decode --list' lists the kinds"
        yield from style.wrap(told, "  ", kind="dim")


def _kinds(result: Kinds, style: Style) -> Iterator[str]:
    for head, rows in (("entries of tables", result.entries), ("registers and addresses", result.registers)):
        yield style("head", head)
        for name, title, _ in rows:
            indent = " " * 17
            lines = style.wrap(title, indent)
            yield f"  {style('name', f'{name:<15}')}{lines[0].lstrip()}"
            yield from lines[1:]


def _rmmu(result: Rmmu, style: Style) -> Iterator[str]:
    yield style("head", "geometries: index bits of each level, from the root down")
    for geometry in result.info.geometries:
        levels = " ".join(f"{geometry.level_bits[level]:>2}" for level in range(ROOT_LEVEL, -1, -1))
        covered = " ".join(f"{compact_size(1 << geometry.shift(level)):>4}" for level in range(ROOT_LEVEL, -1, -1))
        yield f"  page shift {geometry.page_shift:>2}  levels {levels}  an entry covers {covered}"
    yield style("head", "page sizes: how tlbie encodes them (AP)")
    for word in result.info.ap_encodings:
        size = decode_ap(word)
        told = f"{compact_size(1 << size.shift):>4}  shift {size.shift:<2}  AP {size.ap}"
        yield f"  {style('value', f'{word:#010x}')}  {told}"
    if not result.property_there:
        told = "without ibm,processor-radix-AP-encodings in its device tree, Linux assumes 4K and 64K alone"
        yield from style.wrap(told, "  ", kind="dim")


def objects(result: DecodedValue | Kinds | Rmmu) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    if isinstance(result, Kinds):
        for group, rows in (("entry", result.entries), ("register", result.registers)):
            yield from ({"kind": name, "of": group, "title": title, "source": source} for name, title, source in rows)
    elif isinstance(result, Rmmu):
        yield {
            "geometries": [
                {"page_shift": each.page_shift, "level_bits": list(each.level_bits)} for each in result.info.geometries
            ],
            "ap_encodings": [f"{word:#010x}" for word in result.info.ap_encodings],
            "page_sizes": [
                {"encoding": hexadecimal(word), "page_shift": decode_ap(word).shift, "ap": decode_ap(word).ap}
                for word in result.info.ap_encodings
            ],
        }
    else:
        yield {
            "kind": result.kind,
            "guessed": result.guessed,
            "others": list(result.others),
            **fields.obj(result.decoded),
        }
