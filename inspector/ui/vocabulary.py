"""What there is to suggest in a session, gathered from the registry, the parsers, the registers and the symbols.

Nothing here asks the target: to complete a word never costs a round trip, nor disturbs a running guest.
"""

from __future__ import annotations

import os
from argparse import Action
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from types import MappingProxyType

from inspector.commands import registry
from inspector.commands.line import JSON
from inspector.commands.registry import ABBREVIATIONS, Session, command
from inspector.radix.registers import register_format
from inspector.targets.base import ALIASES, REGISTERS
from inspector.ui.suggest import MOST, Argument, Grammar, Kind, Option, Vocabulary

SEVERAL = (",…", "SPEC")
"""What the metavar of an option ends in that takes several words."""
BY_METAVAR: Mapping[str, Kind] = MappingProxyType(
    {"FILE": "file", "FILE|MARK": "moment", "SECONDS": "nothing", "EXPR": "nothing"}
)
BY_NAME: Mapping[tuple[str, str], Kind] = MappingProxyType(
    {
        ("regs", "name"): "register",
        ("gdb", "command"): "nothing",
        ("mark", "name"): "mark",
        ("mark", "remove"): "mark",
        ("search", "what"): "nothing",
        ("sql", "query"): "nothing",
    }
)
"""Arguments that are no expressions: by their metavar; by their command and destination."""


def vocabulary(session: Callable[[], Session], own: Mapping[str, str]) -> Vocabulary:
    """The words of a session. ``own`` are the REPL's own commands, none of which takes words, and what they do."""
    return Vocabulary(
        commands=partial(summaries, tuple(own.items())),
        grammar=lambda name: Grammar() if name in own else grammar_of(name),
        registers=registers(),
        symbols=lambda prefix, limit: _symbols(session(), prefix, limit),
        files=files,
        marks=lambda: session().marks,
    )


@cache
def summaries(own: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """Every command and its summary. Imports the commands, so it is asked for only when they are listed."""
    return {**{name: command(name).summary for name in registry.MODULES}, **dict(own)}


@cache
def registers() -> Mapping[str, str]:
    """The registers by name, with their long names; other names of them come last."""
    named = {}
    for name in REGISTERS:
        form = register_format(name)
        named[name] = form.title if form and form.name != "EA" else ""
    return {**named, **{alias: f"another name of {name}" for alias, name in ALIASES.items()}}


@cache
def grammar_of(name: str) -> Grammar | None:
    """The words of a command of the registry, from its own parser. None where there is none of this name."""
    if ABBREVIATIONS.get(name, name) not in registry.MODULES:
        return None
    options = [Option((JSON,), "answer in JSON lines")]
    operands: list[Argument] = []
    more = False
    name = ABBREVIATIONS.get(name, name)
    # The list of actions is not documented, but every completer of argparse lives off it, and it has not changed.
    for action in command(name).parser()._actions:
        if action.option_strings:
            argument = None if action.nargs == 0 else _argument(name, action)
            repeatable = type(action).__name__ in ("_AppendAction", "_ExtendAction")
            options.append(Option(tuple(action.option_strings), action.help or "", argument, repeatable))
        else:
            operands.append(_argument(name, action))
            more = action.nargs in ("*", "+", "...")
    return Grammar(tuple(options), tuple(operands), more)


def _argument(command_name: str, action: Action) -> Argument:
    """What an argument of a command may be. What nothing is known of is an expression, as nearly all are."""
    if action.choices is not None:
        return Argument("choice", {str(choice): "" for choice in action.choices})
    if action.dest == "walker":
        return Argument("choice", _walkers())
    if (command_name, action.dest) == ("decode", "words"):
        return Argument("expression", _kinds())
    if (command_name, action.dest) == ("help", "about"):
        return Argument("command", _subjects())
    if action.dest == "dsisr" or command_name == "dsisr":
        return Argument("choices", _dsisr_bits(), "|")
    named = CHOICES.get(action.dest)
    if named is not None and action.type is None:
        return Argument("choices" if str(action.metavar).endswith(SEVERAL) else "choice", named())
    kind = BY_NAME.get((command_name, action.dest)) or BY_METAVAR.get(str(action.metavar), "expression")
    return Argument(kind)


def _walkers() -> Mapping[str, str]:
    from inspector.radix import software_walk, walk

    return {walk.WALKER: "what the MMU does", **{name: each.meaning for name, each in software_walk.VARIANTS.items()}}


def _kinds() -> Mapping[str, str]:
    """What ``decode`` takes a value for."""
    from inspector.commands.decode import kinds

    known = kinds()
    return {name: title for name, title, _ in (*known.entries, *known.registers)}


def _subjects() -> Mapping[str, str]:
    """What there is help on that is no command."""
    from inspector.commands.help import SUBJECTS

    return {name: text.partition("\n")[0] for name, text in SUBJECTS.items()}


def _dsisr_bits() -> Mapping[str, str]:
    from inspector.radix.registers import HDSISR

    return {field.name.lower(): field.meaning for field in HDSISR.fields}


def _slot_flags() -> Mapping[str, str]:
    from inspector.commands.hostwords import SLOT_FLAGS

    return dict.fromkeys(SLOT_FLAGS, "")


def _host_words() -> Mapping[str, str]:
    from inspector.commands.hostwords import WORDS

    return WORDS


def _regions() -> Mapping[str, str]:
    from inspector.linux.regions import REGIONS

    return {each.name: f"{each.start:#x}" for each in REGIONS}


def _rules() -> Mapping[str, str]:
    from inspector.mappings.audit.rules import RULES

    return {slug: rule.title for slug, rule in RULES.items()}


def _attributes() -> Mapping[str, str]:
    from inspector.mappings.select import ATTRIBUTES

    return dict.fromkeys(ATTRIBUTES, "")


def _page_sizes() -> Mapping[str, str]:
    from inspector.mappings.select import PAGE_SIZES

    return dict.fromkeys((name.upper() for name in PAGE_SIZES), "")


def _formats() -> Mapping[str, str]:
    from inspector.exporting.formats import FORMATS

    return dict.fromkeys(FORMATS, "")


def _kinds_of_change() -> Mapping[str, str]:
    from inspector.commands.changes import Which

    return dict.fromkeys(Which.NAMES, "")


CHOICES: Mapping[str, Callable[[], Mapping[str, str]]] = MappingProxyType(
    {
        "region": _regions,
        "rule": _rules,
        "no_rule": _rules,
        "attribute": _attributes,
        "page": _page_sizes,
        "format": _formats,
        "only": _kinds_of_change,
        "flags": _slot_flags,
        "host": _host_words,
        "host_page": lambda: dict.fromkeys(("64K", "4K"), ""),
    }
)
"""What options take that argparse is not told of, by their destination."""


def _symbols(session: Session, prefix: str, limit: int) -> list[str]:
    guest = session.guest
    if guest is None or guest.symbols is None:
        return []
    return list(guest.symbols.complete(prefix, limit))


def files(prefix: str) -> Iterator[str]:
    """The paths that begin so, sorted, folders ending in ``/``; hidden ones only where a dot was written."""
    folder, begun = os.path.split(prefix)
    try:
        with os.scandir(folder or ".") as entries:
            found = sorted(
                (entry.name + "/" if _is_folder(entry) else entry.name)
                for entry in entries
                if entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith("."))
            )
    except (OSError, ValueError):
        return
    for name in found[:MOST]:
        path = os.path.join(folder, name)
        yield f"./{path}" if path.startswith("-") else path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
