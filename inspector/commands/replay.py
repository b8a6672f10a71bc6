"""``replay``: KVM's second-level life cycle by lines of JSON, one answer a line: a reproducer for a bug."""

from __future__ import annotations

import os
import stat
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, ClassVar

from inspector.commands.hostwords import HOST_PAGES, pool_of
from inspector.commands.lifecycle import GOOD, LAID, behave, version_arguments
from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Command, Example, Parser, Result, Session, parse
from inspector.errors import InspectorError, UsageError
from inspector.interrupts import Interrupts
from inspector.kvm import lines as asked_lines
from inspector.kvm.lines import LONGEST
from inspector.kvm.replay import Replay
from inspector.kvm.shape import HostPages

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.kvm.machine import Vm
    from inspector.whatif import WhatIf

STDIN = "-"
AT_ONCE = 256
"""Lines of a file that are answered together."""
HEAVY = 1 << 20
"""Unless their answers are longer than this: a log may be long."""
TLBIE = 64
"""About the length of one tlbie in an answer."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The answers to some lines, in order, as JSON has them."""

    topic: ClassVar[str] = "replay"
    answers: tuple[dict[str, Any], ...]

    @property
    def ok(self) -> bool:
        """Whether the guest goes on after each of them."""
        return all(map(good, self.answers))


def good(answer: dict[str, Any]) -> bool:
    """Whether the guest goes on after this answer, and nothing was refused."""
    result = answer.get("result")
    return type(result) is int or result in GOOD


class _Guests:
    """The guests of a replay: those of the target on its overlay, or (``empty``) each with an empty tree."""

    def __init__(self, whatif: WhatIf, empty: bool) -> None:
        self.whatif = whatif
        self.empty = empty
        self.begun: list[int] = []
        """The LPIDs that were met, the first first."""
        self.made: list[int] = []
        """Those that were not there, since the last time that somebody asked."""

    def begin(self, lpid: int) -> Vm:
        """See :class:`inspector.kvm.replay.Guests`."""
        there = self.there(lpid)
        vm = self.whatif.empty(lpid) if self.empty else self.whatif.vm(lpid, make=True)
        if lpid not in self.begun:
            self.begun.append(lpid)
            if not there and not self.empty:
                self.made.append(lpid)
        return vm

    def there(self, lpid: int) -> bool:
        """See :class:`inspector.kvm.replay.Guests`."""
        try:
            self.whatif.vm(lpid)
        except UsageError:
            return False
        return True

    def free(self, vm: Vm) -> None:
        """See :class:`inspector.kvm.replay.Guests`."""
        self.whatif.free(vm)

    def said(self) -> Iterator[Aside]:
        """Whose trees were made."""
        for lpid in self.made:
            yield Aside(Note(f"there is no KVM guest with LPID {lpid} here, so that it begins with an empty tree"))
        self.made.clear()


@dataclass(slots=True)
class _Wrong:
    """The lines that were wrong: how many, and the first."""

    count: int = 0
    first: int = 0


def _replay(session: Session, arguments: Namespace) -> Iterator[Result]:
    source = _Source(session, arguments.file)
    try:
        whatif, turned_on = _overlay(session, arguments)
        if turned_on:
            yield Aside(Note(LAID))
        yield from behave(whatif, arguments)
        guests = _Guests(whatif, arguments.empty)
        wrong = _Wrong()
        yield from _answers(session.at, source, Replay(whatif.machine, guests), guests, wrong, stop=arguments.stop)
    finally:
        source.close()
    if arguments.leaves:
        for lpid in guests.begun:
            if guests.there(lpid):
                maps, words = parse(("maps", "--lpid", str(lpid), "--partition", "--leaves"))
                yield from maps.run(session, words)
    if wrong.count:
        which = f"line {wrong.first} was" if wrong.count == 1 else f"{wrong.count:,} lines were, from {wrong.first} on,"
        raise UsageError(f"{source.name}: {which} wrong, and the answer says why; mend it and replay again")


