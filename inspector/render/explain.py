"""The answers of ``explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.explain import Explained, Judged, Listed
from inspector.kvm.history import Change
from inspector.render.style import Style, counted

COLOURS = {"defect": "bad", "hint": "warn", "fixed": "good"}
INDENT = " " * 4
TOLD_BY = {
    "tree": "in a tree",
    "slots": "in a tree whose slots are known",
    "vmm": "in a tree whose VMM is known",
    None: "in no tree",
}
LACKING = {
    "slots": "what slots are read-only or logged is not known ('slot' tells it)",
    "vmm": "what the VMM maps was not looked at (--vmm PID)",
}


def text(result: Explained | Judged | Listed, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Explained):
        yield from _finding(result, style)
    elif isinstance(result, Judged):
        yield from _judged(result, style)
    else:
        yield style("name", result.change.slug)
        yield from _change(result.change, style)
        yield from style.wrap(f"was: {result.change.was}", INDENT)
        yield from style.wrap(f"seen {TOLD_BY[result.told_by]}: {result.change.shows}", INDENT)


def _finding(result: Explained, style: Style) -> Iterator[str]:
    finding, mark = result.finding, result.finding.mark
    word = style(COLOURS[mark.kind], f"{mark.kind:<6}")
    first = ", ".join(f"{at:#x}" for at in finding.first)
    more = ", ..." if finding.count > len(finding.first) else ""
    yield f"{word}  LPID {result.lpid}: {style('name', ' or '.join(mark.slugs))}"
    yield from style.wrap(f"{mark.says}: {finding.count:,}, at guest real {first}{more}", INDENT)
    if finding.large:
        told = f"of these look like large leaves: {finding.large:,}, where guests of kernels before 4.16 fault for ever"
        yield from style.wrap(told, INDENT)
    if mark.kind == "fixed":
        yield from style.wrap(f"so these are there: {_commit(mark.changes[0])}", INDENT)
        return
    if len(mark.changes) > 1:
        yield f"{INDENT}one of these is missing:" if mark.kind == "defect" else f"{INDENT}one of these may be missing:"
    for change in mark.changes:
        yield from _change(change, style)


def _change(change: Change, style: Style) -> Iterator[str]:
    yield from style.wrap(_commit(change), INDENT)
    yield from style.wrap(f"symptom: {change.symptom}", INDENT)


def _commit(change: Change) -> str:
    commit = f"{change.commit} " if change.commit else ""
    return f'Linux {change.fixed}: {commit}"{change.title}" (lacking in {", ".join(change.old_in)})'


def _judged(result: Judged, style: Style) -> Iterator[str]:
    looked = f"{counted(result.leaves, 'leaf') if result.leaves == 1 else f'{result.leaves:,} leaves'}"
    looked = f"LPID {result.lpid}: {looked} in {counted(result.tables, 'table')}"
    if not result.defects:
        certain = " for certain" if result.hints else ""
        yield from style.wrap(f"{looked}: nothing in the tree tells{certain} of a missing fix", kind="good")
    else:
        told = ", ".join(result.versions) or "none that is known here"
        yield from style.wrap(f"{looked}: kernels that leave all of this: {told}", kind="bad")
    for each in result.lacking:
        yield from style.wrap(LACKING[each], INDENT, kind="dim")


def objects(result: Explained | Judged | Listed) -> Iterator[dict[str, Any]]:
    """An object a finding with "kind", one a guest with "versions", one a change with "slug"."""
    if isinstance(result, Explained):
        finding, mark = result.finding, result.finding.mark
        yield {
            "lpid": result.lpid,
            "kind": mark.kind,
            "slugs": list(mark.slugs),
            "count": finding.count,
            "first": [hex(at) for at in finding.first],
            "look_large": finding.large,
            "says": mark.says,
            "versions": list(mark.versions),
            "changes": [_object(change) for change in mark.changes],
        }
    elif isinstance(result, Judged):
        yield {
            "lpid": result.lpid,
            "leaves": result.leaves,
            "tables": result.tables,
            "defects": result.defects,
            "hints": result.hints,
            "versions": list(result.versions),
            "not_known": list(result.lacking),
        }
    else:
        yield {**_object(result.change), "told_by": result.told_by}


def _object(change: Change) -> dict[str, Any]:
    return {
        "slug": change.slug,
        "lacking_in": list(change.old_in),
        "fixed": change.fixed,
        "commit": change.commit or None,
        "title": change.title,
        "was": change.was,
        "symptom": change.symptom,
        "shows": change.shows,
    }
