"""Which table pages there are at one moment and not at another: allocated and freed, by level and owner."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np

from inspector.mappings.difference import Unseen, numbers, trees_of
from inspector.mappings.select import Selection
from inspector.radix.columns import U8, U32, U64, Bools, InTrees, Root, Rows, Tables

REACH: U8 = np.array([21, 30, 39, 52], np.uint8)
"""log2 of the bytes that a table of each level covers."""


class Fate(IntEnum):
    """What became of a table page. UNSEEN: the tables above it could not be read on the other side."""

    ALLOCATED = 0
    FREED = 1
    UNSEEN = 2


@dataclass(frozen=True, slots=True)
class TableChanges(InTrees):
    """A row for each table page, by owner, level from the root down, and address. ``root`` is its owner: the first of
    the trees it stands in; ``offset`` where what it covers begins there; ``address`` real; ``length`` in bytes;
    ``fate`` of :class:`Fate`."""

    roots: tuple[Root, ...]
    root: U32
    offset: U64
    address: U64
    length: U32
    level: U8
    fate: U8

    def __len__(self) -> int:
        return len(self.address)

    def take(self, rows: Bools | Rows | slice) -> TableChanges:
        """Those rows, by mask, number or slice."""
        return replace(
            self, **{each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "roots"}
        )

    def selected(self, selection: Selection) -> TableChanges:
        """Those that ``selection`` means by what they cover, their own real addresses and their PID. A table has no
        rights and no page size: where such things are asked, none is meant."""
        if not replace(selection, ea=(), ra=(), pids=()).everything:
            return self.take(slice(0, 0))
        covers = np.uint64(1) << REACH[self.level].astype(np.uint64)
        shift = np.zeros(len(self), np.uint8)
        meant = Selection(ea=selection.ea, pids=selection.pids).mask(_Extent(self, self.ea, covers, shift))
        meant &= Selection(ra=selection.ra).mask(_Extent(self, self.address, self.length.astype(np.uint64), shift))
        return self.take(meant)


class _Extent:
    """Where tables lie, or what they cover, as a selection asks."""

    def __init__(self, tables: TableChanges, start: U64, size: U64, shift: U8) -> None:
        self.ea = self.ra = start
        self.size = size
        self.shift = shift
        self.flags: U64 = np.zeros(len(tables), np.uint64)
        self.pid = tables.pid

    def __len__(self) -> int:
        return len(self.flags)


def compare_tables(
    before: Tables, after: Tables, *, unseen_before: Unseen | None = None, unseen_after: Unseen | None = None
) -> TableChanges:
    """Table pages of the one and not of the other. One of the same address, level and size that now is another tree's
    was freed and allocated again, unless several trees share it, of which any may be told as its owner."""
    trees = trees_of(before.roots, after.roots)
    owners = tuple(numbers(each.roots, trees)[each.root] for each in (before, after))
    keys = tuple(_key(each) for each in (before, after))
    shared = tuple(each.references > 1 for each in (before, after))
    found = []
    for here, there, tables, unseen, fate in (
        (1, 0, after, unseen_before, Fate.ALLOCATED),
        (0, 1, before, unseen_after, Fate.FREED),
    ):
        alone = ~_among(keys[here], owners[here], shared[here], keys[there], owners[there], shared[there])
        hidden = _hidden(owners[here][alone], tables.offset[alone], unseen, trees)
        found.append(
            TableChanges(
                trees,
                owners[here][alone].astype(np.uint32),
                tables.offset[alone],
                tables.address[alone],
                tables.length[alone],
                tables.level[alone],
                np.where(hidden, Fate.UNSEEN, fate).astype(np.uint8),
            )
        )
    names = (each.name for each in fields(TableChanges) if each.name != "roots")
    joined = TableChanges(trees, **{name: np.concatenate([getattr(part, name) for part in found]) for name in names})
    return joined.take(np.lexsort((joined.fate, joined.offset, 3 - joined.level, joined.root)))


def _key(tables: Tables) -> U64:
    """Address, level and size in one: a table is aligned to 256 bytes at least."""
    bits = np.log2(tables.length).astype(np.uint64)
    return tables.address | tables.level.astype(np.uint64) << np.uint64(5) | bits


def _among(key: U64, owner: U64, shared: Bools, keys: U64, owners: U64, all_shared: Bools) -> Bools:
    """Which tables are among the others, with the same owner or shared on both sides."""
    if not len(keys):
        return np.zeros(len(key), np.bool_)
    order = np.argsort(keys, kind="stable")
    at = order[np.minimum(np.searchsorted(keys, key, sorter=order), len(keys) - 1)]
    found: Bools = (keys[at] == key) & ((owners[at] == owner) | (shared & all_shared[at]))
    return found


def _hidden(owner: U64, offset: U64, unseen: Unseen | None, trees: tuple[Root, ...]) -> Bools:
    """Which tables stand below one that could not be read on the other side. Such spans are few."""
    hidden = np.zeros(len(owner), np.bool_)
    if unseen is None or not len(hidden):
        return hidden
    root_of = numbers(unseen.roots, trees)[unseen.root].tolist()
    for root, first, size in zip(root_of, unseen.offset.tolist(), unseen.size.tolist(), strict=True):
        hidden |= (owner == root) & (offset >= first) & (offset - np.uint64(first) < size)
    return hidden
