"""``unmap``, ``test-age`` and ``free``: KVM's second-level life cycle, on an overlay.

What these share with every command that changes a guest's second-level tree is here too: whose tree it is, whose
kernel's behaviour, and the answer that they all give.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Command, Example, Parser, Result, Session
from inspector.commands.whose import number
from inspector.errors import UsageError
from inspector.kvm import operations
from inspector.kvm.history import DEFAULT, VERSIONS, nearest, old, unknown
from inspector.kvm.operations import Answer

if TYPE_CHECKING:
    from inspector.kvm.machine import Vm
    from inspector.whatif import WhatIf

GOOD = frozenset({"RESUME_GUEST", "MMIO"})
"""Results by name that are no failure, and no fault that the guest sees."""
OSRELEASE, MOST_OF_RELEASE = "OSRELEASE=", 64
LAID = "on an overlay: nothing is written to the guest"
RAN = "the guest has run since the overlay was empty: what was not changed on it follows the guest"


@dataclass(frozen=True, slots=True)
class Operated:
    """What one operation came to, as the kernel ``version`` does it, on a POWER9 DD1 where ``dd1``; pages of the host
    are of 2**``page_shift`` bytes. ``gpa`` is the guest real address that was asked about, ``ea`` the effective one of
    a fault, ``slot`` (base, bytes) the slot that a dirty log is of, and ``path`` where that went, if it went anywhere:
    ``file_size`` bytes of it."""

    topic: ClassVar[str] = "lifecycle"
    answer: Answer
    version: str = DEFAULT
    dd1: bool = False
    page_shift: int = 16
    gpa: int | None = None
    slot: tuple[int, int] | None = None
    path: str | None = None
    file_size: int = 0
    ea: int | None = None

    @property
    def ok(self) -> bool:
        """False for an errno, and for a fault that the guest is to see."""
        return isinstance(self.answer.result, int) or self.answer.result in GOOD


Told = Operated | Aside


# -- whose tree, and as whom -------------------------------------------------------------------------------------------


def life_arguments(parser: Parser) -> None:
    """``--lpid N``, ``--as VERSION`` and ``--dd1``."""
    parser.add_argument("--lpid", metavar="N", help="of the KVM guest with this LPID; the vCPU's where it runs one")
    version_arguments(parser)


def version_arguments(parser: Parser) -> None:
    """``--as VERSION`` and ``--dd1``: as ``version`` and ``dd1``."""
    as_argument(parser)
    parser.add_argument("--dd1", action="store_true", help="on a POWER9 DD1, as kernels before 4.19 know it")


def as_argument(parser: Parser, default: str | None = None) -> None:
    """``--as VERSION``: as ``version``."""
    parser.add_argument(
        "--as",
        dest="version",
        type=_version,
        choices=VERSIONS,
        default=default,
        help=f"as this kernel does; {DEFAULT} if left out",
    )


def _version(text: str) -> str:
    """A version as it is written. Raises ArgumentTypeError for one that is not known, with the nearest."""
    if text not in VERSIONS:
        from argparse import ArgumentTypeError

        raise ArgumentTypeError(unknown(text))
    return text


def laid_over(session: Session) -> Generator[Aside, None, WhatIf]:
    """The overlay, which is turned on where it is off; that is said once, as is that the guest has run since."""
    guest = session.at
    whatif = guest.whatif
    if whatif is None:
        whatif = guest.lay_over()
        yield Aside(Note(LAID))
    elif whatif.ran and whatif.told != guest.target.clock.epoch:
        whatif.told = guest.target.clock.epoch
        yield Aside(Note(RAN))
    return whatif


def behave(whatif: WhatIf, arguments: Namespace) -> Iterator[Aside]:
    """Let the machine do as the kernel that ``arguments`` name; what that leaves open is said once an overlay."""
    version = arguments.version or DEFAULT
    whatif.machine.behave_as(version, arguments.dd1)
    said = []
    if arguments.dd1 and "dd1-cleared-first" not in old(version):
        said.append(f"{version} has no code for a DD1 any more, so that --dd1 changes nothing; kernels before 4.19 had")
    release = None if arguments.version is not None else release_of(whatif)
    near = None if release is None else nearest(release)
    if near is not None and near[0] != version:
        best, exact = near
        which = f"does {'' if exact else 'most '}as that kernel does"
        said.append(f"this host's kernel is {release}: --as {best} {which}; without it, it is as {DEFAULT} (4.11)")
    for each in said:
        if each not in whatif.said:
            whatif.said.add(each)
            yield Aside(Note(each))


def release_of(whatif: WhatIf) -> str | None:
    """The release of the kernel that runs the guests, where the target has that kernel's VMCOREINFO: that of a bare
    machine, for on any other it is a guest's own."""
    from inspector import partitions

    if not partitions.in_sight(whatif.guest):
        return None
    text = (whatif.guest.target.vmcoreinfo or b"").decode("ascii", "replace")
    found = next((line for line in text.splitlines() if line.startswith(OSRELEASE)), None)
    return None if found is None else found.removeprefix(OSRELEASE)[:MOST_OF_RELEASE]


