"""What is mapped otherwise at one moment than at another, page by page, put together again into runs.

The boundaries of both sides' ranges cut the address space of each (LPID, PID) into segments, in each of which both
sides are alike from end to end; what differs there is a mask of kinds. It is done in bulk, part by part of the address
space, so that millions of ranges cost no loop and little memory beyond the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntFlag

import numpy as np

from inspector.mappings.ranges import Ranges
from inspector.mappings.select import Selection
from inspector.memory.spans import merged
from inspector.radix.bits import PTE_ATT, PTE_C, PTE_EXEC, PTE_PRIVILEGED, PTE_R, PTE_READ, PTE_WRITE
from inspector.radix.columns import NO_PID, U8, U16, U32, U64, Bools, InTrees, Root, Rows


class Kind(IntFlag):
    """In what a page differs; several may be true of one. JSON has them in lower case.

    MOVED is another real address, SIZE another page size (split or joined where it has not moved). TOUCHED is a
    reference or change bit that is set and was not: those of a page that was added or moved count. CLEARED is one that
    was set for the same memory. SOFTWARE are the bits left to software, RESERVED all others. UNSEEN is neither added
    nor removed for certain: it is mapped on one side, and the tables of the other could not be read there."""

    ADDED = 1
    REMOVED = 2
    MOVED = 4
    RIGHTS = 8
    ATTRIBUTE = 16
    SIZE = 32
    TOUCHED = 64
    CLEARED = 128
    SOFTWARE = 256
    RESERVED = 512
    UNSEEN = 1024


KINDS: dict[str, Kind] = {str(kind.name).lower(): kind for kind in Kind}
"""By the name that users write."""

RIGHTS = PTE_PRIVILEGED | PTE_READ | PTE_WRITE | PTE_EXEC
USED = PTE_R | PTE_C
SOFTWARE = 0x2000_0000_0000_0E00
"""Bits of a leaf that the MMU leaves to software (ISA 3.0B book III, 5.7.10.2; Linux ``_RPAGE_SW0`` to ``SW3``)."""

PAGE_SHIFT = 12
"""Places are counted in pages of 4 KiB, the smallest there are."""
TREE_PAGES_SHIFT = 52 - PAGE_SHIFT
"""log2 of the pages of a tree: above these bits of a place stands the number of its tree."""
PART_ROWS = 1 << 16
"""Ranges of a side that are compared at a time: what is made of them stays in the processor's caches."""
END = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Unseen:
    """Parts of trees that could not be read: ``root`` is an index into ``roots``, ``offset`` the EA below its quadrant,
    ``size`` in bytes. Trees that neither side of a comparison has must not be among ``roots``."""

    roots: tuple[Root, ...]
    root: U32
    offset: U64
    size: U64


@dataclass(frozen=True, slots=True)
class Half(InTrees):
    """One side of changes, a row for each: what is mapped there. ``flags`` is 0 where nothing is. It can be asked with
    :class:`~inspector.mappings.select.Selection`."""

    roots: tuple[Root, ...]
    root: U32
    offset: U64
    size: U64
    ra: U64
    shift: U8
    flags: U64

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, rows: Bools | Rows | slice) -> Half:
        """Those rows, by mask, number or slice."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _arrays(self)})


@dataclass(frozen=True, slots=True)
class Changes(InTrees):
    """A row for each run of pages that differ alike, by tree and address. ``kinds`` are of :class:`Kind`; ``size`` is
    in bytes. On each side ``ra`` is the real address of the first byte, ``shift`` log2 of the page size (a run may be
    part of a page), ``flags`` all else of the entry, which is 0 where nothing is mapped."""

    roots: tuple[Root, ...]
    root: U32
    offset: U64
    size: U64
    kinds: U16
    ra_before: U64
    shift_before: U8
    flags_before: U64
    ra_after: U64
    shift_after: U8
    flags_after: U64

    def __len__(self) -> int:
        return len(self.offset)

    @property
    def before(self) -> Half:
        """What was mapped."""
        of = (self.ra_before, self.shift_before, self.flags_before)
        return Half(self.roots, self.root, self.offset, self.size, *of)

    @property
    def after(self) -> Half:
        """What is mapped."""
        return Half(self.roots, self.root, self.offset, self.size, self.ra_after, self.shift_after, self.flags_after)

    def take(self, rows: Bools | Rows | slice) -> Changes:
        """Those rows, by mask, number or slice."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _arrays(self)})

    def of_kinds(self, kinds: Kind) -> Changes:
        """Those of which any of ``kinds`` is true."""
        return self.take(self.kinds & np.uint16(kinds) != 0)

    def selected(self, selection: Selection) -> Changes:
        """Those one side of which is meant by ``selection``, by all its conditions."""
        if selection.everything:
            return self
        meant = np.zeros(len(self), np.bool_)
        for half in (self.before, self.after):
            there = np.flatnonzero(half.flags)
            meant[there] |= selection.mask(half.take(there))
        return self.take(meant)


