"""Which gdb commands only look.

``gdb COMMAND`` hands a line to gdb's console. What is not known to only look is refused here, and
gdb itself refuses what slips through: it may not write memory or registers, insert breakpoints or
call functions, and may read nothing but RAM, by real address.
"""

from __future__ import annotations

import re

from inspector.errors import UsageError
from inspector.gdbmi.records import has_control

LOOKING: dict[str, str] = {
    "info": "expression", "i": "info", "inf": "info",
    "x": "expression",
    "print": "expression", "p": "print", "inspect": "expression", "output": "expression",
    "ptype": "expression", "whatis": "expression",
    "show": "words",
    "help": "words", "h": "help", "apropos": "words",
    "disassemble": "expression", "disas": "disassemble",
    "backtrace": "words", "bt": "backtrace", "where": "backtrace",
    "thread": "number", "t": "thread",
    "frame": "number", "f": "frame",
    "monitor": "monitor", "mon": "monitor",
}  # fmt: skip
"""Command or short form -> the command it stands for, or how its operands are judged."""

MONITOR_LOOKING = ("info", "print", "p", "gva2gpa", "gpa2hva", "gpa2hpa", "help", "?")
"""Monitor commands that only look. ``x`` and ``xp`` do not: they read any address, a device's too."""

WRITING = re.compile(r"(?<![=<>!])=(?!=)|\+\+|--(?=\s*[$\w(])|<<=|>>=")
CALLING = re.compile(r"[\w)\]]\s*\(")
NAMES_BEFORE_PAREN = re.compile(r"\bsizeof\s*\(|\balignof\s*\(")

ALLOWED = (
    "info, x, print, output, ptype, whatis, show, help, apropos, disassemble, backtrace, thread N, frame N"
    " and monitor info|print|gva2gpa|gpa2hva"
)


def looking(command: str) -> str:
    """``command`` as it may be given to gdb. Raises UsageError, naming what is allowed."""
    text = command.strip()
    if has_control(text):
        raise _refuse(command, "it holds a control character")
    word, rest = _first_word(text)
    kind = LOOKING.get(word, "none")
    if kind in LOOKING:
        word, kind = kind, LOOKING[kind]
    if kind == "none":
        raise _refuse(command, f"{word!r} may do more than look" if word else "it is empty")
    if kind == "number" and not re.fullmatch(r"(/\w+)?\s*\d*", rest):
        raise _refuse(command, f"{word!r} takes a number here and nothing else")
    if kind == "monitor":
        _monitor(command, rest)
    if kind == "expression":
        _expression(command, rest)
    return f"{word}{rest}"


def _first_word(text: str) -> tuple[str, str]:
    """The command's name, and the rest with whatever separates them (``x/4gx`` has no space)."""
    found = re.match(r"[A-Za-z]+", text)
    return (found[0], text[found.end() :]) if found else (text[:1], text[1:])


def _monitor(command: str, rest: str) -> None:
    word = re.match(r"\s*([\w?]+)", rest)
    if word is None or word[1] not in MONITOR_LOOKING:
        raise _refuse(command, "of the monitor's commands only those that look are let through")


def _expression(command: str, rest: str) -> None:
    plain = NAMES_BEFORE_PAREN.sub("(", re.sub(r"^\s*/\w+", "", rest))
    if WRITING.search(plain):
        raise _refuse(command, "it would assign something")
    if CALLING.search(plain):
        raise _refuse(command, "it would call a function")


def _refuse(command: str, why: str) -> UsageError:
    return UsageError(f"gdb {command!r} is not passed on, because {why}; what looks is passed on: {ALLOWED}")
