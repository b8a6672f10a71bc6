"""``dirty`` and ``age``: which pages are changed, and which are referenced."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector import operands
from inspector.commands import lifecycle
from inspector.commands.hostwords import host_page_shift
from inspector.commands.listing import AddressSpace, RangeBlock, put_together, range_blocks
from inspector.commands.notes import Note, limited
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import (
    Beside,
    beside,
    count,
    looked_at,
    scope_arguments,
    selection_arguments,
    selection_of,
)
from inspector.errors import UsageError
from inspector.radix.bits import PTE_C, PTE_R

if TYPE_CHECKING:
    from inspector.mappings.dirtylog import PageLog, Slot
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.usage import Count
    from inspector.radix.columns import Root
    from inspector.spaces import Spaces

STDOUT = "-"
"""As a file's name: standard output."""


@dataclass(frozen=True, slots=True)
class Question:
    """A bit of leaves that is asked about: what a page is called that has it, and that has not."""

    bit: int
    has: str
    lacks: str

    def word(self, lacking: bool) -> str:
        """What the pages that are meant are called."""
        return self.lacks if lacking else self.has


DIRTY = Question(PTE_C, "dirty", "clean")
AGE = Question(PTE_R, "referenced", "idle")


@dataclass(frozen=True, slots=True)
class Counted(Answered):
    """How many pages are ``word``, by page size; of one tree, or of all that are looked at (None)."""

    topic: ClassVar[str] = "ageing"
    word: str
    counts: tuple[Count, ...]
    of: Root | None = None


@dataclass(frozen=True, slots=True)
class Logged(Answered):
    """How many ``pages`` of a slot are ``word``, and where the bitmap went: ``file_size`` bytes to ``path``."""

    topic: ClassVar[str] = "ageing"
    word: str
    slot: Slot
    pages: int
    path: str | None = None
    file_size: int = 0


Answer = AddressSpace | RangeBlock | Counted | Logged | lifecycle.Told | Beside


def _asker(question: Question) -> Callable[[Session, Namespace], Iterator[Answer]]:
    """The command that asks this."""

    def ask(session: Session, arguments: Namespace) -> Iterator[Answer]:
        from inspector.mappings.clip import selected

        if question is AGE and (arguments.gpa or arguments.version is not None or arguments.dd1):
            yield from _as_kvm(session, arguments)
            return
        limit = count(session, arguments.limit, "--limit")
        if limit is not None and (arguments.counts or arguments.by):
            raise UsageError("--limit is for ranges, and --counts and --by tell none; leave one of them out")
        selection = selection_of(session, arguments)
        slot = _slot(session, arguments)
        if arguments.bitmap == STDOUT:
            session.take_stdout()  # refused, if it is, before anything is read
        if slot is not None and arguments.partition and arguments.lpid is None:
            raise UsageError("--slot is of one guest's real addresses; say whose with --lpid N, 'lpids' lists them")
        spaces = yield from looked_at(session, arguments)
        if spaces is None:
            return
        found = yield from put_together(spaces, keep_partial=True)
        ranges = selected(found.ranges, selection)
        if slot is not None:
            whole = not (spaces.interrupted or found.interrupted or found.cut)
            yield from _log(session, arguments, question, slot, ranges, whole)
        else:
            yield from _told(arguments, question, spaces, ranges, limit)
        yield from beside(spaces, found.findings)

    return ask


def _as_kvm(session: Session, arguments: Namespace) -> Iterator[Answer]:
    """``age GPA``: KVM's own question, on an overlay."""
    if not arguments.gpa:
        raise UsageError("--as and --dd1 are of KVM's own question; name guest real addresses, as in: age 0 --lpid 1")
    mine = ("gpa", "lpid", "version", "dd1")
    for name, value in vars(arguments).items():
        if value not in (None, False) and name not in mine:
            raise UsageError(
                f"age GPA asks KVM's question of these pages and takes --lpid, --as and --dd1, not {_option(name)}"
            )
    yield from lifecycle.age(session, arguments)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name != "lacking" else f"--{AGE.lacks}"


# -- ranges and counts -------------------------------------------------------------------------------------------------


def _told(
    arguments: Namespace, question: Question, spaces: Spaces, ranges: Ranges, limit: int | None
) -> Iterator[Answer]:
    import numpy as np

    from inspector.mappings.usage import counts, counts_by_tree

    meant = (ranges.flags & np.uint64(question.bit) != 0) != arguments.lacking
    if not arguments.counts and arguments.by is None:
        yield from _runs(spaces, ranges.take(meant), limit)
    word = question.word(arguments.lacking)
    if arguments.by is not None:
        for tree, found in counts_by_tree(ranges, meant).items():
            yield Counted(word, found, spaces.roots[tree])
    yield Counted(word, counts(ranges, meant))


def _runs(spaces: Spaces, ranges: Ranges, limit: int | None) -> Iterator[Answer]:
    """The ranges of each process that has any."""
    import numpy as np

    shown = ranges if limit is None else ranges.take(slice(limit))
    bounds = np.searchsorted(shown.root, np.arange(len(spaces.trees) + 1)).tolist()
    for tree, first, last in zip(spaces.trees, bounds, bounds[1:], strict=False):
        if first < last:
            yield AddressSpace(tree)
        yield from range_blocks(spaces, shown, first, last)
    if len(shown) < len(ranges):
        yield limited(len(shown), len(ranges), "ranges")


# -- slots -------------------------------------------------------------------------------------------------------------


