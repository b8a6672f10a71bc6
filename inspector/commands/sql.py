"""``sql``: questions to the mappings in SQL."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.export import Exported, chosen_format, file_arguments, written
from inspector.commands.listing import put_together
from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import Beside, beside, looked_at, scope_arguments
from inspector.errors import UsageError

if TYPE_CHECKING:
    from inspector.mappings.table import Field, Rows
    from inspector.spaces import Spaces

STDIN = "-"
SHOW_TABLES = ("show tables", "show all tables")


@dataclass(frozen=True, slots=True)
class TableShape(Answered):
    """A table that can be asked: its name, what it is of, and its columns, each with its SQL type."""

    topic: ClassVar[str] = "sql"
    name: str
    says: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Function(Answered):
    """A function that SQL has here besides its own."""

    topic: ClassVar[str] = "sql"
    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Found(Answered):
    """Rows of an answer; ``fields`` are its columns."""

    topic: ClassVar[str] = "sql"
    rows: Rows

    @property
    def fields(self) -> tuple[Field, ...]:
        """What the columns are."""
        return self.rows.fields


Answer = TableShape | Function | Found | Exported | Beside


def _sql(session: Session, arguments: Namespace) -> Iterator[Answer]:
    from inspector.database import Database, library, named
    from inspector.mappings.table import Rows
    from inspector.views import VIEWS, OfSpaces

    query = " ".join(arguments.query)
    if arguments.schema or not query:
        yield from _schema()
        return
    path = arguments.output
    if path is None:
        for option in ("format", "force"):
            if getattr(arguments, option):
                raise UsageError(f"--{option} is for a file; name it with --output FILE, - being standard output")
    kind = None if path is None else chosen_format(path, arguments.format)
    library()
    if query == STDIN:
        query = session.stdin.read()
    if _words(query) in SHOW_TABLES:
        # DuckDB knows those tables only that a query named.
        yield from _schema()
        return
    spaces: Spaces | None = None
    tables = {}
    for name in named(query, VIEWS):
        view = VIEWS[name]
        if isinstance(view, OfSpaces):
            if spaces is None:
                spaces = yield from looked_at(session, arguments, "all")
            if spaces is None:
                return
            tables[name] = view.build(spaces)
        else:
            tables[name] = view.build(session.at)
    if "registers" in tables and session.at.running:
        yield Note("registers are not known while the guest runs, so that table is empty; 'interrupt' it first")
    with Database(tables) as database:
        fields, pieces = database.ask(query)
        if path is not None and kind is not None:
            yield written(session, path, kind, arguments.force, fields, pieces)
        elif not fields:
            yield Note("there is nothing to tell: that was no question")
        else:
            piece = None
            for piece in pieces:
                yield Found(piece)
            if piece is None:
                yield Found(Rows(fields, ()))
    if spaces is not None:
        yield from _wrong(spaces, frozenset(tables))


def _words(query: str) -> str:
    return " ".join(query.lower().replace(";", " ").split())


def _wrong(spaces: Spaces, asked: frozenset[str]) -> Iterator[Beside]:
    """What is wrong with the trees. Ranges are of all leaves even where those are too many to keep."""
    if asked != {"maps"}:
        yield from beside(spaces)
        return
    found = yield from put_together(spaces)
    yield from beside(spaces, found.findings)


def _schema() -> Iterator[TableShape | Function]:
    from inspector.database import FUNCTIONS, TYPES
    from inspector.views import VIEWS

    for name, view in VIEWS.items():
        yield TableShape(name, view.says, tuple((each.name, TYPES[each.kind]) for each in view.fields))
    for name, says in FUNCTIONS.items():
        yield Function(name, says)


def _arguments(parser: Parser) -> None:
    parser.add_argument("query", nargs="*", metavar="QUERY", help="the query, quoted; - reads it from standard input")
    parser.add_argument("--schema", action="store_true", help="the tables, their columns and functions; so without one")
    parser.add_argument("--output", metavar="FILE", help="write the answer there, as 'export' does")
    file_arguments(parser)
    scope_arguments(parser, "all")


COMMANDS = (
    Command(
        "sql",
        "ask the mappings in SQL",
        _sql,
        _arguments,
        (
            Example("sql --schema", "which tables and columns there are"),
            Example('sql "SELECT pid, count(*), sum(size) FROM leaves GROUP BY pid"', "how much each process maps"),
            Example('sql "FROM maps WHERE write AND execute LIMIT 3"', "what is writable and executable"),
            Example(
                'sql "SELECT ea, ra FROM leaves WHERE ea >= 0xc00a000000000000" --output io.csv --force',
                "leaves from the I/O regions on, into a file",
            ),
        ),
        "The SQL is DuckDB's, and needs the Python package duckdb. Addresses and raw entries are UBIGINT, and told in "
        "hex; all else is decimal. A query reaches no file, no network and no extension, and changes nothing; --output "
        "writes its answer. A table is made when a query names it: 'leaves' has a row a leaf.",
    ),
)
