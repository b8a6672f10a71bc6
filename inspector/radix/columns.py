"""Leaves and tables of whole trees as columns, and the bounds within which they are gathered.

Every column is a numpy array, a row for each leaf or table. Addresses are unsigned 64-bit, in native order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from inspector.radix.bits import PTE_RPN
from inspector.radix.oddities import tree_name

Kind = TypeVar("Kind", bound=np.generic)
U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
U16 = NDArray[np.uint16]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]

LEAF = np.uint64(3 << 62)
"""An entry is a valid leaf where it is not below this: its two top bits are V and L."""
NO_PID = -1
"""What stands for a PID where the tree is partition-scoped and belongs to none."""


@dataclass(frozen=True, slots=True)
class Root:
    """A tree to sweep. ``descriptor`` is the first doubleword of a process-table or partition-table entry.

    ``base`` is added to offsets to make effective addresses: the quadrant (3 << 62 for the kernel's, PID 0) or 0.
    ``pid`` is None for a partition-scoped tree."""

    pid: int | None
    descriptor: int
    base: int = 0
    lpid: int = 0

    @property
    def name(self) -> str:
        """Whose it is, in words."""
        return tree_name(self.lpid, self.pid)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sweep goes to at most. Whatever is left out is told as an oddity ``too-large``.

    ``tables`` counts places where a table stands (a shared one counts at each), ``leaves`` leaves at every place,
    ``table_bytes`` what is read, ``oddities`` those told one by one of each cause (all are counted)."""

    tables: int = 1 << 23
    leaves: int = 1 << 28
    table_bytes: int = 8 << 30
    oddities: int = 1 << 12


class InTrees:
    """Rows that lie in trees: ``root`` is the index of a row's tree among ``roots``, ``offset`` the EA below its
    quadrant. What follows from these is here, once."""

    __slots__ = ()
    if TYPE_CHECKING:

        @property
        def roots(self) -> tuple[Root, ...]: ...
        @property
        def root(self) -> U32: ...
        @property
        def offset(self) -> U64: ...

    @property
    def pid(self) -> NDArray[np.int64]:
        """The radix PID of the tree, NO_PID for a partition-scoped one."""
        return np.array([NO_PID if each.pid is None else each.pid for each in self.roots], np.int64)[self.root]

    @property
    def lpid(self) -> NDArray[np.int64]:
        """The LPID of the tree."""
        return np.array([each.lpid for each in self.roots], np.int64)[self.root]

    @property
    def ea(self) -> U64:
        """The (first) effective address, quadrant included (guest real for a partition-scoped tree)."""
        return np.array([each.base for each in self.roots], np.uint64)[self.root] | self.offset


@dataclass(frozen=True, slots=True)
class Places:
    """Where tables stand: in which tree (an index into the roots), from which offset on, and their real address."""

    root: U32
    offset: U64
    address: U64


@dataclass(frozen=True, slots=True)
class Columns(InTrees):
    """Leaves. ``offset`` is the EA below its quadrant; ``place`` the row of ``places`` that the leaf's table stands at.

    The others follow from these when they are asked for. Order is that of gathering (by level from the root down, then
    by tree and address) until :meth:`in_order`.

    ``gra`` and ``table_shift`` are there for leaves that were led on through a second stage
    (:mod:`inspector.mappings.composed`): ``entry`` then gives the host's real address and what both stages allow,
    ``gra`` the guest's real address, and ``table_shift`` log2 of what the guest's own leaf maps."""

    roots: tuple[Root, ...]
    places: Places
    place: U32
    offset: U64
    entry: U64
    shift: U8
    gra: U64 | None = None
    table_shift: U8 | None = None

    def __len__(self) -> int:
        return len(self.entry)

    @property
    def nbytes(self) -> int:
        """Bytes of the columns that are kept."""
        return self.place.nbytes + self.offset.nbytes + self.entry.nbytes + self.shift.nbytes

    @property
    def size(self) -> U64:
        """Bytes that each leaf maps."""
        return np.uint64(1) << self.shift.astype(np.uint64)

    @property
    def ra(self) -> U64:
        """Real address of the page; bits of the page number below the page size are dropped, as the hardware does."""
        return self.entry & np.uint64(PTE_RPN) & (~np.uint64(0) << self.shift.astype(np.uint64))

    @property
    def flags(self) -> U64:
        """All of the entry but the real address: bits of the page number below the page size are kept."""
        return self.entry & ~(np.uint64(PTE_RPN) & (~np.uint64(0) << self.shift.astype(np.uint64)))

    @property
    def root(self) -> U32:
        """Which tree, as an index into ``roots``."""
        return self.places.root[self.place]

    @property
    def level(self) -> U8:
        """3 (root) to 0 (last): of the table that the leaf stands in."""
        return LEVEL_OF_SHIFT[self.shift if self.table_shift is None else self.table_shift]

    @property
    def address(self) -> U64:
        """Real address of the entry itself."""
        covers = self.shift if self.table_shift is None else self.table_shift
        index = (self.offset - self.places.offset[self.place]) >> covers.astype(np.uint64)
        return self.places.address[self.place] + (index << np.uint64(3))

    def take(self, rows: Bools | Rows | slice) -> Columns:
        """Those rows, by mask, number or slice."""
        return replace(
            self,
            place=self.place[rows],
            offset=self.offset[rows],
            entry=self.entry[rows],
            shift=self.shift[rows],
            gra=None if self.gra is None else self.gra[rows],
            table_shift=None if self.table_shift is None else self.table_shift[rows],
        )

    def in_order(self) -> Columns:
        """Sorted by tree and address; itself where it is so already."""
        root = self.root
        after = (root[1:] > root[:-1]) | ((root[1:] == root[:-1]) & (self.offset[1:] >= self.offset[:-1]))
        if after.all():
            return self
        # 12 bits above an offset are free: one key does for most, and merges what is in order already.
        if len(self.roots) <= 1 << 12:
            return self.take(np.argsort(root.astype(np.uint64) << np.uint64(52) | self.offset, kind="stable"))
        return self.take(np.lexsort((self.offset, root)))


LEVEL_OF_SHIFT: U8 = np.zeros(64, np.uint8)
LEVEL_OF_SHIFT[[21, 30, 39]] = 1, 2, 3


def concatenate(parts: Sequence[Columns]) -> Columns:
    """Columns one after the other. They are of the same roots; at least one is needed."""
    if len(parts) == 1:
        return parts[0]
    ahead = np.cumsum([0, *(len(part.places.root) for part in parts)])
    places = Places(
        np.concatenate([part.places.root for part in parts]),
        np.concatenate([part.places.offset for part in parts]),
        np.concatenate([part.places.address for part in parts]),
    )
    return Columns(
        parts[0].roots,
        places,
        np.concatenate([part.place + np.uint32(first) for part, first in zip(parts, ahead[:-1], strict=True)]),
        np.concatenate([part.offset for part in parts]),
        np.concatenate([part.entry for part in parts]),
        np.concatenate([part.shift for part in parts]),
        joined([part.gra for part in parts]),
        joined([part.table_shift for part in parts]),
    )


def joined(parts: Sequence[NDArray[Kind] | None]) -> NDArray[Kind] | None:
    """One after the other; None where any has none."""
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


@dataclass(frozen=True, slots=True)
class Tables(InTrees):
    """Table pages, each once a level. ``fill`` counts valid entries and ``leaves`` the leaves among them.

    ``root`` is the tree in which it was found first and ``offset`` where it begins there; ``references`` counts the
    places that it stands at, in all trees."""

    roots: tuple[Root, ...]
    address: U64
    level: U8
    length: U32
    fill: U16
    leaves: U16
    references: U32
    root: U32
    offset: U64
    readable: Bools

    def __len__(self) -> int:
        return len(self.address)


@dataclass(frozen=True, slots=True)
class SweepOddity:
    """Where a tree is not as it should be.

    ``cause`` and ``reason`` are those of :mod:`inspector.radix.oddities`; ``root`` is the index of the tree, ``offset``
    the EA below its quadrant, ``level`` that of the table led to (-1 below the last), ``entry`` the one that leads
    there and ``address`` its real address, None for a root descriptor."""

    cause: str
    reason: str
    root: int
    offset: int
    level: int
    entry: int
    address: int | None


@dataclass
class Findings:
    """Oddities: ``told`` one by one, ``most`` of a cause, and ``counts`` of all by cause."""

    most: int
    told: list[SweepOddity] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, oddity: SweepOddity) -> bool:
        """Count it, and tell it where there is room for one of its cause: whether there was."""
        self.counts[oddity.cause] += 1
        if self.counts[oddity.cause] > self.most:
            return False
        self.told.append(oddity)
        return True
