"""Leaves that continue each other put together into ranges, in bulk.

A range is what ptdump shows in a line, of one tree: pages of one size with the same flags, whose
addresses and whose real addresses both go on where the page before ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from inspector.radix.bits import PTE_RPN
from inspector.radix.columns import LEVEL_OF_SHIFT, U8, U32, U64, Bools, Columns, InTrees, Root, Rows, joined


@dataclass(frozen=True, slots=True)
class Ranges(InTrees):
    """A row for each range, in the order of its first leaf. ``root`` is the index of its tree; ``offset`` the EA below
    its quadrant and ``ra`` the real address of its first page; ``shift`` log2 of its page size; ``flags`` what all
    entries have in common (all but the real address); ``count`` its pages. ``gra`` is the guest real address of the
    first, for ranges that were led on through a second stage."""

    roots: tuple[Root, ...]
    root: U32
    offset: U64
    ra: U64
    shift: U8
    flags: U64
    count: U64
    gra: U64 | None = None

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def size(self) -> U64:
        """Bytes that each maps."""
        return self.count << self.shift.astype(np.uint64)

    @property
    def level(self) -> U8:
        """Level of its leaves, 3 (root) to 0."""
        return LEVEL_OF_SHIFT[self.shift]

    def take(self, rows: Bools | Rows | slice) -> Ranges:
        """Those rows, by mask, number or slice."""
        columns = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "roots"}
        return replace(self, **{name: column[rows] for name, column in columns.items() if column is not None})


def single(columns: Columns) -> Ranges:
    """Each leaf as a range of its own."""
    count = np.ones(len(columns), np.uint64)
    columns_of = (columns.root, columns.offset, columns.ra, columns.shift, columns.flags, count, columns.gra)
    return Ranges(columns.roots, *columns_of)


def coalesce(columns: Columns) -> Ranges:
    """The leaves as ranges. Leaves that continue each other must stand one after the other: columns as a sweep gives
    them will do, :meth:`Columns.in_order` gives ranges by address."""
    first = np.flatnonzero(_begins(columns))
    count = np.diff(np.append(first, len(columns))).astype(np.uint64)
    return replace(single(columns.take(first)), count=count)


def join(found: Sequence[Ranges]) -> Ranges:
    """Ranges of the same trees one after the other, those put together that go on across two of ``found``, of which
    there is at least one."""
    ranges = end_to_end(found)
    # Within a piece nothing is left to put together.
    at = np.cumsum([len(part) for part in found])[:-1]
    at = np.unique(at[(at > 0) & (at < len(ranges))])
    return _put_together(ranges, at[_goes_on(ranges.take(at), ranges.take(at - 1))])


def end_to_end(found: Sequence[Ranges]) -> Ranges:
    """Ranges of the same trees one after the other, as they are; there is at least one."""
    names = [each.name for each in fields(Ranges) if each.name != "roots"]
    columns: dict[str, Any] = {name: joined([getattr(part, name) for part in found]) for name in names}
    return replace(found[0], **columns)


def join_all(ranges: Ranges) -> Ranges:
    """Ranges in order, those put together that go on where the one before ended."""
    if not len(ranges):
        return ranges
    goes_on = _goes_on(ranges.take(slice(1, None)), ranges.take(slice(None, -1)))
    return _put_together(ranges, np.flatnonzero(goes_on) + 1)


def _goes_on(here: Ranges, before: Ranges) -> Bools:
    """Which rows of the one go on where those of the other end."""
    goes_on: Bools = here.offset - before.offset == before.size
    goes_on &= here.ra - before.ra == before.size
    if here.gra is not None and before.gra is not None:
        goes_on &= here.gra - before.gra == before.size
    goes_on &= (here.root == before.root) & (here.shift == before.shift) & (here.flags == before.flags)
    return goes_on


def _put_together(ranges: Ranges, at: Rows) -> Ranges:
    """The rows ``at``, never the first, put together with those before."""
    if not len(at):
        return ranges
    begins = np.ones(len(ranges), np.bool_)
    begins[at] = False
    first = np.flatnonzero(begins)
    return replace(ranges.take(first), count=np.add.reduceat(ranges.count, first))


def in_order(ranges: Ranges) -> Ranges:
    """Sorted by tree and address."""
    return ranges.take(np.lexsort((ranges.offset, ranges.root)))


def _begins(columns: Columns) -> Bools:
    """Which leaves do not go on where the one before ended."""
    begins = np.ones(len(columns), np.bool_)
    if len(columns) < 2:
        return begins
    shift = columns.shift
    size = np.uint64(1) << shift[1:].astype(np.uint64)
    differs = columns.entry[1:] ^ columns.entry[:-1]
    kept = ~np.uint64(PTE_RPN) | size - np.uint64(1)
    ra = columns.entry & np.uint64(PTE_RPN)
    # Where flags are the same, so are the bits of the page number below the page size: they go out of the difference.
    np.not_equal(differs & kept, 0, out=begins[1:])
    begins[1:] |= ra[1:] - ra[:-1] != size
    begins[1:] |= columns.offset[1:] - columns.offset[:-1] != size
    begins[1:] |= shift[1:] != shift[:-1]
    if columns.gra is not None:
        begins[1:] |= columns.gra[1:] - columns.gra[:-1] != size
    if len(columns.roots) > 1:
        root = columns.root
        begins[1:] |= root[1:] != root[:-1]
    return begins
