"""Accesses that faulted and would fault again now: of the instruction at NIP, or of the one that a handler is to go
back to (SRR0, HSRR0)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from inspector.errors import InspectorError, TargetError
from inspector.fetching import instruction_behind
from inspector.guest import Guest
from inspector.instructions.decode import WORD, Instruction
from inspector.instructions.effective import reach
from inspector.radix.address import Context, in_range, quadrant
from inspector.radix.bits import DSISR_ISSTORE, DSISR_PRTABLE_FAULT, DSISR_SET_RC, MSR_HV, MSR_LE, MSR_PR, PTE_C, PTE_R
from inspector.radix.hindsight import Now, held
from inspector.radix.prediction import HDSISR_CANARY, Record, interrupted, predict, records, same_page
from inspector.radix.translation import Access, Translation
from inspector.targets.base import CORE, GENERAL
from inspector.triage.samples import Sample
from inspector.walkers import hardware

LONG_ENOUGH = 0.1
"""Seconds, from which on a handler that was seen in every sample is no slow one of a busy guest."""
SYSTEM_CALL = 17
"""The primary opcode of ``sc``."""
SEGMENT = ("ea-out-of-range", "quadrant")
"""Causes of a segment interrupt, which leaves the address and no cause (Power ISA 3.0B, book III, 6.5.4, 6.5.6)."""


@dataclass(frozen=True, slots=True)
class Stuck:
    """An access that would fault now, as its vCPU recorded. ``nip`` is its instruction's address and ``text`` the
    instruction ("" where it is not known); ``user`` is whether MSR[PR] was set. ``seen`` is in how many samples;
    ``handling`` that the vCPU was elsewhere in all of them, presumably in the interrupt's handler. ``answer`` is a
    fault, but where R or C could not be set, which the tables do not tell: then it goes well by them."""

    cpu: int
    nip: int
    answer: Translation
    record: Record
    user: bool
    text: str
    handling: bool
    seen: int = 1
    paging: bool = False
    """It may be of a program that touches a page, gives it back and touches it again, for which its kernel fetches it
    each time: the tables are known as of the last sample only, and in that one it was in the handler."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a sample's registers say of an access: all that two samples have to have in common to be of the same."""

    cpu: int
    nip: int
    msr: int
    record: Record
    pid: int
    lpidr: int


@dataclass(slots=True)
class _Case:
    """In how many samples it was, how its vCPU's registers were in these, and those of one that was about to make the
    access again; ``last`` is whether the last sample is such a one."""

    seen: int = 0
    states: set[tuple[int | None, ...]] = field(default_factory=set)
    last: bool = False
    there: Mapping[str, int] | None = None


def stuck(guest: Guest, samples: list[Sample], enough: int) -> tuple[Stuck, ...]:
    """Every access that a sample's registers are of and that would fault now.

    Of several samples so many have to show it (``enough``). One whose vCPU was elsewhere each time, as in the handler,
    has to be in all of its samples, going on from one to the next, and for a while: a task that waits for a page leaves
    such registers to an idle vCPU, and a program that lives on faults is at other things in between."""
    cases: dict[_Seen, _Case] = {}
    awake: dict[int, int] = {}
    kvm = any(known.get("hdsisr") == HDSISR_CANARY for sample in samples for known in sample.cpus.values())
    for sample in samples:
        for cpu, known in sample.cpus.items():
            if sample.halted.get(cpu):
                continue
            awake[cpu] = awake.get(cpu, 0) + 1
            for each, at_it in _of_registers(cpu, known):
                if each.record.hypervisor and kvm:
                    continue  # KVM's guests come out for devices all the time: storage.py
                case = cases.setdefault(each, _Case())
                case.seen += 1
                case.states.add(tuple(known.get(name) for name in (*GENERAL, *CORE)))
                case.there = known if at_it else case.there
                case.last = at_it and sample is samples[-1]
    long = samples[-1].at - samples[0].at >= LONG_ENOUGH if samples else False
    found = []
    for each, case in cases.items():
        if case.seen < min(enough, len(samples)):
            continue
        everywhere = case.seen >= max(enough, awake[each.cpu]) and len(case.states) > 1 and long
        if (case.there is None and not everywhere) or _goes_on(each, samples):
            continue
        try:
            one = _held(guest, each, case.there)
        except TargetError:
            raise
        except InspectorError:
            continue
        if one is not None:
            found.append(replace(one, seen=case.seen, paging=_fetchable(one) and not case.last))
    return tuple(found)


def _of_registers(cpu: int, known: Mapping[str, int]) -> Iterator[tuple[_Seen, bool]]:
    """The accesses that a vCPU recorded, and whether it is about to make each of them again."""
    nip, msr = known.get("nip"), known.get("msr")
    if nip is None or msr is None:
        return
    for record in (*records(known), *_segments(known)):
        prefix = "h" if record.hypervisor else ""
        at, then = known.get(f"{prefix}srr0"), known.get(f"{prefix}srr1")
        if at is None or then is None or (record.access is None and in_a_segment(record.ea)):
            continue
        if record.hypervisor and (then & MSR_HV or not known.get("lpidr")):
            continue  # a KVM guest's, which its host's registers alone say nothing of: storage.py
        there = at == nip and bool(then & MSR_PR) == bool(msr & MSR_PR)
        yield _Seen(cpu, at, then, record, known.get("pid", 0), known.get("lpidr", 0)), there


