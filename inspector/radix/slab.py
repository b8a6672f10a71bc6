"""All tables of one level and size, decoded together, and the places in the trees that they stand at.

A table is kept once however many places refer to it. Last-level tables are kept whole (most of their entries are
leaves); the others, where few entries are valid, as their valid entries alone. Leaves become columns when they are
asked for, piece by piece if need be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.errors import MemoryReadError
from inspector.radix.columns import LEAF, U8, U16, U32, U64, Bools, Columns, Places, Root, Rows
from inspector.radix.reading import CHUNK_BYTES, TableReader

DIRECTORY = -(1 << 62)
"""As a signed integer an entry is valid where it is negative, and a directory (V without L) where it is below this."""
BLOCK_LEAVES = 1 << 16
"""Columns are made of about so many entries at a time."""
SPARSE_BELOW = 1 / 8
"""A last-level table group whose first tables are emptier than this is kept as its valid entries alone."""
SHORT = 0.1
"""Seconds within which a batch should be read where the source allows it: batches begin small, and grow while they are
quicker, so that a slow source is interrupted and told of in steps that a person can follow."""
FIRST_PART = 16
"""A first batch is one part in so many of the best."""
ONES = np.array([bin(byte).count("1") for byte in range(1 << 16)], np.uint8)
"""How many bits of a 16-bit number are set."""


@dataclass
class Slab:
    """Tables of ``level`` with 2**``bits`` entries, each covering 2**``shift`` bytes.

    Places: ``root`` (index), ``offset``, ``parent`` (the place above, in the slab of the level above) and ``table``
    (None: place i is table i). Tables: ``address``, ``directories`` (how many entries are valid and no leaves) and
    ``errors`` by table. Entries: ``dense`` whole, or ``slots`` (table << bits | index, ascending) with ``values``.
    """

    roots: tuple[Root, ...]
    level: int
    bits: int
    shift: int
    root: U32
    offset: U64
    parent: NDArray[np.int32]
    table: Rows | None
    address: U64
    directories: U16 = field(default_factory=lambda: np.zeros(0, np.uint16))
    errors: Mapping[int, MemoryReadError] = field(default_factory=dict)
    dense: U64 | None = None
    slots: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    values: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    complete: bool = True

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(
        self, reader: TableReader, keep_partial: bool = False, tell: Callable[[int], None] = lambda _more: None
    ) -> Bools | None:
        """Fetch and decode the tables. ``tell`` is told how many were read, batch by batch. With ``keep_partial``,
        KeyboardInterrupt leaves those read so far, makes it not ``complete``, and the answer is which places are left
        (None: all)."""
        count, entries = len(self.address), 1 << self.bits
        self.directories = np.zeros(count, np.uint16)
        errors: dict[int, MemoryReadError] = {}
        self.errors = errors
        pieces: list[tuple[NDArray[np.int64], U64]] = []
        dense = np.empty((count, entries), np.uint64) if self.level == 0 else None
        most = max(reader.batch_bytes // (8 * entries), 1)
        step = most if reader.windows else max(most // FIRST_PART, 1)
        gather = reader.gather(self.address, entries)
        scratch = np.empty((0, entries), np.uint64)
        kept: Bools | None = None
        first = whole = 0
        try:
            while first < count:
                began = time.monotonic()
                last = min(first + step, count)
                if dense is not None:
                    rows = dense[first:last]
                else:
                    if len(scratch) < last - first:
                        scratch = np.empty((last - first, entries), np.uint64)
                    rows = scratch[: last - first]
                for row, error in gather(first, last, rows).items():
                    errors[first + row] = error
                signed = rows.view(np.int64)
                if first == 0 and np.count_nonzero(signed < 0) < SPARSE_BELOW * signed.size:
                    dense = None
                if dense is None:
                    slot = np.flatnonzero(signed < 0)
                    pieces.append((slot + (first << self.bits), rows.reshape(-1)[slot]))
                if self.level or signed.min() < DIRECTORY:
                    self.directories[first:last] = np.count_nonzero(signed < DIRECTORY, axis=1)
                more, first, whole = last - first, last, len(pieces)
                tell(more)
                if step < most and time.monotonic() - began < SHORT:
                    step = min(2 * step, most)
        except KeyboardInterrupt:
            if not keep_partial:
                raise
            kept = self._cut_tables(first, errors)
            dense = None if dense is None else dense[:first]
            del pieces[whole:]
        self.dense = dense
        if dense is None and pieces:
            self.slots = np.concatenate([slots for slots, _ in pieces])
            self.values = np.concatenate([values for _, values in pieces])
        return kept

    def _cut_tables(self, count: int, errors: dict[int, MemoryReadError]) -> Bools:
        """The same as :meth:`cut_tables` when some were read."""
        self.complete = False
        self.directories = self.directories[:count]
        for row in [row for row in errors if row >= count]:
            del errors[row]
        return self.cut_tables(count)

    def cut_tables(self, count: int) -> Bools:
        """Forget all tables but the first ``count``, and the places they stand at. Which places are left."""
        keep = np.arange(len(self.offset)) < count if self.table is None else self.table < count
        self.root, self.offset, self.parent = self.root[keep], self.offset[keep], self.parent[keep]
        self.table = None if self.table is None else self.table[keep]
        self.address = self.address[:count]
        return keep

    def cut_places(self, count: int) -> None:
        """Forget all places but the first ``count``; the tables stay."""
        if self.table is None:
            self.table = np.arange(len(self.offset))
        self.root, self.offset, self.parent = self.root[:count], self.offset[:count], self.parent[:count]
        self.table = self.table[:count]

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept."""
        kept: list[NDArray[Any]] = [
            self.root,
            self.offset,
            self.parent,
            self.address,
            self.fill,
            self.directories,
            self.slots,
            self.values,
        ]
        kept += [each for each in (self.table, self.dense) if each is not None]
        return sum(each.nbytes for each in kept)

    def table_at(self, places: Rows) -> Rows:
        """The tables that stand at these places."""
        return places if self.table is None else self.table[places]

    @cached_property
    def fill(self) -> U16:
        """How many entries of each table are valid."""
        if self.dense is None:
            return np.diff(self.starts).astype(np.uint16)
        fill = np.zeros(len(self.address), np.uint16)
        step = max(CHUNK_BYTES >> (3 + self.bits), 1)
        for first in range(0, len(fill), step):
            # 16 entries a bit each: there are no fewer than 32.
            packed = np.packbits(self.dense[first : first + step].view(np.int64) < 0).view(np.uint16)
            for column in packed.reshape(-1, 1 << (self.bits - 4)).T:
                fill[first : first + step] += ONES[column]
        return fill

    @property
    def leaves_at(self) -> NDArray[np.int64]:
        """How many leaves each place has."""
        leaves = self.fill.astype(np.int64) - self.directories
        return leaves if self.table is None else leaves[self.table]

    @property
    def leaf_count(self) -> int:
        """Leaves at all places."""
        return int(self.leaves_at.sum())

    @property
    def references(self) -> U32:
        """How many places each table stands at."""
        if self.table is None:
            return np.ones(len(self.address), np.uint32)
        return np.bincount(self.table, minlength=len(self.address)).astype(np.uint32)

    @property
    def first_places(self) -> tuple[Rows, U32, U64]:
        """The first place of each table, its tree and its offset; -1, 0 and 0 where all its places were left out."""
        if self.table is None:
            return np.arange(len(self.address)), self.root, self.offset
        first = np.full(len(self.address), -1, np.intp)
        first[self.table[::-1]] = np.arange(len(self.table))[::-1]
        root, offset = np.zeros(len(first), np.uint32), np.zeros(len(first), np.uint64)
        there = first >= 0
        root[there], offset[there] = self.root[first[there]], self.offset[first[there]]
        return first, root, offset

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each table's valid entries begin among the slots, and the end."""
        return np.searchsorted(self.slots, np.arange(len(self.address) + 1, dtype=np.int64) << self.bits)

    @cached_property
    def readable(self) -> Bools:
        """Which tables could be read."""
        fine = np.ones(len(self.address), np.bool_)
        fine[list(self.errors)] = False
        return fine

    @cached_property
    def places(self) -> Places:
        """The places, for columns."""
        return Places(self.root, self.offset, self.address if self.table is None else self.address[self.table])

    def entries(self, table: Rows, index: Rows) -> U64:
        """The valid entries at these indexes of these tables; 0 where there is none."""
        if self.dense is not None:
            found: U64 = self.dense.reshape(-1)[table << self.bits | index]
            return np.where(found.view(np.int64) < 0, found, np.uint64(0))
        if not len(self.slots):
            return np.zeros(len(table), np.uint64)
        wanted = table.astype(np.int64) << self.bits | index
        at = np.minimum(np.searchsorted(self.slots, wanted), len(self.slots) - 1)
        return np.where(self.slots[at] == wanted, self.values[at], np.uint64(0))

    # -- leaves ----------------------------------------------------------------------------------------------------

    def pieces(self) -> Iterator[Columns]:
        """Its leaves by place, about BLOCK_LEAVES entries at a time."""
        if self.dense is None:
            # A place may have any number of directories, and there may be any number of places without a leaf.
            places = np.flatnonzero(self.leaves_at)
            ends = np.cumsum(self.fill[self.table_at(places)], dtype=np.int64)
        else:
            places = np.arange(len(self.offset))
            ends = (places + 1) << self.bits
        first = 0
        while first < len(places):
            done = int(ends[first - 1]) if first else 0
            last = max(int(np.searchsorted(ends, done + BLOCK_LEAVES, side="right")), first + 1)
            if self.dense is None:
                place, index, entry = self._some(places[first:last])
            else:
                place, index, entry = self._dense_leaves(first, last)
            if len(entry):
                offset = self.offset[place] + (index << np.uint64(self.shift))
                shift: U8 = np.full(len(entry), self.shift, np.uint8)
                yield Columns(self.roots, self.places, place, offset, entry, shift)
            first = last

    def _dense_leaves(self, first: int, last: int) -> tuple[U32, U64, U64]:
        """Place, index and entry of the leaves at these places."""
        assert self.dense is not None
        rows = self.dense[first:last] if self.table is None else self.dense[self.table[first:last]]
        flat = rows.reshape(-1)
        leaf = flat >= LEAF
        slot = np.flatnonzero(leaf)
        place = ((slot >> self.bits) + first).astype(np.uint32)
        return place, (slot & ((1 << self.bits) - 1)).astype(np.uint64), flat[slot]

    def _some(self, places: Rows) -> tuple[U32, U64, U64]:
        """The same where only valid entries are kept."""
        place, slot, entry = self._spread(places)
        leaf = entry >= LEAF
        index = slot[leaf] & ((1 << self.bits) - 1)
        return place[leaf].astype(np.uint32), index.astype(np.uint64), entry[leaf]

    def _spread(self, places: Rows) -> tuple[Rows, NDArray[np.int64], U64]:
        """Place, slot and value of every valid entry at these places, of a slab that keeps only those."""
        table = self.table_at(places)
        begin, count = self.starts[table], self.starts[table + 1] - self.starts[table]
        at = np.arange(count.sum()) + np.repeat(begin - (np.cumsum(count) - count), count)
        return np.repeat(places, count), self.slots[at], self.values[at]

    def directory_entries(self, most: int) -> tuple[Rows, NDArray[np.int64], U64]:
        """Place, index and value of directories, by place: all, or enough to make ``most``."""
        mask = (1 << self.bits) - 1
        count = self.directories if self.table is None else self.directories[self.table]
        places = np.flatnonzero(count)
        ends = np.cumsum(count[places], dtype=np.int64)
        places = places[: int(np.searchsorted(ends, most)) + 1]
        if self.dense is None:
            place, slot, value = self._spread(places)
            down = value < LEAF
            return place[down], slot[down] & mask, value[down]
        flat = self.dense[self.table_at(places)].reshape(-1)
        slot = np.flatnonzero(flat.view(np.int64) < DIRECTORY)
        return places[slot >> self.bits], slot & mask, flat[slot]
