"""``record``: write a snapshot of the guest."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector import operands
from inspector.commands.notes import Note
from inspector.commands.registry import Command, Example, Parser, Session
from inspector.commands.seconds import seconds_argument, seconds_of
from inspector.errors import UsageError
from inspector.memory.physical import RamMap
from inspector.snapshot.manifest import Content
from inspector.snapshot.output import refuse_existing
from inspector.snapshot.write import Summary

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.snapshot.recording import Recording
    from inspector.triage.found import Finding


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written, or (``dry``) what would be, and how much of the guest's RAM could not be read. ``ram`` bytes
    are all that there is to capture; ``pool`` of them lie outside the guest's RAM, where an overlay has its new tables,
    and of those ``pool_captured`` were captured. ``contents`` say in words what there is; ``found`` is what triage
    finds in it, where it was asked for."""

    topic: ClassVar[str] = "record"
    summary: Summary
    ram: int
    changing: bool
    pool: int = 0
    pool_captured: int = 0
    contents: tuple[Content, ...] = ()
    found: tuple[Finding, ...] = ()
    dry: bool = False

    @property
    def ok(self) -> bool:
        """Whether all that was asked for could be read."""
        return self.summary.unreadable == 0


def _record(session: Session, arguments: Namespace) -> Iterator[Recorded | Note]:
    guest = session.at
    also = [_also(session, text) for text in arguments.also]
    for word, asked in (("--seconds", arguments.seconds is not None), ("--no-code", arguments.no_code)):
        if asked and not arguments.triage:
            raise UsageError(f"{word} is of what --triage takes; name both")
    if arguments.everything and arguments.no_code:
        raise UsageError("--everything is all RAM, the code in it too; leave it or --no-code out")
    seconds = seconds_of(arguments.seconds)
    if not arguments.dry_run:
        refuse_existing(arguments.file, arguments.force)
    changing = guest.running and not arguments.triage
    found: tuple[Finding, ...] = ()
    stood: float | None = None
    if arguments.triage:
        recording, summary, found, stood = _of_triage(guest, also, seconds, arguments, session.alone)
    else:
        recording, summary = _of_tables(guest, also, arguments)
    yield Recorded(summary, guest.memory.ram.total, changing, *_pool(guest, recording), tuple(recording.contents),
                   found, arguments.dry_run)  # fmt: skip
    yield from _notes(guest, also, recording)
    if stood is not None:
        yield Note(f"for all of it the guest stood still for {stood * 1000:.0f} ms")


def _of_tables(guest: Guest, also: Sequence[tuple[int, int]], arguments: Namespace) -> tuple[Recording, Summary]:
    from inspector.recording import recording_of

    recording = recording_of(guest, everything=arguments.everything, also=also)
    return recording, _written(recording, arguments)


def _of_triage(
    guest: Guest, also: Sequence[tuple[int, int]], seconds: float | None, arguments: Namespace, alone: bool
) -> tuple[Recording, Summary, tuple[Finding, ...], float | None]:
    """The same with what triage goes by, all of it of one moment, what triage finds in it, and for how many seconds the
    guest stood still (None of a recorded one). Where it ran it runs again while the file is written, unless the file is
    to hold all RAM; one that stands since it was attached to stands for that too."""
    from inspector.recording import recording_of
    from inspector.triage.keeping import all_code, kept, no_code
    from inspector.triage.samples import standing, stands_since

    ran, since = guest.running, stands_since(guest, alone)
    with standing(guest):
        keeping = kept(guest, seconds, no_code if arguments.no_code else all_code)
        recording = recording_of(guest, everything=arguments.everything, also=also, more=keeping.more)
        summary = _written(recording, arguments) if arguments.everything or not ran else None
        until = time.monotonic()
    stood = None if guest.target.control is None else until - since - keeping.ran
    return recording, summary or _written(recording, arguments), keeping.found, stood


def _written(recording: Recording, arguments: Namespace) -> Summary:
    from inspector.snapshot.write import planned, write_snapshot

    if arguments.dry_run:
        return planned(arguments.file, recording)
    return write_snapshot(arguments.file, recording, force=arguments.force)


def _notes(guest: Guest, also: Sequence[tuple[int, int]], recording: Recording) -> Iterator[Note]:
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


def _prepare(words: Sequence[str]) -> None:
    """What is imported, before there is a guest that would stand still for it."""
    import inspector.recording
    import inspector.snapshot.write

    if "--triage" in words:
        import inspector.triage.keeping  # noqa: F401
        from inspector.commands.triage import prepare

        prepare()


def _arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="where to write; a name in .gz or .zst is packed")
    parser.add_argument("--triage", action="store_true", help="and what 'triage', 'virtio' and 'why' need to answer")
    seconds_argument(parser)
    parser.add_argument("--no-code", action="store_true", help="of --triage no code and no stacks")
    parser.add_argument("--dry-run", action="store_true", help="say what would be in it, and write nothing")
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
            Example("record hung.core.gz --triage --dry-run", "what of a hung guest would be in it"),
        ),
        "The file is an ordinary ELF core that readelf and gdb open, and drgn and crash where it holds the kernel's "
        "VMCOREINFO (found with --vmlinux FILE, or by a search of RAM that is quick to read). It holds the page tables "
        "and every register of every vCPU; with --everything all of RAM. With --triage a guest is sampled as 'triage' "
        "does it, and the file holds the samples, the virtio devices and their rings, and the code and stacks that "
        "vCPUs were at, so that 'triage', 'virtio' and 'why' answer from it as they did; the contents of buffers are "
        "not in it. What is in the file is told in words, by 'info' too.",
        prepare=_prepare,
    ),
)