def _goes_on(seen: _Seen, samples: list[Sample]) -> bool:
    """Whether the process whose memory it is was at other places of its own code: it comes back to the access, as to
    one that its kernel deals with each time."""
    if quadrant(seen.record.ea):
        return False
    for sample in samples:
        known = sample.cpus.get(seen.cpu, {})
        if known.get("pid") != seen.pid or known.get("lpidr", 0) != seen.lpidr:
            continue
        places = [(known.get("nip"), known.get("msr"))]
        if not seen.record.hypervisor:
            places.append((known.get("srr0"), known.get("srr1")))
        if any(at != seen.nip for at, msr in places if msr is not None and msr & MSR_PR):
            return True
    return False


def _fetchable(one: Stuck) -> bool:
    """Whether it is of a user's page that is not there, or not to be written: what kernels put right all the time."""
    return not quadrant(one.answer.ea) and one.answer.stage == 1 and one.answer.cause in ("not-present", "protection")


def in_a_segment(ea: int) -> bool:
    """Whether it is one that a tree translates for any software: in range, and in quadrant 0 or 3."""
    return in_range(ea) and quadrant(ea) in (0, 3)


def _segments(known: Mapping[str, int]) -> Iterator[Record]:
    """What a segment interrupt would have left, whatever older ones left beside it."""
    dar, srr0 = known.get("dar"), known.get("srr0")
    if dar is not None and known.get("dsisr") and not in_a_segment(dar):
        yield Record(("DAR", "DSISR"), dar, 0, None)
    if srr0 is not None and not in_a_segment(srr0):
        yield Record(("SRR0", "SRR1"), srr0, 0, "x")


def _held(guest: Guest, seen: _Seen, there: Mapping[str, int] | None) -> Stuck | None:
    context = replace(guest.context(seen.cpu), pid=seen.pid, lpidr=seen.lpidr)
    if there is None:
        context = interrupted(context, seen.msr)
    else:
        context = replace(context, msr=there["msr"], amr=there.get("amr"), iamr=there.get("iamr"))
    fetch = hardware(guest, context, seen.nip, "x", None)
    code = instruction_behind(guest, fetch, bool((context.msr or 0) & MSR_LE))
    if seen.record.access == "x":
        answer: Translation | None = fetch if same_page(seen.record, seen.nip) else None
    elif fetch.ok and code is not None:
        answer = _data(guest, context, code, seen.record, there)
    else:
        answer = _without_code(guest, context, seen.record, fetch)
    if answer is None or not _agrees(seen.record, answer, context):
        return None
    text = code.text if code is not None else ""
    one = Stuck(seen.cpu, seen.nip, answer, seen.record, context.problem_state, text, there is None)
    if there is not None and _fetchable(one) and _after_a_system_call(guest, context, seen.nip):
        return None  # which may have given the page back, and is come to for the first time since
    return one


def _data(
    guest: Guest, context: Context, code: Instruction, record: Record, there: Mapping[str, int] | None
) -> Translation | None:
    """The access of this instruction that was recorded: by its registers where they are still its own."""
    if code.operation is None or record.access not in (code.operation.way, None):
        return None
    way: Access = code.operation.way
    if there is None:
        if not record.hypervisor and _after_a_system_call(guest, context, code.address):
            return None  # a system call leaves SRR0 as well, and DAR and DSISR may be of long ago
        return hardware(guest, context, record.ea, way, None)
    reached = reach(code, there.get)
    if reached is None or reached.ea is None or reached.hint or reached.real or reached.way != way:
        return None
    for ea in dict.fromkeys((reached.ea, reached.last)):
        if ea is not None and same_page(record, ea):
            return hardware(guest, context, ea, way, None)
    return None


def _after_a_system_call(guest: Guest, context: Context, nip: int) -> bool:
    before = hardware(guest, context, nip - WORD, "x", None)
    code = instruction_behind(guest, before, bool((context.msr or 0) & MSR_LE))
    return code is not None and code.word >> 26 == SYSTEM_CALL


def _without_code(guest: Guest, context: Context, record: Record, fetch: Translation) -> Translation | None:
    """The access where the code cannot be fetched any more for the very reason that the access fails: its process has
    no tables."""
    if record.access is None:
        return None
    answer = hardware(guest, context, record.ea, record.access, None)
    rootless = all(step.table != "radix" or step.stage > 1 for step in (*answer.steps, *fetch.steps))
    return answer if answer.cause is not None and answer.cause == fetch.cause and rootless else None


def _agrees(record: Record, answer: Translation, context: Context) -> bool:
    """Whether the tables would have it recorded just so now."""
    if answer.cause in SEGMENT:
        return not record.bits and not record.hypervisor
    if record.bits & ~(DSISR_ISSTORE | DSISR_PRTABLE_FAULT) == DSISR_SET_RC:
        return answer.ok and _unset(record, answer)
    prediction = predict(answer, context)
    return prediction is not None and held(record, [Now("", answer, prediction)], None).verdict == "agrees"


def _unset(record: Record, answer: Translation) -> bool:
    """Whether a leaf on the way lacks the R, or the last one the C, that this access has to set."""
    leaves = [step.value or 0 for step in answer.steps if step.kind == "leaf" and (step.stage > 1) == record.hypervisor]
    if not leaves:
        return False
    return not all(leaf & PTE_R for leaf in leaves) or bool(record.bits & DSISR_ISSTORE and not leaves[-1] & PTE_C)
