"""The one registry of commands: it feeds the command line, scripts, the REPL, its completion and its help.

A command's module is imported when the command is used, so that one command pays for no other.
"""

from __future__ import annotations

import sys
from argparse import Action, ArgumentError, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType, TracebackType
from typing import IO, TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, TypeVar

from inspector import operands
from inspector.errors import InspectorError, NoMemory, TargetLost, UsageError
from inspector.guest import Guest

if TYPE_CHECKING:
    from inspector.moments import Moment
    from inspector.virtio.waiting import Waits

T = TypeVar("T")

MODULES: Mapping[str, str] = MappingProxyType(
    {
        "xlate": "translation",
        "compare": "translation",
        "why": "why",
        "triage": "triage",
        "maps": "maps",
        "dirty": "ageing",
        "age": "ageing",
        "tables": "tables",
        "mark": "mark",
        "diff": "diff",
        "audit": "audit",
        "rmap": "rmap",
        "search": "search",
        "report": "report",
        "export": "export",
        "sql": "sql",
        "pids": "roots",
        "lpids": "partitions",
        "roots": "roots",
        "regs": "registers",
        "cpu": "registers",
        "read": "memory",
        "ram": "memory",
        "decode": "decode",
        "rmmu": "decode",
        "dsisr": "dsisr",
        "fault": "fault",
        "overlay": "overlay",
        "slot": "slots",
        "unmap": "lifecycle",
        "test-age": "lifecycle",
        "dirty-log": "slots",
        "free": "lifecycle",
        "replay": "replay",
        "explain": "explain",
        "virtio": "virtio",
        "record": "record",
        "info": "info",
        "continue": "control",
        "interrupt": "control",
        "stepi": "control",
        "gdb": "control",
        "doctor": "doctor",
        "help": "help",
    }
)
"""Every command, in the order that 'help' lists them, and the module of this room that holds it."""

WITHOUT_GUEST = frozenset({"decode", "diff", "doctor", "dsisr", "explain", "help", "rmmu"})
"""Commands that need no target before them: they have none, or name their own."""

HELP = ("--help", "-h")

ABBREVIATIONS: Mapping[str, str] = MappingProxyType(
    {"x": "xlate", "c": "continue", "si": "stepi", "marks": "mark", "?": "help", "h": "help"}
)


class Result(Protocol):
    """What a command answers with. ``inspector.render.<topic>`` knows how to show it."""

    topic: ClassVar[str]

    @property
    def ok(self) -> bool:
        """False where the answer is a fault or a finding (exit status 1)."""


class Answered:
    """A result that is no fault and no finding, whatever it says: exit status 0."""

    __slots__ = ()

    @property
    def ok(self) -> bool:
        """Always."""
        return True


@dataclass
class Session:
    """What commands act on: the guest, and where their operands may come from.

    A context manager: leaving it closes the guest, whichever it is by then. ``reopen`` opens the target again by the
    options that it was first opened with; None where the session was handed a guest that it did not open.
    ``marks`` are moments that were kept by name, the latest last; they stay when the target is opened again.
    ``waits`` are the looks at virtio queues so far, by which what waits there is known to have waited.
    ``on_wrong_line`` is told of an operand on standard input that is wrong, and of its line's number; where it is None,
    such an operand ends the command. ``stdout`` hands out standard output to a command that writes bytes and no lines;
    None where lines go there, as at a prompt. ``alone`` says that one command is all that is to be answered."""

    guest: Guest | None = None
    stdin: IO[str] = field(default_factory=lambda: sys.stdin)
    json: bool = False
    reopen: Callable[[], Guest] | None = None
    on_wrong_line: Callable[[UsageError, int], object] | None = None
    marks: dict[str, Moment] = field(default_factory=dict)
    waits: Waits | None = None
    stdout: Callable[[], IO[bytes]] | None = None
    alone: bool = False

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.guest is not None:
            self.guest.close()

    @property
    def at(self) -> Guest:
        """The guest. Raises UsageError where there is none, TargetLost where it could not be opened again."""
        if self.guest is None:
            if self.reopen is not None:
                raise TargetLost("the target is not open; 'reattach' opens it again")
            raise UsageError("this needs a target; name one first, as in: inspector demo …")
        return self.guest

    def reattach(self) -> Guest:
        """Close the guest, lost or not, and open its target again; the chosen vCPU stays chosen where it is there.

        A gdbstub takes one client, so the old one goes first. Raises UsageError where there is nothing to open, and
        what opening raises; the session then goes on without a guest, and this may be tried again."""
        if self.reopen is None:
            raise UsageError("there is nothing to open again here; leave, and name a target")
        before, self.guest = self.guest, None
        if before is not None:
            with suppress(InspectorError):
                before.close()
        guest = self.guest = self.reopen()
        if before is not None and before.cpu in guest.target.cpus:
            guest.choose_cpu(before.cpu)
        return guest

    def take_stdout(self) -> IO[bytes]:
        """Standard output, for bytes that a command was told to write there; lines go elsewhere from then on. Raises
        UsageError where it is for lines."""
        if self.stdout is None:
            raise UsageError("bytes are not written to a terminal, nor among lines; name a file, or use a pipe")
        return self.stdout()

    def register(self, name: str) -> int:
        """For operands."""
        return self.at.register_value(name)

    def symbol(self, name: str) -> int:
        """For operands."""
        return self.at.symbol_value(name)

    def value(self, text: str) -> int:
        """An operand's value. Raises UsageError."""
        return operands.evaluate(text, self)

    def values(self, texts: Sequence[str]) -> Iterator[int]:
        """The values of operands in order, where ``-`` stands for the lines of standard input."""
        return self.each(texts, lambda value: value)

    def each(self, texts: Sequence[str], ask: Callable[[int], T]) -> Iterator[T]:
        """What ``ask`` answers to each operand in order, where ``-`` stands for the lines of standard input.

        A line that is wrong, or cannot be answered, is told to ``on_wrong_line``, and the next goes on: the others were
        asked about too."""
        return self.each_text(texts, lambda text: ask(self.value(text)))

    def each_text(self, texts: Sequence[str], ask: Callable[[str], T]) -> Iterator[T]:
        """The same of operands that are more than a value, as a range is: ``ask`` takes what is written."""
        for text in texts:
            if text != "-":
                yield ask(text)
                continue
            for number, line in enumerate(self.stdin, 1):
                if not line.strip():
                    continue
                try:
                    answer = ask(line.strip())
                except UsageError as error:
                    if self.on_wrong_line is None:
                        raise
                    self.on_wrong_line(error, number)
                else:
                    yield answer


