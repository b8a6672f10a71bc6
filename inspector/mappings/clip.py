"""Ranges cut to the pages that touch what is asked about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from inspector.mappings.ranges import Ranges, end_to_end, in_order
from inspector.mappings.select import Selection, Span
from inspector.radix.columns import U64


def selected(ranges: Ranges, selection: Selection) -> Ranges:
    """The pages that a selection means, as ranges by tree and address: of a range of which only a part touches the
    addresses that are asked about, that part. Raises ExpressionError where the rights cannot be read."""
    if selection.everything:
        return ranges
    ranges = ranges.take(selection.mask(ranges))
    if selection.ea:
        ranges = touching(ranges, ranges.ea, selection.ea)
    if selection.ra:
        ranges = touching(ranges, ranges.ra, selection.ra)
    return ranges


def touching(ranges: Ranges, start: U64, spans: Sequence[Span]) -> Ranges:
    """The pages of each range that have a byte in any of the spans, as ranges by tree and address. ``start`` is where
    each begins in what the spans are of: its ``ea`` or its ``ra``."""
    shift = ranges.shift.astype(np.uint64)
    last = start + (ranges.size - np.uint64(1))
    done = np.zeros(len(ranges), np.uint64)
    parts = [ranges.take(slice(0))]
    for low, end in apart(spans):
        rows = np.flatnonzero((start < end) & (last >= low) if end < 1 << 64 else last >= low)
        at, by = start[rows], shift[rows]
        # A page may touch two spans: it was told with the first.
        first = np.maximum((np.maximum(at, np.uint64(low)) - at) >> by, done[rows])
        upto = ((np.minimum(last[rows], np.uint64(end - 1)) - at) >> by) + np.uint64(1)
        done[rows] = upto
        some = first < upto
        rows, first, upto, by = rows[some], first[some], upto[some], by[some]
        part = ranges.take(rows)
        ahead = first << by
        gra = None if part.gra is None else part.gra + ahead
        parts.append(replace(part, offset=part.offset + ahead, ra=part.ra + ahead, count=upto - first, gra=gra))
    return in_order(end_to_end(parts))


def apart(spans: Iterable[Span]) -> list[Span]:
    """The same addresses within 64 bits, in spans that neither overlap nor touch, ascending."""
    found: list[Span] = []
    for low, end in sorted((max(low, 0), min(end, 1 << 64)) for low, end in spans):
        if low >= end:
            continue
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((low, end))
    return found