def _answers(
    guest: Guest, source: _Source, replay: Replay, guests: _Guests, wrong: _Wrong, *, stop: bool
) -> Iterator[Replayed | Aside]:
    """The answers to all lines: to those of a file many at once, to others before the next line is read."""
    lines = iter(source)
    at_once = AT_ONCE if source.size is not None else 1
    more = True
    try:
        while more:
            if source.size is None:
                line = next(lines, None)  # may be waited for, and Ctrl-C ends that
                some: Iterable[tuple[int, str | None]] = () if line is None else (line,)
                more = line is not None
            else:
                some = lines
            answers: list[dict[str, Any]] = []
            weight = 0
            with Interrupts() as held:  # a tree must not be left half changed
                for number, text in some:
                    answer = _answer(replay, number, text, wrong)
                    answers.append(answer)
                    weight += len(answer.get("bitmap", "")) + TLBIE * len(answer.get("tlbie", ()))
                    if held.asked or len(answers) >= at_once or weight > HEAVY or (stop and not good(answer)):
                        break
                else:
                    more = more and source.size is None
            yield from guests.said()
            if answers:
                yield Replayed(tuple(answers))
                if stop and not good(answers[-1]):
                    return
            if source.size:
                guest.progress("replaying", min(source.done, source.size - 1), source.size)
            if held.asked:
                raise KeyboardInterrupt
    finally:
        if source.size:
            guest.progress("replaying", source.size, source.size)


def _answer(replay: Replay, number: int, line: str | None, wrong: _Wrong) -> dict[str, Any]:
    """The answer to one line; None stands for one that is too long, or no text."""
    try:
        if line is None:
            raise UsageError(f"it is not UTF-8, or longer than {LONGEST:,} characters")
        return replay.run(asked_lines.parse(line, replay.machine.pages.shift))
    except InspectorError as error:
        if isinstance(error, UsageError):
            wrong.count += 1
            wrong.first = wrong.first or number
        return {"error": str(error), "line": number}


def _overlay(session: Session, arguments: Namespace) -> tuple[WhatIf, bool]:
    """The overlay to replay on, and whether it was turned on for that. Raises UsageError where one is on that is
    otherwise than asked for."""
    guest = session.at
    pool = pool_of(arguments.pool, session)
    pages = None if arguments.host_page is None else HostPages(HOST_PAGES[arguments.host_page])
    whatif = guest.whatif
    turned_on = whatif is None
    if whatif is None:
        whatif = guest.lay_over(pool, pages)
    elif pool is not None and (pool.start, pool.size) != (whatif.pool_range.start, whatif.pool_range.size):
        raise UsageError(
            f"the overlay that is on has its pool at {whatif.pool_range.start:#x}; leave --pool out, or turn it off "
            "first with 'overlay off'"
        )
    elif pages is not None and pages != whatif.machine.pages:
        raise UsageError(
            f"the overlay that is on is of a host with pages of {whatif.machine.pages.size >> 10}K; leave --host-page "
            "out, or turn it off first with 'overlay off'"
        )
    return whatif, turned_on