@dataclass(frozen=True, slots=True)
class Example:
    """Words that a test runs on the demo guest, and what they are for."""

    words: str
    says: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command. ``run`` yields its results as it has them and prints nothing. ``prepare`` is called with all
    words of it before a live guest is stopped for it, where it is all that is to be answered."""

    name: str
    summary: str
    run: Callable[[Session, Namespace], Iterable[Result]]
    arguments: Callable[[Parser], None]
    examples: tuple[Example, ...]
    detail: str = ""
    prepare: Callable[[Sequence[str]], object] = lambda _words: None

    def parser(self) -> Parser:
        """Its words, as argparse takes them."""
        parser = Parser(prog=self.name, add_help=False, exit_on_error=False, formatter_class=_layout)
        self.arguments(parser)
        return parser


def _layout(prog: str) -> HelpFormatter:
    """How a command's words are laid out: 78 columns wide. A width that is given also spares argparse the asking, for
    which it imports half of the standard library's packers."""
    return HelpFormatter(prog, max_help_position=26, width=78)


class _Once(Action):
    """Stores a value, and refuses a second: argparse would silently take the last, as of --lpid 1 --lpid 2."""

    given = False

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option: str | None = None) -> None:
        if self.given and option is not None:
            raise ArgumentError(self, "it takes one value, and is given twice; leave one out")
        self.given = True
        setattr(namespace, self.dest, values)


class Parser(ArgumentParser):
    """argparse that raises UsageError where it would print and exit. Good for one line of words."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name in (None, "store"):
            self.register("action", name, _Once)

    def error(self, message: str) -> NoReturn:
        """One sentence with a way out."""
        raise UsageError(f"{self.prog}: {message}; 'help {self.prog}' shows its words")


def command(name: str) -> Command:
    """The command of this name. Raises UsageError, with the nearest names."""
    name = ABBREVIATIONS.get(name, name)
    module = MODULES.get(name)
    if module is None:
        from difflib import get_close_matches

        near = get_close_matches(name, MODULES, n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "'help' lists the commands"
        raise UsageError(f"there is no command {name!r}; {hint}")
    commands: Iterable[Command] = import_module(f"inspector.commands.{module}").COMMANDS
    return next(each for each in commands if each.name == name)


def parse(words: Sequence[str]) -> tuple[Command, Namespace]:
    """The command that these words name, and its arguments; with --help after it, 'help' on it. Raises UsageError."""
    chosen = command(words[0])
    if len(words) > 1 and words[1] in HELP:
        chosen, words = command("help"), ("help", chosen.name)
    parser = chosen.parser()
    try:
        return chosen, parser.parse_args(list(words[1:]))
    except ArgumentError as error:
        parser.error(str(error))


def run(session: Session, words: Sequence[str]) -> Generator[Result, None, None]:
    """Run the command that these words name, yielding its results as it has them. Closing it ends the command.

    Raises NoMemory where the answer does not fit here, and what the command raises."""
    chosen, arguments = parse(words)
    try:
        yield from chosen.run(session, arguments)
    except MemoryError:  # what trees may take is bounded by what is free, but others take of that too
        raise NoMemory from None


def no_arguments(_parser: Any) -> None:
    """For a command that takes no words."""
