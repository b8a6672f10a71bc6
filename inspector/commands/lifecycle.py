"""``slot``, ``unmap``, ``test-age``, ``dirty-log`` and ``free``: KVM's second-level life cycle, on an overlay.

What these share with every command that changes a guest's second-level tree is here too: whose tree it is, whose
kernel's behaviour, and the answer that they all give.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector import operands
from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.whose import number
from inspector.errors import UsageError
from inspector.kvm import operations
from inspector.kvm.history import NEWEST, VERSIONS
from inspector.kvm.operations import Answer
from inspector.kvm.slots import LOG_DIRTY_PAGES, READ_ONLY, MemorySlot

if TYPE_CHECKING:
    from inspector.kvm.machine import Vm
    from inspector.whatif import WhatIf

GOOD = frozenset({"RESUME_GUEST", "MMIO"})
"""Results by name that are no failure, and no fault that the guest sees."""
LAID = "on an overlay: nothing is written to the guest, and what looks at it sees the overlay until 'overlay off'"
FLAGS = {"log": LOG_DIRTY_PAGES, "readonly": READ_ONLY}
STDOUT = "-"
"""As a file's name: standard output."""


@dataclass(frozen=True, slots=True)
class Operated:
    """What one operation came to, as the kernel ``version`` does it, on a POWER9 DD1 where ``dd1``; pages of the host
    are of 2**``page_shift`` bytes. ``gpa`` is the guest real address that was asked about, ``slot`` (base, bytes) the
    slot that a dirty log is of, and ``path`` where that went, if it went anywhere: ``file_size`` bytes of it."""

    topic: ClassVar[str] = "lifecycle"
    answer: Answer
    version: str = NEWEST
    dd1: bool = False
    page_shift: int = 16
    gpa: int | None = None
    slot: tuple[int, int] | None = None
    path: str | None = None
    file_size: int = 0

    @property
    def ok(self) -> bool:
        """False for an errno, and for a fault that the guest is to see."""
        return isinstance(self.answer.result, int) or self.answer.result in GOOD


@dataclass(frozen=True, slots=True)
class KnownSlot(Answered):
    """One memory slot of the guest ``lpid``; ``logged`` is how many pages its log holds, None where none is kept."""

    topic: ClassVar[str] = "lifecycle"
    lpid: int
    base: int
    size: int
    flags: int
    hva: int | None
    vmm: int | None
    logged: int | None


Told = Operated | KnownSlot | Aside | Note


# -- whose tree, and as whom -------------------------------------------------------------------------------------------


def life_arguments(parser: Parser) -> None:
    """``--lpid N``, ``--as VERSION`` and ``--dd1``."""
    parser.add_argument("--lpid", metavar="N", help="of the KVM guest with this LPID; the vCPU's where it runs one")
    version_arguments(parser)


def version_arguments(parser: Parser) -> None:
    """``--as VERSION`` and ``--dd1``: as ``version`` and ``dd1``."""
    parser.add_argument(
        "--as", dest="version", choices=VERSIONS, default=None, help=f"as this kernel does; {NEWEST} if left out"
    )
    parser.add_argument("--dd1", action="store_true", help="on a POWER9 DD1, as kernels before 4.19 know it")


def laid_over(session: Session) -> Generator[Aside, None, WhatIf]:
    """The overlay, which is turned on where it is off; that is said once."""
    guest = session.at
    if guest.whatif is None:
        guest.lay_over()
        yield Aside(Note(LAID))
    assert guest.whatif is not None
    return guest.whatif


def guest_of(session: Session, arguments: Namespace) -> Generator[Aside, None, tuple[WhatIf, Vm]]:
    """The overlay and the guest on it that ``arguments`` name, which is made where there is none; the machine behaves
    as they ask. Raises UsageError where no guest is named."""
    lpid = whose(session, arguments)
    whatif = yield from laid_over(session)
    whatif.machine.behave_as(arguments.version or NEWEST, arguments.dd1)
    try:
        vm = whatif.vm(lpid)
    except UsageError as error:
        vm = whatif.vm(lpid, make=True)
        why = str(error).partition(";")[0]
        yield Aside(Note(f"{why}: LPID {lpid} is made on the overlay, with an empty tree"))
    return whatif, vm


def whose(session: Session, arguments: Namespace) -> int:
    """The LPID that is meant: what --lpid gives, or whose guest the vCPU runs, or the one that was made where the
    hypervisor is out of sight. Raises UsageError where none of them says."""
    guest = session.at
    if arguments.lpid is not None:
        lpid = number(session, arguments.lpid, "--lpid", "an LPID", "'lpids' lists those there are")
    elif guest.roots.flat:
        made = [] if guest.whatif is None else sorted(guest.whatif.made)
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


# -- slots -------------------------------------------------------------------------------------------------------------


