"""``why``: would this access fault now, with which interrupt, and does what the vCPU recorded agree?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Command, Example, Parser, Session
from inspector.errors import InspectorError, TargetError, UsageError
from inspector.guest import Guest
from inspector.radix.address import Context, quadrant
from inspector.radix.bits import DSISR_PRTABLE_FAULT, MSR_PR
from inspector.radix.hindsight import Held, Now, elsewhere, held
from inspector.radix.prediction import Prediction, Record, interrupted, predict, records, same_page
from inspector.radix.translation import Access, Translation
from inspector.targets.base import FAULT
from inspector.walkers import as_whom, hardware

ID_BITS = 32
"""Of PIDR and LPIDR."""


@dataclass(frozen=True, slots=True)
class Why:
    """One access by the tables as they are now: ``prediction`` is what it raises, None where it goes well or where that
    is not known; ``chosen`` says who chose the access, where the user did not; ``recorded`` is what the vCPU recorded,
    and ``aside`` why that was not looked at."""

    topic: ClassVar[str] = "why"
    answer: Translation
    prediction: Prediction | None
    user: bool | None
    chosen: str
    recorded: tuple[Held, ...]
    aside: str

    @property
    def ok(self) -> bool:
        """Whether the access goes well."""
        return self.answer.ok


def why(
    guest: Guest,
    ea: int,
    access: Access | None = None,
    *,
    cpu: int | None = None,
    pid: int | None = None,
    lpid: int | None = None,
) -> Why:
    """Whether this access would fault now, asked as Guest.translate asks. Without ``access`` it is what the vCPU
    recorded of this address, or else a fetch where NIP is, and a load anywhere else.

    Raises what Guest.translate raises."""
    known = _registers(guest, cpu)
    found = list(records(known))
    chosen = ""
    if access is None:
        access, chosen = _chosen(ea, known.get("nip"), found)
    answer = guest.translate(ea, access=access, pid=pid, lpid=lpid, cpu=cpu)
    context, _ = as_whom(guest.context(cpu), ea, pid, lpid, None)
    aside = _not_ours(guest, cpu, pid, lpid)
    recorded = () if aside else tuple(_recorded(guest, cpu, answer, known, found))
    msr = context.msr
    user = None if msr is None else bool(msr & MSR_PR)
    return Why(answer, predict(answer, context), user, chosen, recorded, aside)


def _registers(guest: Guest, cpu: int | None) -> Mapping[str, int]:
    """NIP and the registers that record faults, as far as they are known; a running guest's are not."""
    if guest.running:
        return {}
    file = guest.registers(cpu, ("nip", *FAULT))
    found = ((name, file.get(name)) for name in ("nip", *FAULT))
    return {name: value for name, value in found if value is not None}


def _chosen(ea: int, nip: int | None, found: list[Record]) -> tuple[Access, str]:
    for record in found:
        if record.ea == ea and record.access is not None:
            return record.access, f"as {record.registers[1]} records it"
    if ea == nip:
        return "x", "as NIP is there"
    return "r", "as no access was named"


def _not_ours(guest: Guest, cpu: int | None, pid: int | None, lpid: int | None) -> str:
    """Why the vCPU's records are of no use here; "" where they are."""
    if guest.running:
        return "the guest is running, so what its vCPU recorded was not looked at"
    context = guest.context(cpu)
    if (pid is not None and pid != context.pid) or (lpid is not None and lpid != (context.lpidr or 0)):
        return "the vCPU runs another process, so what it recorded says nothing of this one"
    return ""


def _recorded(
    guest: Guest, cpu: int | None, answer: Translation, known: Mapping[str, int], found: list[Record]
) -> Iterator[Held]:
    """What was recorded of this page; and of the kind of interrupt that this access raises, if only of another."""
    like_it = (answer.access == "x", (answer.stage or 1) > 1)
    for record in found:
        if same_page(record, answer.ea):
            each = _held(guest, cpu, record, known)
            if each.verdict == "agrees" or not record.doubtful:
                yield each
        elif (record.access == "x", record.hypervisor) == like_it and not record.doubtful:
            yield elsewhere(record)


