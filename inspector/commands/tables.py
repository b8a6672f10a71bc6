"""``tables``: what the trees cost themselves."""

from __future__ import annotations

from argparse import Namespace
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note, limited
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import Beside, beside, count, looked_at, scope_arguments, tables_within
from inspector.errors import UsageError
from inspector.radix.bits import ENTRY_BYTES

if TYPE_CHECKING:
    from inspector.mappings.tablecost import Cost, Table, TreeCost
    from inspector.memory.physical import RamMap
    from inspector.spaces import Spaces

SHARED_TOLD = 8
"""Shared tables that are told one by one."""
ORDERS = ("ea", "address", "fill")


@dataclass(frozen=True, slots=True)
class Whole(Answered):
    """The cost of all trees together, and of the process table: where it is (None: these are no processes' trees), its
    bytes, and how many entries of it are live (None where not all were looked at)."""

    topic: ClassVar[str] = "tables"
    cost: Cost
    address: int | None
    size: int
    live: int | None

    @property
    def entries(self) -> int:
        """Of the process table."""
        return self.size // ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Shared(Answered):
    """A table that several places refer to, or that serves at several levels: at which real address, and a sentence."""

    topic: ClassVar[str] = "tables"
    cause: str
    address: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Heading(Answered):
    """That rows of this ``kind`` ("tree", "place", "table") come next."""

    topic: ClassVar[str] = "tables"
    kind: str


@dataclass(frozen=True, slots=True)
class OfTree(Answered):
    """What one tree costs."""

    topic: ClassVar[str] = "tables"
    cost: TreeCost


@dataclass(frozen=True, slots=True)
class Place(Answered):
    """``size`` unbroken bytes of tables at real ``address``, how many there are, and the RAM blocks that they lie in:
    none where that is no RAM."""

    topic: ClassVar[str] = "tables"
    address: int
    size: int
    tables: int
    blocks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed(Answered):
    """One table, and whether it lies in RAM."""

    topic: ClassVar[str] = "tables"
    table: Table
    in_ram: bool


Answer = Whole | Shared | Heading | OfTree | Place | Listed | Beside


def _tables(session: Session, arguments: Namespace) -> Iterator[Answer]:
    limit = count(session, arguments.limit, "--limit")
    rows = arguments.list or arguments.where or arguments.by is not None
    if arguments.sort is not None and not arguments.list:
        raise UsageError("--sort is the order of --list; add that")
    if limit is not None and not rows:
        raise UsageError("--limit is for --list, --where and --by pid; add one of them")
    spaces = yield from looked_at(session, arguments, composed=False)
    if spaces is None:
        return
    within = tables_within(session, arguments)
    if within is not None:
        yield Note(
            f"the addresses of these tables are guest real, LPID {within.lpid}'s own; "
            "RAM is what the host has behind those now"
        )
    if not rows and spaces.trees:
        yield from _whole(spaces, arguments.pid is None)
    if arguments.by is not None:
        yield from _by_tree(spaces, limit)
    if arguments.where:
        yield from _where(spaces, limit)
    if arguments.list:
        yield from _list(spaces, arguments.sort or ORDERS[0], limit)
    yield from beside(spaces)


def _whole(spaces: Spaces, every: bool) -> Iterator[Answer]:
    from inspector.mappings.tablecost import cost

    live = len(spaces.processes) if every and not spaces.missed.length else None
    address, size = spaces.table if spaces.processes else (None, 0)
    yield Whole(cost(spaces.sweep, spaces.ram.spans()), address, size, live)
    shared = [odd for odd in spaces.sweep.oddities if odd.cause.startswith("shared")]
    for odd in shared[:SHARED_TOLD]:
        yield Shared(odd.cause, odd.address, odd.reason)
    counts = spaces.sweep.findings.counts
    more = sum(counts[cause] for cause in counts if cause.startswith("shared")) - SHARED_TOLD
    if more > 0:
        yield Note(f"there are {more} more of such tables; --list tells how many places each stands at")


def _by_tree(spaces: Spaces, limit: int | None) -> Iterator[Answer]:
    from inspector.mappings.tablecost import by_tree

    yield Heading("tree")
    found = by_tree(spaces.sweep)
    yield from map(OfTree, found[:limit])
    yield from _more(len(found), limit, "address spaces")


def _where(spaces: Spaces, limit: int | None) -> Iterator[Answer]:
    from inspector.mappings.tablecost import where

    yield Heading("place")
    columns = where(spaces.sweep.tables())
    for start, end, tables in zip(*(column[:limit].tolist() for column in columns), strict=True):
        yield Place(start, end - start, tables, blocks(spaces.ram, start, end))
    yield from _more(len(columns[0]), limit, "places")


def _list(spaces: Spaces, by: str, limit: int | None) -> Iterator[Answer]:
    from inspector.mappings.tablecost import in_order, rows

    yield Heading("table")
    tables = spaces.sweep.tables()
    order = in_order(tables, by)
    for table in rows(tables, order[:limit]):
        yield Listed(table, spaces.ram.covers(table.address, 8 * table.entries))
    yield from _more(len(order), limit, "tables")


def _more(there: int, limit: int | None, what: str) -> Iterator[Note]:
    if limit is not None and limit < there:
        yield limited(limit, there, what)


def blocks(ram: RamMap, start: int, end: int) -> tuple[str, ...]:
    """The names of the RAM blocks that have bytes from ``start`` up to ``end``, each once, in order."""
    first = max(bisect_right(ram.ranges, start, key=lambda each: each.start) - 1, 0)
    names: dict[str, None] = {}
    for each in ram.ranges[first:]:
        if each.start >= end:
            break
        if each.end > start:
            names[each.name or "RAM"] = None
    return tuple(names)


def _arguments(parser: Parser) -> None:
    scope_arguments(parser)
    parser.add_argument("--by", choices=("pid",), help="what each process's tree costs, the dearest first")
    parser.add_argument("--where", action="store_true", help="the real addresses that the tables lie at")
    parser.add_argument("--list", action="store_true", help="a line for each table")
    parser.add_argument(
        "--sort",
        choices=ORDERS,
        help="the order of --list: by EA (where nothing is said), by real "
        "address, or by how full they are, the emptiest first",
    )
    parser.add_argument("--limit", metavar="N", help="tell so many rows at most")


COMMANDS = (
    Command(
        "tables",
        "what the page tables cost: by level, by process, and where they lie",
        _tables,
        _arguments,
        (
            Example("tables", "all tables by level: bytes, how full they are, and the pages they take"),
            Example("tables --by pid", "the dearest address space first"),
            Example("tables --where --limit 10", "which real addresses hold them"),
            Example("tables --list --sort fill --limit 10", "the emptiest tables"),
        ),
        "A table counts once, however many places refer to it: it is told with the address space that it was found in "
        "first, and --by pid counts it with each that has it. Tables that could not be read have no entries here, and "
        "are told after the answer. Lower tables are smaller than a page, so that a kernel keeps many in one: 'pages' "
        "are those that hold any table, and how much of them tables take. 'audit' judges what is shared. With --lpid "
        "they are the tables that a KVM guest made itself, at guest real addresses; with --partition those that the "
        "host made for its guests.",
    ),
)
