"""The answers of ``sql``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from inspector.commands.sql import Found, Function, TableShape
from inspector.exporting.lines import obj, text_value
from inspector.mappings.table import Field
from inspector.render.style import Style, safe

LEFT = ("word", "other")
"""Kinds of columns that begin at the left."""
TOGETHER = "~"
"""What stands for a blank at which no line may end; no name has it."""
EXPLAIN = ("explain_key", "explain_value")
"""The columns of EXPLAIN's answer: a picture."""


def text(result: TableShape | Function | Found, style: Style) -> Iterator[str]:
    """Lines for a person: rows under their heads, or one after the other where they are too wide for that."""
    if isinstance(result, TableShape):
        yield f"{style('head', result.name)}: {result.says}"
        columns = ", ".join(f"{name}{TOGETHER}{kind}" for name, kind in result.columns)
        yield from (line.replace(TOGETHER, " ") for line in style.wrap(columns, "  "))
    elif isinstance(result, Function):
        yield f"{style('name', result.name)}: {result.says}"
    elif not len(result.rows):
        yield style("dim", "no rows")
    elif tuple(field.name for field in result.fields) == EXPLAIN:
        for _, plan in result.rows.values:
            yield from (safe(line.rstrip())[: style.width] for line in str(plan).splitlines())
    else:
        yield from _rows(result.fields, result.rows.values, style)


def _rows(fields: Sequence[Field], rows: Sequence[Sequence[Any]], style: Style) -> Iterator[str]:
    heads = [safe(field.name) for field in fields]
    cells = [[_cell(field, value) for field, value in zip(fields, row, strict=True)] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) > style.width:
        for row in cells:
            yield from _record(heads, row, style)
        return
    left = [field.kind in LEFT for field in fields]
    yield style("head", _line(heads, widths, left))
    for row in cells:
        yield _line(row, widths, left)


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> str:
    padded = (f"{c:<{w}}" if to_left else f"{c:>{w}}" for c, w, to_left in zip(cells, widths, left, strict=True))
    return "  ".join(padded).rstrip()


def _record(heads: Sequence[str], cells: Sequence[str], style: Style) -> Iterator[str]:
    """A row that is too wide: each value after its column's name, in as many lines as it takes."""
    pairs = "  ".join(f"{head}={cell}" for head, cell in zip(heads, cells, strict=True))
    first, *rest = style.wrap(pairs, "  ") or [""]
    yield first[2:]
    yield from rest


def _cell(field: Field, value: Any) -> str:
    return "NULL" if value is None else safe(text_value(field.kind, value))


def objects(result: TableShape | Function | Found) -> Iterator[dict[str, Any]]:
    """An object a row; of the schema, one a table or function."""
    if isinstance(result, TableShape):
        columns = [{"name": name, "type": kind} for name, kind in result.columns]
        yield {"table": result.name, "says": result.says, "columns": columns}
    elif isinstance(result, Function):
        yield {"function": result.name, "says": result.says}
    else:
        yield from (obj(result.fields, row) for row in result.rows.values)
