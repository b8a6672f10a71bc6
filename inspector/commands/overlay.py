"""``overlay``: look at the guest as it would be, and run KVM's second-level life cycle on that."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.hostwords import host_page_shift, pool_of
from inspector.commands.lifecycle import RAN
from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.kvm.shape import HostPages
from inspector.memory.overlay import ChangedWord
from inspector.memory.physical import Range

if TYPE_CHECKING:
    from inspector.commands.changes import Answer as Change
    from inspector.commands.scope import Beside
    from inspector.moments import Moment
    from inspector.whatif import WhatIf

ENDS = "it ends with this command; -c gives several in one session"


@dataclass(frozen=True, slots=True)
class Overlaid(Answered):
    """How the overlay stands, None where it is off: its ``pool`` and how many ``tables`` of how many bytes are taken
    from it, the bytes of memory that are ``kept``, the host's page size as a shift, the LPIDs of guests that are
    ``touched`` and of those that were ``made``, and how many memory ``slots`` are known. ``done`` is what the command
    did: "on", "off", "reset", or nothing."""

    topic: ClassVar[str] = "overlay"
    done: str
    on: Overlay | None


@dataclass(frozen=True, slots=True)
class Overlay:
    """What is to be known of one that is on."""

    pool: Range
    tables: int
    used: int
    kept: int
    page_shift: int
    version: str
    dd1: bool
    touched: tuple[int, ...]
    made: tuple[int, ...]
    slots: int
    ran: bool


@dataclass(frozen=True, slots=True)
class Word(Answered):
    """A doubleword that differs; ``in_pool`` where it is of the overlay's own pool."""

    topic: ClassVar[str] = "overlay"
    change: ChangedWord
    in_pool: bool


@dataclass(frozen=True, slots=True)
class Words(Answered):
    """How many doublewords differ, how many of them in the pool, and of how many it is not known what was there."""

    topic: ClassVar[str] = "overlay"
    words: int
    in_pool: int
    unknown: int


if TYPE_CHECKING:
    Answer = Overlaid | Word | Words | Change | Beside


def _overlay(session: Session, arguments: Namespace) -> Iterator[Answer]:
    what: str | None = arguments.what
    _check(arguments)
    guest = session.at
    if what == "on":
        yield _on(session, guest, arguments)
    elif what == "off":
        was = guest.whatif
        guest.lift()
        yield Overlaid("off" if was is not None else "", None)
    elif what == "reset":
        _needed(guest).reset()
        yield state(guest, "reset")
    elif what == "diff":
        yield from _diff(session, _needed(guest), arguments)
        return
    else:
        yield state(guest)
        if guest.whatif is not None and guest.whatif.ran:
            yield Note(RAN)
    if session.stdout is not None and what == "on":
        yield Note(ENDS)


def _check(arguments: Namespace) -> None:
    for name, of in (("pool", "on"), ("host_page", "on"), ("limit", "diff")):
        if getattr(arguments, name) is not None and arguments.what != of:
            raise UsageError(f"--{name.replace('_', '-')} goes with 'overlay {of}'; 'help overlay' shows its words")
    for name in ("words", "summary", "exit_code"):
        if getattr(arguments, name) and arguments.what != "diff":
            raise UsageError(f"--{name.replace('_', '-')} goes with 'overlay diff'; 'help overlay' shows its words")


def _on(session: Session, guest: Guest, arguments: Namespace) -> Overlaid:
    if guest.whatif is not None:
        raise UsageError("an overlay is on; 'overlay reset' empties it, and 'overlay off' drops it")
    shift = host_page_shift(arguments.host_page)
    guest.lay_over(pool_of(arguments.pool, session), HostPages(shift))
    return state(guest, "on")


def _needed(guest: Guest) -> WhatIf:
    if guest.whatif is None:
        raise UsageError("no overlay is on; 'overlay on' lays one over the guest, and so does any change to a tree")
    return guest.whatif


