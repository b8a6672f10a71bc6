"""What could stand at the cursor of a command line: a pure function of the text, the cursor and a vocabulary.

The words are told apart as ``shlex.split(…, comments=True)`` does, which is how the line is read once it is complete.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["expression", "choice", "choices", "file", "command", "register", "mark", "moment", "nothing"]
"""``choices`` are several, with :attr:`Argument.between` between them; a ``moment`` is a mark or a file."""

MOST = 200
"""At most this many suggestions: nobody reads on, and a kernel has a hundred thousand symbols."""

_NAME = re.compile(r"(?:\$\w*|[A-Za-z_.][\w.$@]*)\Z", re.ASCII)
"""The register or symbol at the end of a piece of an expression, as :mod:`inspector.operands` names them."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """``text`` may stand instead of what is between ``start`` and the cursor; ``meta`` says what it is."""

    text: str
    start: int
    meta: str = ""


@dataclass(frozen=True, slots=True)
class Argument:
    """What an operand, or the value of an option, may be. ``choices`` are values and what they mean, beside the kind's
    own; one that ends in "=" goes on."""

    kind: Kind
    choices: Mapping[str, str] | None = None
    between: str = ","


@dataclass(frozen=True, slots=True)
class Option:
    """An option by its spellings; ``argument`` is None where no value follows."""

    flags: tuple[str, ...]
    meta: str = ""
    argument: Argument | None = None
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Grammar:
    """The words of one command. The last of ``operands`` may come again where ``more``."""

    options: tuple[Option, ...] = ()
    operands: tuple[Argument, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What there is to suggest. The functions are asked only for what stands at the cursor.

    ``grammar`` gives the words of a command (None: there is no such command), ``symbols`` those that begin with a
    prefix, at most so many, ``files`` the paths that do, folders ending in ``/``, ``marks`` those that were made."""

    commands: Callable[[], Mapping[str, str]]
    grammar: Callable[[str], Grammar | None]
    registers: Mapping[str, str]
    symbols: Callable[[str, int], Iterable[str]]
    files: Callable[[str], Iterable[str]]
    marks: Callable[[], Iterable[str]] = tuple


@dataclass(frozen=True, slots=True)
class Word:
    """A word as it will be read, and where it begins in the line."""

    text: str
    start: int


def split(text: str) -> tuple[list[Word], Word | None]:
    """The complete words of an unfinished line, and the one that its end is in: empty after a blank, None in a comment.

    As POSIX ``shlex`` with ``comments=True`` reads them, where a ``#`` ends a word too."""
    words: list[Word] = []
    at = 0
    while True:
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        if at < len(text) and text[at] == "#":
            at = _end_of_line(text, at)
            if at < 0:
                return words, None
            continue
        start = at
        pieces: list[str] = []
        quote = ""
        while at < len(text) and (quote or text[at] not in " \t\r\n#"):
            letter = text[at]
            if not quote and letter in "'\"":
                quote = letter
            elif quote and letter == quote:
                quote = ""
            elif letter == "\\" and quote != "'" and at + 1 < len(text):
                at += 1
                escaped = text[at]
                pieces.append(escaped if not quote or escaped in '"\\' else "\\" + escaped)
            elif letter != "\\" or quote == "'":
                pieces.append(letter)
            at += 1
        word = Word("".join(pieces), start)
        if at >= len(text):
            return words, word
        words.append(word)


def _end_of_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end < 0 else end + 1


def suggest(text: str, cursor: int, vocabulary: Vocabulary) -> list[Suggestion]:
    """What could stand at ``cursor`` in ``text``, at most MOST. What is behind the cursor plays no part."""
    line_start = text.rfind("\n", 0, cursor) + 1
    before = text[line_start:cursor]
    words, current = split(before)
    if current is None:
        return []
    found: list[Suggestion] = []
    for each in _of_word(words, current, before, vocabulary):
        found.append(Suggestion(each.text, each.start + line_start, each.meta))
        if len(found) == MOST:
            break
    return found


def _of_word(words: Sequence[Word], current: Word, before: str, vocabulary: Vocabulary) -> Iterator[Suggestion]:
    if not words:
        yield from _among(vocabulary.commands(), current.text, current.start)
        return
    grammar = vocabulary.grammar(words[0].text)
    if grammar is None:
        return
    place = _place(grammar, [word.text for word in words[1:]])
    if place.value is not None:
        yield from _values(place.value, current.text, current.start, before, vocabulary)
        return
    name, equals, value = current.text.partition("=")
    if place.options and equals and name.startswith("--"):
        option = _option(grammar, name)
        if option and option.argument:
            start = before.index("=", current.start) + 1 if "=" in before[current.start :] else current.start
            yield from _values(option.argument, value, start, before, vocabulary)
        return
    if place.options and current.text.startswith("-"):
        yield from _options(grammar, place.used, current)
        return
    if place.operand is not None:
        yield from _values(place.operand, current.text, current.start, before, vocabulary)
    if place.options and not current.text:
        yield from _options(grammar, place.used, current)


