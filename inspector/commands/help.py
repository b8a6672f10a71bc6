"""``help``: the commands, each one's words and examples, and what operands and targets may be."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import (
    ABBREVIATIONS,
    MODULES,
    WITHOUT_GUEST,
    Answered,
    Command,
    Example,
    Parser,
    Session,
    command,
)

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("what is wrong", ("triage",)),
    ("where does it go", ("xlate", "compare", "why", "rmap")),
    ("what is there", ("maps", "dirty", "age", "tables", "audit", "sql", "mark", "diff")),
    ("where it begins", ("pids", "lpids", "roots", "ram")),
    ("what does it hold", ("read", "search", "regs", "cpu", "decode", "dsisr", "rmmu")),
    ("what do its devices do", ("virtio",)),
    ("what would KVM do", ("overlay", "fault", "slot", "unmap", "test-age", "dirty-log", "free", "replay", "explain")),
    ("keep it", ("record", "export", "report", "info")),
    ("make it go and stop", ("continue", "interrupt", "stepi", "gdb")),
    ("about this", ("help", "doctor")),
)

OPERANDS = """\
An operand is an address or a value: an expression of

  number     0xc000000000000000, 0b101, 0o17, 64, 64K, 2M; _ may part its digits
  $register  its value on the chosen vCPU: $nip, $r3, $msr ('regs --all' lists)
  symbol     its address in the kernel image, with --vmlinux FILE
  operators  - ~ before one; between two, from tight to loose: * + - << >> & ^ |
  ( )        as in C

A value has 64 bits; -8 and ~0xfff are what they are in C. Where a command takes
several, - stands for the lines of standard input, an operand each. In a shell,
quote what it would take for itself: inspector demo xlate '$r1 + 0x10'

Options of the target and --json may stand before the command or after it."""

TARGETS = """\
A target is what is looked into:

  demo                   the recorded guest that ships with the inspector
  FILE                   a snapshot, QEMU's dump or a vmcore; .gz and .zst too
  gdb:HOST:PORT          a live guest through QEMU's gdbstub (-gdb tcp::PORT)
  gdb:unix:PATH          the same through a socket
  raw:FILE[@ADDR] …      flat images of physical memory, from ADDR (0) on

With it go, before or after the command:

  --ram FILE[@ADDR]      gdb: read RAM from QEMU's shared memory backend file
  --regs FILE.json       raw: the registers: {"cpus": [{"pid": "0x4", …}]}
  --process-table VALUE  the registered value, where it is not found
  --vmlinux FILE         the kernel image, for symbols
  --set REG=VALUE        a register's value, where it is not known
  --cpu N                whose registers are followed

The guest is left as it was found, and nothing outside its RAM is read."""

SUBJECTS = {"operands": OPERANDS, "targets": TARGETS}


@dataclass(frozen=True, slots=True)
class Listed:
    """One command in the list: its group's head, its short forms, and whether it needs a target."""

    group: str
    name: str
    summary: str
    short: tuple[str, ...]
    needs_target: bool


@dataclass(frozen=True, slots=True)
class CommandList(Answered):
    """All commands, group by group."""

    topic: ClassVar[str] = "help"
    commands: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class CommandHelp(Answered):
    """One command's words: usage and options as argparse lays them out, then what else is to be known."""

    topic: ClassVar[str] = "help"
    name: str
    summary: str
    words: str
    detail: str
    examples: tuple[Example, ...]
    short: tuple[str, ...]
    needs_target: bool


@dataclass(frozen=True, slots=True)
class Subject(Answered):
    """A page on something that is no command."""

    topic: ClassVar[str] = "help"
    name: str
    text: str


def short_forms(name: str) -> tuple[str, ...]:
    """What the command may be called for short."""
    return tuple(short for short, long in ABBREVIATIONS.items() if long == name)


def grouped() -> Iterator[tuple[str, str]]:
    """Every command of the registry with its group, whichever has none last."""
    named = {name for _, names in GROUPS for name in names}
    for head, names in GROUPS:
        yield from ((head, name) for name in names if name in MODULES)
    yield from (("others", name) for name in MODULES if name not in named)


def _help(_session: Session, arguments: Namespace) -> Iterator[CommandList | CommandHelp | Subject]:
    name = arguments.about
    if name is None:
        yield CommandList(
            tuple(
                Listed(head, name, command(name).summary, short_forms(name), name not in WITHOUT_GUEST)
                for head, name in grouped()
            )
        )
    elif name in SUBJECTS:
        yield Subject(name, SUBJECTS[name])
    else:
        chosen = command(name)
        yield CommandHelp(
            chosen.name,
            chosen.summary,
            chosen.parser().format_help().rstrip(),
            chosen.detail,
            chosen.examples,
            short_forms(chosen.name),
            chosen.name not in WITHOUT_GUEST,
        )


def _help_arguments(parser: Parser) -> None:
    parser.add_argument("about", nargs="?", metavar="COMMAND", help="or one of: operands, targets")


COMMANDS = (
    Command(
        "help",
        "the commands, or the words of one of them",
        _help,
        _help_arguments,
        (
            Example("help", "every command in a line"),
            Example("help xlate", "one command's words, with examples"),
            Example("help operands", "what an address or a value may be"),
        ),
    ),
)
