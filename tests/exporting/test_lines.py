"""CSV and JSON lines, read back by Python's own readers."""

from __future__ import annotations

import csv
import datetime
import io
import json
from decimal import Decimal
from typing import Any

from hypothesis import given

from inspector.exporting.lines import head, lines, obj
from inspector.mappings.table import Batch, Field, Rows
from tests.exporting.batches import batches


def from_csv(kind: str, text: str) -> Any:
    """What a cell says; text cannot be told from nothing."""
    if kind == "word" or not text:
        return text
    return int(text, 0) if kind in ("address", "number") else {"true": True, "false": False}[text]


@given(batches())
def test_csv_holds_every_value(batch: Batch) -> None:
    written = "\n".join([*head(batch.fields, "csv"), *lines(batch, "csv")]) + "\n"
    names, *rows = csv.reader(io.StringIO(written, newline=""))
    assert names == [field.name for field in batch.fields]
    read = [tuple(from_csv(f.kind, cell) for f, cell in zip(batch.fields, row, strict=True)) for row in rows]
    assert read == [tuple("" if value is None else value for value in row) for row in batch.rows()]


@given(batches())
def test_a_json_line_is_what_json_makes_of_the_object(batch: Batch) -> None:
    assert head(batch.fields, "jsonl") == []
    assert lines(batch, "jsonl") == [json.dumps(obj(batch.fields, row)) for row in batch.rows()]


@given(batches())
def test_rows_one_by_one_are_written_as_those_in_bulk(batch: Batch) -> None:
    rows = Rows(batch.fields, list(batch.rows()))
    assert lines(rows, "csv") == lines(batch, "csv")
    assert lines(rows, "jsonl") == lines(batch, "jsonl")


def test_what_only_sql_answers_with() -> None:
    fields = tuple(Field(name, "other") for name in "abcdefg")
    row = (
        Decimal("2"),
        Decimal("1.5"),
        {"x": [1, None, float("nan")]},
        b"\x01\xff",
        datetime.date(2026, 1, 2),
        1 << 100,
        float("inf"),
    )
    found = {
        "a": 2,
        "b": 1.5,
        "c": {"x": [1, None, None]},
        "d": "01ff",
        "e": "2026-01-02",
        "f": 1 << 100,
        "g": None,
    }
    (line,) = lines(Rows(fields, [row]), "jsonl")
    assert json.loads(line) == found
    (line,) = lines(Rows(fields, [row]), "csv")
    (cells,) = csv.reader([line])
    assert cells == ["2", "1.5", '{"x": [1, null, null]}', "01ff", "2026-01-02", str(1 << 100), "inf"]