def _arrays(columns: Half | Changes) -> Iterator[str]:
    return (each.name for each in fields(columns) if each.name != "roots")


def trees_of(before: Sequence[Root], after: Sequence[Root]) -> tuple[Root, ...]:
    """The trees of both sides by LPID and PID, each once. Their descriptors are those of ``after`` where it is there
    too: a PID may have become another process's."""
    named = {(each.lpid, NO_PID if each.pid is None else each.pid): each for each in (*before, *after)}
    return tuple(named[key] for key in sorted(named))


def numbers(roots: Sequence[Root], trees: Sequence[Root]) -> U64:
    """Of each of ``roots`` which of ``trees`` it is, by LPID and PID."""
    at = {(each.lpid, each.pid): number for number, each in enumerate(trees)}
    return np.array([at[each.lpid, each.pid] for each in roots], np.uint64)


def compare(
    before: Ranges,
    after: Ranges,
    *,
    unseen_before: Unseen | None = None,
    unseen_after: Unseen | None = None,
    part_rows: int = PART_ROWS,
) -> Changes:
    """What differs between two tables of ranges, whose trees are told apart by LPID and PID. Ranges of a tree do not
    overlap; their order does not matter. ``unseen_…`` are where the tables of a side could not be read."""
    trees = trees_of(before.roots, after.roots)
    sides = _Side.of(before, trees, unseen_before), _Side.of(after, trees, unseen_after)
    found = [_differing(trees, *parts) for parts in _parts(*sides, part_rows)]
    found = [each for each in found if len(each)]
    if not found:
        return _differing(trees, sides[0].part(0, 0, 0, END), sides[1].part(0, 0, 0, END))
    joined = {name: np.concatenate([getattr(part, name) for part in found]) for name in _arrays(found[0])}
    changes = Changes(trees, **joined)
    return _put_together(changes, np.cumsum([len(part) for part in found])[:-1])


@dataclass(frozen=True, slots=True)
class _Side:
    """Ranges of one side by place: ``begin`` is the place of the first page of each, and ``cuts`` where what is unseen
    begins and ends, in turns."""

    ranges: Ranges
    begin: U64
    cuts: U64

    @classmethod
    def of(cls, ranges: Ranges, trees: Sequence[Root], unseen: Unseen | None) -> _Side:
        number = numbers(ranges.roots, trees) << np.uint64(TREE_PAGES_SHIFT)
        begin = number[ranges.root] | ranges.offset >> np.uint64(PAGE_SHIFT)
        if (begin[1:] < begin[:-1]).any():
            order = np.argsort(begin, kind="stable")
            ranges, begin = ranges.take(order), begin[order]
        return cls(ranges, begin, _union(trees, unseen))

    def part(self, first: int, last: int, low: int, high: int) -> _Part:
        """The ranges from row ``first`` to ``last``, and what of the one before reaches beyond the place ``low``; cut
        to the places from there to ``high``."""
        if first and int(self.begin[first - 1]) + int(self.pages(slice(first - 1, first))[0]) > low:
            first -= 1
        rows = slice(first, last)
        begin = self.begin[rows]
        from_, upto = (int(np.searchsorted(self.cuts, np.uint64(place))) for place in (low, high))
        return _Part(
            self.ranges.take(rows),
            begin,
            np.maximum(begin, np.uint64(low)),
            np.minimum(begin + self.pages(rows), np.uint64(high)),
            self.cuts[from_:upto],
            from_ % 2 == 1,
        )

    def pages(self, rows: slice) -> U64:
        """How many pages of 4 KiB these ranges have."""
        ranges = self.ranges
        return ranges.count[rows] << (ranges.shift[rows] - np.uint8(PAGE_SHIFT)).astype(np.uint64)


