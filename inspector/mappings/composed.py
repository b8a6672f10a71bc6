"""Both stages at once: where the effective addresses of a KVM guest lead in the host's memory.

A guest's own leaves lead to guest real addresses; the host's partition-scoped tree leads on from there. What comes of
both is cut where either ends: rights are those that both allow, and pages are as large as the smaller.

A few leaves of a guest may lead to any number of the host's pages: one of 1G to 262,144 of 4K. So ranges and holes are
given piece by piece, no page of them being made, and a bound is asked for where pages are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.behind import WITHIN, Behind, allowed
from inspector.mappings.ranges import Ranges, join_all
from inspector.radix.bits import PTE_RPN
from inspector.radix.columns import U64, Columns, Rows, joined

SMALLEST = 12
"""log2 of the smallest page there is, in which holes are told: one need not be a whole number of the guest's pages."""
AT_A_TIME = 1 << 18
"""Stretches, or pages, that are made at a time."""


class Led(NamedTuple):
    """Leaves led on. ``cut`` is the row, among those that were led on, of the first that is not there whole for want of
    room; None where all are."""

    columns: Columns
    cut: int | None = None


@dataclass(frozen=True, slots=True)
class _Meeting:
    """Where leaves and the ranges behind them meet: the pairs are numbered by leaf, then by range. ``low`` is where a
    leaf begins within the host's tree, ``first`` its first range, and ``ends`` one past its last pair."""

    leaves: Columns
    behind: Behind
    low: U64
    high: U64
    first: Rows
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, leaves: Columns, behind: Behind, more: int = 0) -> _Meeting:
        """Of these leaves; ``more`` pairs are added to each leaf's."""
        low = leaves.ra & np.uint64(WITHIN)
        high = low + leaves.size
        first = behind.first(low)
        last = behind.first(high - np.uint64(1))
        # The range that ends beyond the last byte counts where it begins before it.
        begins = np.append(behind.begin, ~np.uint64(0))
        count = (last - first + (begins[last] < high)).astype(np.int64)
        return cls(leaves, behind, low, high, first, np.cumsum(count + more))

    def pairs(self) -> Iterator[tuple[Rows, Rows]]:
        """(leaf, its how-manieth pair) of each pair, piece by piece."""
        total = int(self.ends[-1]) if len(self.ends) else 0
        for begin in range(0, total, AT_A_TIME):
            end = min(begin + AT_A_TIME, total)
            row = int(np.searchsorted(self.ends, begin, side="right"))
            upto = int(np.searchsorted(self.ends, end - 1, side="right")) + 1
            starts = np.empty(upto - row, np.int64)
            starts[0] = self.ends[row - 1] if row else 0
            starts[1:] = self.ends[row : upto - 1]
            here = np.minimum(self.ends[row:upto], end) - np.maximum(starts, begin)
            if bool((here == 1).all()):  # a pair a leaf
                yield np.arange(row, upto), np.maximum(begin - starts, 0)
                continue
            of = np.repeat(np.arange(upto - row), here)
            yield of + row, np.arange(begin, end) - starts[of]


def stretches(leaves: Columns, behind: Behind) -> Iterator[Ranges]:
    """What of the leaves has something behind it, as ranges in the order of the leaves: piece by piece, and within a
    piece those put together that go on.

    R, C, the attribute and whether a page is privileged are as the guest's own leaf says; R/C of the host's are not
    told (Power ISA 3.0B, book III, 5.7.10.2: attributes combine, of which QEMU 7.2 and this keep the guest's)."""
    for _, found in _stretches(leaves, behind):
        yield join_all(found)


def _stretches(leaves: Columns, behind: Behind) -> Iterator[tuple[Rows | slice, Ranges]]:
    """The same as they are, with the row of each one's leaf."""
    if len(leaves) and int(leaves.shift.max()) <= behind.page:
        for first in range(0, len(leaves), AT_A_TIME):
            yield _one_each(leaves, behind, first)
        return
    meeting = _Meeting.of(leaves, behind)
    flags, ra, shifts, root = _flags(leaves.entry), leaves.ra, leaves.shift, leaves.root
    for row, number in meeting.pairs():
        host = meeting.first[row] + number
        low, begins = meeting.low[row], behind.begin[host]
        start = np.maximum(low, begins)
        stop = np.minimum(meeting.high[row], behind.end[host])
        shift = np.minimum(shifts[row], behind.ranges.shift[host])
        ahead = start - low
        yield (
            row,
            Ranges(
                leaves.roots,
                root[row],
                leaves.offset[row] + ahead,
                behind.ranges.ra[host] + (start - begins),
                shift,
                flags[row] & behind.mask[host],
                (stop - start) >> shift.astype(np.uint64),
                ra[row] + ahead,
            ),
        )


