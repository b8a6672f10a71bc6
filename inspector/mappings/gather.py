"""Leaves put together into ranges while they are read or looked through: only the ranges are kept, and Ctrl-C gives
those so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from inspector.mappings.ranges import Ranges, coalesce, in_order, join, join_all
from inspector.radix.columns import Columns, Findings, Root

BYTES_A_RANGE = 128
"""What a range may cost at most while ranges are put together and sorted."""


@dataclass(frozen=True)
class Gathered:
    """Ranges by tree and address, and the ``findings`` on the trees they are of. Not all there is where Ctrl-C
    ``interrupted`` it, or where it was ``cut`` because there are more ranges than was asked for. ``streamed`` where the
    trees are too large for their leaves to be kept."""

    ranges: Ranges
    findings: Findings
    interrupted: bool = False
    cut: bool = False
    streamed: bool = False


def gather(
    pieces: Iterable[Columns | Ranges],
    roots: tuple[Root, ...],
    findings: Findings,
    *,
    most: int | None = None,
    keep_partial: bool = False,
    streamed: bool = False,
    joined: bool = False,
) -> Gathered:
    """The leaves in ``pieces``, in whatever order, as ranges: about ``most`` of them at most, before those of different
    pieces are put together. ``findings`` and ``streamed`` are handed on. Pieces may be ranges that were made already;
    with ``joined`` those that go on are put together wherever they come from. With ``keep_partial`` Ctrl-C gives those
    so far."""
    found: list[Ranges] = []
    count = 0
    interrupted = cut = False
    try:
        for piece in pieces:
            found.append(piece if isinstance(piece, Ranges) else coalesce(piece))
            count += len(found[-1])
            if most is not None and count > most:
                cut = True
                break
    except KeyboardInterrupt:
        if not keep_partial:
            raise
        interrupted = True
    ranges = in_order(join(found)) if found else nothing(roots)
    if streamed or joined:  # whose pieces need not come in order of address where tables are shared
        ranges = join_all(ranges)
    return Gathered(ranges, findings, interrupted, cut, streamed)


def nothing(roots: tuple[Root, ...]) -> Ranges:
    """No ranges."""
    none = np.zeros(0, np.uint64)
    return Ranges(roots, none.astype(np.uint32), none, none, none.astype(np.uint8), none, none)
