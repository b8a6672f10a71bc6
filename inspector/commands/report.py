"""``report``: a picture of all that is mapped, in one page of HTML."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import Beside, beside, count, looked_at, scope_arguments, tables_within
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.reporting import FINDINGS_TOLD, MOST_RANGES, Written, contents, write
from inspector.spaces import Spaces

if TYPE_CHECKING:
    from inspector.mappings.audit.finding import Report
    from inspector.partitions import Partition


@dataclass(frozen=True, slots=True)
class Reported(Answered):
    """What was written; ``behind`` where it is of what the host has behind KVM guests."""

    topic: ClassVar[str] = "report"
    written: Written
    changing: bool
    behind: bool


def _report(session: Session, arguments: Namespace) -> Iterator[Reported | Beside]:
    from inspector.snapshot.output import refuse_existing

    guest = session.at
    limit = count(session, arguments.limit, "--limit", f"{MOST_RANGES:,}")
    refuse_existing(arguments.file, arguments.force)  # told before anything is read
    if arguments.file.endswith((".gz", ".zst")):
        raise UsageError(f"{arguments.file}: a browser opens no packed page; give a name that ends in .html")
    spaces = yield from looked_at(session, arguments)
    if spaces is None:
        return
    most = MOST_RANGES if limit is None else limit
    within = tables_within(session, arguments)
    what = contents(guest, spaces, _audited(guest, spaces, within), most=most)
    written = write(arguments.file, what, force=arguments.force)
    yield Reported(written, spaces.changing, arguments.partition)
    if written.left_out:
        yield Note(f"{written.left_out} more ranges are not in it; --limit N takes more, --pid N looks at fewer")
    yield from beside(spaces)


def _audited(guest: Guest, spaces: Spaces, within: Partition | None) -> Report:
    """What the rules that are on by default find; a KVM guest's own trees are judged by its own addresses."""
    from dataclasses import replace

    from inspector.commands.audit import surroundings
    from inspector.mappings.audit.run import audit

    def progress(done: int, total: int) -> None:
        guest.progress("auditing the leaves", done, total)

    own = replace(spaces, behind=None, ram=within.memory.ram) if within is not None else spaces
    return audit(own, around=surroundings(guest, within), limit=FINDINGS_TOLD, progress=progress)


def _arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="where to write the page, as guest.html")
    parser.add_argument("--force", action="store_true", help="over a file that is already there")
    parser.add_argument("--limit", metavar="N", help=f"so many ranges at most (where nothing is said: {MOST_RANGES:,})")
    scope_arguments(parser)


COMMANDS = (
    Command(
        "report",
        "a picture of all that is mapped, for a browser",
        _report,
        _arguments,
        (
            Example("report guest.html --force", "every process and the kernel, in one page"),
            Example("report kernel.html --pid 0 --force", "the kernel alone"),
        ),
        "The page needs no network and nothing beside it. It shows each address space and RAM as maps to zoom into, "
        "the table of ranges with the conditions that 'maps' takes, what is wrong, the registers of every vCPU, and "
        "what is missing. A place in one map leads to the places that map it in the other.",
    ),
)
