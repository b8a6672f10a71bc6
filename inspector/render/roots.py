"""The answers of ``roots`` and ``pids``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.roots import LiveEntry, ProcessTable, RootsFound, Unlisted
from inspector.partitions import PARTITION_TABLE
from inspector.render import fields
from inspector.render.style import Style, hexadecimal, short_size, vcpus

SURENESS = {
    "given": "as you said",
    "certain": "certain",
    "confirmed": "confirmed",
    "likely": "likely, not confirmed",
    "unknown": "unknown",
}
BEFORE = 69
"""Columns of a live entry before the vCPUs that run in it."""


def text(result: RootsFound | ProcessTable | LiveEntry | Unlisted, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, RootsFound):
        yield from _roots(result, style)
    elif isinstance(result, ProcessTable):
        where = style("address", f"{result.address:#x}")
        whose, real = (f" of LPID {result.lpid}", "guest real ") if result.lpid else ("", "")
        yield f"process table{whose} at {real}{where}, {result.entries} entries"
        yield style("head", f"{'PID':>8}  {'entry at':<14}  {'entry':<18}  {'root':<14}  spans")
    elif isinstance(result, Unlisted):
        what = f"{short_size(result.length)} of the {result.table} at {result.where} and on could not be read"
        ids = "LPIDs" if result.table == PARTITION_TABLE else "PIDs"
        yield from style.wrap(f"{what}, so {ids} may be missing: {result.reason}", kind="bad")
    else:
        yield from _entry(result, style)


def _entry(live: LiveEntry, style: Style) -> Iterator[str]:
    process = live.process
    whose = "kernel" if process.pid == 0 else ""
    if live.current_on:
        whose = vcpus(live.current_on, style.width - BEFORE)
    cells = [
        f"{process.pid:>8}",
        style("address", f"{process.address:#014x}"),
        style("value", f"{process.entry:#018x}"),
        style("address", f"{process.root:#014x}"),
        f"2^{process.bits:<3}",
        style("good", whose),
    ]
    yield "  ".join(cells).rstrip()
    if process.second:
        yield " " * 26 + style("warn", f"{process.second:#018x}  second doubleword, reserved")


def _roots(result: RootsFound, style: Style) -> Iterator[str]:
    roots = result.roots
    good = roots.state == "radix"
    if good:
        first, *rest = style.wrap(roots.explanation)
        yield style("good", first)
        yield from rest
        yield from style.wrap(f"found by: {roots.how} ({SURENESS[roots.sure]})", "  ")
    else:
        yield style("bad", roots.state)
        yield from style.wrap(roots.explanation, "  ")
    for word in result.words:
        place = "" if word.address is None else f" at {style('address', f'{word.address:#x}')}"
        if word.decoded is None:
            yield f"{style('name', word.name)}{place}"
            yield from style.wrap(f"could not be read: {word.problem}", "  ", kind="bad")
            continue
        yield f"{style('name', word.name)}{place}: {style('value', f'{word.decoded.value:#018x}')}"
        yield from style.wrap(word.decoded.meaning, "  ")
        if word.decoded.residue:
            yield fields.unknown(word.decoded.residue, style)
    if roots.attempts:
        yield style("head", "tried")
    for attempt in roots.attempts:
        yield from style.wrap(f"{attempt.way}: {attempt.outcome}", "  ", kind="dim")


def objects(result: RootsFound | ProcessTable | LiveEntry | Unlisted) -> Iterator[dict[str, Any]]:
    """One object for the roots; one a live entry; an object with "oddity" for what could not be read."""
    if isinstance(result, RootsFound):
        roots = result.roots
        yield {
            "state": roots.state,
            "explanation": roots.explanation,
            "flat": roots.flat,
            "process_table": hexadecimal(roots.process_table),
            "ptcr": hexadecimal(roots.ptcr),
            "how": roots.how,
            "sure": roots.sure,
            "attempts": [{"way": each.way, "outcome": each.outcome} for each in roots.attempts],
            "words": [
                {
                    "name": word.name,
                    "address": hexadecimal(word.address),
                    "problem": word.problem or None,
                    **({} if word.decoded is None else fields.obj(word.decoded)),
                }
                for word in result.words
            ],
        }
    elif isinstance(result, LiveEntry):
        process = result.process
        yield {
            "lpid": result.lpid,
            "pid": process.pid,
            "address": hexadecimal(process.address),
            "entry": hexadecimal(process.entry),
            "second": hexadecimal(process.second),
            "root": hexadecimal(process.root),
            "bits": process.bits,
            "size": 1 << process.bits,
            "kernel": process.pid == 0,
            "current_on": list(result.current_on),
        }
    elif isinstance(result, Unlisted):
        yield {
            "oddity": result.cause,
            "reason": result.reason,
            "lpid": result.lpid,
            "address": hexadecimal(result.address),
            "length": result.length,
        }
