"""The answers of ``why``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.why import Why
from inspector.radix.prediction import Prediction
from inspector.radix.registers import describe_causes
from inspector.render.style import Style, hexadecimal

_ACCESSES = {"r": "load", "w": "store", "x": "fetch", None: "load"}
_COLOURS = {"agrees": "good"}


def text(result: Why, style: Style) -> Iterator[str]:
    """Lines for a person."""
    answer, raised = result.answer, result.prediction
    ea = style("address", f"{answer.ea:#x}")
    kind = _ACCESSES[answer.access]
    if answer.ok:
        yield f"{ea}  a {kind} {style('good', 'goes well')}"
    elif raised is None:
        yield f"{ea}  a {kind} {style('bad', f'fails: {answer.cause}')}"
    else:
        yield f"{ea}  a {kind} {style('bad', f'raises {raised.name} ({raised.vector:#x}): {answer.cause}')}"
    yield from style.wrap(_whose(result, kind), "  ", kind="dim")
    if not answer.ok:
        yield from style.wrap(f"why: {answer.reason}", "  ")
    elif answer.ra is not None:
        real = f"it reaches {answer.ra:#x}"
        yield from style.wrap(real if answer.relocation else f"{real}; {answer.reason}", "  ")
    if raised is not None:
        article = "an" if raised.title[0] in "aeiou" else "a"
        yield from style.wrap(f"{raised.name} is {article} {raised.title}", "  ", kind="dim")
        for name, value in raised.registers.items():
            yield f"  {name.upper():<7}{style('value', f'{value:#018x}')}"
            if name.endswith(("dsisr", "srr1")) and raised.bits:
                yield from style.wrap(describe_causes(raised.bits), " " * 9, kind="dim")
        older = raised.older_qemu
        if older is not None:
            told = f"QEMU before 8.1 raises {older.name} ({older.vector:#x}) with HDSISR {older.bits:#010x} here"
            yield from style.wrap(f"note: {told}", "  ", kind="warn")
    for note in answer.notes:
        yield from style.wrap(f"note: {note}", "  ", kind="warn")
    yield from _recorded(result, style)
    yield from style.wrap(result.aside, "  ", kind="dim")


def _whose(result: Why, kind: str) -> str:
    """Who is taken to make the access, and why it is this one that was asked about."""
    answer = result.answer
    parts = [] if result.user is None else [f"by {'user' if result.user else 'privileged'} code"]
    if answer.lpid:
        within = "" if answer.outer_lpid is None else f", a guest of LPID {answer.outer_lpid}'s,"
        parts.append(f"of LPID {answer.lpid}{within}")
    if answer.pid is not None:
        parts.append(f"with PID {answer.pid}")
    if not answer.relocation:
        parts.append("in real mode")
    if result.chosen:
        parts.append(f"({'; '.join((f'a {kind}, {result.chosen}', '--access asks about another'))})")
    return " ".join(parts)


def _recorded(result: Why, style: Style) -> Iterator[str]:
    """What was recorded of this page. A vCPU's last fault was nearly always of another one: that is told in a few
    words, and only where this access faults too, of which it may be taken for the record."""
    others = []
    for each in result.recorded:
        first, second = each.record.registers
        if each.verdict == "other-address":
            others.append(first)
            continue
        verdict = style(_COLOURS.get(each.verdict, "warn"), each.verdict)
        yield f"  recorded: {first} {each.record.ea:#x}, {second} {each.record.bits:#010x}: {verdict}"
        width = max(len(first), len(second)) + 1
        yield from style.wrap(each.says, " " * (width + 4), kind="dim")
        if each.verdict == "agrees" and result.ok and not result.answer.relocation:
            register = "hsrr1" if each.record.hypervisor else "srr1"
            yield from style.wrap(f"'--as-of {register}' asks by that state, and not by real mode", "  ", kind="dim")
    if others and not result.ok:
        yield from style.wrap(f"{' and '.join(others)}: of another address", "  ", kind="dim")


def objects(result: Why) -> Iterator[dict[str, Any]]:
    """One object an access; ``interrupt`` is null where it goes well, or where what it raises is not known."""
    answer, raised = result.answer, result.prediction
    yield {
        "ea": hexadecimal(answer.ea),
        "access": answer.access,
        "chosen": result.chosen or None,
        "faults": not answer.ok,
        "cause": answer.cause,
        "reason": answer.reason,
        "stage": answer.stage,
        "lpid": answer.lpid,
        "pid": answer.pid,
        "user": result.user,
        "relocation": answer.relocation,
        "ra": hexadecimal(answer.ra),
        "gra": hexadecimal(answer.gra),
        "interrupt": None
        if raised is None
        else {**_raised(raised), "older_qemu": raised.older_qemu and _raised(raised.older_qemu)},
        "recorded": [
            {
                "registers": [name.lower() for name in each.record.registers],
                "ea": hexadecimal(each.record.ea),
                "bits": hexadecimal(each.record.bits),
                "access": each.record.access,
                "verdict": each.verdict,
                "says": each.says,
            }
            for each in result.recorded
        ],
        "not_compared": result.aside or None,
        "notes": list(answer.notes),
    }


def _raised(raised: Prediction) -> dict[str, Any]:
    return {
        "name": raised.name,
        "vector": hexadecimal(raised.vector),
        "bits": hexadecimal(raised.bits),
        "says": describe_causes(raised.bits),
        "registers": {name: hexadecimal(value) for name, value in raised.registers.items()},
    }
