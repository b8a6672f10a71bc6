"""SQL over tables of named columns: DuckDB, in this process, over numpy's arrays as they are.

It sees nothing else: no file, no network, no extension, no variable of this program's; what a query makes is gone
when it is answered. Addresses are UBIGINT, so that all 64 bits are kept; numbers are BIGINT.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from types import ModuleType
from typing import Any, TypeVar

from inspector.errors import ToolMissing, UsageError
from inspector.mappings.table import Batch, Column, Field, Kind, Rows

T = TypeVar("T")

LEAST = "duckdb>=1.4"
"""Older ones do not say of an answer which of its columns are unsigned."""
SETTINGS = (
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET python_enable_replacements = false",  # a table that is not there is not sought among Python's variables
    "SET temp_directory = ''",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
"""What keeps a query to the tables that it was given; the last keeps it so."""
MACROS = (
    "CREATE MACRO hex(x) AS '0x' || lower(system.main.hex(x))",
    "CREATE MACRO addr(x) AS CAST(x AS UBIGINT)",
)
FUNCTIONS: Mapping[str, str] = {
    "hex(x)": "a number as text in hex, as '0xc000000000000000'",
    "addr(x)": "text in hex or a number as an address",
}
"""What SQL here has besides DuckDB's own."""
TYPES: Mapping[Kind, str] = {"address": "UBIGINT", "number": "BIGINT", "truth": "BOOLEAN", "word": "VARCHAR"}
"""The SQL type of what is in a column."""
KINDS: Mapping[str, Kind] = {
    "UBIGINT": "address",
    "BOOLEAN": "truth",
    "VARCHAR": "word",
    "HUGEINT": "huge",
    "UHUGEINT": "huge",
    "DOUBLE": "real",
    "FLOAT": "real",
    **dict.fromkeys(("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UINTEGER", "USMALLINT", "UTINYINT"), "number"),
}
ROWS = 1 << 12
"""Rows of an answer that are handed on together."""
WAIT = 0.05
"""Seconds between two tries to stop a query that was just beginning."""

_TOKENS = re.compile(
    r"""
      [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$
    | --[^\n]* | /\*.*?\*/
    | (?<![\w.])0[xX](?P<hex>[0-9a-fA-F_]+)\b
    """,
    re.VERBOSE | re.DOTALL,
)


def library() -> ModuleType:
    """DuckDB. Raises ToolMissing where it is not installed, or too old."""
    line = f"{sys.executable} -m pip install '{LEAST}'"
    try:
        import duckdb
    except ImportError:
        raise ToolMissing("duckdb, which answers SQL,", line) from None
    if tuple(int(part) for part in re.findall(r"\d+", duckdb.__version__)[:2]) < (1, 4):
        raise ToolMissing(f"a duckdb that is new enough ({duckdb.__version__} is there)", line)
    module: ModuleType = duckdb
    return module


def with_hex(query: str) -> str:
    """``query`` with its literals in hex, ``0xc000…``, as numbers that DuckDB reads: it takes them for a 0 and a name.

    Raises UsageError for one of more than 64 bits."""

    def number(found: re.Match[str]) -> str:
        digits = found["hex"]
        if digits is None:
            return found[0]
        value = int(digits.replace("_", ""), 16)
        if value >> 64:
            raise UsageError(f"{found[0]} has more than 64 bits; give an address of 16 digits at most")
        return str(value) if value < 1 << 63 else f"CAST('{value}' AS UBIGINT)"

    return _TOKENS.sub(number, query)


def named(query: str, names: Iterable[str]) -> list[str]:
    """Which of ``names`` a query mentions, perhaps not as tables: those it may read."""
    words = set(re.findall(r"\w+", query.lower()))
    return [name for name in names if name in words]