def _one_each(leaves: Columns, behind: Behind, first: int) -> tuple[Rows | slice, Ranges]:
    """The same of AT_A_TIME leaves from ``first`` on where none is larger than the host's smallest page, so that each
    has one range behind it or none."""
    row: Rows | slice = slice(first, min(first + AT_A_TIME, len(leaves)))
    part = leaves.take(row)
    gra = part.ra
    low = gra & np.uint64(WITHIN)
    host = behind.together.take(behind.first(low), axis=0)
    there = host[:, 0] <= low
    if not there.all():
        some = np.flatnonzero(there)
        row, part, gra, low, host = some + first, part.take(some), gra[some], low[some], host[some]
    flags = _flags(part.entry)
    flags &= host[:, 2]
    low += host[:, 1]
    count = np.ones(len(part), np.uint64)
    return row, Ranges(leaves.roots, part.root, part.offset, low, part.shift, flags, count, gra)


def _flags(entry: U64) -> U64:
    """The flags of guests' leaves, as a new array: their page number out (stray bits of it have no place beside the
    host's), and what may be written may be read."""
    flags = entry & ~np.uint64(PTE_RPN)
    flags |= allowed(flags)
    return flags


def pages(leaves: Columns, behind: Behind) -> Iterator[Columns]:
    """The same with a row for each page of the smaller size, piece by piece."""
    for _, piece in _composed(leaves, behind):
        yield piece


def _composed(leaves: Columns, behind: Behind) -> Iterator[tuple[Rows | slice, Columns]]:
    """The same, with the row of each one's leaf."""
    for row, found in _stretches(leaves, behind):
        if bool((found.count == 1).all()):
            yield row, _page_rows(leaves, row, found, found.offset, found.ra, found.gra)
            continue
        assert not isinstance(row, slice)
        assert found.gra is not None
        for number, page in _pages(found.count):
            some = found.take(number)
            assert some.gra is not None
            ahead = page << some.shift.astype(np.uint64)
            of = row[number]
            yield of, _page_rows(leaves, of, some, some.offset + ahead, some.ra + ahead, some.gra + ahead)


def compose(leaves: Columns, behind: Behind, most: int | None = None) -> Led:
    """The guest's leaves led on through the partition-scoped tree that lies ``behind``: a row for each page of the
    smaller size, as :func:`stretches` has them, and ``most`` of them at most."""
    parts: list[Columns] = []
    count = 0
    for row, piece in _composed(leaves, behind):
        if most is not None and count + len(piece) > most:
            parts.append(piece.take(slice(0, most - count)))
            number = most - count
            return Led(_end_to_end(leaves, parts), row.start + number if isinstance(row, slice) else int(row[number]))
        parts.append(piece)
        count += len(piece)
    return Led(_end_to_end(leaves, parts))


def _pages(count: U64) -> Iterator[tuple[Rows, U64]]:
    """(which stretch, which of its pages) for each page of stretches of so many, piece by piece."""
    ends = np.cumsum(count.astype(np.int64))
    for begin in range(0, int(ends[-1]), AT_A_TIME):
        number = np.arange(begin, min(begin + AT_A_TIME, int(ends[-1])))
        of = np.searchsorted(ends, number, side="right")
        yield of, (number - (ends[of] - count[of].astype(np.int64))).astype(np.uint64)


def _page_rows(leaves: Columns, row: Rows | slice, found: Ranges, offset: U64, ra: U64, gra: U64 | None) -> Columns:
    """Pages of stretches as leaves; ``row`` is the leaf that each is of."""
    return replace(
        leaves,
        place=leaves.place[row],
        offset=offset,
        entry=found.flags | ra,
        shift=found.shift,
        gra=gra,
        table_shift=leaves.shift[row],
    )


def _end_to_end(leaves: Columns, parts: list[Columns]) -> Columns:
    """Columns of the same places one after the other."""
    if not parts:
        none = leaves.take(slice(0, 0))
        return replace(none, gra=none.offset, table_shift=none.shift)
    if len(parts) == 1:
        return parts[0]
    return replace(
        leaves,
        place=np.concatenate([part.place for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        entry=np.concatenate([part.entry for part in parts]),
        shift=np.concatenate([part.shift for part in parts]),
        gra=joined([part.gra for part in parts]),
        table_shift=joined([part.table_shift for part in parts]),
    )


def holes(leaves: Columns, behind: Behind) -> Iterator[Ranges]:
    """What of the leaves has nothing behind it, piece by piece in their order: ``ra`` of these is guest real."""
    # Each leaf's last pair stands for its end: before each of its pairs there may be a hole.
    meeting = _Meeting.of(leaves, behind, more=1)
    begins, ends = np.append(behind.begin, np.uint64(0)), np.append(behind.end, np.uint64(0))
    ra, flags, root = leaves.ra, leaves.flags & ~np.uint64(PTE_RPN), leaves.root
    last = np.diff(meeting.ends, prepend=0) - 1
    for row, number in meeting.pairs():
        host = meeting.first[row] + number
        low = meeting.low[row]
        begin = np.where(number == 0, low, ends[host - 1])
        end = np.where(number == last[row], meeting.high[row], begins[host])
        some = np.flatnonzero(end > begin)
        if not len(some):
            continue
        leaf, begin = row[some], begin[some]
        ahead = begin - low[some]
        yield join_all(
            Ranges(
                leaves.roots,
                root[leaf],
                leaves.offset[leaf] + ahead,
                ra[leaf] + ahead,
                np.full(len(leaf), SMALLEST, np.uint8),
                flags[leaf],
                (end[some] - begin) >> np.uint64(SMALLEST),
            )
        )
