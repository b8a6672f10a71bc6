"""What maps a virtio device's registers and rings, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.devicemaps import BarAt, Mapped, Where
from inspector.radix.bits import ATT_NAMES
from inspector.radix.oddities import tree_name
from inspector.render.style import Style, counted, hexadecimal, safe, short_size
from inspector.virtio.pci import part_words

TOLD = 8
"""Mappings of one BAR that are told one by one."""


def bar(at: BarAt, style: Style, wide: bool) -> Iterator[str]:
    """Lines of one BAR; ``wide`` with its parts and mappings."""
    one, where = at.bar, at.where
    place = "no address of a CPU's is known" if one.real is None else style("address", f"{one.real:#x}")
    kind = "I/O ports" if one.io else short_size(one.size)
    yield f"  {f'BAR {one.number}':<10}{place}  {kind}{'' if one.io or one.real is None else f', {_how(where)}'}"
    if not wide:
        return
    for part in one.parts:
        yield f"    {style('address', f'{part.start:#x}')} {short_size(part.size):>4}  {part_words(safe(part.name))}"
    yield from _mappings(where, style, "    ")


def _how(where: Where) -> str:
    """How many mappings, and whether as I/O."""
    if where.count is None:
        return "the tables were not read"
    if not where.count:
        return "not mapped"
    marked = sum(each.io for each in where.mapped)
    all_of = "as I/O" if marked == len(where.mapped) else "none as I/O" if not marked else f"{marked} as I/O"
    return f"{counted(where.count, 'mapping')}, {all_of}"


def _mappings(where: Where, style: Style, indent: str) -> Iterator[str]:
    for each in where.mapped[:TOLD]:
        yield f"{indent}{mapping(each, style)}"
    if where.count and where.count > TOLD:
        yield f"{indent}and {where.count - TOLD} more; 'rmap' tells all"


def mapping(each: Mapped, style: Style) -> str:
    """One mapping in a line: whose, from where, how large, and what it allows."""
    privileged = ", privileged" if each.run.privileged else ""
    return (
        f"{tree_name(each.run.lpid, each.run.pid)} {style('address', f'{each.ea:#x}')} {size_words(each.size)} "
        f"{each.run.rights}{privileged}, {ATT_NAMES[each.run.attribute]}"
    )


def size_words(size: int) -> str:
    """A number of bytes as short as it goes: 64K, 6 bytes."""
    text = short_size(size)
    return f"{text} bytes" if text.isdigit() else text


def bar_object(each: BarAt) -> dict[str, Any]:
    """A BAR for a program."""
    bar = each.bar
    parts = [{"name": part.name, "ra": hexadecimal(part.start), "size": part.size} for part in bar.parts]
    return {
        "bar": bar.number,
        "bus_address": hexadecimal(bar.address),
        "ra": hexadecimal(bar.real),
        "size": bar.size,
        "io_space": bar.io,
        "parts": parts,
        **where_object(each.where),
    }


def where_object(where: Where) -> dict[str, Any]:
    """Its mappings: how many (null: not known), and each of those that are kept."""
    return {
        "mappings": where.count,
        "mapped": [
            {
                "lpid": each.run.lpid,
                "pid": each.run.pid,
                "ea": hexadecimal(each.ea),
                "ra": hexadecimal(each.ra),
                "size": each.size,
                "attribute": ATT_NAMES[each.run.attribute],
                "io": each.io,
                "read": each.run.rights.read,
                "write": each.run.rights.write,
                "execute": each.run.rights.execute,
                "privileged": each.run.privileged,
            }
            for each in where.mapped
        ],
    }
