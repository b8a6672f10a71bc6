"""``read`` and ``ram``: the bytes behind an address, and which addresses are RAM at all."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from inspector.commands.notes import Note, if_changing
from inspector.commands.registry import Answered, Command, Example, Parser, Session, no_arguments
from inspector.errors import MemoryReadError, NotCaptured, NotRam, UsageError
from inspector.guest import Guest
from inspector.memory.physical import Range
from inspector.radix.bits import MSR_LE
from inspector.radix.translation import Translation

LONGEST = 64 << 20
"""Bytes that one 'read' shows at most."""
USUAL = 64
PIECE = 1 << 16
"""Bytes asked for at a time."""
SMALLEST_PAGE = 12
LINE = 16
NOT_RAM = "not RAM, so it was not read: it may be a device; 'ram' lists what is RAM"
NOT_CAPTURED = "RAM that this snapshot did not capture; record with --also or --everything"
Order = Literal["little", "big"]
Space = Literal["effective", "real"]


@dataclass(frozen=True, slots=True)
class Shown(Answered):
    """Bytes at ``address``, the first of which is at real address ``ra``. ``width`` is of the words to show them as,
    0 for a hex dump; ``order`` is theirs."""

    topic: ClassVar[str] = "memory"
    space: Space
    address: int
    ra: int
    data: bytes
    width: int
    order: Order | None

    @property
    def words(self) -> list[int | None]:
        """The words; None for one at the end that is not whole, as the rest of it could not be read."""
        whole = len(self.data) - len(self.data) % self.width
        pieces = [self.data[at : at + self.width] for at in range(0, whole, self.width)]
        words: list[int | None] = [int.from_bytes(piece, self.order or "big") for piece in pieces]
        return words if whole == len(self.data) else [*words, None]


@dataclass(frozen=True, slots=True)
class Missing:
    """``length`` bytes at ``address`` that cannot be shown: a slug and the sentence. ``entry`` is the address of the
    entry that led here, the first of ``entries`` in a row that say the same, if any did."""

    topic: ClassVar[str] = "memory"
    space: Space
    address: int
    length: int
    cause: str
    reason: str
    entry: int | None = None
    entries: int = 1
    alike: object = field(default=None, compare=False)
    """What holes that follow each other have in common where they are one."""

    @property
    def ok(self) -> bool:
        """A fault."""
        return False


@dataclass(frozen=True, slots=True)
class Ram(Answered):
    """The RAM map. ``captured`` are the bytes of each range that a snapshot holds, None where all RAM is there."""

    topic: ClassVar[str] = "memory"
    ranges: tuple[Range, ...]
    total: int
    captured: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of one page, or why there are none."""

    address: int
    ra: int
    data: bytes


# -- real memory -------------------------------------------------------------------------------------------------------


def _limits(guest: Guest, ra: int, end: int) -> tuple[int, bool]:
    """Up to where ``ra`` stays on one side of the RAM map's edge, and whether it is RAM."""
    span = guest.memory.ram.span(ra)
    if span is not None:
        return min(end, span[1]), True
    starts = [start for start, _ in guest.memory.ram.spans() if start > ra]
    return min([end, *starts]), False


@dataclass(frozen=True, slots=True)
class Gap:
    """``length`` bytes of real memory that cannot be read: a slug, and why, without their address."""

    length: int
    slug: str
    why: str


def real_pieces(guest: Guest, ra: int, length: int) -> Iterator[tuple[int, bytes | Gap]]:
    """``length`` bytes of real memory from ``ra`` on, piece by piece. What is not RAM is never asked for."""
    end = ra + length
    while ra < end:
        upto, is_ram = _limits(guest, ra, end)
        if not is_ram:
            yield ra, Gap(upto - ra, NotRam.slug, NOT_RAM)
        else:
            upto = min(upto, ra + PIECE)
            yield from _readable(guest, ra, upto)
        ra = upto


