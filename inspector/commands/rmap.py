"""``rmap``: all that maps a real address or a range of them, and what lies there."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import limited
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import (
    SEPARATORS,
    Beside,
    beside,
    count,
    looked_at,
    scope_arguments,
    selection_arguments,
    selection_of,
    span,
)
from inspector.radix.bits import PTE_RPN
from inspector.spaces import Spaces

if TYPE_CHECKING:
    from inspector.mappings.conflicts import Conflict
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.runs import Run
    from inspector.mappings.select import Selection
    from inspector.mappings.tablepages import Holds, TablePages
    from inspector.trees import Tree

REAL_BITS = PTE_RPN.bit_length()
"""Bits of the longest real address that an entry can lead to."""
NAMED = 4
"""Trees that are named one by one."""


@dataclass(frozen=True, slots=True)
class Where:
    """The real addresses from ``start`` up to ``end``: one where it is a ``single`` address.

    ``ram`` counts the bytes of RAM among them, ``tables`` the table pages; ``holds`` is what lies at the first."""

    start: int
    end: int
    single: bool
    ram: int
    tables: int
    holds: Holds


@dataclass(frozen=True, slots=True)
class Titles(Answered):
    """That mappings of several processes, or (``behind``) of partitions alone, are told from here on."""

    topic: ClassVar[str] = "rmap"
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Asked(Answered):
    """What the next answers are of, how many there are, and how many of its bytes they map."""

    topic: ClassVar[str] = "rmap"
    where: Where
    mappings: int
    mapped: int


@dataclass(frozen=True, slots=True)
class Unlike:
    """``size`` bytes from ``ra`` on that two mappings have unlike each other, ``words`` for each. See
    :class:`inspector.mappings.conflicts.Conflict`."""

    kind: str
    ra: int
    size: int
    words: tuple[str, str]
    one: Run
    other: Run


@dataclass(frozen=True, slots=True)
class Reached(Answered):
    """One mapping: of a single real address its page, but with the very address that reaches it; of a range a run of
    whole pages that touch it. ``unlike`` is in what all of them differ."""

    topic: ClassVar[str] = "rmap"
    where: Where
    run: Run
    in_ram: bool
    unlike: tuple[Unlike, ...] = ()


@dataclass(frozen=True, slots=True)
class Aliases(Answered):
    """In what the mappings that were told differ, in a line after them; a program has it with each of them."""

    topic: ClassVar[str] = "rmap"
    where: Where
    unlike: tuple[Unlike, ...]


@dataclass(frozen=True, slots=True)
class Unreached:
    """That nothing maps it, and why that may be so: a slug and the sentence."""

    topic: ClassVar[str] = "rmap"
    where: Where
    cause: str
    reason: str

    @property
    def ok(self) -> bool:
        """A fault: no access can reach it."""
        return False


Answer = Titles | Asked | Reached | Aliases | Unreached | Beside


def reached(spaces: Spaces, ra: int) -> Iterator[tuple[Run, bool]]:
    """Every mapping of a real address, with the very address that reaches it, and whether that is RAM."""
    from inspector.mappings.reverse import reaching
    from inspector.mappings.runs import runs_of

    in_ram = spaces.ram.covers(ra, 1)
    for run in runs_of(reaching(spaces.columns.take(spaces.index.lookup(ra)), ra)):
        yield run, in_ram


def _rmap(session: Session, arguments: Namespace) -> Iterator[Answer]:
    from inspector.mappings.tablepages import TablePages, in_the_host

    limit = count(session, arguments.limit, "--limit")
    selection = selection_of(session, arguments)
    spaces = yield from looked_at(session, arguments, guests=selection.everything)
    if spaces is None:
        return
    tables = TablePages(*in_the_host(spaces.sweep.tables(), spaces.table, spaces.behind))
    titled = False

    def operand(text: str) -> tuple[int, int, bool]:
        return (*span(session, text), not any(separator in text for separator in SEPARATORS))

    for asked in session.each_text(arguments.ra_asked, operand):
        for each in _mappings(spaces, tables, selection, asked, limit):
            if isinstance(each, Asked) and not titled:
                titled = True
                yield Titles(all(tree.pid is None for tree in spaces.trees))
            yield each
    yield from beside(spaces)


def _mappings(
    spaces: Spaces, tables: TablePages, selection: Selection, asked: tuple[int, int, bool], limit: int | None
) -> Iterator[Answer]:
    """What maps these real addresses, and in what that differs."""
    from inspector.mappings.conflicts import conflicts, layers
    from inspector.mappings.ranges import coalesce, single
    from inspector.mappings.reverse import reaching
    from inspector.mappings.runs import runs_of

    start, end, alone = asked
    where = _where(spaces, tables, start, end, alone)
    rows = spaces.index.lookup(start, end)
    leaves = spaces.columns.take(rows)
    if not selection.everything:
        leaves = leaves.take(selection.mask(leaves))
    if not len(leaves):
        yield Unreached(where, "not-mapped", _why(spaces, where, len(rows)))
        return
    mapped = single(leaves) if alone else coalesce(leaves)
    found = reaching(leaves, start) if alone else mapped
    cut = layers(mapped, start, end)
    yield Asked(where, len(found), cut.mapped)
    own = _of_processes(mapped)  # a guest's own tree says who may do what: there all is allowed
    differ = conflicts(own, cut if own is mapped else layers(own, start, end)) if len(own) else ()
    unlike = tuple(_told(own, each) for each in differ)
    shown = found if limit is None else found.take(slice(limit))
    for run in runs_of(shown):
        yield Reached(where, run, spaces.ram.covers(run.ra, 1 if alone else run.size), unlike)
    if len(shown) < len(found):
        yield limited(len(shown), len(found), "mappings")
    if unlike:
        yield Aliases(where, unlike)


def _of_processes(mapped: Ranges) -> Ranges:
    """Those that are not of partition-scoped trees."""
    import numpy as np

    of_partitions = [number for number, root in enumerate(mapped.roots) if root.pid is None]
    return mapped.take(~np.isin(mapped.root, of_partitions)) if of_partitions else mapped


def _told(found: Ranges, conflict: Conflict) -> Unlike:
    """A conflict with its two mappings, each from the conflict's real address on."""
    from inspector.mappings.runs import runs_of

    one, other = (next(runs_of(found.take(slice(row, row + 1)))) for row in (conflict.one, conflict.other))
    one, other = (_from(run, conflict.ra) for run in (one, other))
    return Unlike(conflict.kind, conflict.ra, conflict.size, conflict.words, one, other)


