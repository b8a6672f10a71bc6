"""``mark``: keep what is mapped at this moment, so that ``diff`` can tell what has changed since."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import EVERY_PROCESS, Beside, beside, looked_at
from inspector.errors import UsageError

if TYPE_CHECKING:
    from inspector.moments import Moment
    from inspector.spaces import Spaces

MOST_BYTES = 2 << 30
"""All marks of a session together take so much memory at most."""
NOT_IN_NAMES = "/:"
"""What makes a word a file or a target, and never a mark."""


@dataclass(frozen=True, slots=True)
class Marked(Answered):
    """One mark: of which target and when it was made (seconds since 1970), and what it holds. ``size`` is the bytes of
    memory that it takes. ``done`` is "made", "made again", "kept" or "removed"."""

    topic: ClassVar[str] = "mark"
    name: str
    of: str
    at: float
    processes: int
    ranges: int
    tables: int
    size: int
    changing: bool
    done: str


def _mark(session: Session, arguments: Namespace) -> Iterator[Marked | Beside]:
    marks = session.marks
    name: str | None = arguments.name
    if arguments.remove is not None:
        if name is not None:
            raise UsageError("'mark NAME' makes a mark and 'mark --remove NAME' removes one; do one at a time")
        yield _told(arguments.remove, marks.pop(known(session, arguments.remove)), "removed")
        return
    if name is None:
        if not marks:
            yield Note("there are no marks yet; 'mark NAME' makes one, and 'diff NAME' tells what changed since")
        for each, moment in marks.items():
            yield _told(each, moment, "kept")
        return
    if not name or name.startswith("-") or any(letter in name for letter in NOT_IN_NAMES):
        raise UsageError(f"{name!r} is no name for a mark; take a word without / and :, as in: mark before")
    from inspector.moments import Moment

    spaces = yield from looked_at(session, EVERY_PROCESS, guests=True)
    if spaces is None:
        return
    try:
        if spaces.interrupted:
            raise KeyboardInterrupt
        moment = replace(Moment.of(spaces), guests=dict(_guests(session, spaces)))
    except KeyboardInterrupt:
        raise UsageError(
            f"interrupted, so {name!r} was not made: half of what is mapped is no mark; try again"
        ) from None
    others = sum(each.nbytes for each in marks.values() if each is not marks.get(name))
    if others + moment.nbytes > MOST_BYTES:
        raise UsageError(
            f"with {name!r} the marks would take {(others + moment.nbytes) >> 20} MiB of memory, and "
            f"{MOST_BYTES >> 20} MiB is the most; 'mark --remove NAME' makes room"
        )
    again = marks.pop(name, None) is not None  # the latest stands last
    marks[name] = moment
    yield _told(name, moment, "made again" if again else "made")
    if session.stdout is not None:  # one command, and no session after it
        yield Note("it ends with this command; -c gives several in one session, and 'record FILE' keeps for longer")
    yield from beside(spaces, moment.findings)
    for of_guest in moment.guests.values():
        yield from beside(of_guest.spaces, of_guest.findings)


def _guests(session: Session, spaces: Spaces) -> Iterator[tuple[int, Moment]]:
    """By LPID, what the processes of the guests map whose partition-scoped trees are there."""
    from inspector.moments import Moment

    for tree in spaces.trees:
        if tree.pid is None:
            try:
                yield tree.lpid, Moment.of(session.at.spaces(lpid=tree.lpid), f"LPID {tree.lpid}")
            except UsageError:  # gone meanwhile
                continue


def known(session: Session, name: str) -> str:
    """The name of a mark that there is. Raises UsageError."""
    if name not in session.marks:
        there = f"there are {', '.join(session.marks)}" if session.marks else "'mark NAME' makes one"
        raise UsageError(f"there is no mark {name!r}; {there}")
    return name


def _told(name: str, moment: Moment, done: str) -> Marked:
    spaces = moment.spaces
    return Marked(
        name,
        spaces.name,
        moment.at,
        len(spaces.processes),
        len(moment.ranges),
        len(moment.tables),
        moment.nbytes,
        spaces.changing,
        done,
    )


def _mark_arguments(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="what to call this moment; without it, list the marks")
    parser.add_argument("--remove", metavar="NAME", help="forget this mark")


COMMANDS = (
    Command(
        "mark",
        "keep what is mapped now, for 'diff' to hold against later",
        _mark,
        _mark_arguments,
        (
            Example("mark before", "then let it run, and 'diff before'"),
            Example("mark", "the marks there are"),
        ),
        "A mark holds every mapping and every table page of all processes, and of a bare machine's KVM guests what the "
        "host has behind them and what their own processes map (but not their guests'), in the memory of this session: "
        "it is gone when the session ends ('record FILE' keeps for longer), and stays when the target is opened again. "
        "A mark of the same name takes the place of the one before.",
    ),
)
