"""The answers of ``rmap``, and what ``search`` shares with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.rmap import Aliases, Asked, Reached, Titles, Unlike, Unreached, Where
from inspector.linux.regions import region_of
from inspector.mappings.runs import Run
from inspector.mappings.tablepages import Holds, TablePage
from inspector.radix.bits import KERNEL_PID
from inspector.radix.fields import size_text
from inspector.radix.oddities import tree_name
from inspector.render import fields, runs
from inspector.render.style import PLAIN, Style, counted, hexadecimal, short_size

Answer = Titles | Asked | Reached | Aliases | Unreached
ROOT = 3
WIDTH = 80
WORDS = {
    "writable": "writable",
    "executable": "executable",
    "user": "for user mode",
    "privileged": "for privileged code",
}
"""How a sentence puts what one of two mappings is; attributes go by their names."""


def text(result: Answer, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Titles):
        yield style("head", runs.BEHIND_HEAD if result.behind else runs.MIXED_HEAD)
    elif isinstance(result, Asked):
        yield from _asked(result, style)
    elif isinstance(result, Reached):
        yield from mapping(result.run, result.in_ram or not result.where.ram, style)
    elif isinstance(result, Aliases):
        said = "; ".join(_sentence(each, result.where.single) for each in result.unlike)
        yield from style.wrap(f"aliases differ: {said}", "  ", kind="warn")
    else:
        yield style("address", _named(result.where)) + style("bad", f"  {result.cause}")
        yield from style.wrap(result.reason, "  ", kind="bad")
        yield from style.wrap(_tables(result.where), "  ")


def objects(result: Answer) -> Iterator[dict[str, Any]]:
    """An object a mapping; one with "status" where there is none."""
    if isinstance(result, Reached):
        where = result.where
        yield {
            **runs.obj(result.run, result.in_ram),
            "asked": _named(where),
            "holds": holds_objects(where.holds) if where.single else [],
            "aliases": [_unlike(each, where.single) for each in result.unlike],
        }
    elif isinstance(result, Unreached):
        where = result.where
        yield {
            "status": "fault",
            "cause": result.cause,
            "reason": result.reason,
            "asked": _named(where),
            "ra": hexadecimal(where.start),
            "size": where.end - where.start,
            "ra_is_ram": where.ram == where.end - where.start,
            "holds": holds_objects(where.holds),
        }


def mapping(run: Run, in_ram: bool, style: Style) -> Iterator[str]:
    """One mapping of some process, and its region in the kernel where the line has room for that."""
    line, plain = (runs.mixed_line(run, in_ram, each) for each in (style, PLAIN))
    region = region_of(run.ea) if run.pid == KERNEL_PID else None
    more = "" if region is None else region.name
    if run.pid is None or run.gra is not None:
        more = "guest real" if run.gra is None else f"gra {run.gra:#x}"
    if more and len(plain) + 1 + len(more) <= WIDTH:
        line = f"{line} {style('dim', more)}"
    yield line
    if run.unknown_flags:
        yield fields.unknown(run.unknown_flags, style)


def holding(holds: Holds) -> str:
    """What of the page tables lies at an address, in words; empty where nothing of them does."""
    words = [_table(each) for each in holds.tables[:2]]
    if len(holds.tables) > 2:
        words.append(f"{len(holds.tables) - 2} more tables")
    if holds.entry_of is not None:
        words.append(f"the process-table entry of PID {holds.entry_of}")
    return ", and ".join(words)


def holds_objects(holds: Holds) -> list[dict[str, Any]]:
    """The same for JSON."""
    tables: list[dict[str, Any]] = [
        {
            "kind": "page-table",
            "lpid": each.lpid,
            "pid": each.pid,
            "level": each.level,
            "address": hexadecimal(each.address),
            "size": each.length,
            "ea": hexadecimal(each.ea),
            "references": each.places,
        }
        for each in holds.tables
    ]
    return tables if holds.entry_of is None else [*tables, {"kind": "process-table", "pid": holds.entry_of}]


def _asked(result: Asked, style: Style) -> Iterator[str]:
    where = result.where
    size = where.end - where.start
    kind = "RAM" if where.ram == size else f"{short_size(where.ram)} of it RAM" if where.ram else "not RAM"
    yield style("address", _named(where)) + f"  {kind}, {counted(result.mappings, 'mapping')}"
    unmapped = f"{short_size(size - result.mapped)} of it not mapped" if result.mapped < size else ""
    yield from style.wrap("; ".join(filter(None, (unmapped, _tables(where)))), "  ")


def _tables(where: Where) -> str:
    """What of the page tables is there: at a single address which, in a range how many."""
    if where.single:
        said = holding(where.holds)
        return f"it is in {said}" if said else ""
    return f"{counted(where.tables, 'page-table page')} in it" if where.tables else ""


def _table(page: TablePage) -> str:
    whose = tree_name(page.lpid, page.pid)
    name = f"the root table of {whose}" if page.level == ROOT else f"a level {page.level} table of {whose}"
    shared = f" and {page.places - 1} more" if page.places > 1 else ""
    return f"{name} for {page.ea:#x} on{shared}"


def _sentence(unlike: Unlike, single: bool) -> str:
    parts = [
        f"{WORDS.get(word, word)} at {run.ea:#x} ({tree_name(run.lpid, run.pid)})"
        for word, run in zip(unlike.words, (unlike.one, unlike.other), strict=True)
    ]
    where = "" if single else f"{size_text(unlike.size)} from {unlike.ra:#x}: "
    return where + ", ".join(parts)


def _unlike(unlike: Unlike, single: bool) -> dict[str, Any]:
    return {
        "kind": unlike.kind,
        "reason": _sentence(unlike, single),
        "ra": hexadecimal(unlike.ra),
        "size": unlike.size,
        "mappings": [
            {"is": word, "pid": run.pid, "ea": hexadecimal(run.ea)}
            for word, run in zip(unlike.words, (unlike.one, unlike.other), strict=True)
        ],
    }


def _named(where: Where) -> str:
    return f"{where.start:#x}" if where.single else f"{where.start:#x}..{where.end:#x}"