def _held(guest: Guest, cpu: int | None, record: Record, known: Mapping[str, int]) -> Held:
    context = guest.context(cpu)
    srr1 = known.get("hsrr1" if record.hypervisor else "srr1")
    accesses: list[Access] = [record.access or "r"]
    if record.hypervisor and record.bits & DSISR_PRTABLE_FAULT:
        accesses += ["w", "x"]  # an older QEMU takes them for loads
    asked = []
    if srr1:  # the record's own state, as the vCPU may be in the interrupt's handler by now
        then = interrupted(context, srr1)
        if then.msr != context.msr:
            state = f"in the state that it was interrupted in ({'HSRR1' if record.hypervisor else 'SRR1'})"
            asked += [_now(guest, then, record, access, state) for access in accesses]
    asked += [_now(guest, context, record, access, "as the vCPU is now") for access in accesses]
    if context.pid and quadrant(record.ea) == 0 and not context.problem_state:
        asked.append(_now(guest, context.as_process(context.pid, record.ea), record, accesses[0], "for user code"))
    return held(record, asked, _software(guest, record, cpu))


def _now(guest: Guest, context: Context, record: Record, access: Access, state: str) -> Now:
    answer = hardware(guest, context, record.ea, access, None)
    return Now(state, answer, predict(answer, context))


def _software(guest: Guest, record: Record, cpu: int | None) -> Translation | None:
    """KVM's walk of the same address; None where it cannot be asked."""
    try:
        return guest.translate(record.ea, walker="kvm", cpu=cpu)
    except TargetError:
        raise
    except InspectorError:
        return None


def _why(session: Session, arguments: Namespace) -> Iterator[Why]:
    guest = session.at
    numbers: dict[str, int | None] = {}
    for name in ("cpu", "pid", "lpid"):
        text = getattr(arguments, name)
        numbers[name] = value = None if text is None else session.value(text)
        if value is not None and value >> ID_BITS:
            raise UsageError(f"--{name} takes a number of at most {ID_BITS} bits, not {value:#x}")
    cpu = numbers["cpu"]
    if cpu is not None and cpu not in guest.target.cpus:
        raise UsageError(f"there is no vCPU {cpu}; there are: {', '.join(map(str, guest.target.cpus))}")
    yield from session.each(
        arguments.ea,
        lambda ea: why(guest, ea, arguments.access, cpu=cpu, pid=numbers["pid"], lpid=numbers["lpid"]),
    )


def _arguments(parser: Parser) -> None:
    parser.add_argument("ea", nargs="+", metavar="EA", help="an effective address, or - for standard input")
    parser.add_argument("--access", choices=("r", "w", "x"), help="a load, a store or a fetch")
    parser.add_argument("--cpu", metavar="N", help="on this vCPU; the chosen one if left out")
    parser.add_argument("--pid", metavar="P", help="as if the process with this radix PID ran")
    parser.add_argument("--lpid", metavar="N", help="as if this partition ran")


COMMANDS = (
    Command(
        "why",
        "would this access fault, how, and why",
        _why,
        _arguments,
        (
            Example("why $nip", "the fetch of the instruction at NIP"),
            Example("why 0xc000000000000000 --access r", "a load from the kernel's linear map"),
        ),
        "Names the interrupt that the access would raise now, its vector, what it would write into DAR and DSISR (SRR0 "
        "and SRR1 of a fetch; HDAR, HDSISR, HSRR0, HSRR1 and ASDR of the second stage), and the reason in words. "
        "What the vCPU has recorded of this page is held to that: it agrees, or the difference is explained. Without "
        "--access it is the access that was recorded of this address, or else a fetch at NIP, a load elsewhere.",
    ),
)