def state(guest: Guest, done: str = "") -> Overlaid:
    """How the guest's overlay stands, after this was done."""
    whatif = guest.whatif
    if whatif is None:
        return Overlaid(done, None)
    machine = whatif.machine
    return Overlaid(
        done,
        Overlay(
            whatif.pool_range,
            machine.pool.tables,
            machine.pool.used,
            whatif.overlay.kept,
            machine.pages.shift,
            machine.version,
            machine.dd1,
            tuple(sorted(whatif.touched)),
            tuple(sorted(whatif.made)),
            sum(len(vm.slots.each) for vm in machine.vms.values()),
            whatif.ran,
        ),
    )


# -- what differs ------------------------------------------------------------------------------------------------------


def _diff(session: Session, whatif: WhatIf, arguments: Namespace) -> Iterator[Answer]:
    from inspector.commands.changes import Which, told
    from inspector.commands.scope import beside, count
    from inspector.mappings.select import Selection

    limit = count(session, arguments.limit, "--limit")
    if whatif.ran:
        yield Note(RAN)
    if arguments.words:
        yield from _words(whatif, limit, summary=arguments.summary)
        return
    with whatif.lifted() as guest:
        before = _moment(guest, whatif.touched, guest.target.name)
    after = _moment(whatif.guest, whatif.touched, "the overlay")
    which = Which(None, Selection())
    yield from told(before, after, which, limit, summary=arguments.summary, exit_code=arguments.exit_code)
    yield from beside(after.spaces, after.findings)


def _moment(guest: Guest, lpids: set[int], name: str) -> Moment:
    """What the trees of these guests map, as far as there are such guests."""
    from inspector import partitions
    from inspector.moments import Moment
    from inspector.spaces import spaces_of

    trees = []
    for lpid in sorted(lpids):
        try:
            trees.append(partitions.partition(guest, lpid).tree)
        except UsageError:  # there is none on this side
            continue
    return Moment.of(spaces_of(guest, tuple(trees)), name)


def _words(whatif: WhatIf, limit: int | None, *, summary: bool) -> Iterator[Answer]:
    words = in_pool = unknown = 0
    pool = whatif.pool_range
    for change in whatif.overlay.changes():
        inside = pool.start <= change.address < pool.end
        words, in_pool, unknown = words + 1, in_pool + inside, unknown + (change.before is None)
        if not summary and (limit is None or words <= limit):
            yield Word(change, inside)
    yield Words(words, in_pool, unknown)


# -- words -------------------------------------------------------------------------------------------------------------


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "what",
        nargs="?",
        choices=("on", "off", "reset", "diff"),
        help="turn it on or off, empty it, or tell what differs; without it, how it stands",
    )
    parser.add_argument("--pool", metavar="ADDR:LEN", help="on: where new tables are laid, in RAM or outside of it")
    parser.add_argument("--host-page", metavar="SIZE", help="on: the host's page size: 64K (if left out) or 4K")
    parser.add_argument("--words", action="store_true", help="diff: every doubleword that differs, not the leaves")
    parser.add_argument("--limit", metavar="N", help="diff: tell so many at most; all are counted")
    parser.add_argument("--summary", action="store_true", help="diff: the counts alone")
    parser.add_argument("--exit-code", action="store_true", help="diff: exit status 1 where any leaf differs")


COMMANDS = (
    Command(
        "overlay",
        "look at the guest as it would be, if KVM did this or that",
        _overlay,
        _arguments,
        (
            Example("overlay", "how it stands"),
            Example("overlay on", "from now on changes go to a copy, and all commands see that"),
            Example("overlay on --pool 0x200000000:1M --host-page 4K", "new tables there, on a host of 4K pages"),
            Example("overlay off", "the guest itself again"),
        ),
        "Nothing is ever written to the guest. While an overlay is on, every command sees the guest through it: xlate, "
        "maps, tables, rmap, audit, search, export, read, and 'record', which writes what would be. What 'unmap', "
        "'age GPA', 'dirty-log clear', 'slot', 'free' and 'fault' change stays in it, and they turn it on where it is "
        "off. It takes memory for what was changed only; all else shows through, of a guest that runs on too. Tables "
        "that KVM would allocate are laid in a pool: real addresses above all RAM where none are named. 'overlay diff' "
        "tells leaves and tables of the guests that were touched as 'diff' does, and with --words every doubleword "
        "with what was there before, which is unknown where a snapshot lacks it. 'overlay reset' forgets all that was "
        "done: leaves, slots, and guests that were made.",
    ),
)
