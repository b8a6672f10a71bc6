"""Parquet, read back by pyarrow."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given

from inspector.errors import ToolMissing
from inspector.exporting.files import write_file, write_stream
from inspector.exporting.formats import FORMATS
from inspector.mappings.table import Batch, Field, Rows
from tests.exporting.batches import MOST, batches
from tests.exporting.missing import without


@given(batches())
def test_every_value_comes_back(batch: Batch) -> None:
    written = io.BytesIO()
    done = write_stream(written, "parquet", batch.fields, [batch, batch])
    table = pyarrow.parquet.read_table(io.BytesIO(written.getvalue()))
    assert (done.rows, done.file_size) == (2 * len(batch), len(written.getvalue()))
    assert table.column_names == [field.name for field in batch.fields]
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == 2 * list(batch.rows())
    for field in batch.fields:
        kind = table.schema.field(field.name).type
        assert (kind == pyarrow.uint64()) == (field.kind == "address")
    assert pyarrow.types.is_dictionary(table.schema.field("word").type)


def test_what_sql_answers_with_keeps_its_kind() -> None:
    fields = (Field("a", "address"), Field("h", "huge"), Field("r", "real"), Field("o", "other"), Field("t", "truth"))
    written = io.BytesIO()
    row = (MOST, 1 << 100, 0.5, [1, 2], None)
    write_stream(written, "parquet", fields, [Rows(fields, [row])])
    table = pyarrow.parquet.read_table(io.BytesIO(written.getvalue()))
    assert table.to_pylist() == [{"a": MOST, "h": 1 << 100, "r": 0.5, "o": "[1, 2]", "t": None}]


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    fields = (Field("ea", "address"), Field("name", "word"))
    for kind in FORMATS:
        path = str(tmp_path / f"x.{kind}")
        assert write_file(path, kind, fields, []).rows == 0
    assert pyarrow.parquet.read_table(tmp_path / "x.parquet").column_names == ["ea", "name"]
    assert (tmp_path / "x.csv").read_text() == "ea,name\n"


def test_without_pyarrow_there_is_a_line_to_get_it_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "pyarrow")
    with pytest.raises(ToolMissing, match=r"pyarrow.* is not installed; install it with: .*pip install 'pyarrow>=14'"):
        write_file(str(tmp_path / "x.parquet"), "parquet", (), [])
    assert list(tmp_path.iterdir()) == []
    assert write_file(str(tmp_path / "x.csv"), "csv", (Field("a", "word"),), []).rows == 0