def _slot(session: Session, arguments: Namespace) -> Iterator[Told]:
    if arguments.slot is None:
        if arguments.flags is not None or arguments.vmm is not None:
            raise UsageError("--flags and --vmm are of a slot that is made; name it, as in: slot 0:1G --flags log")
        yield from _known(session, arguments)
        return
    base, size, hva = _place(session, arguments.slot)
    flags = _flags(arguments.flags)
    whatif, vm = yield from guest_of(session, arguments)
    vmm = None
    if arguments.vmm is not None:
        vmm = number(session, arguments.vmm, "--vmm", "the radix PID of a process", "'pids --lpid 0' lists the host's")
        if hva is None and size:
            hva = _in_vmm(session, vm.lpid, vmm, base)
    answer = operations.set_slot(whatif.machine, vm, base, size, flags, hva)
    if vmm is not None and answer.result == 0:
        whatif.vmms[vm.lpid] = vmm
    yield operated(whatif, answer)


def _known(session: Session, arguments: Namespace) -> Iterator[Told]:
    from inspector.kvm.dirty import count

    whatif = session.at.whatif
    lpid = None if arguments.lpid is None else whose(session, arguments)
    vms = {} if whatif is None else whatif.machine.vms
    told = False
    for number_of, vm in sorted(vms.items()):
        for slot in vm.slots.each if lpid in (None, number_of) else ():
            told = True
            logged = None if slot.log is None else count(slot.log)
            vmm = None if whatif is None else whatif.vmms.get(number_of)
            yield KnownSlot(number_of, slot.base, slot.size, slot.flags, slot.hva, vmm, logged)
    if not told:
        yield Note("no memory slot is known; 'slot BASE:SIZE --lpid N' makes one, as in: slot 0:1G --lpid 1")


def _place(session: Session, text: str) -> tuple[int, int, int | None]:
    """(guest real base, bytes, host virtual address) of ``BASE:SIZE[@HVA]``; a size of 0 takes a slot away."""
    where, at, hva = text.partition("@")
    base, colon, size = where.partition(":")
    if not (colon and base.strip() and size.strip()) or (at and not hva.strip()):
        raise UsageError(f"{text!r} is no slot; write it as BASE:SIZE, or BASE:SIZE@HVA, as in 0:1G@0x7fff80000000")
    return session.value(base), session.value(size), session.value(hva) if at else None


def _flags(text: str | None) -> int:
    flags = 0
    for name in (each.strip() for each in (text or "").split(",")):
        if name and name not in FLAGS:
            raise UsageError(f"{name!r} is no flag of a slot; there are {' and '.join(FLAGS)}, joined by commas")
        flags |= FLAGS.get(name, 0)
    return flags


def _in_vmm(session: Session, lpid: int, vmm: int, base: int) -> int:
    """Where that process has the guest's ``base``, inferred from what both map. Raises UsageError."""
    from inspector import vmm as vmms

    guest = session.at
    host = guest.spaces(lpid=0).columns
    behind = guest.partition(lpid).spaces.columns
    found = vmms.infer(behind, host.take(host.pid == vmm)) if len(behind) else None
    slot = None if found is None else found.at(base)
    if slot is None:
        raise UsageError(
            f"nothing that the process with PID {vmm} and the guest both map tells where {base:#x} is in it; say it "
            f"yourself, as in: slot {base:#x}:1G@0x7fff80000000"
        )
    return slot.hva + base - slot.base


# -- the dirty log -----------------------------------------------------------------------------------------------------


def _dirty_log(session: Session, arguments: Namespace) -> Iterator[Told]:
    clear = arguments.what == "clear"
    if arguments.force and arguments.bitmap in (None, STDOUT):
        raise UsageError("--force is for a file that is already there; name it with --bitmap FILE")
    base, size = operands.parse_range(arguments.slot, session)
    if arguments.bitmap == STDOUT:
        session.take_stdout()  # refused, if it is, before anything is read
    whatif, vm = yield from guest_of(session, arguments)
    slot = vm.slots.based(base)
    if slot is None or slot.size != size:
        slot, said = _supposed(whatif, vm, base, size)
        yield Aside(Note(said))
    answer = operations.read_log(whatif.machine, vm, slot, clear=clear)
    path, written = None, 0
    if answer.log is not None and arguments.bitmap is not None:
        path, written = arguments.bitmap, _write(session, arguments.bitmap, answer.log.bitmap, arguments.force)
    yield operated(whatif, answer, slot=(base, size), path=path, file_size=written)