def _union(trees: Sequence[Root], unseen: Unseen | None) -> U64:
    """Where the union of these spans begins and ends, as places, in turns."""
    if unseen is None or not len(unseen.root):
        return np.zeros(0, np.uint64)
    number = numbers(unseen.roots, trees) << np.uint64(TREE_PAGES_SHIFT)
    begin = number[unseen.root] | unseen.offset >> np.uint64(PAGE_SHIFT)
    end = begin + (unseen.size >> np.uint64(PAGE_SHIFT))
    return np.stack(merged(begin, end), axis=1).reshape(-1)


@dataclass(frozen=True, slots=True)
class _Part:
    """Ranges of one side in a part of all places. ``whole`` is where each range begins; ``begin`` and ``end`` are cut
    to the part. Within it, what is unseen begins or ends at ``cuts``; ``unseen`` is whether it begins so."""

    ranges: Ranges
    whole: U64
    begin: U64
    end: U64
    cuts: U64
    unseen: bool

    def take(self, rows: Bools) -> _Part:
        """The same with these ranges alone."""
        return replace(
            self, ranges=self.ranges.take(rows), whole=self.whole[rows], begin=self.begin[rows], end=self.end[rows]
        )

    def without_same(self, other: _Part) -> tuple[_Part, _Part]:
        """Both without the ranges that are the same in both: nothing differs there, and they overlap no others."""
        if not len(self.begin) or not len(other.begin):
            return self, other
        if np.array_equal(self.begin, other.begin):
            theirs = np.arange(len(self.begin))
        else:
            theirs = np.minimum(np.searchsorted(other.begin, self.begin), len(other.begin) - 1)
        here, there = self.ranges, other.ranges.take(theirs)
        same = (self.begin == other.begin[theirs]) & (self.end == other.end[theirs])
        same &= (self.whole == other.whole[theirs]) & (here.ra == there.ra)
        same &= (here.flags == there.flags) & (here.shift == there.shift)
        others = np.ones(len(other.begin), np.bool_)
        others[theirs[same]] = False
        return self.take(~same), other.take(others)

    def edges(self) -> U64:
        """Where its ranges begin and end, in order."""
        return np.stack((self.begin, self.end), axis=1).reshape(-1)

    def at(self, place: U64) -> tuple[U64, U8, U64]:
        """Real address, page size (log2) and flags of the page at each of these places; 0 where there is none."""
        nothing: U64 = np.zeros(len(place), np.uint64)
        if not len(self.begin):
            return nothing, nothing.astype(np.uint8), nothing
        row = np.searchsorted(self.begin, place, side="right") - 1
        there = (row >= 0) & (place < self.end[row])
        ra = self.ranges.ra[row] + ((place - self.whole[row]) << np.uint64(PAGE_SHIFT))
        shift, flags = self.ranges.shift[row], self.ranges.flags[row]
        return ra * there, shift * there, flags * there

    def unseen_at(self, place: U64) -> Bools:
        """Whether the tables could not be read there."""
        turned: Bools = np.searchsorted(self.cuts, place, side="right") % 2 == 1
        return ~turned if self.unseen else turned


def _parts(before: _Side, after: _Side, rows: int) -> Iterator[tuple[_Part, _Part]]:
    """Both sides in parts of so many ranges at most (and one that reaches into it), the same places of each."""
    low = first_before = first_after = 0
    while first_before < len(before.begin) or first_after < len(after.begin):
        high = END
        for side, first in ((before, first_before), (after, first_after)):
            if first + rows < len(side.begin):
                high = min(high, int(side.begin[first + rows]))
        last_before, last_after = (int(np.searchsorted(side.begin, np.uint64(high))) for side in (before, after))
        yield before.part(first_before, last_before, low, high), after.part(first_after, last_after, low, high)
        low, first_before, first_after = high, last_before, last_after