def guest_of(session: Session, arguments: Namespace) -> Generator[Aside, None, tuple[WhatIf, Vm]]:
    """The overlay and the guest on it that ``arguments`` name, which is made where there is none; the machine behaves
    as they ask. Raises UsageError where no guest is named."""
    lpid = whose(session, arguments)
    whatif = yield from laid_over(session)
    yield from behave(whatif, arguments)
    try:
        vm = whatif.vm(lpid)
    except UsageError as error:
        vm = whatif.vm(lpid, make=True)
        why = str(error).partition(";")[0]
        yield Aside(Note(f"{why}, so LPID {lpid} is made on the overlay, with an empty tree"))
    return whatif, vm


def whose(session: Session, arguments: Namespace) -> int:
    """The LPID that is meant: what --lpid gives, or whose guest the vCPU runs, or the one that was made where the
    hypervisor is out of sight. Raises UsageError where none of them says."""
    from inspector import partitions

    guest = session.at
    if arguments.lpid is not None:
        lpid = number(session, arguments.lpid, "--lpid", "an LPID", "'lpids' lists those there are")
    elif guest.roots.flat:
        made = list(partitions.made(guest))
        lpid = made[0] if len(made) == 1 else 0
    else:
        lpid = 0 if guest.running else guest.registers(names=("lpidr",)).get("lpidr") or 0
    if lpid == 0:
        raise UsageError("this is about one KVM guest; say which with --lpid N, 'lpids' lists those there are")
    return lpid


def operated(whatif: WhatIf, answer: Answer, **more: int | tuple[int, int] | str | None) -> Operated:
    """An answer as this overlay's machine gave it."""
    machine = whatif.machine
    return Operated(answer, machine.version, machine.dd1, machine.pages.shift, **more)  # type: ignore[arg-type]


# -- one page ----------------------------------------------------------------------------------------------------------


def _of_pages(ask: Callable[..., Answer]) -> Callable[[Session, Namespace], Iterator[Told]]:
    """The command that does this to each guest real address."""

    def run(session: Session, arguments: Namespace) -> Iterator[Told]:
        whatif, vm = yield from guest_of(session, arguments)
        for gpa in session.values(arguments.gpa):
            yield operated(whatif, ask(whatif.machine, vm, guest_real(gpa)), gpa=gpa)

    return run


def guest_real(gpa: int) -> int:
    """An address that a guest may call real. Raises UsageError for one that no tree translates."""
    if gpa >> 52:
        raise UsageError(f"{gpa:#x} is no guest real address, which has 52 bits; give a smaller one")
    return gpa


unmap = _of_pages(operations.unmap)
age = _of_pages(operations.age)
test_age = _of_pages(operations.test_age)


# -- the end of a guest ------------------------------------------------------------------------------------------------


def _free(session: Session, arguments: Namespace) -> Iterator[Told]:
    whatif, vm = yield from guest_of(session, arguments)
    trace = whatif.machine.begin(vm)
    whatif.free(vm)
    yield operated(whatif, Answer("free", vm.lpid, 0, trace))


# -- words -------------------------------------------------------------------------------------------------------------


def _page_arguments(parser: Parser) -> None:
    parser.add_argument("gpa", nargs="+", metavar="GPA", help="guest real addresses; - for those on standard input")
    life_arguments(parser)


ON_OVERLAY = (
    "It is done on an overlay, which is turned on if it is off: nothing is written to the guest ('help overlay'). Told "
    "are KVM's decisions in order, each tlbie with its address, page size (AP) and LPID, and tables that were taken or "
    "freed. --as chooses the kernel whose behaviour it is. "
)
STATUS = "The exit status is 1 where the answer is an errno."


def on_overlay(
    name: str,
    summary: str,
    run: Callable[[Session, Namespace], Iterable[Result]],
    arguments: Callable[[Parser], None],
    examples: Iterable[Example],
    detail: str,
) -> Command:
    """A command that does this on an overlay, which its help then says."""
    return Command(name, summary, run, arguments, tuple(examples), f"{detail} {ON_OVERLAY}{STATUS}")


COMMANDS = (
    on_overlay(
        "unmap",
        "take pages from a guest, as KVM does when the host takes them",
        unmap,
        _page_arguments,
        (
            Example("unmap 0x10000 --lpid 1", "one page"),
            Example("unmap 0x200000 0x400000 --lpid 1 --as 4.16", "as a kernel that left half of an entry"),
        ),
        "This is kvm_unmap_radix: the leaf is cleared, the MMU is told to forget it, and its change bit goes into the "
        "slot's log.",
    ),
    on_overlay(
        "test-age",
        "ask whether a guest's pages were referenced, as KVM does",
        test_age,
        _page_arguments,
        (Example("test-age 0x10000 --lpid 1", "1 where it was, 0 where not"),),
        "This is kvm_test_age_radix, which changes nothing; 'age GPA --lpid N' is kvm_age_radix, which clears R.",
    ),
    on_overlay(
        "free",
        "free all tables of a guest, as KVM does when it is gone",
        _free,
        life_arguments,
        (Example("free --lpid 1", "its tree, and its partition-table entry"),),
        "This is kvmppc_free_radix: the lowest tables first, the root last, and no tlbie. The partition-table entry is "
        "cleared too.",
    ),
)
