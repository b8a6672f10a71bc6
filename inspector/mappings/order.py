"""In which order mappings are told: by address, by real address, or the largest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inspector.errors import UsageError

if TYPE_CHECKING:
    from inspector.radix.columns import U64, Rows

ORDERS = ("ea", "ra", "size")
"""By tree and address; by real address; the largest first."""


class Sortable(Protocol):
    """Ranges or columns, by tree and address."""

    def __len__(self) -> int: ...

    @property
    def ra(self) -> U64: ...
    @property
    def size(self) -> U64: ...


def first_rows(mapped: Sortable, by: str = "ea", most: int | None = None) -> Rows | slice:
    """The first ``most`` rows (None: all) of ``mapped`` in one of ORDERS; equal ones stay by tree and address.

    What is asked for is found without the rest being sorted. Raises UsageError for an order that there is not."""
    import numpy as np

    most = len(mapped) if most is None else min(most, len(mapped))
    if by == "ea":
        return slice(0, most)
    if by not in ORDERS:
        raise UsageError(f"mappings can be sorted by {', '.join(ORDERS)}, not by {by!r}")
    if not most:
        return slice(0, 0)
    key = mapped.ra if by == "ra" else ~mapped.size
    if most < len(mapped):
        near = np.flatnonzero(key <= np.partition(key, most - 1)[most - 1])
        return near[np.argsort(key[near], kind="stable")][:most]
    return np.argsort(key, kind="stable")