def _differing(trees: tuple[Root, ...], before: _Part, after: _Part) -> Changes:
    """What differs in a part."""
    before, after = before.without_same(after)
    edges = np.concatenate((before.edges(), after.edges(), before.cuts, after.cuts))
    edges.sort(kind="stable")  # which puts runs that are in order together in one pass
    if len(edges):
        edges = edges[np.append(True, edges[1:] != edges[:-1])]
    place, pages = edges[:-1], np.diff(edges)
    ra_before, shift_before, flags_before = before.at(place)
    ra_after, shift_after, flags_after = after.at(place)
    was, now = flags_before != 0, flags_after != 0
    both = was & now
    moved = both & (ra_before != ra_after)
    differs = (flags_before ^ flags_after) * both
    stayed_used = flags_before * (both & ~moved)
    bits = np.uint64(USED)
    kinds = np.zeros(len(place), np.uint16)
    added, removed = now & ~was, was & ~now
    unseen = (added & before.unseen_at(place)) | (removed & after.unseen_at(place))
    for kind, true in (
        (Kind.UNSEEN, unseen),
        (Kind.ADDED, added & ~unseen),
        (Kind.REMOVED, removed & ~unseen),
        (Kind.MOVED, moved),
        (Kind.SIZE, both & (shift_before != shift_after)),
        (Kind.RIGHTS, differs & np.uint64(RIGHTS) != 0),
        (Kind.ATTRIBUTE, differs & np.uint64(PTE_ATT) != 0),
        (Kind.SOFTWARE, differs & np.uint64(SOFTWARE) != 0),
        (Kind.RESERVED, differs & np.uint64(END & ~(RIGHTS | PTE_ATT | SOFTWARE | USED)) != 0),
        (Kind.TOUCHED, (flags_after & ~stayed_used & bits != 0) & ~unseen),
        (Kind.CLEARED, stayed_used & ~flags_after & bits != 0),
    ):
        kinds |= true * np.uint16(kind)
    changes = Changes(
        trees,
        (place >> np.uint64(TREE_PAGES_SHIFT)).astype(np.uint32),
        (place & np.uint64((1 << TREE_PAGES_SHIFT) - 1)) << np.uint64(PAGE_SHIFT),
        pages << np.uint64(PAGE_SHIFT),
        kinds,
        ra_before,
        shift_before,
        flags_before,
        ra_after,
        shift_after,
        flags_after,
    ).take(np.flatnonzero(kinds))
    return _put_together(changes, np.arange(1, len(changes)))


def _put_together(changes: Changes, at: Rows) -> Changes:
    """The rows ``at`` (ascending, never the first) put together with those before, where they go on from them."""
    here, before = changes.take(at), changes.take(at - 1)
    size = before.size
    goes_on = (here.root == before.root) & (here.offset - before.offset == size) & (here.kinds == before.kinds)
    for mine, theirs in ((here.before, before.before), (here.after, before.after)):
        goes_on &= (mine.flags == theirs.flags) & (mine.shift == theirs.shift)
        goes_on &= (mine.ra - theirs.ra == size) | (mine.flags == 0)
    if not goes_on.any():
        return changes
    begins = np.ones(len(changes), np.bool_)
    begins[at[goes_on]] = False
    first = np.flatnonzero(begins)
    return replace(changes.take(first), size=np.add.reduceat(changes.size, first))


def pages_of(changes: Changes, trees: Collection[int] | None = None) -> dict[tuple[int, Kind], tuple[int, int]]:
    """How many changes of each kind there are in each tree (an index into the roots), and their bytes. One that is of
    several kinds counts for each."""
    found: dict[tuple[int, Kind], tuple[int, int]] = {}
    count = len(changes.roots)
    pages = (changes.size >> np.uint64(PAGE_SHIFT)).astype(np.float64)  # whole numbers below 2**53 are kept
    for kind in Kind:
        rows = np.flatnonzero(changes.kinds & np.uint16(kind))
        if not len(rows):
            continue
        root = changes.root[rows]
        each, summed = np.bincount(root, minlength=count), np.bincount(root, pages[rows], minlength=count)
        for tree in np.flatnonzero(each).tolist():
            if trees is None or tree in trees:
                found[tree, kind] = int(each[tree]), int(summed[tree]) << PAGE_SHIFT
    return found
