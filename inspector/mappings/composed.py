"""Both stages at once: where the effective addresses of a KVM guest lead in the host's memory.

A guest's own leaves lead to guest real addresses; the host's partition-scoped tree leads on from there. What comes of
both is cut where either ends: rights are those that both allow, and pages are as large as the smaller.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inspector.mappings.behind import Behind
from inspector.mappings.ranges import Ranges, coalesce, join_all
from inspector.radix.bits import PTE_EXEC, PTE_READ, PTE_RPN, PTE_WRITE
from inspector.radix.columns import U8, U64, Columns, Rows

ENCODED = PTE_READ | PTE_WRITE | PTE_EXEC
SMALLEST = 12
"""log2 of the smallest page there is, in which holes are told: one need not be a whole number of the guest's pages."""


def compose(leaves: Columns, behind: Behind) -> tuple[Columns, Ranges]:
    """The guest's leaves led on through the partition-scoped tree that lies ``behind``, a row for each page of the
    smaller size, and what of them has nothing behind it: ``ra`` of these holes is guest real.

    R, C, the attribute and whether a page is privileged are as the guest's own leaf says; R/C of the host's are not
    told (Power ISA 3.0B, book III, 5.7.10.2: attributes combine, of which QEMU 7.2 and this keep the guest's)."""
    low, size = leaves.ra, leaves.size
    high = low + size
    first = behind.first(low)
    last = behind.first(high - np.uint64(1)) if len(leaves) else first
    begins = np.append(behind.begin, ~np.uint64(0))
    # The range that ends beyond the last byte counts where it begins before it.
    count = last - first + (begins[last] < high)
    row = np.repeat(np.arange(len(leaves)), count)
    ahead = np.cumsum(count) - count
    host = first[row] + np.arange(len(row)) - ahead[row]
    start = np.maximum(low[row], behind.begin[host])
    stop = np.minimum(high[row], behind.end[host])
    holes = _holes(leaves, low, high, row, start, stop, count)
    shift = np.minimum(leaves.shift[row], behind.ranges.shift[host])
    row, host, start, shift = _pages(row, host, start, stop, shift)
    flags = leaves.flags & ~np.uint64(ENCODED) | allowed(leaves.flags)
    flags = flags[row] & (~np.uint64(ENCODED) | allowed(behind.ranges.flags)[host])
    ra = behind.ranges.ra[host] + (start - behind.begin[host])
    # Stray bits of the guest's page number have no place beside the host's.
    entry = flags & ~np.uint64(PTE_RPN) | ra
    composed = replace(
        leaves,
        place=leaves.place[row],
        offset=leaves.offset[row] + (start - low[row]),
        entry=entry,
        shift=shift,
        gra=start,
        table_shift=leaves.shift[row],
    )
    return composed, holes


def allowed(flags: U64) -> U64:
    """The rights in these flags, as bits: write implies read, as the hardware has it (QEMU 7.2, mmu-radix64.h)."""
    writes = flags & np.uint64(PTE_WRITE)
    return flags & np.uint64(ENCODED) | writes << np.uint64(1)


def _pages(row: Rows, host: Rows, start: U64, stop: U64, shift: U8) -> tuple[Rows, Rows, U64, U8]:
    """Stretches of several pages as a row for each page."""
    pages = ((stop - start) >> shift.astype(np.uint64)).astype(np.intp)
    if bool((pages == 1).all()):
        return row, host, start, shift
    of = np.repeat(np.arange(len(row)), pages)
    number = np.arange(len(of)) - np.repeat(np.cumsum(pages) - pages, pages)
    start = start[of] + (number.astype(np.uint64) << shift[of].astype(np.uint64))
    return row[of], host[of], start, shift[of]


def _holes(leaves: Columns, low: U64, high: U64, row: Rows, start: U64, stop: U64, count: Rows) -> Ranges:
    """The parts of the leaves that no stretch covers, put together."""
    if (stop - start).sum() == (high - low).sum():
        return coalesce(leaves.take(slice(0, 0)))
    # The end of what is covered before each stretch, and before each leaf's end.
    before = np.empty(len(row), np.uint64)
    before[1:] = stop[:-1]
    leads = np.cumsum(count) - count
    some = count > 0
    before[leads[some]] = low[some]
    covered = low.copy()
    covered[some] = stop[(leads + count - 1)[some]]
    of = np.concatenate([row, np.arange(len(leaves))])
    begin, end = np.concatenate([before, covered]), np.concatenate([start, high])
    empty = np.flatnonzero(end > begin)
    empty = empty[np.lexsort((begin[empty], of[empty]))]
    of, begin, end = of[empty], begin[empty], end[empty]
    holes = Ranges(
        leaves.roots,
        leaves.root[of],
        leaves.offset[of] + (begin - low[of]),
        begin,
        np.full(len(of), SMALLEST, np.uint8),
        leaves.flags[of] & ~np.uint64(PTE_RPN),
        (end - begin) >> np.uint64(SMALLEST),
    )
    return join_all(holes)
