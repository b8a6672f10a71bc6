"""Who owns each page of RAM: real addresses as stretches, each of one owner, from all that is mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.ranges import Ranges
from inspector.radix.columns import U8, U32, U64, Bools

Span = tuple[int, int]


class Owner(IntEnum):
    """Who owns a place, the stronger claim having the greater number.

    Linux maps all RAM in its linear map, so that alone is the weakest claim."""

    NOBODY = 0
    LINEAR_MAP = 1
    KERNEL = 2
    PROCESS = 3
    SHARED = 4
    TABLE = 5
    DESCRIPTORS = 6


NO_TREE = 0xFFFF_FFFF
"""What stands for a tree where a place is not that of one process."""


@dataclass(frozen=True, slots=True)
class Owners:
    """Disjoint stretches of real addresses from ``start`` up to ``end``, ascending; ``kind`` is an :class:`Owner`.

    ``root`` is the index of the only process that maps it, among the ranges' roots, where ``kind`` is PROCESS, and
    NO_TREE elsewhere. ``in_ram`` tells those in RAM, which cover all of it, from those that are mapped outside."""

    start: U64
    end: U64
    kind: U8
    root: U32
    in_ram: Bools

    def __len__(self) -> int:
        return len(self.start)


def owners(
    ranges: Ranges, tables: tuple[U64, U64], descriptors: Sequence[Span], ram: Sequence[Span], linear: Span
) -> Owners:
    """Who owns what of ``ram`` (unbroken (start, end), ascending), and what is mapped outside it.

    ``ranges`` are those of processes; PID 0's are the kernel's, and of these the ones whose EA is in ``linear`` the
    linear map's. ``tables`` are (start, end) of page tables; ``descriptors`` those of process and partition tables.
    Work is by whole arrays: a sort of all ends."""
    start, end = ranges.ra, ranges.ra + ranges.size
    is_kernel = np.array([root.pid == 0 for root in ranges.roots], np.bool_)
    kernel = is_kernel[ranges.root]
    ea = ranges.ea
    in_linear = kernel & (ea >= np.uint64(linear[0])) & (ea < np.uint64(linear[1]))
    user = ~kernel
    root, first, last = _apart(ranges.root[user].astype(np.int64), start[user], end[user])
    ram_start, ram_end = _columns(ram)
    described = _columns(descriptors)
    bounds = np.unique(np.concatenate([start, end, *tables, *described, ram_start, ram_end]))
    if len(bounds) < 2:
        none = np.zeros(0, np.uint64)
        return Owners(none, none, none.astype(np.uint8), none.astype(np.uint32), none.astype(np.bool_))

    def cover(of: U64, upto: U64, weight: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """How much lies over each elementary stretch."""
        opened = np.bincount(np.searchsorted(bounds, of), weight, len(bounds))
        closed = np.bincount(np.searchsorted(bounds, upto), weight, len(bounds))
        # Sums in floating point are exact below 2^53, which rows times trees do not reach.
        return np.cumsum((opened - closed).astype(np.int64))[:-1]

    processes = cover(first, last)
    which = cover(first, last, root)
    elsewhere = kernel & ~in_linear
    kind = np.zeros(len(bounds) - 1, np.uint8)
    kind[cover(start[in_linear], end[in_linear]) > 0] = Owner.LINEAR_MAP
    kind[cover(start[elsewhere], end[elsewhere]) > 0] = Owner.KERNEL
    kind[processes == 1] = Owner.PROCESS
    kind[processes > 1] = Owner.SHARED
    kind[cover(*tables) > 0] = Owner.TABLE
    kind[cover(*described) > 0] = Owner.DESCRIPTORS
    tree = np.where(kind == Owner.PROCESS, which, NO_TREE).astype(np.uint32)
    in_ram = cover(ram_start, ram_end) > 0
    return _together(bounds, kind, tree, in_ram, in_ram | (kind != Owner.NOBODY))


def _columns(spans: Sequence[Span]) -> tuple[U64, U64]:
    """(start, end) of those that are not empty."""
    spans = [span for span in spans if span[0] < span[1]]
    return np.array([low for low, _ in spans], np.uint64), np.array([end for _, end in spans], np.uint64)


def _apart(root: NDArray[np.int64], first: U64, end: U64) -> tuple[NDArray[np.int64], U64, U64]:
    """The stretches of each tree put together, so that no place is in two of the same tree: a page that a process maps
    twice is not shared."""
    at = np.concatenate([first, end])
    closes = np.concatenate([np.zeros(len(first), np.bool_), np.ones(len(end), np.bool_)])
    tree = np.concatenate([root, root])
    order = np.lexsort((closes, at, tree))
    at, closes, tree = at[order], closes[order], tree[order]
    depth = np.cumsum(np.where(closes, -1, 1))
    begins = (depth == 1) & ~closes
    return tree[begins], at[begins], at[depth == 0]


def _together(bounds: U64, kind: U8, tree: U32, in_ram: Bools, meant: Bools) -> Owners:
    """Those stretches that are meant, equal neighbours put together."""
    start, end = bounds[:-1][meant], bounds[1:][meant]
    kind, tree, in_ram = kind[meant], tree[meant], in_ram[meant]
    begins = np.ones(len(start), np.bool_)
    begins[1:] = (start[1:] != end[:-1]) | (kind[1:] != kind[:-1]) | (tree[1:] != tree[:-1])
    begins[1:] |= in_ram[1:] != in_ram[:-1]
    ends = np.ones(len(start), np.bool_)
    ends[:-1] = begins[1:]
    return Owners(start[begins], end[ends], kind[begins], tree[begins], in_ram[begins])
