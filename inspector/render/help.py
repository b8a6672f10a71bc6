"""The answers of ``help``."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from inspector.commands.help import CommandHelp, CommandList, Subject
from inspector.render.style import Style

AFTER = "'help COMMAND' shows one with examples; 'help operands' and 'help targets' say what these may be"


def text(result: CommandList | CommandHelp | Subject, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Subject):
        yield from result.text.splitlines()
    elif isinstance(result, CommandHelp):
        yield from _one(result, style)
    else:
        for head, commands in groupby(result.commands, lambda each: each.group):
            yield style("head", head)
            for each in commands:
                short = f" ({', '.join(each.short)})" if each.short else ""
                yield f"  {style('name', f'{each.name:<10}')} {each.summary}{style('dim', short)}"
        yield from style.wrap(AFTER)


def _one(result: CommandHelp, style: Style) -> Iterator[str]:
    short = f" (for short: {', '.join(result.short)})" if result.short else ""
    yield f"{style('name', result.name)}: {result.summary}{short}"
    yield from result.words.splitlines()
    if result.detail:
        yield ""
        yield from style.wrap(result.detail)
    yield ""
    yield style("head", "for example")
    width = max(len(each.words) for each in result.examples)
    for each in result.examples:
        if width + len(each.says) + 4 <= style.width:
            yield f"  {each.words:<{width}}  {style('dim', each.says)}"
        else:
            yield f"  {each.words}"
            yield from style.wrap(each.says, "      ", kind="dim")


def objects(result: CommandList | CommandHelp | Subject) -> Iterator[dict[str, Any]]:
    """One object a command, or the page."""
    if isinstance(result, Subject):
        yield {"about": result.name, "text": result.text}
    elif isinstance(result, CommandHelp):
        yield {
            "command": result.name,
            "summary": result.summary,
            "words": result.words,
            "detail": result.detail,
            "examples": [{"words": each.words, "says": each.says} for each in result.examples],
            "short": list(result.short),
            "needs_target": result.needs_target,
        }
    else:
        for each in result.commands:
            yield {
                "command": each.name,
                "group": each.group,
                "summary": each.summary,
                "short": list(each.short),
                "needs_target": each.needs_target,
            }