def _slot(session: Session, arguments: Namespace) -> Slot | None:
    """The slot that is asked about. Raises UsageError, also where a word needs one and there is none."""
    from inspector.mappings.dirtylog import Slot

    shift = host_page_shift(arguments.host_page)
    if arguments.slot is None:
        wants = [name for name in ("bitmap", "host_page") if getattr(arguments, name) is not None]
        if wants or arguments.force:
            name = wants[0].replace("_", "-") if wants else "force"
            raise UsageError(f"--{name} is for the bitmap of a slot; say of which, as in --slot 0:1G")
        return None
    if arguments.lacking or arguments.counts or arguments.by or arguments.limit is not None:
        raise UsageError("--slot is answered by its bitmap alone; leave out what is about ranges and counts")
    if arguments.force and arguments.bitmap in (None, STDOUT):
        raise UsageError("--force is for a file that is already there; name it with --bitmap FILE")
    base, size = operands.parse_range(arguments.slot, session)
    return Slot(base, size, shift)


def _log(
    session: Session, arguments: Namespace, question: Question, slot: Slot, ranges: Ranges, whole: bool
) -> Iterator[Answer]:
    import numpy as np

    from inspector.mappings.dirtylog import page_log, slot_address

    marked = ranges.take(ranges.flags & np.uint64(question.bit) != 0)
    log = page_log(slot_address(marked), marked.size, slot)
    if arguments.bitmap is None:
        yield Logged(question.has, slot, log.count)
        return
    if not whole:
        yield Note("no bitmap was written: a page that was not read yet would look untouched in it")
        return
    size = _write(session, arguments.bitmap, log, arguments.force)
    yield Logged(question.has, slot, log.count, arguments.bitmap, size)


def _write(session: Session, path: str, log: PageLog, force: bool) -> int:
    """Bring the bitmap to where it is wanted. How many bytes that took."""
    if path == STDOUT:
        out = session.take_stdout()
        for piece in log.pieces():
            out.write(piece)
        out.flush()
        return log.slot.nbytes
    from inspector.snapshot.output import replacing

    with replacing(path, force) as file:
        for piece in log.pieces():
            file.write(piece)
        return file.finish()


# -- words -------------------------------------------------------------------------------------------------------------


def _arguments(question: Question) -> Callable[[Parser], None]:
    def arguments(parser: Parser) -> None:
        if question is AGE:
            parser.add_argument(
                "gpa", nargs="*", metavar="GPA", help="clear R of these of a guest's pages, as KVM does"
            )
            lifecycle.version_arguments(parser)
        scope_arguments(parser)
        parser.add_argument(
            f"--{question.lacks}", dest="lacking", action="store_true", help=f"the {question.lacks} pages instead"
        )
        parser.add_argument("--counts", action="store_true", help="only how many there are")
        parser.add_argument("--by", choices=("pid",), help="only how many there are, of each process")
        parser.add_argument("--limit", metavar="N", help="tell so many ranges at most")
        group = parser.add_argument_group("as KVM's dirty log has it")
        where = "the pages of these real addresses (a KVM guest's own), a bit each"
        group.add_argument("--slot", metavar="BASE:SIZE", help=where)
        group.add_argument("--bitmap", metavar="FILE", help="write the bits there; - is a pipe on standard output")
        group.add_argument("--host-page", metavar="SIZE", help="of a bit: 64K (where nothing is said) or 4K")
        group.add_argument("--force", action="store_true", help="over a file that is already there")
        selection_arguments(parser)

    return arguments


def _command(name: str, summary: str, question: Question, examples: Iterable[Example], what: str) -> Command:
    return Command(
        name,
        summary,
        _asker(question),
        _arguments(question),
        tuple(examples),
        f"{what} Ranges are as 'maps' tells them; counts are of mappings, so that a page with two counts twice. "
        "Conditions hold page by page, and choose what is counted at all ('help maps' tells the letters of --rights). "
        "With --slot the answer is the bitmap of KVM_GET_DIRTY_LOG for a slot: bit n, counted from the lowest of byte "
        "0 on, is the slot's page n; it ends with a whole 64-bit word; a large page sets the bits of all its pages, a "
        "page of any address space its own. With --lpid N --partition it is what KVM "
        "itself would answer for that guest. --user leaves out the kernel's own mappings, which are of all RAM. Pages "
        "that KVM noted when they were unmapped are in no table, and not told. A file in .gz or .zst is packed. "
        "Nothing is cleared, here or in the guest.",
    )


COMMANDS = (
    _command(
        "dirty",
        "which pages are changed, as ranges, counts, or KVM's dirty log",
        DIRTY,
        (
            Example("dirty --limit 10", "changed pages of every process, and how many there are"),
            Example("dirty --by pid --user", "how much user memory each process has written to"),
            Example("dirty --clean --user --rights w", "what user mode may write and has not written"),
            Example("dirty --slot 0:64M --bitmap dirty.bin --force", "a bit for each 64K of the first 64M"),
        ),
        "A page is dirty where the change bit (C) of its entry is set: since the entry was made, or C was last "
        "cleared; kernels preset it in much that they map for themselves.",
    ),
    _command(
        "age",
        "which pages are referenced, and which are idle",
        AGE,
        (
            Example("age --counts", "how many pages are referenced, by page size"),
            Example("age --idle --limit 10", "those that were not touched since their R was last cleared"),
            Example("age --slot 0:64M", "how many pages of the first 64M are referenced"),
            Example("age 0x10000 --lpid 1", "whether this page was, as KVM asks: R is cleared, on an overlay"),
        ),
        "A page is referenced where the reference bit (R) of its entry is set, idle where it is clear. With guest real "
        "addresses it is KVM's kvm_age_radix instead, on an overlay: 1 where the page was referenced, and R is clear "
        "then ('help overlay').",
    ),
)
