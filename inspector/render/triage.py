"""The answers of ``triage``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.triage import Triaged
from inspector.render.style import Style, hexadecimal


def text(result: Triaged, style: Style) -> Iterator[str]:
    """Lines for a person: the verdict, and under it what it rests on."""
    cause, found = result.finding.cause, result.finding.found
    yield f"{style('good' if result.ok else 'bad', cause.slug)}  ({found.confidence} confidence)"
    yield from style.wrap(cause.title, "  ", kind="head")
    where = [
        f"{name} {value}"
        for name, value in (("vCPU", found.cpu), ("LPID", found.lpid), ("PID", found.pid))
        if value is not None
    ]
    where += [
        f"{name} {value:#x}"
        for name, value in (("NIP", found.nip), ("EA", found.ea), ("guest real", found.ra))
        if value is not None
    ]
    if where:
        yield from style.wrap(", ".join(where), "  ")
    for each in found.evidence:
        first, *rest = style.wrap(each, "    ")
        yield f"  - {first[4:]}"
        yield from rest
    yield from style.wrap(f"it means: {cause.meaning}", "  ", kind="dim")
    yield from style.wrap(f"to do: {cause.advice}", "  ")


def objects(result: Triaged) -> Iterator[dict[str, Any]]:
    """One object a finding; what does not apply is null."""
    cause, found = result.finding.cause, result.finding.found
    yield {
        "verdict": cause.slug,
        "confidence": found.confidence,
        "cpu": found.cpu,
        "lpid": found.lpid,
        "pid": found.pid,
        "nip": hexadecimal(found.nip),
        "ea": hexadecimal(found.ea),
        "ra": hexadecimal(found.ra),
        "walker": found.walker,
        "errno": found.errno,
        "device": found.device,
        "evidence": list(found.evidence),
        "advice": cause.advice,
        "title": cause.title,
        "meaning": cause.meaning,
    }
