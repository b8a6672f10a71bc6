"""``xlate`` and ``compare``: where does this address go, and do all the walkers agree?"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from inspector.commands.registry import Command, Example, Parser, Session
from inspector.commands.whose import NESTED, nested_of
from inspector.errors import InspectorError, TargetError, UsageError
from inspector.radix.translation import Translation
from inspector.radix.walk import WALKER

KVM = "kvm"
ID_BITS = 32
"""Of PIDR and LPIDR."""

Ask = Callable[..., Translation]
"""Guest.translate, as the process and partition that were named: takes the address, ``walker`` and ``access``."""


@dataclass(frozen=True, slots=True)
class Xlate:
    """One address's answer, and a line on whether the other walk would have found it. ``in_ram`` is of its RA; None
    where there is none, or where it is guest real."""

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
        """Whether the hardware's walk reached a page and KVM's, as mended, agrees: that they differ is a finding.

        Its older variants always do."""
        hardware, software = self.answers[0], next((each for each in self.answers if each.walker == KVM), None)
        if software is None or hardware.access is not None:
            return hardware.ok
        return hardware.ok and disagreement(hardware, software) is None


def ends_guest_real(answer: Translation) -> bool:
    """Whether ``ra`` is what a KVM guest calls real: KVM's walk is of the guest's own tables and ends there."""
    return answer.walker != WALKER and bool(answer.lpid)


def disagreement(hardware: Translation, software: Translation, lead: str = "") -> str | None:
    """One line where the hardware's walk and KVM's end differently; None where they agree.

    Both are of the mapping alone: an access that the hardware refuses is no disagreement, as KVM asks about none.
    ``lead`` begins the line where it is not to be "NAME disagrees"."""
    if not hardware.relocation:
        return None
    lead = lead or f"{software.walker} disagrees"
    if hardware.ok and not software.ok:
        return f"{lead}: it ends in {software.errno} ({software.reason})"
    if _same_until_behind(hardware, software):
        return None
    if not hardware.ok and software.ok:
        return f"{lead}: it reaches {software.ra:#x} where the hardware faults"
    if not hardware.ok:
        return None
    if software.ra != (hardware.gra if hardware.gra is not None else hardware.ra):
        return f"{lead}: it reaches {software.ra:#x}"
    if software.rights != hardware.rights and hardware.gra is None:
        return f"{lead} on rights: {software.rights}, where the hardware allows {hardware.rights}"
    return None


def _same_until_behind(hardware: Translation, software: Translation) -> bool:
    """Whether the guest's own tables lead both to the same guest real address, where KVM's walk ends and the hardware's
    faults: the host does not lead on."""
    return not hardware.ok and software.ok and (hardware.stage or 0) > 1 and hardware.gra == software.ra


def _not_behind(hardware: Translation) -> str:
    """The verdict on such a walk: how far it was led, and who did not lead on."""
    nested = hardware.outer_lpid is not None
    whose, real = ("L2", "L2 real") if nested else ("guest", "guest real")
    led = f"the {whose}'s tables lead to {real} {hardware.gra:#x}"
    if hardware.outer_gra is not None:
        led += f", and the L1's to L1 real {hardware.outer_gra:#x}"
    behind = "the L1" if nested and hardware.stage == 2 else "the host"
    return f"{led}; {behind} {'has nothing there' if hardware.cause == 'not-present' else 'does not lead on'}"


def _second_opinion(ask: Ask, answer: Translation) -> str | None:
    """The one line on whether the other walk agrees; None too where the other cannot be asked."""
    if not answer.relocation:
        return None
    software = answer.walker != WALKER
    try:
        second = ask(answer.ea, walker=WALKER if software else KVM)
        if software:
            return disagreement(second, answer, f"{WALKER} and {answer.walker} disagree")
        return disagreement(answer if answer.access is None else ask(answer.ea), second)
    except TargetError:
        raise
    except InspectorError:
        return None


def _as_whom(session: Session, arguments: Namespace) -> dict[str, Any]:
    """As which process and partition to ask: keywords of Guest.translate and Guest.compare."""
    pid, lpid = (None if text is None else session.value(text) for text in (arguments.pid, arguments.lpid))
    for name, value in (("--pid", pid), ("--lpid", lpid)):
        if value is not None and value >> ID_BITS:
            raise UsageError(f"{name} takes a number of at most {ID_BITS} bits, not {value:#x}")
    nested = nested_of(session, arguments)
    return {"pid": pid, "lpid": lpid, "nested": nested, "guest_real": arguments.guest_real}


def _xlate(session: Session, arguments: Namespace) -> Iterator[Xlate]:
    guest = session.at
    whom = _as_whom(session, arguments)

    def ask(ea: int, **more: Any) -> Translation:
        return guest.translate(ea, **whom, **more)

    def xlate(ea: int) -> Xlate:
        answer = ask(ea, walker=arguments.walker, access=arguments.access)
        in_ram = None if answer.ra is None or ends_guest_real(answer) else guest.memory.ram.covers(answer.ra, 1)
        return Xlate(answer, _second_opinion(ask, answer), in_ram)

    yield from session.each(arguments.ea, xlate)


def _verdict(hardware: Translation, mapped: Translation, others: Sequence[Translation]) -> str:
    """The line on what the answers come to; ``mapped`` is the hardware's to no access."""
    if not hardware.relocation:
        off = "translation is off: the address is real"
        if not hardware.lpid:
            return f"{off}, and there is nothing to walk"
        walked = "the host's tree is" if hardware.outer_lpid is None else "the trees of the L1 and the host are"
        return f"{off}, and only {walked} walked"
    differing = sum(disagreement(mapped, other) is not None for other in others)
    if differing:
        return f"{differing} of {len(others)} software walks differ"
    if any(_same_until_behind(mapped, other) for other in others):
        return _not_behind(mapped)
    return "all walkers agree" if mapped.ok else "no walker finds a page"


def _compare(session: Session, arguments: Namespace) -> Iterator[Compared]:
    guest = session.at
    whom = _as_whom(session, arguments)

    def compare(ea: int) -> Compared:
        hardware, *others = guest.compare(ea, access=arguments.access, **whom)
        mapped = hardware if arguments.access is None else guest.translate(ea, **whom)
        return Compared((hardware, *others), _verdict(hardware, mapped, others))

    yield from session.each(arguments.ea, compare)


def _where(parser: Parser) -> None:
    parser.add_argument("ea", nargs="+", metavar="EA", help="an effective address, or - for standard input")
    parser.add_argument("--pid", metavar="N", help="as if the process with this radix PID ran")
    parser.add_argument("--lpid", metavar="N", help="as if this partition ran")
    parser.add_argument("--nested", metavar="PTCR:N", help=NESTED)
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
        "proceed. With --lpid N a guest's address goes through two stages, its own tables and the host's. With "
        "--nested too, that guest's own guest (L2) is meant, and there are three: 1 is the L2's own, 2 its "
        "hypervisor's (L1) and 3 the host's, of which the trace has the leaves alone where it led on; JSON has every "
        "entry.",
    ),
    Command(
        "compare",
        "every walker's answer side by side",
        _compare,
        _where,
        (Example("compare $nip", "the hardware, KVM's walk and its variants through history"),),
    ),
)