def _readable(guest: Guest, ra: int, end: int) -> Iterator[tuple[int, bytes | Gap]]:
    """What of RAM can be read: the source says what is missing, or else it is sought page by page."""
    while ra < end:
        try:
            yield ra, guest.memory.read(ra, end - ra)
            return
        except MemoryReadError as error:
            first, upto = error.address, error.address + error.length
            if not ra <= first < upto <= end or (first, upto) == (ra, end):
                first, upto = ra, min(end, ((ra >> SMALLEST_PAGE) + 1) << SMALLEST_PAGE)
                if upto < end:
                    yield from _readable(guest, ra, upto)
                    ra = upto
                    continue
            if ra < first:
                yield from _readable(guest, ra, first)
            why = NOT_CAPTURED if isinstance(error, NotCaptured) else error.why
            yield first, Gap(upto - first, error.slug, why)
            ra = upto


def _real(guest: Guest, address: int, length: int) -> Iterator[_Piece | Missing]:
    for at, piece in real_pieces(guest, address, length):
        if isinstance(piece, bytes):
            yield _Piece(at, at, piece)
        else:
            yield Missing("real", at, piece.length, piece.slug, piece.why)


# -- effective addresses -----------------------------------------------------------------------------------------------


def _effective(guest: Guest, ea: int, length: int, pid: int | None) -> Iterator[_Piece | Missing]:
    end = ea + length
    while ea < end:
        answer = guest.translate(ea, pid=pid)
        if not answer.ok or answer.ra is None:
            upto = _past(answer, end)
            step = answer.steps[-1] if answer.steps else None
            yield Missing(
                "effective",
                ea,
                upto - ea,
                answer.cause or "fault",
                answer.reason,
                step.address if step else None,
                alike=(step.level, step.value) if step else None,
            )
            ea = upto
            continue
        shift = SMALLEST_PAGE if answer.page_shift is None else answer.page_shift
        upto = min(end, ((ea >> shift) + 1) << shift)
        leaf = answer.steps[-1].address if answer.steps else None
        for ra, piece in real_pieces(guest, answer.ra, upto - ea):
            at = ea + ra - answer.ra
            if isinstance(piece, bytes):
                yield _Piece(at, ra, piece)
            else:
                reason = f"real address {ra:#x}: {piece.why}"
                yield Missing("effective", at, piece.length, piece.slug, reason, leaf, alike=leaf)
        ea = upto


def _past(answer: Translation, end: int) -> int:
    """The first address that the entry at fault does not cover: the fault is the same for all before it."""
    step = answer.steps[-1] if answer.steps else None
    known = step is not None and step.stage == 1 and step.value is not None and step.kind == "invalid"
    shift = step.shift if known and step is not None and step.shift is not None else SMALLEST_PAGE
    return min(end, ((answer.ea >> shift) + 1) << shift)


# -- lines -------------------------------------------------------------------------------------------------------------


def _lined(pieces: Iterable[_Piece | Missing]) -> Iterator[_Piece | Missing]:
    """Pieces so cut that only the last before a hole ends in the middle of a line: one line may straddle two pages."""
    held: _Piece | None = None
    for each in pieces:
        if isinstance(each, Missing):
            if held is not None:
                yield held
                held = None
            yield each
            continue
        piece = each
        tail = 0 if held is None else len(held.data) % LINE
        if held is not None and tail:
            whole = len(held.data) - tail
            if whole:
                yield replace(held, data=held.data[:whole])
            line = _from(held, whole)
            line = replace(line, data=line.data + piece.data[: LINE - tail])
            piece = _from(piece, LINE - tail)
            if not piece.data:
                held = line
                continue
            yield line
        elif held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def _from(piece: _Piece, offset: int) -> _Piece:
    """The piece without its first ``offset`` bytes."""
    return _Piece(piece.address + offset, piece.ra + offset, piece.data[offset:])


def _merged(pieces: Iterable[_Piece | Missing]) -> Iterator[_Piece | Missing]:
    """The same with holes that follow each other, and are of one cause, made one."""
    hole: Missing | None = None
    last: int | None = None
    for each in pieces:
        if isinstance(each, Missing) and hole is not None and (hole.cause, hole.alike) == (each.cause, each.alike):
            more = each.entries if each.entry != last else 0
            hole = replace(hole, length=hole.length + each.length, entries=hole.entries + more)
            last = each.entry
            continue
        if hole is not None:
            yield hole
            hole = None
        if isinstance(each, Missing):
            hole, last = each, each.entry
        else:
            yield each
    if hole is not None:
        yield hole


