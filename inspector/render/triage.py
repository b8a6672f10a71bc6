"""The answers of ``triage``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.triage import Known, Looked, Triaged
from inspector.render import vcpus
from inspector.render.style import Style, counted, hexadecimal


def text(result: Triaged | Looked | Known, style: Style) -> Iterator[str]:
    """Lines for a person: the verdict, and under it what it rests on; after the last one the vCPUs."""
    if isinstance(result, Known):
        yield style("head", result.cause.slug)
        yield from style.wrap(result.cause.title, "  ")
        yield from style.wrap(f"its signs: {result.sign}", "  ", kind="dim")
        yield from style.wrap(f"it means: {result.cause.meaning}", "  ", kind="dim")
        yield from style.wrap(f"to do: {result.cause.advice}", "  ", kind="dim")
        return
    if isinstance(result, Looked):
        yield from _looked(result, style)
        return
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
        for name, value in (("NIP", found.nip), ("EA", found.ea), ("guest real" if found.lpid else "real", found.ra))
        if value is not None
    ]
    if found.device is not None:
        yield from style.wrap(found.device, "  ")
    if where:
        yield from style.wrap(", ".join(where), "  ")
    for each in found.evidence:
        first, *rest = style.wrap(each, "    ")
        yield f"  - {first[4:]}"
        yield from rest
    yield from style.wrap(f"it means: {cause.meaning}", "  ", kind="dim")
    yield from style.wrap(f"to do: {cause.advice}", "  ")


def _looked(result: Looked, style: Style) -> Iterator[str]:
    report = result.report
    named = {each.found.cpu for each in report.findings}
    if report.vcpus:
        yield style("head", "vCPUs")
    for each in report.vcpus:
        yield from vcpus.line(each, style)
        if result.every or each.cpu in named or each.doing == "spinning":
            yield from vcpus.closely(each, style)
    if report.stood is not None:
        times = counted(report.samples, "sample")
        over = f" over {report.seconds:.1f} s" if report.samples > 1 else ""
        told = f"for {times}{over} and what follows from them the guest stood still for {report.stood * 1000:.0f} ms"
        yield from style.wrap(told, kind="dim")


def objects(result: Triaged | Looked | Known) -> Iterator[dict[str, Any]]:
    """One object a finding, and nothing else; what does not apply is null. The first one has the vCPUs. An object a
    cause where they are only told."""
    if isinstance(result, Known):
        cause = result.cause
        yield {
            "cause": cause.slug,
            "title": cause.title,
            "signs": result.sign,
            "meaning": cause.meaning,
            "advice": cause.advice,
        }
        return
    if isinstance(result, Looked):
        return
    cause, found, report = result.finding.cause, result.finding.found, result.report
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
        "samples": report.samples,
        "seconds": round(report.seconds, 3),
        "stood_ms": None if report.stood is None else round(report.stood * 1000),
        "vcpus": [vcpus.objects(each) for each in report.vcpus] if result.first else [],
    }
