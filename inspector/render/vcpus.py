"""What vCPUs do, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.backtrace import Frame
from inspector.fetching import Fetched
from inspector.radix.translation import Translation
from inspector.render.style import Style, counted, hexadecimal
from inspector.triage.vcpus import Asked, Look, Vcpu

INDENT = "          "
DOES = {"halted": "halted", "idle": "idles", "spinning": "spins", "running": "runs", "unknown": "is"}
WHERE = {
    "user": "in user mode",
    "kernel": "in the kernel",
    "firmware": "in firmware",
    "real": "with relocation off",
    "unknown": "at a place that is not known",
}
KINDS = {"r": "load", "w": "store", "x": "fetch"}
SYSTEM_CALLS = (0xC00, 0x3000)
"""The vectors of ``sc`` and ``scv``."""
HOW = {"nip": "NIP", "lr": "LR", "saved": "", "interrupted": "NIP"}


def line(vcpu: Vcpu, style: Style) -> Iterator[str]:
    """What it does, and where."""
    whose = "" if vcpu.lpid is None else f" of LPID {vcpu.lpid}"
    at = "" if vcpu.nip is None else f" at {vcpu.nip:#x}"
    told = f"{DOES[vcpu.doing]} {WHERE[vcpu.mode]}{whose}{at}{f'  {vcpu.name}' if '+' in vcpu.name else ''}"
    yield from _hanging(f"  vCPU {vcpu.cpu:<2} ", told, style)


def _hanging(head: str, told: str, style: Style, kind: str = "") -> Iterator[str]:
    """``told`` after ``head``, and its further lines as far in."""
    first, *rest = style.wrap(told, " " * len(head), kind=kind) or [""]
    yield first.replace(" " * len(head), head, 1)
    yield from rest


def closely(vcpu: Vcpu, style: Style) -> Iterator[str]:
    """All that is known of it."""
    yield from style.wrap(over_time(vcpu), INDENT, kind="dim")
    look = vcpu.look
    if look is None:
        return
    if any(each.instruction is not None for each in look.code):
        for each in look.code:
            yield _instruction(each, vcpu.nip, style)
    else:
        why = next((each.why for each in look.code if each.address == vcpu.nip), "")
        yield from style.wrap(f"the code there is not known{f': {why}' if why else ''}", INDENT)
    if look.fetch is not None:
        yield from style.wrap(_way("the fetch of it", look.fetch), INDENT)
    yield from style.wrap(_reaches(look), INDENT)
    yield INDENT + style("head", "how it came there")
    for frame in look.trace.frames:
        yield from _frame(frame, style)
    yield from style.wrap(look.trace.ended, f"{INDENT}  ", kind="dim")
    yield from _last(vcpu, look, style)
    for missed in look.missed:
        yield from style.wrap(missed, INDENT, kind="warn")


def over_time(vcpu: Vcpu) -> str:
    """What was seen of it over the samples, in words."""
    if vcpu.samples < 2:
        return "one sample only: whether it moves is not known"
    parts = [f"in {vcpu.samples} samples at {counted(vcpu.places, 'place')}"]
    if vcpu.places > 1 and vcpu.span < 1 << 16:
        parts[0] += f", all within {vcpu.span:#x} bytes"
    if vcpu.halted is not None:
        parts.append(f"halted in {vcpu.halted or 'none'} of them")
    if vcpu.ticks is not None:
        parts.append(f"its time base went on by {vcpu.ticks}")
    if vcpu.interrupts is not None:
        often = "once" if vcpu.interrupts == 1 else f"{vcpu.interrupts} times"
        none = "SRR0, SRR1, HSRR0 and HSRR1 stayed as they were"  # as they do, too, where the same interrupt recurs
        parts.append(f"an interrupt came at least {often}" if vcpu.interrupts else none)
    if vcpu.exits:
        parts.append(f"a KVM guest's storage interrupt was held in {vcpu.exits}")
    if vcpu.doing == "spinning" and vcpu.look is not None and vcpu.look.lowers_priority:
        parts.append("code here lowers the thread's priority, as loops do that wait for a lock, or idle")
    return "; ".join(parts)


def _instruction(each: Fetched, nip: int | None, style: Style) -> str:
    mark = ">" if each.address == nip else " "
    told = each.instruction.text if each.instruction is not None else "?"
    return f"{INDENT}{mark} {style('address', f'{each.address:#x}')}  {told}"


def _way(what: str, asked: Asked) -> str:
    """Where an access leads by the hardware's walk, and by KVM's."""
    parts = [f"{what}, of {asked.ea:#x}, {_goes(asked.hardware)}"]
    if asked.leads:
        parts[0] += f" ({asked.leads})"
    if asked.software is not None:
        parts.append(f"KVM's walk {_walked(asked.software, asked.hardware)}")
    return "; ".join(parts)


def _goes(answer: Translation) -> str:
    if not answer.ok:
        return f"would fault: {answer.reason}"
    return "goes to no address" if answer.ra is None else f"goes to {answer.ra:#x}"


def _walked(answer: Translation, hardware: Translation) -> str:
    if not answer.ok:
        return f"ends in {answer.errno}: {answer.reason}"
    to = answer.gra if answer.ra is None else answer.ra
    if to is None or to in (hardware.ra, hardware.gra):
        return "finds it"
    if not hardware.ok:
        return f"ends at {to:#x}, for it asks for no rights"
    return f"finds it at {to:#x}, which is elsewhere"


def _reaches(look: Look) -> str:
    reached = look.reach
    if reached is None:
        return "it accesses no memory" if look.known else ""
    size = "" if reached.size is None else f" of {counted(reached.size, 'byte')}"
    what = f"its {KINDS[reached.way]}{size} ({reached.sum})"
    if look.data is not None:
        return _way(what, look.data)
    if reached.ea is None:
        return f"{what}: where is not known, as {reached.why}"
    return f"{what}, of {reached.ea:#x}, {'is a hint, which never faults' if reached.hint else 'was not looked up'}"


def _frame(frame: Frame, style: Style) -> Iterator[str]:
    head = f"{INDENT}  {HOW[frame.how]:<4}{style('address', f'{frame.address:#018x}')}  "
    name = frame.name or ("user" if frame.user else "")
    trap = ""
    if frame.trap is not None:
        trap = "  system call" if frame.trap in SYSTEM_CALLS else f"  interrupted ({frame.trap:#x})"
    yield f"{head}{style.wrap(name)[0] if name else ''}{trap}".rstrip()


def _last(vcpu: Vcpu, look: Look, style: Style) -> Iterator[str]:
    known = vcpu.registers or {}
    said = [f"{name.upper()} {known[name]:#x}" for name in ("srr0", "srr1", "dar", "dsisr") if name in known]
    if said:
        yield from style.wrap(f"its last exception left {', '.join(said)}", INDENT)
    for each in look.recorded:
        first, second = each.record.registers
        told = f"{first} {each.record.ea:#x}, {second} {each.record.bits:#x}: {each.verdict}; {each.says}"
        yield from style.wrap(told, f"{INDENT}  ", kind="dim")


def objects(vcpu: Vcpu) -> dict[str, Any]:
    """The same for a program. What was not looked at is null."""
    known, look = vcpu.registers or {}, vcpu.look
    return {
        "cpu": vcpu.cpu,
        "doing": vcpu.doing,
        "mode": vcpu.mode,
        "lpid": vcpu.lpid,
        "nip": hexadecimal(vcpu.nip),
        "name": vcpu.name or None,
        **{name: hexadecimal(known.get(name)) for name in ("msr", "lr", "r1", "srr0", "srr1", "dar", "dsisr")},
        "samples": vcpu.samples,
        "places": vcpu.places,
        "span": vcpu.span,
        "halted": vcpu.halted,
        "time_base": vcpu.ticks,
        "decrementer": vcpu.decrementer,
        "interrupts": vcpu.interrupts,
        "exits": vcpu.exits,
        "code": None if look is None else [_code(each) for each in look.code],
        "fetch": None if look is None else _asked(look.fetch),
        "access": None if look is None else _asked(look.data),
        "trace": None if look is None else [_step(each) for each in look.trace.frames],
        "trace_ended": None if look is None else look.trace.ended,
        "recorded": None
        if look is None
        else [
            {
                "registers": [name.lower() for name in each.record.registers],
                "ea": hexadecimal(each.record.ea),
                "bits": hexadecimal(each.record.bits),
                "verdict": each.verdict,
                "says": each.says,
            }
            for each in look.recorded
        ],
    }


def _code(each: Fetched) -> dict[str, Any]:
    told = each.instruction
    return {"ea": hexadecimal(each.address), "text": None if told is None else told.text, "why": each.why or None}


def _asked(asked: Asked | None) -> dict[str, Any] | None:
    if asked is None:
        return None
    return {
        "ea": hexadecimal(asked.ea),
        "access": asked.access,
        "hardware": _walk(asked.hardware),
        "kvm": None if asked.software is None else _walk(asked.software),
        "leads": asked.leads or None,
    }


def _walk(answer: Translation) -> dict[str, Any]:
    return {
        "status": answer.status,
        "ra": hexadecimal(answer.ra),
        "gra": hexadecimal(answer.gra),
        "errno": answer.errno,
        "cause": answer.cause,
    }


def _step(each: Frame) -> dict[str, Any]:
    return {
        "address": hexadecimal(each.address),
        "how": each.how,
        "user": each.user,
        "stack": hexadecimal(each.stack),
        "trap": hexadecimal(each.trap),
        "name": each.name or None,
    }