@dataclass(frozen=True, slots=True)
class _Place:
    """What may stand after the words so far: the value of an option, or an operand, or (``options``) an option."""

    value: Argument | None
    operand: Argument | None
    options: bool
    used: frozenset[str]


def _place(grammar: Grammar, words: Iterable[str]) -> _Place:
    pending: Argument | None = None
    used: set[str] = set()
    operands = 0
    options = True
    for word in words:
        if pending is not None:
            pending = None
        elif options and word == "--":
            options = False
        elif options and word.startswith("-") and word != "-":
            name, equals, _ = word.partition("=")
            option = _option(grammar, name)
            if option:
                used.add(option.flags[0])
                pending = None if equals else option.argument
        else:
            operands += 1
    operand = None
    if operands < len(grammar.operands):
        operand = grammar.operands[operands]
    elif grammar.more and grammar.operands:
        operand = grammar.operands[-1]
    return _Place(pending, operand, options, frozenset(used))


def _option(grammar: Grammar, name: str) -> Option | None:
    """The option of this name, or the only one that it begins, as argparse takes them."""
    begun = []
    for option in grammar.options:
        if name in option.flags:
            return option
        if any(flag.startswith(name) for flag in option.flags):
            begun.append(option)
    return begun[0] if len(begun) == 1 else None


def _options(grammar: Grammar, used: frozenset[str], current: Word) -> Iterator[Suggestion]:
    for option in grammar.options:
        if option.repeatable or option.flags[0] not in used:
            for flag in option.flags:
                if flag.startswith(current.text):
                    yield Suggestion(flag, current.start, option.meta)


def _values(argument: Argument, text: str, start: int, before: str, vocabulary: Vocabulary) -> Iterator[Suggestion]:
    """What a value that so far is ``text`` (written from ``start``) may become."""
    match argument.kind:
        case "choice":
            yield from _quoted(argument.choices or {}, text, start)
        case "choices":
            done, _, last = text.rpartition(argument.between)
            used = {each if "=" not in each else each[: each.index("=") + 1] for each in done.split(argument.between)}
            left = {name: meta for name, meta in (argument.choices or {}).items() if name not in used}
            yield from _among(left, last, len(before) - len(last) if before.endswith(last) else start)
        case "command":
            yield from _among({**vocabulary.commands(), **(argument.choices or {})}, text, start)
        case "mark" | "moment" | "file":
            if argument.kind != "file":
                yield from _quoted(dict.fromkeys(vocabulary.marks(), "mark"), text, start)
            if argument.kind != "mark":
                for path in vocabulary.files(text):
                    yield Suggestion(shlex.quote(path), start, "folder" if path.endswith("/") else "")
        case "register":
            yield from _among(vocabulary.registers, text, start)
            if text.startswith("$"):
                yield from _registers(text, start, vocabulary)
        case "expression":
            yield from _names(argument, text, start, before, vocabulary)
        case "nothing":
            return


def _names(argument: Argument, text: str, start: int, before: str, vocabulary: Vocabulary) -> Iterator[Suggestion]:
    """The register or symbol at the end of an expression. Nothing for a number, or where no name has begun."""
    if argument.choices:
        yield from _among(argument.choices, text, start)
    name = _NAME.search(before, _name_start(before, start))
    if name is None:
        return
    if name[0].startswith("$"):
        yield from _registers(name[0], name.start(), vocabulary)
        return
    for symbol in vocabulary.symbols(name[0], MOST):
        yield Suggestion(symbol, name.start(), "symbol")


def _name_start(before: str, start: int) -> int:
    """Where the last unbroken run of letters of names and numbers begins: in ``0x10abc`` no name begins at ``abc``."""
    at = len(before)
    while at > start and (before[at - 1].isalnum() or before[at - 1] in "_.$@"):
        at -= 1
    return at if at == len(before) or before[at] not in "0123456789" else len(before)


def _registers(text: str, start: int, vocabulary: Vocabulary) -> Iterator[Suggestion]:
    plain = text[1:].lower()
    for name, meta in vocabulary.registers.items():
        if name.startswith(plain):
            yield Suggestion(f"${name}", start, meta)


def _quoted(names: Mapping[str, str], text: str, start: int) -> Iterator[Suggestion]:
    """Those of ``names`` that begin so, as they are written in a line: some have a blank in them."""
    for each in _among(names, text, start):
        yield replace(each, text=shlex.quote(each.text))


def _among(names: Mapping[str, str], text: str, start: int) -> Iterator[Suggestion]:
    for name, meta in names.items():
        if name.startswith(text):
            yield Suggestion(name, start, meta)