def _supposed(whatif: WhatIf, vm: Vm, base: int, size: int) -> tuple[MemorySlot, str]:
    """A slot that is not known, and what to say of it. Raises UsageError where it can be none."""
    page = whatif.machine.pages
    other = vm.slots.overlapping(base, size)
    if other is not None:
        raise UsageError(
            f"the slot there is {other.base:#x}:{other.size:#x}, and a dirty log is of a whole slot; ask for that one"
        )
    if (base | size) % page.size or base + size > 1 << 52:
        raise UsageError(
            f"{base:#x}:{size:#x} is no slot of whole pages of {page.size >> 10}K below 2^52; 'slot' lists those known"
        )
    slot = MemorySlot(base, size, LOG_DIRTY_PAGES, page_shift=page.shift)
    return slot, f"no slot {base:#x}:{size:#x} is known: it is taken for one whose dirty pages are logged"


def _write(session: Session, path: str, bitmap: bytes, force: bool) -> int:
    """Bring the bitmap to where it is wanted. How many bytes that took."""
    if path == STDOUT:
        out = session.take_stdout()
        out.write(bitmap)
        out.flush()
        return len(bitmap)
    from inspector.snapshot.output import replacing

    with replacing(path, force) as file:
        file.write(bitmap)
        return file.finish()


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


def _slot_arguments(parser: Parser) -> None:
    where = "guest real address and bytes, and where the VMM has it; a size of 0 takes it away; without it, list them"
    parser.add_argument("slot", nargs="?", metavar="BASE:SIZE[@HVA]", help=where)
    parser.add_argument("--flags", metavar="NAME,…", help="log: dirty pages are logged; readonly")
    parser.add_argument("--vmm", metavar="PID", help="the radix PID of the host's process whose memory it is")
    life_arguments(parser)


def _log_arguments(parser: Parser) -> None:
    parser.add_argument("what", choices=("get", "clear"), help="get: look at it; clear: read and empty it, as KVM does")
    parser.add_argument("slot", metavar="BASE:SIZE", help="the slot, by guest real address and bytes")
    parser.add_argument("--bitmap", metavar="FILE", help="write the bits there; - is a pipe on standard output")
    parser.add_argument("--force", action="store_true", help="over a file that is already there")
    life_arguments(parser)


ON_OVERLAY = (
    "It is done on an overlay, which is turned on if it is off: nothing is written to the guest ('help overlay'). Told "
    "are KVM's decisions in order, each tlbie with its address, page size (AP) and LPID, and tables that were taken or "
    "freed. --as chooses the kernel whose behaviour it is. "
)
STATUS = "The exit status is 1 where the answer is an errno."


def _command(
    name: str,
    summary: str,
    run: Callable[[Session, Namespace], Iterator[Told]],
    arguments: Callable[[Parser], None],
    examples: Iterable[Example],
    detail: str,
) -> Command:
    return Command(name, summary, run, arguments, tuple(examples), f"{detail} {ON_OVERLAY}{STATUS}")


COMMANDS = (
    _command(
        "slot",
        "a guest's memory slots, as the overlay has them",
        _slot,
        _slot_arguments,
        (
            Example("slot", "those that are known"),
            Example("slot 0:1G --lpid 1", "one of 1G from guest real 0 on"),
            Example("slot 0:1G@0x7fff80000000 --flags log --lpid 1", "its dirty pages logged"),
        ),
        "A slot says where a guest has memory, as KVM_SET_USER_MEMORY_REGION does: a fault outside of all of them is "
        "taken for a device's. KVM keeps them where no table tells of them, so that they are to be named here. With "
        "@HVA they say where the VMM has that memory; with --vmm PID instead that is inferred from what both map. "
        "Turning the log on or off takes the leaves away, as kernels since 5.0 do.",
    ),
    _command(
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
    _command(
        "test-age",
        "ask whether a guest's pages were referenced, as KVM does",
        test_age,
        _page_arguments,
        (Example("test-age 0x10000 --lpid 1", "1 where it was, 0 where not"),),
        "This is kvm_test_age_radix, which changes nothing; 'age GPA --lpid N' is kvm_age_radix, which clears R.",
    ),
    _command(
        "dirty-log",
        "the dirty log of a slot, looked at or emptied, as KVM does",
        _dirty_log,
        _log_arguments,
        (
            Example("dirty-log get 0:64M --lpid 1", "how many pages are dirty, and which"),
            Example("dirty-log clear 0:64M --lpid 1 --bitmap log.bin --force", "into a file, and all clean then"),
        ),
        "This is KVM_GET_DIRTY_LOG: what was in the slot's own bitmap, and every dirty leaf, which 'clear' makes "
        "clean. A large leaf gives all its pages. The bitmap is as that of 'dirty --slot'.",
    ),
    _command(
        "free",
        "free all tables of a guest, as KVM does when it is gone",
        _free,
        life_arguments,
        (Example("free --lpid 1", "its tree, and its partition-table entry"),),
        "This is kvmppc_free_radix: the lowest tables first, the root last, and no tlbie. The partition-table entry is "
        "cleared too.",
    ),
)
