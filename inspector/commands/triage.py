"""``triage``: from a guest that hangs to what keeps it there, in one command."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Answered, Command, Example, Parser, Result, Session
from inspector.commands.seconds import seconds_argument, seconds_of

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.triage.found import Cause, Finding
    from inspector.triage.vcpus import Vcpu


@dataclass(frozen=True, slots=True)
class Report:
    """What is the matter with a guest, the most likely first, and what its vCPUs do. ``samples`` were taken over
    ``seconds``; ``stood`` is how many seconds the guest stood still for all of it, None of a recorded one."""

    findings: tuple[Finding, ...]
    vcpus: tuple[Vcpu, ...]
    samples: int
    seconds: float
    stood: float | None


@dataclass(frozen=True, slots=True)
class Triaged:
    """One finding of a report; the ``first`` one carries the vCPUs, where they are not told to a person."""

    topic: ClassVar[str] = "triage"
    finding: Finding
    report: Report
    first: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding.ok


@dataclass(frozen=True, slots=True)
class Looked(Answered):
    """What a person is told after the findings: the vCPUs, ``every`` one closely or those that matter, and how long
    the guest stood still."""

    topic: ClassVar[str] = "triage"
    report: Report
    every: bool = False


@dataclass(frozen=True, slots=True)
class Known(Answered):
    """A cause that is looked for, of no guest; ``sign`` says by what it is known."""

    topic: ClassVar[str] = "triage"
    cause: Cause
    sign: str


def causes() -> Iterator[Known]:
    """Every cause that there is, in the order in which they are told."""
    from inspector.triage.catalogue import CAUSES, NOTHING, UNKNOWN
    from inspector.triage.signs import SIGNS

    for each in (*CAUSES, UNKNOWN, NOTHING):
        yield Known(each, SIGNS[each.slug])


def triage(
    guest: Guest,
    seconds: float | None = None,
    *,
    every: bool = False,
    alone: bool = False,
    kernel: str | None = None,
) -> Report:
    """What is the matter with a guest. ``seconds`` is as :func:`inspector.triage.samples.taken` has it; ``every`` vCPU
    is looked at closely, however many there are. ``alone`` says that it was attached to for nothing but this, and
    stands still for it since then. ``kernel`` is the one that runs the guests of a bare machine, by its version or by
    the name of its walk, None where it is to be found. Raises UsageError for one that is not known."""
    from inspector.triage.catalogue import diagnosed
    from inspector.triage.devices import Watch
    from inspector.triage.evidence import gathered
    from inspector.triage.hostkernel import named
    from inspector.triage.samples import ran_since, standing, stands_since, taken

    host = None if kernel is None else named(kernel)
    watch = Watch(guest)
    since = stands_since(guest, alone)
    with standing(guest):
        begun = time.monotonic()
        sampling = taken(guest, seconds, watch.marks, meanwhile=lambda: _index(guest))
        ran = ran_since(begun, sampling)
        evidence = gathered(guest, sampling, watch, every=every, host=host)
        found = diagnosed(evidence)
        stood = None if sampling.stood is None else time.monotonic() - since - ran
    return Report(found, evidence.vcpus, evidence.samples, sampling.seconds, stood)


def _index(guest: Guest) -> None:
    """Have the symbols in order of their addresses, while the guest runs: that takes long the first time."""
    if guest.symbols is not None:
        guest.symbols.name_of(0)


def prepare(_words: Sequence[str] = ()) -> None:
    """What is imported, before there is a guest that would stand still for it."""
    import inspector.spaces
    import inspector.triage.catalogue
    import inspector.triage.evidence  # noqa: F401
    from inspector.instructions.decode import can_disassemble

    can_disassemble()


def _triage(session: Session, arguments: Namespace) -> Iterator[Result]:
    if arguments.causes:
        yield from causes()
        return
    guest = session.at
    report = triage(
        guest,
        seconds_of(arguments.seconds),
        every=arguments.vcpus,
        alone=session.alone,
        kernel=arguments.kernel,
    )
    if arguments.kernel is not None:
        yield from _doubt(arguments.kernel)
    for number, each in enumerate(report.findings):
        yield Triaged(each, report, first=not number)
    yield Looked(report, arguments.vcpus)


def _doubt(kernel: str) -> Iterator[Result]:
    """That the walk of the kernel that the user named is not known, whether or not a finding rests on it."""
    from inspector.triage.hostkernel import named

    doubt = named(kernel).doubt
    if doubt:
        yield Aside(Note(doubt))


def _arguments(parser: Parser) -> None:
    seconds_argument(parser)
    parser.add_argument("--causes", action="store_true", help="tell the causes that are looked for, and look for none")
    parser.add_argument("--vcpus", action="store_true", help="show every vCPU closely: its code, access and back trace")
    parser.add_argument(
        "--as",
        dest="kernel",
        metavar="KERNEL",
        help="the host's kernel, whose software walk counts for its guests: its version (SEED, 4.18, 6.1 …) or a "
        "walker's name (kvm@…); found by itself where it can be",
    )


COMMANDS = (
    Command(
        "triage",
        "why does this guest hang",
        _triage,
        _arguments,
        (
            Example("triage", "what is the matter, the most likely first"),
            Example("triage --seconds 0", "by one sample: it is not let run"),
            Example("triage --vcpus", "and every vCPU closely"),
            Example("triage --causes", "what it looks for: each cause, its signs and what to do"),
            Example("triage --as 4.11", "as if the host's kernel were that one: which walk its KVM makes"),
        ),
        "Samples the registers of every vCPU, holds the accesses that faulted last to the tables, by the hardware's "
        "walk and by KVM's, and looks for the causes that it knows. Each is told with how sure it is, what it rests "
        "on, and what to do. Then what each vCPU does; of those that a finding names, or that spin, 64 at "
        "most, also the code at NIP, where its access leads, how it came there, and its last fault. The guest is let "
        "run between samples only if it ran when it was found, and how long it stood still is told. Of a snapshot "
        "there are the samples that it holds, or one. Exit status 1: something is wrong.",
        prepare=prepare,
    ),
)
