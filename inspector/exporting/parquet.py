"""Tables as Parquet, through pyarrow: addresses are unsigned 64-bit integers and kept whole, words of a few a
dictionary."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from types import ModuleType
from typing import Any, Protocol

from inspector.errors import ToolMissing
from inspector.exporting.lines import json_value
from inspector.mappings.table import Batch, Column, Field, Rows

LEAST = "pyarrow>=14"
"""What the extra 'parquet' brings."""
DIGITS = 38
"""Of the widest decimal that Parquet readers share: more than 128 bits, as a sum of SQL's has, mostly are."""


class Output(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...


def library() -> ModuleType:
    """pyarrow. Raises ToolMissing where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise ToolMissing("pyarrow, which writes Parquet,", f"{sys.executable} -m pip install '{LEAST}'") from None
    module: ModuleType = pyarrow
    return module


class _File:
    """What pyarrow writes to: a file that is only ever appended to."""

    closed = False

    def __init__(self, output: Output) -> None:
        self.output: Output | None = output
        self._at = 0

    def write(self, data: Any) -> int:
        if self.output is not None:
            self.output.write(bytes(data))
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Writer:
    """Writes rows of ``fields`` to ``output``, ``worded`` being those whose columns have words; :meth:`finish` writes
    the end, without which it is no Parquet."""

    def __init__(self, output: Output, fields: Sequence[Field], worded: Collection[str] = ()) -> None:
        self._arrow = library()
        self._schema = self._arrow.schema([(field.name, self._type(field, field.name in worded)) for field in fields])
        self._file = _File(output)
        self._writer = self._arrow.parquet.ParquetWriter(self._file, self._schema, compression="zstd")

    def write(self, piece: Batch | Rows) -> None:
        """Append rows, a group of their own."""
        if isinstance(piece, Batch):
            arrays = [self._column(column) for column in piece.columns]
        else:
            columns = list(zip(*piece.values, strict=True)) or [()] * len(piece.fields)
            arrays = [self._array(field, column) for field, column in zip(piece.fields, columns, strict=True)]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        """Write what ends the file."""
        self._writer.close()

    def abandon(self) -> None:
        """Write nothing more, not even the end: pyarrow writes that by itself when it is done with, and the file that
        it would go to may be another by then."""
        self._file.output = None

    def _type(self, field: Field, worded: bool) -> Any:
        arrow = self._arrow
        if worded:
            return arrow.dictionary(arrow.int32(), arrow.string())
        return {
            "address": arrow.uint64,
            "number": arrow.int64,
            "huge": lambda: arrow.decimal128(DIGITS),
            "real": arrow.float64,
            "truth": arrow.bool_,
        }.get(field.kind, arrow.string)()

    def _column(self, column: Column) -> Any:
        arrow = self._arrow
        missing = None if column.known is None else ~column.known
        if column.words:
            codes = column.values.astype("int32")
            absent = [code for code, word in enumerate(column.words) if word is None]
            if absent:
                nothing = codes == absent[0]
                missing = nothing if missing is None else missing | nothing
            words = arrow.array([word or "" for word in column.words], arrow.string())
            return arrow.DictionaryArray.from_arrays(arrow.array(codes, mask=missing), words)
        return arrow.array(column.values, mask=missing).cast(self._type(column.field, False))

    def _array(self, field: Field, values: Sequence[Any]) -> Any:
        kind = field.kind
        if kind == "other":
            values = [None if each is None else json.dumps(json_value(kind, each)) for each in values]
        elif kind == "real":
            values = [None if each is None else float(each) for each in values]
        return self._arrow.array(values, self._type(field, False))
