"""Tables as lines of text: CSV and JSON lines.

Addresses are hexadecimal, "0x…", as JSON of the inspector's always has them. CSV is RFC 4180's with line feeds: a head,
true and false, and nothing where there is no value. A JSON line is what ``json.dumps`` makes of the row's object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.table import Batch, Column, Field, Rows

Notation = Literal["csv", "jsonl"]


def head(fields: Sequence[Field], notation: Notation) -> list[str]:
    """The lines before the first row."""
    return [",".join(_quoted(field.name) for field in fields)] if notation == "csv" else []


def lines(piece: Batch | Rows, notation: Notation) -> list[str]:
    """A line for each row."""
    if isinstance(piece, Batch):
        return _bulk(piece, notation)
    if notation == "jsonl":
        return [json.dumps(obj(piece.fields, row)) for row in piece.values]
    kinds = [field.kind for field in piece.fields]
    return [",".join(_cell(kind, value) for kind, value in zip(kinds, row, strict=True)) for row in piece.values]


def obj(fields: Sequence[Field], row: Sequence[Any]) -> dict[str, Any]:
    """A row for JSON."""
    return {field.name: json_value(field.kind, value) for field, value in zip(fields, row, strict=True)}


def json_value(kind: str, value: Any) -> Any:
    """A value as JSON has it: an address as text, a number that JSON does not have as null, whatever JSON knows nothing
    of as text."""
    if value is None:
        return None
    if kind == "address":
        return f"{value:#x}"
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {str(name): json_value("other", each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value("other", each) for each in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def text_value(kind: str, value: Any) -> str:
    """The same as plain text, for CSV and for people; nothing where there is no value."""
    if value is None:
        return ""
    if kind == "address":
        return f"{value:#x}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        return json.dumps(json_value(kind, value))
    return value.hex() if isinstance(value, bytes) else str(value)


# -- a row -------------------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & set(',"\r\n') else text


def _cell(kind: str, value: Any) -> str:
    return "" if value is None else _quoted(text_value(kind, value))


# -- many rows ---------------------------------------------------------------------------------------------------------


def _bulk(batch: Batch, notation: Notation) -> list[str]:
    """Rows that have all columns of few values in common share a template, into which the others are put."""
    if not len(batch):
        return []
    if any(each.values.dtype == object for each in batch.columns):
        return lines(Rows(batch.fields, list(batch.rows())), notation)
    plain = {each.field.name: each for each in batch.columns if _is_plain(each)}
    first, which = _groups([each for each in batch.columns if each.field.name not in plain], len(batch))
    templates = [_template(batch, row, plain, notation) for row in first.tolist()]
    slots = zip(*(each.values.tolist() for each in plain.values()), strict=True) if plain else [()] * len(batch)
    return [templates[kind] % row for kind, row in zip(which.tolist(), slots, strict=True)]


def _is_plain(column: Column) -> bool:
    """Whether a line's template has a place for its values: not where they are kept once for all rows."""
    few = column.few or column.words or column.known is not None or column.values.strides == (0,)
    return not few and column.field.kind in ("address", "number")


def _template(batch: Batch, row: int, plain: Container[str], notation: Notation) -> str:
    """The line of ``row`` with a place for each value of the ``plain`` columns."""
    cells = []
    for column in batch.columns:
        name, kind = column.field.name, column.field.kind
        if name in plain:
            cell = "0x%x" if kind == "address" else "%d"
            cell = f'"{cell}"' if kind == "address" and notation == "jsonl" else cell
        else:
            value = column.at(row)
            text = _cell(kind, value) if notation == "csv" else json.dumps(json_value(kind, value))
            cell = text.replace("%", "%%")
        cells.append(cell if notation == "csv" else f"{json.dumps(name).replace('%', '%%')}: {cell}")
    return ",".join(cells) if notation == "csv" else "{" + ", ".join(cells) + "}"


def _groups(columns: Sequence[Column], rows: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(the first row of each group, each row's group) of rows that are the same in all ``columns``."""
    code = np.zeros(rows, np.uint64)
    span = 1
    for column in columns:
        for values in (column.values, column.known):
            if values is None:
                continue
            part, size = _codes(values)
            if span * size >= 1 << 63:
                code, span = _codes(code)
            code = code * np.uint64(size) + part
            span *= size
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return first, which


def _codes(values: NDArray[Any]) -> tuple[NDArray[np.uint64], int]:
    """A small number for each value, the same where values are the same, and one past the largest."""
    if values.dtype == np.bool_:
        return values.astype(np.uint64), 2
    if values.dtype == np.uint8:
        return values.astype(np.uint64), 256
    if values.dtype != object and bool((values == values[0]).all()):
        return np.zeros(len(values), np.uint64), 1
    kept, which = np.unique(values, return_inverse=True)
    return which.astype(np.uint64), len(kept)
