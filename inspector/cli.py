"""The command line: ``inspector TARGET [COMMAND …]``, scripts, or the REPL."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from inspector import __version__
from inspector.commands.line import parse_line
from inspector.commands.registry import HELP, MODULES, WITHOUT_GUEST, Session, command, run
from inspector.errors import InspectorError, UnknownRegister, UnknownSymbol, UsageError
from inspector.guest import Guest
from inspector.opening import DEMO, open_target
from inspector.render.style import Style, safe

USAGE = """\
usage: inspector TARGET [OPTIONS] [COMMAND WORDS…]     one command, or the REPL
       inspector TARGET -c 'COMMAND' … | -f FILE       several commands
       inspector help [COMMAND] | decode [KIND] VALUE… | rmmu | doctor
       inspector diff FILE FILE

targets:  demo | FILE | gdb:HOST:PORT | gdb:unix:PATH | raw:FILE[@ADDR]…
options:  --vmlinux FILE  --process-table VALUE  --set REG=VALUE  --cpu N
          --ram FILE[@ADDR]  --source auto|ram|process|pmemsave|gdb (gdb:)
          --regs FILE.json (raw:)
          --json  --color always|never|auto  -c COMMAND  -f FILE (- is stdin)
          --version

for example: inspector demo xlate 0xc000000000000000"""

INTERRUPTED = 130
STDIN = "-"
LEAVING = ("quit", "exit")
"""What ends a script, as it ends the REPL."""
PLAIN_WIDTH = 80


@dataclass
class Words:
    """What the command line said."""

    targets: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    scripted: list[tuple[str, str]] = field(default_factory=list)
    overrides: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    json: bool = False
    help: bool = False


WITH_VALUE = ("--vmlinux", "--process-table", "--set", "--cpu", "--ram", "--source", "--regs", "--color", "-c", "-f")


def split(arguments: Sequence[str]) -> Words:
    """Take the options of the target and --json out of the words, wherever they stand. Raises UsageError."""
    words = Words()
    rest: list[str] = []
    at = 0
    while at < len(arguments):
        word = arguments[at]
        name, equals, value = word.partition("=")
        at += 1
        if word == "--json":
            words.json = True
        elif word in HELP and len(rest) < 2 and not (rest and rest[0] in MODULES):
            words.help = True
        elif name in WITH_VALUE and (equals == "" or name.startswith("--")):
            if not equals:
                if at == len(arguments):
                    raise UsageError(f"{name} wants a value after it; 'inspector --help' shows the words")
                value = arguments[at]
                at += 1
            _take(words, name, value)
        else:
            rest.append(word)
    if rest and rest[0] not in WITHOUT_GUEST:
        words.targets.append(rest.pop(0))
        while words.targets[0].startswith("raw:") and rest and rest[0].startswith("raw:"):
            words.targets.append(rest.pop(0))
    words.command = rest
    return words


def _take(words: Words, name: str, value: str) -> None:
    if name in ("-c", "-f"):
        words.scripted.append((name, value))
    elif name == "--set":
        register, equals, number = value.partition("=")
        if not equals:
            raise UsageError(f"--set takes REG=VALUE, as in --set pid=4, not {value!r}")
        words.overrides[register] = number
    else:
        words.values[name] = value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. The exit status: 0 answered, 1 a fault or a finding, 2 wrong words, 3 no target."""
    from inspector.ui import progress

    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    except InspectorError as error:
        return _complain(error)
    except KeyboardInterrupt:
        progress.clear()
        print("inspector: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        print(f"inspector: the system refused: {_reason(error)}; see to that and try again", file=sys.stderr)
        return 3


def _complain(error: InspectorError, place: str = "") -> int:
    """Say what went wrong, without what a file or a stub may have put into it to steer the terminal. Its status."""
    from inspector.ui import progress

    progress.clear()
    print(f"inspector: {safe(place)}{safe(str(error))}", file=sys.stderr)
    return error.exit_status


def _reason(error: OSError) -> str:
    """What the system said, and of which file."""
    reason = error.strerror or str(error)
    return safe(f"{error.filename}: {reason}" if error.filename else reason)


def _discard_output() -> None:
    """Let what is still to be written go nowhere, so that leaving does not fail too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(arguments: Sequence[str]) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a character is no reason to stop
    if list(arguments) == ["--version"]:
        print(f"inspector {__version__}")
        return 0
    words = split(arguments)
    if words.help or not (words.targets or words.command or words.scripted):
        print(USAGE, file=sys.stdout if words.help else sys.stderr)
        return 0 if words.help else 2
    style = _style(words.values.get("--color", "auto"))
    if not words.targets:
        session = Session(json=words.json)
        return _answer(session, words.command, style) if words.command else _script(session, words.scripted, style)
    if not os.path.exists(words.targets[0]):
        if words.targets[0] in MODULES and words.command[:1] and words.command[0] in HELP:
            return _answer(Session(json=words.json), ("help", words.targets[0]), style)
        _not_a_command(words.targets[0], arguments)
    if words.command:
        if words.scripted:
            raise UsageError(f"{words.command[0]!r} is one command, and -c and -f give several; leave one of them out")
        chosen = command(words.command[0])
        if words.targets[0].startswith("gdb:"):
            chosen.prepare(words.command)
    with Session(json=words.json, reopen=lambda: _open(words)) as session:
        session.reattach()
        if words.command:
            return _answer(session, words.command, style, alone=True)
        if words.scripted:
            return _script(session, words.scripted, style)
        if not sys.stdin.isatty():
            return _lines(session, _numbered("standard input", sys.stdin), style)
        from inspector.ui.repl import repl

        return repl(session, style)


def _not_a_command(target: str, arguments: Sequence[str]) -> None:
    """Raises UsageError where what stands in the target's place is an option, a command, or nearly one."""
    if target.startswith("-"):
        raise UsageError(f"{target!r} is not among the options here; 'inspector --help' shows those there are")
    if target in MODULES:
        shown = " ".join(arguments)
        raise UsageError(f"{target!r} is a command, and a target comes first, as in: inspector demo {shown}")
    if target == DEMO or ":" in target:
        return
    from difflib import get_close_matches

    near = get_close_matches(target, MODULES, n=1, cutoff=0.75)
    if near:
        raise UsageError(f"{target!r} is no file; for the command {near[0]!r} name a target first: demo {near[0]} …")


def _open(words: Words) -> Guest:
    from inspector import operands
    from inspector.ui.progress import progress

    def number(name: str, text: str) -> int:
        try:
            return operands.evaluate(text, operands.NUMBERS_ONLY)
        except (UnknownRegister, UnknownSymbol) as error:
            raise UsageError(
                f"{name} is read before the target is open, so {error.name!r} has no value yet; give a number"
            ) from None
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None

    values = words.values
    table, cpu = values.get("--process-table"), values.get("--cpu")
    return open_target(
        words.targets,
        regs=values.get("--regs"),
        ram=values.get("--ram"),
        source=values.get("--source"),
        process_table=None if table is None else number("--process-table", table),
        vmlinux=values.get("--vmlinux"),
        overrides={name: number(f"--set {name}", text) for name, text in words.overrides.items()},
        cpu=None if cpu is None else number("--cpu", cpu),
        progress=progress(),
    )


def _style(choice: str) -> Style:
    if choice not in ("always", "never", "auto"):
        raise UsageError(f"--color takes always, never or auto, not {choice!r}")
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
    colour = choice == "always" or (choice == "auto" and terminal)
    columns = os.get_terminal_size().columns if sys.stdout.isatty() else 0
    return Style(colour, columns or PLAIN_WIDTH)  # a terminal that was never told its size says 0


def _answer(session: Session, words: Sequence[str], style: Style, json: bool = False, alone: bool = False) -> int:
    """Run one command and print what it answers as it comes; ``json`` is for this command alone.

    Where it is ``alone`` on its command line it may take standard output for bytes: a pipe or a file, no terminal. What
    it says then goes to standard error."""
    from inspector.commands.notes import Aside
    from inspector.render import show
    from inspector.ui import progress

    status = 0
    waiting = "-" in words  # whoever hands in operands one by one waits for each answer
    wrong: list[int] = []
    lines_to = sys.stdout

    def take_stdout() -> IO[bytes]:
        nonlocal lines_to
        lines_to = sys.stderr
        return sys.stdout.buffer

    session.alone = alone
    session.stdout = take_stdout if alone and not sys.stdout.isatty() else None
    session.on_wrong_line = lambda error, number: wrong.append(_complain(error, f"standard input:{number}: "))
    for result in run(session, words):
        for line in show.json_lines(result) if json or session.json else show.text(result, style):
            progress.clear()
            print(line, file=sys.stderr if isinstance(result, Aside) else lines_to, flush=waiting)
        if not result.ok:
            status = 1
    sys.stdout.flush()
    return max(status, *wrong, 0)


def _script(session: Session, scripted: Sequence[tuple[str, str]], style: Style) -> int:
    """The commands of -c and -f in order; the worst status of all."""

    def lines() -> Iterator[tuple[str, str]]:
        for kind, value in scripted:
            if kind == "-c":
                yield "", value
            elif value == STDIN:
                yield from _numbered("standard input", sys.stdin)
            else:
                try:
                    with open(value, encoding="utf-8") as file:
                        yield from _numbered(value, file)
                except OSError as error:
                    raise UsageError(f"{value}: cannot be read as a script ({error.strerror}); name another") from None
                except UnicodeDecodeError:
                    raise UsageError(f"{value}: is no text, so no script; name another") from None

    return _lines(session, lines(), style)


def _numbered(name: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each line after the place that an error in it is told with."""
    for number, line in enumerate(lines, 1):
        yield f"{name}:{number}: ", line


def _lines(session: Session, lines: Iterable[tuple[str, str]], style: Style) -> int:
    """Run each line as a command; a line that fails is told, with its place, and the next goes on."""
    status = 0
    for place, text in lines:
        try:
            line = parse_line(text)
            if line is None:
                continue
            if line.words[0] in LEAVING:
                break
            status = max(status, _answer(session, line.words, style, line.json))
        except InspectorError as error:
            status = max(status, _complain(error, place))
    return status
