"""The answers of ``audit``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.audit import Audited, Found, Listed
from inspector.mappings.audit.finding import Finding
from inspector.radix.oddities import tree_name
from inspector.render.style import PLAIN, Style, compact_size, counted, hexadecimal, short_size

KINDS = {"error": "bad", "warning": "warn", "info": "dim"}


def text(result: Found | Audited | Listed, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Listed):
        yield from _rule(result, style)
    elif isinstance(result, Audited):
        yield from _end(result, style)
    else:
        yield from _finding(result.finding, style)


def _finding(found: Finding, style: Style) -> Iterator[str]:
    plain = f"{found.severity} {found.rule}  {_where(found, PLAIN)}".rstrip()
    head, where = f"{style(KINDS[found.severity], found.severity)} {style('name', found.rule)}", _where(found, style)
    if where and len(plain) <= style.width:
        yield f"{head}  {where}"
    else:
        yield head
        if where:
            yield f"  {where}"
    yield from style.wrap(found.explanation, "  ")
    if found.entry is not None:
        at = "" if found.entry_address is None else f" at {found.entry_address:#x}"
        yield from style.wrap(f"entry {found.entry:#018x}{at}: {found.meaning}", "  ", kind="dim")
    if found.more:
        yield f"  and {found.more} more of {found.rule}; --limit N tells more"


def _where(found: Finding, style: Style) -> str:
    """Whose, and from where to where, as far as there is such a thing."""
    words = []
    if found.ea is not None:
        words.append(tree_name(found.lpid, found.pid))
        words.append(style("address", f"{found.ea:#x}"))
    if found.size is not None:
        pages = "" if found.page_shift is None else f" ({found.count}x{compact_size(1 << found.page_shift)})"
        words.append(short_size(found.size) + pages)
    if found.ra is not None:
        words.append("-> " + style("address", f"{found.ra:#x}"))
    return " ".join(words)


def _end(result: Audited, style: Style) -> Iterator[str]:
    found = [
        f"{number} info" if severity == "info" else counted(number, severity)
        for severity, number in result.found.items()
        if number
    ]
    leaves = "1 leaf" if result.leaves == 1 else f"{result.leaves} leaves"
    looked = f"{counted(result.rules, 'rule')}, {leaves} and {counted(result.tables, 'table')}"
    kind = "bad" if result.failed else "good"
    yield from style.wrap(
        f"{', '.join(found) or 'no findings'}: {looked} of {counted(result.trees, 'tree')} looked at", kind=kind
    )


def _rule(result: Listed, style: Style) -> Iterator[str]:
    rule = result.rule
    head = f"{style(KINDS[rule.severity], f'{rule.severity:<8}')}{style('name', rule.slug)}"
    yield head + ("" if rule.default else style("dim", " (off)"))
    yield from style.wrap(rule.explanation if result.whole else rule.title, "        ")
    if result.whole:
        yield from style.wrap(f"from: {rule.source}", "        ", kind="dim")


def objects(result: Found | Audited | Listed) -> Iterator[dict[str, Any]]:
    """An object a finding; at the end one with "summary", the number of each severity. A rule has "rule" too."""
    if isinstance(result, Listed):
        rule = result.rule
        yield {
            "rule": rule.slug,
            "severity": rule.severity,
            "default": rule.default,
            "title": rule.title,
            "explanation": rule.explanation,
            "source": rule.source,
        }
    elif isinstance(result, Audited):
        yield {
            "summary": result.found,
            "failed": result.failed,
            "rules": result.rules,
            "trees": result.trees,
            "tables": result.tables,
            "leaves": result.leaves,
        }
    else:
        found = result.finding
        yield {
            "rule": found.rule,
            "severity": found.severity,
            "explanation": found.explanation,
            "lpid": found.lpid,
            "pid": found.pid,
            "ea": hexadecimal(found.ea),
            "size": found.size,
            "ra": hexadecimal(found.ra),
            "count": found.count,
            "page_shift": found.page_shift,
            "entry": hexadecimal(found.entry),
            "entry_address": hexadecimal(found.entry_address),
            "level": found.level,
            "meaning": found.meaning,
            "other_pid": found.other_pid,
            "other_ea": hexadecimal(found.other_ea),
            "more": found.more,
        }
