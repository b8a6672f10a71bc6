"""``continue``, ``interrupt``, ``stepi`` and ``gdb``: making a live guest go and stop, when asked by name."""

from __future__ import annotations

from argparse import REMAINDER, Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Answered, Command, Example, Parser, Session, no_arguments
from inspector.errors import UsageError
from inspector.guest import Guest

LONGEST = 24 * 3600.0
"""Seconds that 'continue --for' waits at most."""
MOST_STEPS = 1_000_000
EVERY = 64


@dataclass(frozen=True, slots=True)
class Went(Answered):
    """What the guest does now. ``happened`` says what was done; registers are None while it runs, or unknown.

    ``epoch`` counts how often it has run: what was read in another is not to be trusted."""

    topic: ClassVar[str] = "control"
    happened: str
    state: str
    epoch: int
    cpu: int
    nip: int | None
    msr: int | None


@dataclass(frozen=True, slots=True)
class Console(Answered):
    """What gdb said to a command."""

    topic: ClassVar[str] = "control"
    command: str
    output: str


def _now(guest: Guest, happened: str) -> Went:
    nip = msr = None
    if not guest.running:
        known = guest.registers(names=("nip", "msr"))
        nip, msr = known.get("nip"), known.get("msr")
    return Went(happened, guest.target.state.value, guest.target.clock.epoch, guest.cpu, nip, msr)


def _seconds(text: str | None) -> float | None:
    """How long to run. Raises UsageError."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"--for takes seconds, up to a day, as in --for 0.5, not {text!r}")
    return seconds


def _continue(session: Session, arguments: Namespace) -> Iterator[Went]:
    guest = session.at
    seconds = _seconds(arguments.seconds)
    control = guest.control
    guest.resume()
    if seconds is None:
        yield _now(guest, "the guest runs")
        return
    try:
        stopped = control.wait(seconds)
    except BaseException:
        if guest.running:
            control.interrupt()
        raise
    if not stopped:
        control.interrupt()
    yield _now(guest, "stopped by itself" if stopped else f"ran for {seconds:g} s")


def _interrupt(session: Session, _arguments: Namespace) -> Iterator[Went]:
    guest = session.at
    control = guest.control
    if not guest.running:
        found = guest.target.machine.get("found_running")
        after = ": attaching had stopped it, and it runs on when the inspector leaves" if found else ""
        yield _now(guest, f"it was stopped already{after}")
        return
    control.interrupt()
    yield _now(guest, "as you asked")


def _stepi(session: Session, arguments: Namespace) -> Iterator[Went]:
    guest = session.at
    count = 1 if arguments.count is None else session.value(arguments.count)
    if not 0 < count <= MOST_STEPS:
        raise UsageError(f"{count} is not a number of steps; give 1 to {MOST_STEPS}")
    control = guest.control
    if guest.running:
        raise UsageError("the guest is running, and only one that is stopped can step; 'interrupt' stops it")
    for done in range(count):
        control.step(guest.cpu)
        if done % EVERY == EVERY - 1:
            guest.progress("stepping", done + 1, count)
    yield _now(guest, f"{count} instruction{'' if count == 1 else 's'} on vCPU {guest.cpu}")


def _gdb(session: Session, arguments: Namespace) -> Iterator[Console]:
    guest = session.at
    command = " ".join(arguments.command)
    if not command:
        raise UsageError("gdb wants a command of gdb's after it, as in: gdb info threads")
    yield Console(command, guest.control.console(command))


def _continue_arguments(parser: Parser) -> None:
    parser.add_argument("--for", dest="seconds", metavar="SECONDS", help="run so long, and stop again")


def _stepi_arguments(parser: Parser) -> None:
    parser.add_argument("count", nargs="?", metavar="N", help="so many instructions (1)")


def _gdb_arguments(parser: Parser) -> None:
    parser.add_argument("command", nargs=REMAINDER, metavar="WORD", help="a command as gdb has it, one that only looks")


COMMANDS = (
    Command(
        "continue",
        "let the guest run",
        _continue,
        _continue_arguments,
        (
            Example("continue", "and look on while it runs"),
            Example("continue --for 0.5", "half a second, then stop again"),
        ),
        "Returns at once, and leaves the guest running when the inspector ends, as you asked by name.",
    ),
    Command(
        "interrupt",
        "stop the guest",
        _interrupt,
        no_arguments,
        (Example("interrupt", "all vCPUs stop where they are"),),
        "Attaching stops a guest too. When the inspector leaves, one that ran when it was found runs on.",
    ),
    Command(
        "stepi",
        "run one instruction, or so many, on the chosen vCPU",
        _stepi,
        _stepi_arguments,
        (Example("stepi", "and see where it is then"), Example("stepi 10", "ten instructions")),
    ),
    Command(
        "gdb",
        "a command of gdb's own, one that only looks",
        _gdb,
        _gdb_arguments,
        (Example("gdb info threads", "the vCPUs as gdb sees them"),),
        "Commands that would write to the guest are refused: it only looks.",
    ),
)
