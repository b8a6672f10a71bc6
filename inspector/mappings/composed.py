"""Both stages at once: where the effective addresses of a KVM guest lead in the host's memory.

A guest's own mapping leads to guest real addresses; the host's partition-scoped tree leads on from there. What comes of
both is cut where either ends: rights are those that both allow, and pages are as large as the smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from inspector.mappings.behind import Behind
from inspector.mappings.ranges import Ranges
from inspector.radix.bits import PTE_EXEC, PTE_READ, PTE_WRITE
from inspector.radix.columns import U8, U32, U64

ENCODED = PTE_READ | PTE_WRITE | PTE_EXEC


@dataclass(frozen=True, slots=True)
class Composed:
    """Ranges of host real memory that a guest reaches, by tree and address; ``guest`` and ``host`` are the rows of
    their ranges on either side, ``gra`` the guest real address of each."""

    ranges: Ranges
    gra: U64
    guest: U32
    host: U32
    holes: Ranges
    """What the guest maps and the host has nothing behind; ``ra`` is guest real."""


def compose(guest: Ranges, behind: Behind) -> Composed:
    """The guest's ranges, led on through the partition-scoped tree that lies ``behind``."""
    low, high = guest.ra, guest.ra + guest.size
    first = behind.first(low)
    last = behind.first(high - np.uint64(1)) if len(guest) else first
    begins = np.append(behind.begin, ~np.uint64(0))
    # The range that ends beyond the last byte counts where it begins before it.
    count = last - first + (begins[last] < high)
    row = np.repeat(np.arange(len(guest)), count)
    ahead = np.cumsum(count) - count
    host = first[row] + np.arange(len(row)) - ahead[row]
    start = np.maximum(low[row], behind.begin[host])
    stop = np.minimum(high[row], behind.end[host])
    shift: U8 = np.minimum(guest.shift[row], behind.ranges.shift[host])
    flags = guest.flags & ~np.uint64(ENCODED) | allowed(guest.flags)
    flags = flags[row] & (~np.uint64(ENCODED) | allowed(behind.ranges.flags)[host])
    ranges = Ranges(
        guest.roots,
        guest.root[row],
        guest.offset[row] + (start - low[row]),
        behind.ranges.ra[host] + (start - behind.begin[host]),
        shift,
        flags,
        (stop - start) >> shift.astype(np.uint64),
    )
    return Composed(
        ranges, start, row.astype(np.uint32), host.astype(np.uint32), _holes(guest, row, start, stop, count)
    )


def allowed(flags: U64) -> U64:
    """The rights bits of partition-scoped entries as masks: write implies read (Power ISA 3.0B, book III, 5.7.6)."""
    writes = flags & np.uint64(PTE_WRITE)
    return flags & np.uint64(ENCODED) | writes << np.uint64(1)


def _holes(
    guest: Ranges, row: np.typing.NDArray[np.intp], start: U64, stop: U64, count: np.typing.NDArray[np.intp]
) -> Ranges:
    """The parts of the guest's ranges that no segment covers."""
    if (stop - start).sum() == guest.size.sum():
        return guest.take(slice(0, 0))
    low, high = guest.ra, guest.ra + guest.size
    # The end of what is covered before each segment, and before each range's end.
    before = np.empty(len(row), np.uint64)
    before[1:] = stop[:-1]
    leads = np.cumsum(count) - count
    some = count > 0
    before[leads[some]] = low[some]
    covered = low.copy()
    covered[some] = stop[(leads + count - 1)[some]]
    of = np.concatenate([row, np.arange(len(guest))])
    begin, end = np.concatenate([before, covered]), np.concatenate([start, high])
    empty = np.flatnonzero(end > begin)
    empty = empty[np.lexsort((begin[empty], of[empty]))]
    of, begin, end = of[empty], begin[empty], end[empty]
    # A hole need not be a whole number of the guest's pages: it is told in the smallest there are.
    shift = np.full(len(of), 12, np.uint8)
    return Ranges(
        guest.roots,
        guest.root[of],
        guest.offset[of] + (begin - low[of]),
        begin,
        shift,
        guest.flags[of],
        (end - begin) >> np.uint64(12),
    )
