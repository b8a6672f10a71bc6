"""``slot`` and ``dirty-log``: which memory a guest has, and which of it was written to, as KVM keeps both."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector import operands
from inspector.commands.hostwords import SLOT_FLAGS
from inspector.commands.lifecycle import Operated, guest_of, life_arguments, on_overlay, operated, whose
from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Answered, Example, Parser, Session
from inspector.commands.whose import vmm_pid
from inspector.errors import UsageError
from inspector.kvm import operations
from inspector.kvm.slots import LOG_DIRTY_PAGES, MemorySlot

if TYPE_CHECKING:
    from inspector.kvm.machine import Vm
    from inspector.whatif import WhatIf

STDOUT = "-"
"""As a file's name: standard output."""


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
        vmm = vmm_pid(session, arguments.vmm)
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
        if name and name not in SLOT_FLAGS:
            raise UsageError(f"{name!r} is no flag of a slot; there are {' and '.join(SLOT_FLAGS)}, joined by commas")
        flags |= SLOT_FLAGS.get(name, 0)
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
    if answer.result == "ENOENT":
        yield Aside(Note(f"'slot {base:#x}:{size:#x} --flags log --lpid {vm.lpid}' has its dirty pages logged"))
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


# -- words -------------------------------------------------------------------------------------------------------------


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


COMMANDS = (
    on_overlay(
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
    on_overlay(
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
)