def _order(guest: Guest, arguments: Namespace) -> Order | None:
    """In which order the bytes of a word stand: as told, else as the vCPU has it now. Raises UsageError."""
    if arguments.little or arguments.big:
        return "little" if arguments.little else "big"
    if arguments.words in (None, 1):
        return None
    msr = guest.registers(names=("msr",)).get("msr")
    if msr is None:
        raise UsageError("the vCPU's MSR is not known, nor whether it is little-endian; say --little or --big")
    return "little" if msr & MSR_LE else "big"


def _read(session: Session, arguments: Namespace) -> Iterator[Shown | Missing | Note]:
    guest = session.at
    address = session.value(arguments.address)
    length = USUAL if arguments.length is None else session.value(arguments.length)
    pid = None if arguments.pid is None else session.value(arguments.pid)
    width = arguments.words or 0
    if pid is not None and arguments.real:
        raise UsageError("--pid asks about a process's addresses and --real about real ones; give one of them")
    if not 0 < length <= LONGEST:
        raise UsageError(f"a length of {length:#x} bytes is not one of 1 to {LONGEST >> 20}M; read it in parts")
    if width and length % width:
        raise UsageError(f"{length} bytes are not a whole number of {width}-byte words; give a multiple of {width}")
    if address + length > 1 << 64:
        raise UsageError(f"{address:#x} and {length:#x} bytes run over the end of 64 bits; give a smaller length")
    order = _order(guest, arguments)
    yield from if_changing(guest)
    space: Space = "real" if arguments.real else "effective"
    pieces = _real(guest, address, length) if arguments.real else _effective(guest, address, length, pid)
    for each in _lined(_merged(pieces)):
        if isinstance(each, Missing):
            yield each
        else:
            yield Shown(space, each.address, each.ra, each.data, width, order)


def _read_arguments(parser: Parser) -> None:
    parser.add_argument("address", metavar="ADDR", help="an effective address, or with --real a real one")
    parser.add_argument("length", nargs="?", metavar="LENGTH", help=f"in bytes ({USUAL}), 64M at most")
    parser.add_argument("--real", action="store_true", help="ADDR is a real address")
    parser.add_argument("--pid", metavar="N", help="as if the process with this radix PID ran")
    parser.add_argument("--words", type=int, choices=(1, 2, 4, 8), help="as words of so many bytes")
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--little", action="store_true", help="little-endian words")
    order.add_argument("--big", action="store_true", help="big-endian words, as page tables are")


def _ram(session: Session, _arguments: Namespace) -> Iterator[Ram]:
    guest = session.at
    memory = guest.memory
    ram, captured = memory.ram, None
    if memory.captured is not None:
        held = (*memory.captured, *memory.zeros)
        captured = tuple(
            sum(max(0, min(r.end, start + size) - max(r.start, start)) for start, size in held) for r in ram
        )
    yield Ram(ram.ranges, ram.total, captured)


COMMANDS = (
    Command(
        "read",
        "the bytes at an address, as a hex dump or as words",
        _read,
        _read_arguments,
        (
            Example("read 0xc000000002740000 64 --words 8 --big", "Linux's root directory, through its linear map"),
            Example("read 0x2740000 0x40 --real", "the same by its real address"),
            Example("read $nip 16 --words 4", "the next instructions, in the vCPU's byte order"),
        ),
        "Addresses go through the hardware's walk of the chosen vCPU, rights apart: what is mapped is shown. A page "
        "that is not there is told, and the next goes on. What is not RAM is never read: it may be a device. Words "
        "are in the vCPU's byte order (MSR[LE]) unless --little or --big says otherwise.",
    ),
    Command(
        "ram",
        "which real addresses are RAM, and how much of it a snapshot holds",
        _ram,
        no_arguments,
        (Example("ram", "nothing outside these is ever read"),),
    ),
)