class Database:
    """A database of its own, in memory. A context manager.

    ``tables`` are looked at where they are: they must not change meanwhile."""

    def __init__(self, tables: Mapping[str, Batch]) -> None:
        """Raises ToolMissing where DuckDB is not installed."""
        self._duckdb = library()
        self._connection = self._duckdb.connect(":memory:")
        for name, batch in tables.items():
            self._connection.register(f"_{name}", _arrays(batch.columns))
            self._connection.execute(f"CREATE VIEW {name} AS SELECT {_selected(batch.columns)} FROM _{name}")
        for statement in (*MACROS, *SETTINGS):
            self._connection.execute(statement)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_what: object) -> None:
        self._connection.close()

    def ask(self, query: str) -> tuple[tuple[Field, ...], Iterator[Rows]]:
        """The columns of the answer to a query (the last one's, where there are several), and its rows.

        Ctrl-C ends it. Raises UsageError for what DuckDB refuses, with what there is instead."""
        text = with_hex(query)
        if not self._interruptible(lambda: self._connection.extract_statements(text)):
            raise UsageError("there is no query; give one, as in: sql 'SELECT * FROM maps'")
        self._interruptible(lambda: self._connection.execute(text))
        described = self._connection.description or ()
        names = _unlike([str(name) for name, *_ in described])
        kinds = [KINDS.get(str(kind), "other") for _, kind, *_ in described]
        fields = tuple(Field(*each) for each in zip(names, kinds, strict=True))
        return fields, self._rows(fields)

    def _rows(self, fields: tuple[Field, ...]) -> Iterator[Rows]:
        while fields and (found := self._interruptible(lambda: self._connection.fetchmany(ROWS))):
            yield Rows(fields, found)

    def _interruptible(self, work: Callable[[], T]) -> T:
        """Do ``work`` in a thread of its own: Ctrl-C does not reach DuckDB while it works, and reaches this."""
        done: list[T] = []
        failed: list[BaseException] = []
        ended = Event()

        def run() -> None:
            try:
                done.append(work())
            except BaseException as error:
                failed.append(error)
            finally:
                ended.set()

        Thread(target=run, daemon=True).start()
        try:
            ended.wait()  # not the thread's join, which when it is interrupted takes the thread for ended (Python 3.11)
        except KeyboardInterrupt:
            while not ended.is_set():
                with suppress(KeyboardInterrupt):  # once is enough, and it does end
                    self._connection.interrupt()
                    ended.wait(WAIT)
            raise
        if failed:
            if isinstance(failed[0], self._duckdb.Error):
                raise UsageError(self._sentence(failed[0])) from None
            raise failed[0]
        return done[0]

    def _sentence(self, error: BaseException) -> str:
        """What DuckDB says, as one sentence, and a way out."""
        text = str(error).strip().splitlines()[0].rstrip(" !.")
        if isinstance(error, self._duckdb.PermissionException):
            return f"SQL reaches no file and no network here ({text}); --output FILE writes the answer"
        if isinstance(error, self._duckdb.InvalidInputException) and "configuration has been locked" in text:
            return f"nothing can be set here ({text}); a query asks about the tables that 'sql --schema' lists"
        if isinstance(error, self._duckdb.OutOfMemoryException):
            return f"the answer does not fit in memory ({text}); ask for less of it"
        return f"{text}; 'sql --schema' lists the tables, their columns and the functions"


def _unlike(names: Sequence[str]) -> list[str]:
    """The names, numbered where they are there before."""
    found: list[str] = []
    for name in names:
        each, number = name, 1
        while each in found:
            each, number = f"{name}_{number}", number + 1
        found.append(each)
    return found


def _arrays(columns: Sequence[Column]) -> dict[str, Any]:
    """Columns as DuckDB is given them. Where there is no value is told by a column of its own: not all versions heed
    numpy's masks."""
    arrays: dict[str, Any] = {}
    for column in columns:
        arrays[column.field.name] = column.values
        if column.known is not None:
            arrays[f"{column.field.name}_known"] = column.known
    return arrays


def _selected(columns: Sequence[Column]) -> str:
    """The columns as a query sees them."""
    parts = []
    for column in columns:
        name = f'"{column.field.name}"'
        value = f"CAST({name} AS {TYPES[column.field.kind]})"
        if column.words:
            words = ", ".join("NULL" if word is None else "'" + word.replace("'", "''") + "'" for word in column.words)
            value = f"CAST([{words}][{name} + 1] AS VARCHAR)"
        if column.known is not None:
            value = f'CASE WHEN "{column.field.name}_known" THEN {value} END'
        parts.append(f"{value} AS {name}")
    return ", ".join(parts)
