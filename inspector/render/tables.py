"""The answers of ``tables``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.tables import Heading, Listed, OfTree, Place, Shared, Whole
from inspector.mappings.tablecost import LevelCost
from inspector.radix.columns import Root
from inspector.render.style import Style, compact_size, counted, hexadecimal, safe, short_size

Answer = Whole | Shared | Heading | OfTree | Place | Listed

HEADINGS = {
    "tree": f"{'tree of':<12}{'tables':>10} {'bytes':>7} {'shared':>9} {'maps':>7}  cost",
    "place": f"{'real address':<18} {'bytes':>7} {'tables':>10}  lies in",
    "table": f"{'real address':<18} level   used/of    leaves  {'tree of':<12} from",
}


def text(result: Answer, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Whole):
        yield from _whole(result, style)
    elif isinstance(result, Shared):
        yield from style.wrap(f"{result.cause}: {result.reason}", "  ", kind="warn")
    elif isinstance(result, Heading):
        yield style("head", HEADINGS[result.kind])
    elif isinstance(result, OfTree):
        cost = result.cost
        yield (
            f"{cost.root.name:<12}{cost.tables:>10} {short_size(cost.nbytes):>7} {cost.shared:>9} "
            f"{short_size(cost.mapped):>7}  {_ratio(cost.nbytes, cost.mapped)}"
        )
    elif isinstance(result, Place):
        where = safe(", ".join(result.blocks)) if result.blocks else style("warn", "not RAM")
        yield (
            f"{style('address', f'{result.address:#018x}')} {short_size(result.size):>7} {result.tables:>10}  {where}"
        )
    else:
        yield from _table(result, style)


def _whole(result: Whole, style: Style) -> Iterator[str]:
    cost = result.cost
    yield style(
        "head", f"level{'tables':>10} {'bytes':>7} {'entries':>11} {'used':>11} {'full':>6} {'leaves':>11} empty"
    )
    for each in cost.levels:
        yield _level(f"{each.level:<5}", each)
    total = _sum(cost.levels)
    yield _level("all  ", total)
    if total.unreadable:
        yield style("warn", f"{counted(total.unreadable, 'table')} not read: of unknown entries")
    for shift, pages in sorted(cost.pages.items(), reverse=True):
        size = pages << shift
        yield (
            f"in {counted(pages, 'page')} of {compact_size(1 << shift)}, {short_size(size)}: "
            f"tables take {_percent(cost.nbytes, size)} of them"
        )
    yield f"they map {short_size(cost.mapped)}: {_ratio(cost.nbytes, cost.mapped)}"
    if cost.outside:
        yield style("warn", f"{counted(cost.outside, 'table')} not in RAM")
    if cost.shared:
        yield style(
            "warn", f"{counted(cost.shared, 'table')} at several places, {cost.between} of them in several trees"
        )
    if result.address is None:
        return
    live = "" if result.live is None else f"{result.live} live of "
    yield (
        f"process table: {short_size(result.size)} at {style('address', f'{result.address:#x}')}, "
        f"{live}{result.entries} entries"
    )


def _sum(levels: tuple[LevelCost, ...]) -> LevelCost:
    def total(name: str) -> int:
        return sum(getattr(each, name) for each in levels)

    return LevelCost(-1, *(total(name) for name in LevelCost.__slots__[1:]))


def _level(name: str, each: LevelCost) -> str:
    return (
        f"{name}{each.tables:>10} {short_size(each.nbytes):>7} {each.entries:>11} {each.used:>11} "
        f"{_percent(each.used, each.entries):>6} {each.leaves:>11} {each.empty:>5}"
    )


def _table(result: Listed, style: Style) -> Iterator[str]:
    table = result.table
    used = f"{table.used}/{table.entries}"
    ea = "" if table.ea is None else style("address", f"{table.ea:#018x}")
    yield (
        f"{style('address', f'{table.address:#018x}')} {table.level:>5} {used:>11} {table.leaves:>7}  "
        f"{table.root.name:<12} {ea}"
    ).rstrip()
    odd = [
        "" if table.references == 1 else f"stands at {counted(table.references, 'place')}",
        "" if table.readable else "not read",
        "" if result.in_ram else "not in RAM",
    ]
    if any(odd):
        yield style("warn", "  " + ", ".join(filter(None, odd)))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _ratio(nbytes: int, mapped: int) -> str:
    """What a mapping costs, in words."""
    if not mapped:
        return "nothing mapped" if nbytes else "-"
    return f"a byte for {mapped / nbytes:.0f}" if mapped >= nbytes else f"{nbytes / mapped:.1f} bytes for one"


def objects(result: Answer) -> Iterator[dict[str, Any]]:
    """The whole is an object a level ("level") and one for all of it ("levels"); each row of the others is one."""
    if isinstance(result, Whole):
        yield from _whole_objects(result)
    elif isinstance(result, Shared):
        yield {"shared": result.cause, "table": hexadecimal(result.address), "reason": result.reason}
    elif isinstance(result, OfTree):
        cost = result.cost
        yield {
            **_tree(cost.root),
            "tables": cost.tables,
            "bytes": cost.nbytes,
            "shared_tables": cost.shared,
            "mapped": cost.mapped,
        }
    elif isinstance(result, Place):
        yield {
            "ra": hexadecimal(result.address),
            "size": result.size,
            "tables": result.tables,
            "blocks": list(result.blocks),
        }
    elif isinstance(result, Listed):
        table = result.table
        yield {
            "table": hexadecimal(table.address),
            "level": table.level,
            "entries": table.entries,
            "used": table.used,
            "leaves": table.leaves,
            "references": table.references,
            **_tree(table.root),
            "ea": hexadecimal(table.ea),
            "readable": table.readable,
            "in_ram": result.in_ram,
        }


def _tree(root: Root) -> dict[str, Any]:
    return {"lpid": root.lpid, "pid": root.pid}


def _whole_objects(result: Whole) -> Iterator[dict[str, Any]]:
    cost = result.cost
    for each in (*cost.levels, _sum(cost.levels)):
        yield {
            "level": each.level if each.level >= 0 else "all",
            "tables": each.tables,
            "bytes": each.nbytes,
            "entries": each.entries,
            "used": each.used,
            "leaves": each.leaves,
            "empty": each.empty,
            "unreadable": each.unreadable,
        }
    yield {
        "pages": {compact_size(1 << shift): pages for shift, pages in cost.pages.items()},
        "mapped": cost.mapped,
        "shared_tables": cost.shared,
        "between_trees": cost.between,
        "outside_ram": cost.outside,
    }
    if result.address is None:
        return
    yield {
        "process_table": hexadecimal(result.address),
        "size": result.size,
        "entries": result.entries,
        "live": result.live,
    }
