"""What ``maps`` says of a KVM guest only: which of its pages the host has nothing behind, and the tree behind it as
KVM itself lists it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Aside, Note
from inspector.commands.registry import Answered
from inspector.commands.scope import Beside, beside
from inspector.errors import UsageError
from inspector.radix.fields import size_text
from inspector.spaces import Spaces

if TYPE_CHECKING:
    from inspector.mappings.ranges import Ranges
    from inspector.mappings.select import Selection

PAGE_OFFSET = 0xC000_0000_0000_0000
"""Where Linux's linear map begins: KVM tells the effective address of a root directory (Linux 6.1,
arch/powerpc/include/asm/page.h)."""


@dataclass(frozen=True, slots=True)
class Listing(Answered):
    """Leaves of a partition-scoped tree, as (guest real address, raw entry, log2 of the page's size), in order, after
    the effective address of its root directory where they are the first (None where not)."""

    topic: ClassVar[str] = "behind"
    lpid: int
    root: int | None
    leaves: tuple[tuple[int, int, int], ...]


def check(arguments: Namespace) -> None:
    """Raises UsageError where what is asked for does not go together."""
    if arguments.partition and arguments.region:
        raise UsageError("--region names effective addresses, and those of a partition are guest real; use --ea")
    if arguments.holes and (arguments.partition or arguments.lpid is None):
        raise UsageError(
            "--holes are what a KVM guest maps and the host has nothing behind: give its --lpid N, without --partition"
        )
    if arguments.holes and arguments.leaves:
        raise UsageError("--holes are told as ranges, for they need not be whole leaves; leave --leaves out")
    if arguments.format == "debugfs":
        if not arguments.partition or arguments.lpid is None:
            raise UsageError(
                "--format debugfs is KVM's listing of what is behind one guest: give --partition and --lpid N"
            )
        if arguments.sort != "ea":
            raise UsageError("--format debugfs is in order of address; leave --sort out")


def listing(spaces: Spaces, selection: Selection, limit: int | None) -> Iterator[Listing | Aside]:
    """The leaves as KVM's debugfs file 'radix' tells them; all else that must be known is said aside."""
    from inspector.mappings.runs import AT_A_TIME

    leaves = spaces.columns
    if not selection.everything:
        leaves = leaves.take(selection.mask(leaves))
    leaves = leaves.take(slice(0, limit))
    for tree in spaces.trees:
        yield Listing(tree.lpid, PAGE_OFFSET | tree.root, ())
        for at in range(0, len(leaves), AT_A_TIME):
            part = leaves.take(slice(at, at + AT_A_TIME))
            columns = (part.offset.tolist(), part.entry.tolist(), part.shift.tolist())
            yield Listing(tree.lpid, None, tuple(zip(*columns, strict=True)))
    yield from map(Aside, beside(spaces))


def holes(spaces: Spaces, selection: Selection) -> Ranges | None:
    """What is mapped and has nothing behind it, of what is meant; None where no second stage was looked at."""
    found = spaces.holes
    if found is None or selection.everything:
        return found
    return found.take(selection.mask(found))


def lacking(spaces: Spaces, selection: Selection) -> Iterator[Beside]:
    """The note that some of what is mapped has nothing behind it."""
    found = holes(spaces, selection)
    if found is None or not len(found):
        return
    if spaces.behind is not None and _touches(found, spaces.behind.unread):
        yield Note(
            "not all of what the host has behind this guest could be read, so that some of what seems to have nothing "
            "behind it may have; 'maps --partition' of it tells what is lacking"
        )
    size = size_text(int(found.size.sum()))
    if spaces.gathered_holes is not None and spaces.gathered_holes.cut:
        yield Note(
            f"at least {len(found):,} ranges ({size}) that the guest maps have nothing behind them in the host: more "
            "than can be kept here; --pid N looks at fewer"
        )
        return
    if len(found) == 1:
        yield Note(f"1 range ({size}) that the guest maps has nothing behind it in the host; --holes tells it")
    else:
        yield Note(
            f"{len(found):,} ranges ({size}) that the guest maps have nothing behind them in the host; --holes tells "
            "them"
        )


def _touches(found: Ranges, spans: Iterable[tuple[int, int]]) -> bool:
    """Whether any of these ranges, whose addresses are guest real, is in any of the (first, one past the last)."""
    ends = found.ra + found.size
    return any(bool(((found.ra < end) & (ends > first)).any()) for first, end in spans)
