"""The live entries of a process table, found in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inspector.radix.bits import ENTRY_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def live_entries(table: bytes | bytearray | memoryview) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The entries of which any bit is set, of a process table or a piece of one: (PIDs from its first entry on,
    their two doublewords in native order, a row each). A part of an entry at the end is passed over."""
    import numpy as np

    words = np.frombuffer(table, np.uint64, len(table) // ENTRY_BYTES * 2).reshape(-1, 2)
    pids = np.flatnonzero(words[:, 0] | words[:, 1])
    return pids, words[pids].byteswap()
