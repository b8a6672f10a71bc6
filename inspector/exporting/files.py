"""Tables into files, which are there whole or not at all: the one place that knows every format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import IO, Protocol

from inspector.exporting.formats import Format
from inspector.exporting.lines import Notation, head, lines
from inspector.mappings.table import Batch, Field, Rows
from inspector.snapshot.output import replacing


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written: ``rows`` of data in ``file_size`` bytes."""

    path: str
    format: Format
    rows: int
    file_size: int


STDOUT = "-"
"""What stands for standard output where a file's name is expected."""


class Bytes(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...


class _Sink(Protocol):
    def write(self, piece: Batch | Rows) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


def usable(kind: Format) -> None:
    """Raises ToolMissing where this format's library is not installed, before anything is read or written."""
    if kind == "parquet":
        from inspector.exporting.parquet import library

        library()


def write_file(
    path: str, kind: Format, fields: Sequence[Field], pieces: Iterable[Batch | Rows], *, force: bool = False
) -> Written:
    """Write ``pieces``, all of ``fields``, to the file ``path``, packed where its name ends in .gz or .zst.

    Raises RecordError where it is there already and not ``force``, and for anything that the disk refuses; ToolMissing
    for a format whose library is not installed. Nothing is left behind then."""
    usable(kind)
    with replacing(path, force) as output:
        rows = _write(output, kind, fields, pieces)
        size = output.finish()
    return Written(path, kind, rows, size)


def write_stream(stream: IO[bytes], kind: Format, fields: Sequence[Field], pieces: Iterable[Batch | Rows]) -> Written:
    """The same to a stream, as standard output is. Raises OSError and ToolMissing."""
    usable(kind)
    counted = _Counted(stream)
    rows = _write(counted, kind, fields, pieces)
    stream.flush()
    return Written(STDOUT, kind, rows, counted.size)


def _write(output: Bytes, kind: Format, fields: Sequence[Field], pieces: Iterable[Batch | Rows]) -> int:
    """How many rows were written."""
    rest = iter(pieces)
    first = next(rest, None)
    sink = _sink(output, kind, fields, first)
    rows = 0
    try:
        for piece in chain(() if first is None else (first,), rest):
            sink.write(piece)
            rows += len(piece)
        sink.finish()
    except BaseException:
        sink.abandon()
        raise
    return rows


def _sink(output: Bytes, kind: Format, fields: Sequence[Field], first: Batch | Rows | None) -> _Sink:
    """What turns pieces like the ``first`` into bytes of a format."""
    if kind == "parquet":
        from inspector.exporting.parquet import Writer

        return Writer(
            output,
            fields,
            [each.field.name for each in first.columns if each.words] if isinstance(first, Batch) else (),
        )
    return _Lines(output, fields, kind)


class _Counted:
    """A stream that is told how much goes into it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._stream.write(data)


class _Lines:
    """Text into a file."""

    def __init__(self, output: Bytes, fields: Sequence[Field], notation: Notation) -> None:
        self._output = output
        self._notation = notation
        self._put(head(fields, self._notation))

    def write(self, piece: Batch | Rows) -> None:
        self._put(lines(piece, self._notation))

    def _put(self, each: list[str]) -> None:
        if each:
            self._output.write(("\n".join(each) + "\n").encode())

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass
