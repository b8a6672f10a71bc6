"""Stretches of numbers put together in bulk."""

from __future__ import annotations

import numpy as np

from inspector.radix.columns import U64


def merged(first: U64, end: U64) -> tuple[U64, U64]:
    """(first, end) of the disjoint stretches, ascending, that together hold what these hold. None is empty; ``end`` is
    one past the last. Stretches that touch become one."""
    if not len(first):
        return first, end
    first, end = np.sort(first), np.sort(end)
    # So many have begun by the i-th beginning, and none goes on there: then all that began before have ended before.
    apart = first[1:] > end[:-1]
    return first[np.append(True, apart)], end[np.append(apart, True)]
