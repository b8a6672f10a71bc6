"""``why``: would this access fault now, with which interrupt, and does what the vCPU recorded agree?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Command, Example, Parser, Session
from inspector.commands.whose import NESTED, nested_of
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.radix.bits import MSR_HV, MSR_PR
from inspector.radix.hindsight import Held
from inspector.radix.prediction import Prediction, Record, interrupted, predict, records
from inspector.radix.translation import Access, Translation
from inspector.recordedfaults import Comparison
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
    nested: tuple[int, int] | None = None,
    as_of: str | None = None,
) -> Why:
    """Whether this access would fault now, asked as Guest.translate asks. Without ``access`` it is what the vCPU
    recorded of this address, or else a fetch where NIP is, and a load anywhere else.

    ``nested`` is as Guest.translate has it: what a KVM host's vCPU recorded while it ran a guest's guest is of that.
    ``as_of`` names the register, SRR1 or HSRR1, that holds the MSR to ask by: that of the code which was interrupted,
    where the vCPU is in the interrupt's handler by now. SRR1 goes with no other process or partition; HSRR1 does, as
    LPIDR may be the host's by then, and is taken where the guest's last storage interrupt was of just this access.

    Raises what Guest.translate raises, and UsageError where that register is 0: it is so where no interrupt set it, as
    HSRR1 is in a pseries guest, and no MSR of code in 64-bit mode is."""
    known = _registers(guest, cpu)
    found = list(records(known))
    chosen = ""
    if access is None:
        access, chosen = _chosen(ea, known.get("nip"), found)
    if as_of is None and lpid and _a_guests(ea, access, known, found):
        as_of, chosen = "hsrr1", f"{chosen or 'as it was asked'}, by the MSR in HSRR1, which is of that interrupt"
    context, within = as_whom(guest.context(cpu), ea, pid, lpid, nested)
    if as_of is None:
        answer = guest.translate(ea, access=access, pid=pid, lpid=lpid, nested=nested, cpu=cpu)
    else:
        then = guest.registers(cpu, (as_of,)).need(as_of)
        if not then:
            raise UsageError(f"{as_of.upper()} is 0, and so holds the MSR of no interrupted code; leave --as-of out")
        context = interrupted(context, then)
        answer = hardware(guest, context, ea, access, within)
    aside = ""
    recorded: tuple[Held, ...] = ()
    if guest.running:
        aside = "the guest is running, so what its vCPU recorded was not looked at"
    else:
        comparison = Comparison(guest, cpu, pid, lpid, known, nested, within)
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


def _a_guests(ea: int, access: Access, known: Mapping[str, int], found: list[Record]) -> bool:
    """Whether it is just the access of a guest's last hypervisor storage interrupt, which left that guest's MSR."""
    msr = known.get("hsrr1")
    if not msr or msr & MSR_HV:
        return False
    return any(record.hypervisor and (record.ea, record.access) == (ea, access) for record in found)


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
    pid, lpid, nested, as_of = numbers["pid"], numbers["lpid"], nested_of(session, arguments), arguments.as_of
    if as_of == "srr1" and (pid, lpid, nested) != (None, None, None):
        raise UsageError("--as-of srr1 asks as this very vCPU was; leave out --pid, --lpid and --nested, or --as-of")
    yield from session.each(
        arguments.ea,
        lambda ea: why(guest, ea, arguments.access, cpu=cpu, pid=pid, lpid=lpid, nested=nested, as_of=as_of),
    )


def _arguments(parser: Parser) -> None:
    parser.add_argument("ea", nargs="+", metavar="EA", help="an effective address, or - for standard input")
    parser.add_argument("--access", choices=("r", "w", "x"), help="a load, a store or a fetch")
    parser.add_argument("--cpu", metavar="N", help="on this vCPU; the chosen one if left out")
    parser.add_argument("--pid", metavar="P", help="as if the process with this radix PID ran")
    parser.add_argument("--lpid", metavar="N", help="as if this partition ran")
    parser.add_argument("--nested", metavar="PTCR:N", help=NESTED)
    parser.add_argument(
        "--as-of", choices=("srr1", "hsrr1"), help="as it was when it took the interrupt that this has the MSR of"
    )


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
        "What the vCPU has recorded of this page is held to that: it agrees, or the difference is explained; in "
        "--json a record of another page is 'other-address', which says nothing of this one. Without "
        "--access it is the access that was recorded of this address, or else a fetch at NIP, a load elsewhere. "
        "In an interrupt's handler, which may run with relocation off, --as-of srr1 (or hsrr1) asks by the MSR of the "
        "code that it interrupted. A KVM host's vCPU is often back in the host when it is looked at: --lpid and --pid "
        "then say whose HSRR1 it is, as in --lpid 1 --pid 5 --as-of hsrr1; --pid alone is asked as user code.",
    ),
)
