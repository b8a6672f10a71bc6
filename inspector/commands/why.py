"""``why``: would this access fault now, with which interrupt, and does what the vCPU recorded agree?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from inspector.commands.registry import Command, Example, Parser, Session
from inspector.commands.whose import NESTED, nested_of
from inspector.errors import InspectorError, TargetError, UsageError
from inspector.guest import Guest
from inspector.radix.address import Context, quadrant
from inspector.radix.bits import DSISR_PRTABLE_FAULT, MSR_HV, MSR_PR
from inspector.radix.hindsight import Held, Now, elsewhere, held, out_of_a_guest
from inspector.radix.prediction import Prediction, Record, interrupted, predict, records, same_page
from inspector.radix.software_walk import variant
from inspector.radix.translation import Access, Translation
from inspector.targets.base import FAULT
from inspector.walkers import as_whom, hardware, software

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
    nested: tuple[int, int] | None = None,
) -> Why:
    """Whether this access would fault now, asked as Guest.translate asks. Without ``access`` it is what the vCPU
    recorded of this address, or else a fetch where NIP is, and a load anywhere else.

    ``nested`` is as Guest.translate has it: what a KVM host's vCPU recorded while it ran a guest's guest is of that.

    Raises what Guest.translate raises."""
    known = _registers(guest, cpu)
    found = list(records(known))
    chosen = ""
    if access is None:
        access, chosen = _chosen(ea, known.get("nip"), found)
    answer = guest.translate(ea, access=access, pid=pid, lpid=lpid, nested=nested, cpu=cpu)
    context, within = as_whom(guest.context(cpu), ea, pid, lpid, nested)
    aside = ""
    recorded: tuple[Held, ...] = ()
    if guest.running:
        aside = "the guest is running, so what its vCPU recorded was not looked at"
    else:
        comparison = _Comparison(guest, cpu, pid, lpid, known, nested, within)
        aside = comparison.aside(found)
        recorded = tuple(comparison.of(answer, found))
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


class _Comparison:
    """What a vCPU recorded, held to the tables of the process and partition that were asked about.

    A guest's hypervisor storage interrupts stay in the vCPU's registers while it runs the host, with LPIDR 0 and the
    host's PID; any other record is of the process that it runs."""

    def __init__(
        self,
        guest: Guest,
        cpu: int | None,
        pid: int | None,
        lpid: int | None,
        known: Mapping[str, int],
        nested: tuple[int, int] | None,
        within: Context | None,
    ) -> None:
        self.guest, self.cpu, self.known, self.within = guest, cpu, known, within
        own = guest.context(cpu)
        self.asked = replace(own, pid=own.pid if pid is None else pid, lpidr=own.lpidr if lpid is None else lpid)
        if nested is not None:
            self.asked = replace(self.asked, ptcr=nested[0], lpidr=nested[1])
        same = (self.asked.pid, self.asked.lpidr or 0) == (own.pid, own.lpidr or 0)
        self.own_process = same and within is None

    def aside(self, found: list[Record]) -> str:
        """That some records were passed over, where they were."""
        if self.own_process or all(record.hypervisor for record in found):
            return ""
        return "this vCPU runs another process, which DAR, DSISR, SRR0 and SRR1 are of; they were not looked at"

    def of(self, answer: Translation, found: list[Record]) -> Iterator[Held]:
        """What was recorded of this page; and of the kind of interrupt that this access raises, if only of another."""
        like_it = (answer.access == "x", (answer.stage or 1) > 1)
        for record in found:
            if not (record.hypervisor or self.own_process):
                continue
            if same_page(record, answer.ea):
                each = self._held(record)
                if each.verdict == "agrees" or not record.doubtful:
                    yield each
            elif (record.access == "x", record.hypervisor) == like_it and not record.doubtful:
                yield elsewhere(record)

    def _held(self, record: Record) -> Held:
        context = self.asked
        srr1 = self.known.get("hsrr1" if record.hypervisor else "srr1")
        if record.hypervisor and srr1 and not (srr1 & MSR_HV or context.lpidr):
            return out_of_a_guest(record)
        accesses: list[Access] = [record.access or "r"]
        if record.hypervisor and record.bits & DSISR_PRTABLE_FAULT:
            accesses += ["w", "x"]  # an older QEMU takes them for loads
        asked = []
        if srr1:  # the record's own state, as the vCPU may be in the interrupt's handler by now
            then = interrupted(context, srr1)
            if then.msr != context.msr:
                state = f"in the state that it was interrupted in ({'HSRR1' if record.hypervisor else 'SRR1'})"
                asked += [self._now(then, record, access, state) for access in accesses]
        asked += [self._now(context, record, access, "as the vCPU is now") for access in accesses]
        if context.pid and quadrant(record.ea) == 0 and not context.problem_state:
            asked.append(self._now(context.as_process(context.pid, record.ea), record, accesses[0], "for user code"))
        return held(record, asked, self._software(record))

    def _now(self, context: Context, record: Record, access: Access, state: str) -> Now:
        answer = hardware(self.guest, context, record.ea, access, self.within)
        return Now(state, answer, predict(answer, context))

    def _software(self, record: Record) -> Translation | None:
        """KVM's walk of the same address; None where it cannot be asked."""
        try:
            return software(self.guest, self.asked, record.ea, variant("kvm"), self.within)
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
    nested = nested_of(session, arguments)
    yield from session.each(
        arguments.ea,
        lambda ea: why(guest, ea, arguments.access, cpu=cpu, pid=numbers["pid"], lpid=numbers["lpid"], nested=nested),
    )


def _arguments(parser: Parser) -> None:
    parser.add_argument("ea", nargs="+", metavar="EA", help="an effective address, or - for standard input")
    parser.add_argument("--access", choices=("r", "w", "x"), help="a load, a store or a fetch")
    parser.add_argument("--cpu", metavar="N", help="on this vCPU; the chosen one if left out")
    parser.add_argument("--pid", metavar="P", help="as if the process with this radix PID ran")
    parser.add_argument("--lpid", metavar="N", help="as if this partition ran")
    parser.add_argument("--nested", metavar="PTCR:N", help=NESTED)


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
