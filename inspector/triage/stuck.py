"""Accesses that faulted and would fault again now: of the instruction at NIP, or of the one that a handler is to go
back to (SRR0, HSRR0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from inspector.errors import InspectorError, TargetError
from inspector.fetching import instruction_behind
from inspector.guest import Guest
from inspector.instructions.decode import Instruction
from inspector.instructions.effective import reach
from inspector.radix.address import Context
from inspector.radix.bits import MSR_HV, MSR_LE, MSR_PR
from inspector.radix.hindsight import Now, held
from inspector.radix.prediction import Record, interrupted, predict, records, same_page
from inspector.radix.translation import Translation
from inspector.triage.samples import Sample
from inspector.walkers import hardware


@dataclass(frozen=True, slots=True)
class Stuck:
    """An access that would fault now, as its vCPU recorded. ``nip`` is its instruction's address and ``text`` the
    instruction ("" where it is not known); ``user`` is whether MSR[PR] was set. ``seen`` is in how many samples;
    ``handling`` that the vCPU was elsewhere in all of them, presumably in the interrupt's handler."""

    cpu: int
    nip: int
    answer: Translation
    record: Record
    user: bool
    text: str
    handling: bool
    seen: int = 1


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a sample's registers say of an access: all that two samples have to have in common to be of the same."""

    cpu: int
    nip: int
    msr: int
    record: Record
    pid: int
    lpidr: int


def stuck(guest: Guest, samples: list[Sample], enough: int) -> tuple[Stuck, ...]:
    """Every access that a sample's registers are of and that would fault now. One whose vCPU was elsewhere each time
    (as in the handler, or long past it) counts from so many samples (``enough``) on."""
    cases: dict[_Seen, tuple[int, Mapping[str, int] | None]] = {}
    for sample in samples:
        for cpu, known in sample.cpus.items():
            if sample.halted.get(cpu):
                continue
            for each, at_it in _of_registers(cpu, known):
                seen, before = cases.get(each, (0, None))
                cases[each] = seen + 1, known if at_it else before
    found = []
    for each, (seen, there) in cases.items():
        if there is None and seen < enough:
            continue
        try:
            one = _held(guest, each, there)
        except TargetError:
            raise
        except InspectorError:
            continue
        if one is not None:
            found.append(replace(one, seen=seen))
    return tuple(found)


def _of_registers(cpu: int, known: Mapping[str, int]) -> Iterator[tuple[_Seen, bool]]:
    """The accesses that a vCPU recorded, and whether it is about to make each of them again."""
    nip, msr = known.get("nip"), known.get("msr")
    if nip is None or msr is None:
        return
    for record in records(known):
        prefix = "h" if record.hypervisor else ""
        at, then = known.get(f"{prefix}srr0"), known.get(f"{prefix}srr1")
        if at is None or then is None or record.access is None:
            continue
        if record.hypervisor and (then & MSR_HV or not known.get("lpidr")):
            continue  # a KVM guest's, which its host's registers alone say nothing of: storage.py
        there = at == nip and bool(then & MSR_PR) == bool(msr & MSR_PR)
        yield _Seen(cpu, at, then, record, known.get("pid", 0), known.get("lpidr", 0)), there


def _held(guest: Guest, seen: _Seen, there: Mapping[str, int] | None) -> Stuck | None:
    context = replace(guest.context(seen.cpu), pid=seen.pid, lpidr=seen.lpidr)
    context = replace(context, msr=there["msr"]) if there else interrupted(context, seen.msr)
    fetch = hardware(guest, context, seen.nip, "x", None)
    code = instruction_behind(guest, fetch, bool((context.msr or 0) & MSR_LE))
    if seen.record.access == "x":
        answer: Translation | None = fetch if same_page(seen.record, seen.nip) else None
    elif code is None or not fetch.ok:
        return None
    else:
        answer = _data(guest, context, code, seen.record, there)
    if answer is None:
        return None
    prediction = predict(answer, context)
    if prediction is None or held(seen.record, [Now("", answer, prediction)], None).verdict != "agrees":
        return None
    text = code.text if code is not None else ""
    return Stuck(seen.cpu, seen.nip, answer, seen.record, context.problem_state, text, there is None)


def _data(
    guest: Guest, context: Context, code: Instruction, record: Record, there: Mapping[str, int] | None
) -> Translation | None:
    """The access of this instruction that was recorded: by its registers where they are still its own."""
    if code.operation is None:
        return None
    if there is None:
        if record.access != code.operation.way:
            return None
        return hardware(guest, context, record.ea, record.access, None)
    reached = reach(code, there.get)
    if reached is None or reached.ea is None or reached.hint or reached.real or reached.way != record.access:
        return None
    for ea in dict.fromkeys((reached.ea, reached.last)):
        if ea is not None and same_page(record, ea):
            return hardware(guest, context, ea, record.access, None)
    return None
