"""Accesses that faulted and would fault again now: of the instruction at NIP, or of the one that a handler is to go
back to (SRR0, HSRR0)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from inspector.errors import InspectorError, TargetError
from inspector.fetching import instruction_behind
from inspector.guest import Guest
from inspector.instructions.decode import WORD, Instruction
from inspector.instructions.effective import reach
from inspector.radix.address import Context
from inspector.radix.bits import MSR_LE
from inspector.radix.geometry import ROOT_LEVEL
from inspector.radix.prediction import HDSISR_CANARY, Record, same_page
from inspector.radix.translation import Access, Translation
from inspector.targets.base import CORE, GENERAL
from inspector.triage.held import STOPS_ENOUGH, STOPS_SOME, Seen, accesses_of, agrees, context_of, fetchable, goes_on
from inspector.triage.hostkernel import host_walk
from inspector.triage.samples import Sample
from inspector.walkers import hardware

LONG_ENOUGH = 0.1
"""Seconds, from which on a handler that was seen in every sample is no slow one of a busy guest."""
SYSTEM_CALL = 17
"""The primary opcode of ``sc``."""


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
    each time: it was seen to be refused at a few stops only, or in the handler at the last, where no more is known."""
    refused: int = 0
    """At how many stops the tables were seen to refuse it; 0 where that is not known."""


@dataclass(slots=True)
class _Case:
    """In how many samples it was, how its vCPU's registers were in these, and those of one that was about to make the
    access again; ``last`` is whether the last sample is such a one. ``refused`` is at how many stops the tables did, 0
    where they allowed it at any, and None where that is not known; ``again`` is at how many of these it was about to be
    made again."""

    seen: int = 0
    states: set[tuple[int | None, ...]] = field(default_factory=set)
    last: bool = False
    there: Mapping[str, int] | None = None
    refused: int | None = None
    again: int = 0


def stuck(guest: Guest, samples: list[Sample], enough: int) -> tuple[Stuck, ...]:
    """Every access that a sample's registers are of and that would fault now.

    Of several samples so many have to show it (``enough``). One whose vCPU was elsewhere each time, as in the handler,
    has to be in all of its samples, going on from one to the next, and for a while: a task that waits for a page leaves
    such registers to an idle vCPU, and a program that lives on faults is at other things in between. What the tables
    allowed at any stop is not stuck: a busy program's next turn may be forbidden as its last was."""
    cases: dict[Seen, _Case] = {}
    awake: dict[int, int] = {}
    kvm: bool | None = None
    for sample in samples:
        for cpu, known in sample.cpus.items():
            if sample.halted.get(cpu):
                continue
            awake[cpu] = awake.get(cpu, 0) + 1
            for each, at_it in accesses_of(cpu, known):
                if each.record.hypervisor:
                    kvm = _under_kvm(guest, samples) if kvm is None else kvm
                    if kvm:
                        continue  # KVM's guests come out for devices all the time: storage.py
                case = cases.setdefault(each, _Case())
                case.seen += 1
                case.states.add(tuple(known.get(name) for name in (*GENERAL, *CORE)))
                case.there = known if at_it else case.there
                case.last = at_it and sample is samples[-1]
                case.refused = sample.refused.get(cpu, {}).get(each.record.registers[0], case.refused)
                case.again = sample.again.get(cpu, {}).get(each.record.registers[0], case.again)
    long = samples[-1].at - samples[0].at >= LONG_ENOUGH if samples else False
    found = []
    for each, case in cases.items():
        if case.seen < min(enough, len(samples)) or case.refused == 0:
            continue
        # now and then a handler's registers are those of another interrupt, as of the clock's
        most = awake[each.cpu] if (case.refused or 0) < STOPS_SOME else -(-2 * awake[each.cpu] // 3)
        everywhere = case.seen >= max(enough, most) and len(case.states) > 1 and long
        if (case.there is None and not everywhere) or any(
            goes_on(each, sample.cpus.get(each.cpu, {})) for sample in samples
        ):
            continue
        try:
            one = _held(guest, each, case.there)
        except TargetError:
            raise
        except InspectorError:
            continue
        if one is None:
            continue
        doubt = False
        if _fetched(one):
            if case.refused and not case.again and not _of_the_root(one):
                continue  # its kernel may be at it for long, as to clear a huge page, each time that it is given back
            doubt = not case.last if case.refused is None else case.refused < STOPS_ENOUGH
        found.append(replace(one, seen=case.seen, paging=doubt, refused=case.refused or 0))
    return tuple(found)


def _under_kvm(guest: Guest, samples: list[Sample]) -> bool:
    """Whether KVM is the hypervisor: by its mark in HDSISR, which only POWER9 to DD2.1 gets, or as Linux is there."""
    marked = any(known.get("hdsisr") == HDSISR_CANARY for sample in samples for known in sample.cpus.values())
    return marked or bool(host_walk(guest).release)


def _fetched(one: Stuck) -> bool:
    return one.answer.stage == 1 and fetchable(one.answer.ea, one.answer.cause)


def _of_the_root(one: Stuck) -> bool:
    """Whether it is the root's entry that is not there: none goes and comes with the pages of a program."""
    return bool(one.answer.steps) and one.answer.steps[-1].level == ROOT_LEVEL


def _held(guest: Guest, seen: Seen, there: Mapping[str, int] | None) -> Stuck | None:
    context = context_of(guest, seen, there)
    fetch = hardware(guest, context, seen.nip, "x", None)
    code = instruction_behind(guest, fetch, bool((context.msr or 0) & MSR_LE))
    if seen.record.access == "x":
        answer: Translation | None = fetch if same_page(seen.record, seen.nip) else None
    elif fetch.ok and code is not None:
        answer = _data(guest, context, code, seen.record, there)
    else:
        answer = _without_code(guest, context, seen.record, fetch)
    if answer is None or not agrees(seen.record, answer, context):
        return None
    text = code.text if code is not None else ""
    one = Stuck(seen.cpu, seen.nip, answer, seen.record, context.problem_state, text, there is None)
    if there is not None and _fetched(one) and _after_a_system_call(guest, context, seen.nip):
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