class _Source:
    """The lines of a file, or of standard input (``-``), with their numbers: None for one that is too long or is no
    text; blank ones are left out. ``size`` is that of a plain file, which is never waited for; None of all else.
    Raises UsageError where it cannot be read."""

    def __init__(self, session: Session, name: str) -> None:
        self.name = "standard input" if name == STDIN else name
        self.done = 0
        self.size: int | None = None
        self._binary: IO[bytes] | None = None
        self._text: IO[str] | None = None
        if name == STDIN:
            self._text = session.stdin
            with suppress(AttributeError, OSError, ValueError):
                # Not where some of it was read already: then what is no UTF-8 ends it
                session.stdin.reconfigure(errors="replace")  # type: ignore[attr-defined]
            with suppress(OSError, ValueError):
                self.size = _size(session.stdin.fileno())
            return
        try:
            self._binary = open(name, "rb")  # noqa: SIM115
            self.size = _size(self._binary.fileno())
        except OSError as error:
            raise UsageError(
                f"{name}: cannot be read ({error.strerror}); name another file, or - for standard input"
            ) from None

    def __iter__(self) -> Iterator[tuple[int, str | None]]:
        number = 0
        try:
            while True:
                line, length = self._next()
                if not length:
                    return
                number += 1
                self.done += length
                if line is None or line.strip():
                    yield number, line
        except OSError as error:
            raise UsageError(f"{self.name}: cannot be read on ({error.strerror}); name another") from None
        except UnicodeDecodeError:
            raise UsageError(f"{self.name}: is no text; name another") from None

    def _next(self) -> tuple[str | None, int]:
        """The next line, or None of one that cannot be one, and how long it was: 0 at the end."""
        most = LONGEST + 2
        if self._text is not None:
            line = self._text.readline(most)
            length = len(line)
            if length >= most and not line.endswith("\n"):
                while piece := self._text.readline(most):
                    length += len(piece)
                    if piece.endswith("\n"):
                        break
                return None, length
            return (None if "\ufffd" in line else line), length
        assert self._binary is not None
        data = self._binary.readline(most)
        length = len(data)
        if length >= most and not data.endswith(b"\n"):
            while more := self._binary.readline(most):
                length += len(more)
                if more.endswith(b"\n"):
                    break
            return None, length
        try:
            return data.decode(), length
        except UnicodeDecodeError:
            return None, length

    def close(self) -> None:
        """Close what was opened."""
        if self._binary is not None:
            self._binary.close()


def _size(descriptor: int) -> int | None:
    """Bytes of a plain file; None of what is none."""
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _replay_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="lines of JSON; - for standard input, answered one by one")
    version_arguments(parser)
    parser.add_argument("--host-page", choices=HOST_PAGES, type=str.lower, help="the host's pages; 64k if left out")
    parser.add_argument("--pool", metavar="ADDR:LEN", help="where new tables are laid; beyond all RAM if left out")
    parser.add_argument("--empty", action="store_true", help="every guest begins with an empty tree")
    parser.add_argument("--leaves", action="store_true", help="then the trees, as 'maps --partition --leaves' has them")
    parser.add_argument("--stop", action="store_true", help="end at the first answer that is an error")


COMMANDS = (
    Command(
        "replay",
        "KVM's faults, unmaps, ageing and logs by lines of JSON",
        _replay,
        _replay_arguments,
        (Example("replay -", "a line in, an answer out, as long as there are lines"),),
        'Each line is an object: {"op": "fault", "lpid", "ea", "gpa", "dsisr", "host"} with host null or {"hva", '
        '"base", "shift", "writable", "dirty", "io"}; {"op": "unmap", "age" or "test-age", "lpid", "gpa"}; '
        '{"op": "slot", "lpid", "base", "size", "flags", "hva"}; {"op": "dirty-log", "lpid", "base", "size"}; '
        '{"op": "free", "lpid"}. Numbers are whole, or strings as "0x1f"; "comment", "nip" and "pid" are passed over. '
        "A host may say more: accessed, compound (log2 of the page that its mapping is of), transparent, entry (its "
        "own page-table entry); a fault: invalidated, fetch; flags may be log, readonly or a list of them. Each "
        'answer is a line of JSON, also without --json: "result", "path" (the decisions in order), "installed", '
        '"tlbie", of a log "bitmap" and "pages". A line that is wrong is answered with "error" and its number, the '
        "rest goes on, and the exit status is 2. It all happens on the session's overlay: nothing is written to the "
        "guest. A guest has the tree that the target's partition table gives, and one that is not there begins with an "
        "empty one. A store to a leaf that a log cleaned has the MMU set C, and raises no fault, so that a replay of "
        "faults alone does not know of it.",
    ),
)
