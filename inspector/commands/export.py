"""``export``: the mappings as a table for other programs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.listing import put_together
from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import (
    Beside,
    beside,
    looked_at,
    scope_arguments,
    selection_arguments,
    selection_of,
)

if TYPE_CHECKING:
    from inspector.exporting.files import Written
    from inspector.exporting.formats import Format
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.select import Selection
    from inspector.mappings.table import Batch, Field, Rows
    from inspector.radix.columns import Columns
    from inspector.spaces import Spaces

STDOUT = "-"
ANEW = "there are more leaves than can be kept: they are written as the tables are read, not by their addresses"


@dataclass(frozen=True, slots=True)
class Exported(Answered):
    """What was written, and where."""

    topic: ClassVar[str] = "export"
    written: Written


def file_arguments(parser: Parser) -> None:
    """``--format`` and ``--force``, for every command that writes a table."""
    parser.add_argument("--format", metavar="NAME", help="csv, jsonl or parquet, whatever the file's name ends in")
    parser.add_argument("--force", action="store_true", help="over a file that is already there")


def chosen_format(path: str, told: str | None) -> Format:
    """The format for a file or for standard output, which is CSV where nothing is said. Raises UsageError, and
    ToolMissing where its library is not installed."""
    from inspector.exporting.files import usable
    from inspector.exporting.formats import format_for, format_named

    kind = format_for(path, told) if path != STDOUT else format_named(told or "csv")
    usable(kind)
    return kind


def written(
    session: Session, path: str, kind: Format, force: bool, fields: Sequence[Field], pieces: Iterable[Batch | Rows]
) -> Exported:
    """Write a table to a file, or to standard output. Raises RecordError, and UsageError where standard output is for
    lines."""
    from inspector.exporting.files import write_file, write_stream

    if path == STDOUT:
        return Exported(write_stream(session.take_stdout(), kind, fields, pieces))
    return Exported(write_file(path, kind, fields, pieces, force=force))


def _export(session: Session, arguments: Namespace) -> Iterator[Exported | Beside]:
    from inspector.mappings.table import FIELDS, LEAF_FIELDS
    from inspector.radix.columns import Findings

    kind = chosen_format(arguments.file, arguments.format)
    selection = selection_of(session, arguments)
    spaces = yield from looked_at(session, arguments, "all")
    if spaces is None:
        return
    findings = spaces.sweep.findings
    streamed: Iterator[Columns] | None = None
    if arguments.leaves and spaces.too_large and not spaces.interrupted:
        anew = Findings(findings.most)
        streamed = spaces.streamed(anew)
        if streamed is not None:
            findings = anew
            yield Note(ANEW)
    if arguments.leaves:
        mapped: Iterable[Ranges | Columns] = [spaces.columns] if streamed is None else streamed
    else:
        found = yield from put_together(spaces)
        mapped, findings = [found.ranges], found.findings
    fields = LEAF_FIELDS if arguments.leaves else FIELDS
    pieces = _pieces(session, spaces, mapped, selection)
    yield written(session, arguments.file, kind, arguments.force, fields, pieces)
    yield from beside(spaces, findings)


def _pieces(
    session: Session, spaces: Spaces, mapped: Iterable[Ranges | Columns], selection: Selection
) -> Iterator[Batch]:
    """The selected mappings as tables, a little at a time."""
    from inspector.linux.regions import REGIONS
    from inspector.mappings.table import in_batches

    ram = spaces.ram.spans()
    progress = session.at.progress
    for part in mapped:
        wanted = part if selection.everything else part.take(selection.mask(part))
        done = 0
        for batch in in_batches(wanted, ram, REGIONS):
            yield batch
            done += len(batch)
            progress("writing mappings", done, len(wanted))


def _arguments(parser: Parser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default=STDOUT,
        metavar="FILE",
        help="ends in .csv, .jsonl (or .ndjson) or .parquet, and .gz or .zst after it packs text; "
        "without it, or as -, standard output",
    )
    parser.add_argument("--leaves", action="store_true", help="each leaf by itself, not put together into ranges")
    file_arguments(parser)
    scope_arguments(parser, "all")
    selection_arguments(parser)


COMMANDS = (
    Command(
        "export",
        "write the mappings as CSV, JSON lines or Parquet",
        _export,
        _arguments,
        (
            Example("export maps.csv --force", "every range of every process"),
            Example("export leaves.jsonl.gz --leaves --force", "leaf by leaf, packed"),
            Example("export w.parquet --rights w --user --force", "what user mode may write, for pandas and others"),
        ),
        "The columns are the fields of 'maps --json', and those of a leaf also have entry_address, where its entry "
        "lies. Addresses are 0x… in text, and unsigned 64-bit integers in Parquet, which needs the Python package "
        "pyarrow. A file is there whole or not at all. --rights is written as in 'maps'.",
    ),
)
