"""``search``: where bytes, words or text lie in RAM, and all that maps each place."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from inspector.commands.memory import Order
from inspector.commands.notes import Note, if_changing
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.rmap import reached
from inspector.commands.roots import RootsFound
from inspector.commands.scope import (
    EVERY_PROCESS,
    Beside,
    Odd,
    beside,
    count,
    looked_at,
    not_there,
    pids_of,
    selection_arguments,
    selection_of,
    span,
)
from inspector.errors import MemoryReadError, UsageError
from inspector.guest import Guest
from inspector.radix.bits import MSR_LE
from inspector.spaces import Spaces

if TYPE_CHECKING:
    from inspector.mappings.runs import Run
    from inspector.mappings.select import Selection
    from inspector.mappings.tablepages import Holds
    from inspector.memory.pattern import Pattern
    from inspector.memory.scan import Area, Scan
    from inspector.memory.spans import Spans

LIMIT = 100
LONGEST = 1 << 16
"""Bytes that are searched for at most."""
SHOWN = 48
"""Bytes of a hit, and of what follows it, that are told."""
SIZES = (1, 2, 4, 8)
ORDERS: dict[str | None, Order] = {"little": "little", "big": "big"}


@dataclass(frozen=True, slots=True)
class Hit(Answered):
    """A place where it lies: ``length`` bytes from real address ``ra`` on. ``data`` is what is there, and follows, as
    far as it can be read; ``text`` whether text was looked for. ``mappings`` are those of its first byte (each with
    the very address that reaches it, and whether it is RAM), None where no tables are known."""

    topic: ClassVar[str] = "search"
    ra: int
    length: int
    data: bytes
    text: bool
    holds: Holds | None
    mappings: tuple[tuple[Run, bool], ...] | None


@dataclass(frozen=True, slots=True)
class Searched:
    """What was looked through: ``done`` bytes of ``total``, and where the ``last`` hit was.

    ``missing`` bytes were asked for, and the snapshot has not captured them; ``unread`` could not be read, ``why`` the
    first of them. ``limited`` where the limit ended it."""

    topic: ClassVar[str] = "search"
    hits: int
    last: int | None
    done: int
    total: int
    missing: int
    unread: int
    why: str
    limited: bool
    interrupted: bool

    @property
    def ok(self) -> bool:
        """Whether it is there, as far as could be told: that it is not is a finding, and so is an unfinished search."""
        return bool(self.hits) and not self.interrupted


Answer = Hit | Searched | Beside


def _search(session: Session, arguments: Namespace) -> Iterator[Answer]:
    from inspector.memory.scan import Scan, area
    from inspector.memory.spans import Spans

    guest = session.at
    limit = LIMIT if arguments.limit is None else count(session, arguments.limit, "--limit", str(LIMIT)) or 0
    pattern = yield from _pattern(session, arguments)
    selection = selection_of(session, arguments)
    pids = pids_of(session, arguments.pid)
    if pids:
        selection = replace(selection, pids=pids)
    ranges = [span(session, text) for text in arguments.range or ()]
    spaces = yield from _spaces(session, arguments, selection)
    if spaces is None and not selection.everything:
        return
    wanted = Spans.of(ranges) if ranges else None
    if spaces is not None and not selection.everything:
        yield from _absent(guest, spaces, pids)
        mapped = _mapped(spaces, selection)
        wanted = mapped if wanted is None else mapped.within(wanted)
    where = area(guest.memory, wanted)
    scan = Scan(guest.memory, pattern, where, lambda done, total: guest.progress("searching", done, total))
    yield from _hits(guest, spaces, scan, limit, arguments.kind == "text")
    if spaces is not None:
        yield from beside(spaces)


def _hits(guest: Guest, spaces: Spaces | None, scan: Scan, limit: int, text: bool) -> Iterator[Answer]:
    """Every hit as it is found, and then what was looked through."""
    from inspector.mappings.tablepages import TablePages

    tables = None if spaces is None else TablePages(spaces.sweep.tables(), spaces.table)
    told, last = 0, None
    limited = interrupted = False
    length = len(scan.pattern)
    found = scan.hits()
    with closing(found):
        while True:
            try:
                if told == limit:
                    limited = True
                    break
                ra = next(found, None)
                if ra is None:
                    break
                hit = Hit(
                    ra,
                    length,
                    _content(guest, scan.area, ra, length),
                    text,
                    None if tables is None else tables.at(ra),
                    None if spaces is None else tuple(reached(spaces, ra)),
                )
            except KeyboardInterrupt:
                interrupted = True
                break
            told, last = told + 1, ra
            yield hit
    guest.progress("searching", 1, 1)
    yield Searched(told, last, scan.done, scan.total, scan.area.missing, scan.unread, scan.why, limited, interrupted)


def _content(guest: Guest, where: Area, ra: int, length: int) -> bytes:
    """What is at a hit and follows it, as far as it is RAM that can be read."""
    row = int(where.readable.place(_u64(ra)))
    size = max(min(SHOWN, int(where.readable.end[row]) - ra), 0)
    for wanted in (size, min(size, length)):
        try:
            return guest.memory.read(ra, wanted)
        except MemoryReadError:
            continue
    return b""


# -- what is looked for ------------------------------------------------------------------------------------------------


def _pattern(session: Session, arguments: Namespace) -> Generator[Note, None, Pattern]:
    """What the words ask for. Raises UsageError."""
    from inspector.memory.pattern import Pattern

    words: Sequence[str] = arguments.what
    kind = arguments.kind
    for option, value in (("--size", arguments.size), ("--order", arguments.order)):
        if value is not None and kind != "word":
            raise UsageError(f"{option} is of words, and {kind} has none; leave it out, or search for a word")
    align = 1
    if kind == "text":
        data = " ".join(words).encode("utf-8", "surrogateescape")
    elif kind == "bytes":
        data = _hexadecimal(words)
    else:
        align = size = arguments.size or 8
        order, note = _order(session.at, arguments.order) if size > 1 else ("big", None)
        data = b"".join(_word(session, text, size, order) for text in words)
        if note is not None:
            yield note
    if arguments.align is not None:
        align = session.value(arguments.align)
        if align < 1 or align & (align - 1):
            raise UsageError(f"--align takes a power of two, not {arguments.align!r}; 1 is anywhere")
    if not 0 < len(data) <= LONGEST:
        raise UsageError(f"{len(data)} bytes are not one to {LONGEST >> 10}K of them; give what is to be found")
    return Pattern(data, align)


def _hexadecimal(words: Sequence[str]) -> bytes:
    """The bytes of ``de ad be ef`` or ``deadbeef``. Raises UsageError."""
    digits = [word[2:] if word[:2].lower() == "0x" else word for word in " ".join(words).split()]
    try:
        if any(len(each) % 2 for each in digits):
            raise ValueError
        return bytes.fromhex("".join(digits))
    except ValueError:
        written = " ".join(words)
        shown = written if len(written) <= 40 else f"{written[:37]}..."
        raise UsageError(f"{shown!r} are no bytes in hexadecimal; write two digits for each: de ad be ef") from None


def _word(session: Session, text: str, size: int, order: Order) -> bytes:
    """A word's bytes; one with all bits above it set is taken for a negative number. Raises UsageError."""
    value = session.value(text)
    bits = 8 * size
    if value >> bits and value >> (bits - 1) != (1 << (65 - bits)) - 1:
        raise UsageError(f"{text!r} is {value:#x}, more than a word of {size} bytes holds; give --size 8")
    return (value % (1 << bits)).to_bytes(size, order)