def _from(run: Run, ra: int) -> Run:
    """The same from a real address in it on."""
    more = ra - run.ra
    return replace(run, ea=run.ea + more, ra=ra, gra=None if run.gra is None else run.gra + more)


def _where(spaces: Spaces, tables: TablePages, start: int, end: int, single: bool) -> Where:
    ram = sum(upto - first for first, upto in spaces.ram.within(start, end - start))
    return Where(start, end, single, ram, len(tables.lookup(start, end)), tables.at(start))


def _why(spaces: Spaces, where: Where, hidden: int) -> str:
    """Why nothing maps it, and a way on."""
    it = "it" if where.single else "any of it"
    if hidden:
        it = "it" if where.single else "some of it"
        have = "1 mapping reaches" if hidden == 1 else f"{hidden:,} mappings reach"
        return f"{have} {it}, and none is as was asked"
    named = _any_of(spaces.trees)
    if where.start >> REAL_BITS:
        return (
            f"real addresses have at most {REAL_BITS} bits, and this has more: it is rather an effective address, and "
            f"'xlate {where.start:#x}' says where that goes"
        )
    size = where.end - where.start
    kind = "RAM" if where.ram == size else "not RAM" if not where.ram else f"RAM in {where.ram:#x} of {size:#x} bytes"
    return f"{named} maps {it}; it is {kind}{_guest_real(spaces, where.start)}"


def _guest_real(spaces: Spaces, address: int) -> str:
    """Where it is in the host if a guest's real address was meant, as far as that is known here."""
    import numpy as np

    columns, number = spaces.columns, np.uint64(address)
    owned = np.array([root.pid is not None for root in columns.roots], np.bool_)[columns.root]
    gra = columns.offset if columns.gra is None else columns.gra
    hit = np.flatnonzero((gra <= number) & (number - gra < columns.size) & (~owned | (columns.gra is not None)))
    if not len(hit):
        return ""
    row = int(hit[0])
    lpid, ra = columns.roots[int(columns.root[row])].lpid, int(columns.ra[row]) + address - int(gra[row])
    return f"; if a real address of LPID {lpid}'s own is meant, the host has that at {ra:#x}"


def _any_of(trees: Sequence[Tree]) -> str:
    names = [tree.name for tree in trees]
    if len(names) < 2:
        return f"{names[0]} has nothing that" if names else "no process that was looked at"
    if len(names) > NAMED:
        partitions = sum(tree.pid is None for tree in trees)
        counts = (len(names) - partitions, "process", "processes"), (partitions, "partition", "partitions")
        return f"none of {' and '.join(f'{n:,} {one if n == 1 else many}' for n, one, many in counts if n)}"
    return f"none of {', '.join(names[:-1])} and {names[-1]}"


def _rmap_arguments(parser: Parser) -> None:
    parser.add_argument(
        "ra_asked",
        nargs="+",
        metavar="RA[:LEN|..END]",
        help="a real address or a range of them, or - for standard input",
    )
    scope_arguments(parser)
    parser.add_argument("--limit", metavar="N", help="tell so many mappings of each at most")
    selection_arguments(parser)


COMMANDS = (
    Command(
        "rmap",
        "all that maps a real address, in every process and the kernel",
        _rmap,
        _rmap_arguments,
        (
            Example("rmap 0x2740000", "Linux's root directory, and that it is one"),
            Example("rmap 0x2740000:64K 0..1M", "ranges: the pages that touch them, in runs as 'maps' has them"),
            Example("rmap 0 --pid 0 --privileged", "of the kernel's mappings only, and of those the privileged ones"),
        ),
        "On a bare machine what the host has behind its KVM guests is told too, the LPID in the place of the PID, the "
        "guest real address in that of the EA; --partition tells that alone, and --lpid a guest's own processes, each "
        "with the guest real address between. All real addresses asked are the host's. "
        "Of a single real address each mapping's EA is the very one that reaches it, and the size is its page's. "
        "Then what mappings of the same memory do not agree on: that one may be written and another executed, that "
        "user mode has it too, that their attributes differ. A user's page is in Linux's linear map besides, so most "
        "of this is as it should be, and makes no exit status 1; 'audit' judges. What nothing maps is said, and that "
        'makes it 1: in JSON an object whose "status" is fault.',
    ),
)
