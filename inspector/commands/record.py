"""``record``: write a snapshot of the guest."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector import operands
from inspector.commands.notes import Note
from inspector.commands.registry import Command, Example, Parser, Session
from inspector.errors import UsageError
from inspector.memory.physical import RamMap
from inspector.snapshot.write import Summary

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.snapshot.recording import Recording


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written, and how much of the guest's RAM could not be read. ``ram`` bytes are all that there is to
    capture; ``pool`` of them lie outside the guest's RAM, where an overlay has its new tables, and of those
    ``pool_captured`` were captured."""

    topic: ClassVar[str] = "record"
    summary: Summary
    ram: int
    changing: bool
    pool: int = 0
    pool_captured: int = 0

    @property
    def ok(self) -> bool:
        """Whether all that was asked for could be read."""
        return self.summary.unreadable == 0


def _record(session: Session, arguments: Namespace) -> Iterator[Recorded | Note]:
    from inspector.recording import record

    guest = session.at
    also = [_also(session, text) for text in arguments.also]
    recording, summary = record(
        guest, arguments.file, everything=arguments.everything, also=also, force=arguments.force
    )
    yield Recorded(summary, guest.memory.ram.total, guest.running, *_pool(guest, recording))
    for address, size in also:
        held = sum(end - start for start, end in guest.memory.ram.within(address, size))
        if held < size:
            yield Note(f"of --also {address:#x}:{size:#x} only {held:#x} bytes are RAM; the others were not read")
    cut = recording.machine.get("guests_cut")
    if cut:
        yield Note(
            f"the tables of KVM guests are not all in it, those of LPID {', '.join(map(str, cut))}: they claim "
            "together more than twice the RAM there is, or more than fits here; --everything keeps all RAM"
        )
    if guest.roots.state == "radix" and recording.vmcoreinfo is None:
        yield Note("no VMCOREINFO is in it, which drgn and crash need; --vmlinux FILE finds it")


def _pool(guest: Guest, recording: Recording) -> tuple[int, int]:
    """How many bytes an overlay's pool has outside of the guest's RAM, and how many of them are in the recording."""
    from inspector.whatif import POOL

    memory = guest.memory.ram
    if all(each.name != POOL for each in memory):
        return 0, 0
    ram = RamMap(each for each in memory if each.name != POOL)
    spans = [*((run.address, run.size) for run in recording.runs), *recording.zeros]
    inside = sum(end - start for span in spans for start, end in ram.within(*span))
    return memory.total - ram.total, sum(size for _, size in spans) - inside


def _also(session: Session, text: str) -> tuple[int, int]:
    """The address and size of a part of RAM. Raises UsageError where none of it is RAM."""
    address, size = operands.parse_range(text, session)
    if not any(session.at.memory.ram.within(address, size)):
        raise UsageError(f"--also {text}: none of this is RAM, and nothing else is read; 'ram' lists what is")
    return address, size


def _arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="where to write; a name in .gz or .zst is packed")
    parser.add_argument("--everything", action="store_true", help="all RAM, not only what the page tables need")
    parser.add_argument("--also", action="append", default=[], metavar="ADDR:LEN", help="this part of RAM too")
    parser.add_argument("--force", action="store_true", help="over a file that is already there")


COMMANDS = (
    Command(
        "record",
        "write a snapshot that answers later, elsewhere",
        _record,
        _arguments,
        (
            Example("record guest.core.gz --force", "the tables and registers, a few KiB"),
            Example("record code.core.gz --also 0x0:64K --force", "and the first 64 KiB of RAM"),
        ),
        "The file is an ordinary ELF core that readelf and gdb open, and drgn and crash where it holds the kernel's "
        "VMCOREINFO (found with --vmlinux FILE, or by a search of RAM that is quick to read). It holds the page tables "
        "and every register of every vCPU; with --everything all of RAM.",
    ),
)