def _order(guest: Guest, order: str | None) -> tuple[Order, Note | None]:
    """In which order the bytes of a word stand: as told, else as the vCPU has it now. Raises UsageError."""
    if order in ORDERS:
        return ORDERS[order], None
    msr = None if guest.running else guest.registers(names=("msr",)).get("msr")
    if msr is None:
        raise UsageError("the vCPU's MSR is not known, nor whether it is little-endian; say --order little or big")
    if msr & MSR_LE:
        other = "--order big finds those of page tables"
        return "little", Note(f"words are looked for little-endian, as vCPU {guest.cpu} has them now; {other}")
    other = "--order little finds the others"
    return "big", Note(f"words are looked for big-endian, as vCPU {guest.cpu} and page tables have them; {other}")


# -- where it is looked for --------------------------------------------------------------------------------------------


def _spaces(session: Session, arguments: Namespace, selection: Selection) -> Generator[Beside, None, Spaces | None]:
    """All address spaces; None where there are none to be seen, which is then said: RAM can be searched all the same,
    but not by what is mapped."""
    guest = session.at
    if guest.roots.state != "radix":
        yield from if_changing(guest)
        if selection.everything:
            yield Note(f"what maps a hit is not known: {guest.roots.explanation}")
        else:
            yield RootsFound(guest.roots, ())
        return None
    return (yield from looked_at(session, EVERY_PROCESS, guests=selection.everything))


def _absent(guest: Guest, spaces: Spaces, pids: Sequence[int]) -> Iterator[Odd]:
    """The PIDs that were asked for and have no tree. Raises UsageError for one beyond the process table."""
    from inspector.spaces import asked

    there = {tree.pid for tree in spaces.trees}
    yield from map(not_there, asked(guest, [pid for pid in pids if pid not in there])[1])


def _mapped(spaces: Spaces, selection: Selection) -> Spans:
    """The real memory that the mappings asked for reach."""
    from inspector.memory.spans import Spans

    columns = spaces.columns
    meant = columns.take(selection.mask(columns))
    return Spans.union(meant.ra, meant.ra + meant.size)


def _u64(value: int) -> Any:
    import numpy as np

    return np.uint64(value)


def _search_arguments(parser: Parser) -> None:
    parser.add_argument("kind", choices=("text", "bytes", "word"), help="what is looked for")
    parser.add_argument("what", nargs="+", metavar="WHAT", help="the text; bytes as de ad be ef; values of words")
    parser.add_argument("--size", type=int, choices=SIZES, help="bytes of a word (8)")
    parser.add_argument("--order", choices=("guest", "little", "big"), help="of a word's bytes: as the vCPU has it now")
    parser.add_argument("--align", metavar="N", help="at multiples of N only: a word's size, and 1 for all else")
    parser.add_argument("--range", metavar="RA[:LEN|..END]", action="append", help="in these real addresses only")
    parser.add_argument("--pid", metavar="N", action="append", help="only in what the process with this PID maps")
    parser.add_argument("--limit", metavar="N", help=f"end after so many ({LIMIT})")
    selection_arguments(parser)


COMMANDS = (
    Command(
        "search",
        "where text, bytes or words lie in RAM, and what maps them",
        _search,
        _search_arguments,
        (
            Example("search word 0xc00000000000018d --order big", "the leaf by which Linux maps real address 0"),
            Example("search bytes c0 00 00 00 00 00 01 8d --limit 1", "the same, anywhere and not only aligned"),
        ),
        "Told are real addresses, and all addresses that map each hit's first byte, in every process and the kernel. "
        "A hit lies in RAM in one piece: text that goes on from one page to another which lies elsewhere is not "
        "found. --pid, --user and the like search only memory that is mapped so: search text foo --pid 4 --user. "
        "Values of several words stand one after the other. Nothing outside RAM is read, and of a snapshot what "
        "was captured. That it is nowhere makes the exit status 1.",
    ),
)
