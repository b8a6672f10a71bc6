"""``xlate`` and ``compare``: where does this address go, and do all the walkers agree?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from inspector.commands.registry import Command, Example, Parser, Session
from inspector.errors import InspectorError, TargetError
from inspector.guest import Guest
from inspector.radix.translation import Translation

KVM = "kvm"


@dataclass(frozen=True, slots=True)
class Xlate:
    """One address's answer, and a line on whether the other walk would have found it. ``in_ram`` is of its RA."""

    topic: ClassVar[str] = "translation"
    answer: Translation
    disagreement: str | None
    in_ram: bool | None

    @property
    def ok(self) -> bool:
        """Whether it was answered without a fault."""
        return self.answer.ok


@dataclass(frozen=True, slots=True)
class Compared:
    """The answers of every walker to one address."""

    topic: ClassVar[str] = "translation"
    answers: tuple[Translation, ...]
    verdict: str

    @property
    def ok(self) -> bool:
        """Whether the hardware's walk reached a page."""
        return self.answers[0].ok


def disagreement(hardware: Translation, software: Translation) -> str | None:
    """One line where the hardware's walk and KVM's end differently; None where they agree."""
    if not hardware.relocation:
        return None
    name = software.walker
    if hardware.ok and not software.ok:
        return f"{name} disagrees: it ends in {software.errno} ({software.reason})"
    if not hardware.ok and software.ok:
        return f"{name} disagrees: it reaches {software.ra:#x} where the hardware faults"
    if not hardware.ok:
        return None
    if software.ra != (hardware.gra if hardware.gra is not None else hardware.ra):
        return f"{name} disagrees: it reaches {software.ra:#x}"
    if software.rights != hardware.rights and hardware.gra is None:
        return f"{name} disagrees on rights: {software.rights}, where the hardware allows {hardware.rights}"
    return None


def _second_opinion(guest: Guest, answer: Translation, arguments: Namespace) -> str | None:
    """The one line on whether the other walk agrees."""
    if not answer.relocation:
        return None
    other = "hardware" if answer.walker.startswith(KVM) else KVM
    try:
        second = _ask(guest, answer.ea, other, replace_access(arguments))
    except TargetError:
        raise
    except InspectorError:
        return None
    if other == KVM:
        plain = answer if answer.access is None else _ask(guest, answer.ea, answer.walker, replace_access(arguments))
        return disagreement(plain, second)
    line = disagreement(second, answer)
    return line and line.replace(f"{answer.walker} disagrees", f"hardware and {answer.walker} disagree", 1)


def replace_access(arguments: Namespace) -> Namespace:
    """The same question about the mapping alone."""
    return Namespace(**{**vars(arguments), "access": None})


def _ask(guest: Guest, ea: int, walker: str, arguments: Namespace) -> Translation:
    return guest.translate(
        ea,
        walker=walker,
        access=arguments.access,
        pid=arguments.pid,
        lpid=arguments.lpid,
        guest_real=arguments.guest_real,
    )


def _question(session: Session, arguments: Namespace) -> Namespace:
    """The arguments with their expressions evaluated."""
    known = dict(vars(arguments))
    for name in ("pid", "lpid"):
        known[name] = None if known.get(name) is None else session.value(known[name])
    return Namespace(**known)


def _xlate(session: Session, arguments: Namespace) -> Iterator[Xlate]:
    guest = session.at
    question = _question(session, arguments)
    for ea in session.values(arguments.ea):
        answer = _ask(guest, ea, arguments.walker, question)
        in_ram = None if answer.ra is None else guest.memory.ram.covers(answer.ra, 1)
        yield Xlate(answer, _second_opinion(guest, answer, question), in_ram)


def _compare(session: Session, arguments: Namespace) -> Iterator[Compared]:
    guest = session.at
    question = _question(session, arguments)
    for ea in session.values(arguments.ea):
        answers = guest.compare(
            ea, access=question.access, pid=question.pid, lpid=question.lpid, guest_real=question.guest_real
        )
        plain = replace(answers[0], access=None)
        lines = [line for other in answers[1:] if (line := disagreement(plain, other))]
        if not plain.relocation:
            verdict = "translation is off: the hardware walks nothing, and KVM would not have walked either"
        else:
            verdict = f"{len(lines)} of {len(answers) - 1} software walks differ" if lines else "all walkers agree"
        yield Compared(tuple(answers), verdict)


def _where(parser: Parser) -> None:
    parser.add_argument("ea", nargs="+", metavar="EA", help="an effective address, or - for standard input")
    parser.add_argument("--pid", metavar="N", help="as if the process with this radix PID ran")
    parser.add_argument("--lpid", metavar="N", help="as if this partition ran")
    parser.add_argument("--guest-real", action="store_true", help="EA is a real address of the partition")
    parser.add_argument("--access", choices=("r", "w", "x"), help="may it be read, written, executed now?")


def _xlate_arguments(parser: Parser) -> None:
    _where(parser)
    parser.add_argument("--walker", default="hardware", metavar="NAME", help="hardware, kvm or one of kvm's variants")


COMMANDS = (
    Command(
        "xlate",
        "where an effective address goes, entry by entry",
        _xlate,
        _xlate_arguments,
        (
            Example("xlate 0xc000000000000000", "the start of the kernel's linear map"),
            Example("xlate $nip --access x", "may the instruction at NIP be fetched?"),
            Example("xlate --walker kvm $nip", "does KVM's software walk find the instruction?"),
        ),
        "Follows the chosen vCPU's registers (MSR, PID, LPIDR, AMR, IAMR) where nothing else is said. Without --access "
        "the answer is the mapping, and the rights that the vCPU would have; with it, whether that access may "
        "proceed.",
    ),
    Command(
        "compare",
        "every walker's answer side by side",
        _compare,
        _where,
        (Example("compare $nip", "the hardware, KVM's walk and its variants through history"),),
    ),
)
