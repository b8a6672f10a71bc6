"""Few tables that stand at very many places: what an audit costs follows the tables."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence

import numpy as np

from inspector.mappings.audit.run import audit
from inspector.memory.physical import RamMap, Range
from inspector.radix.columns import Limits, Root
from inspector.radix.sweep import sweep
from inspector.spaces import Spaces
from inspector.trees import Tree
from tests.radix.trees import VALID

KiB, MiB = 1 << 10, 1 << 20
ROOT, SECOND, THIRD = 64 * KiB, 128 * KiB, 132 * KiB
RTS_52 = 0x4000_0000_0000_00A0
ROOTS = 64
RESERVED = 1 << 61


def test_directories_are_looked_at_by_table_and_not_by_place() -> None:
    words = np.zeros(MiB // 8, ">u8")
    words[ROOT // 8 :][:8192] = VALID | SECOND | 9
    words[SECOND // 8 :][:512] = VALID | THIRD | 9
    words[SECOND // 8 + 7] |= RESERVED
    memory = words.tobytes()

    def read_runs(runs: Sequence[tuple[int, int]], /) -> list[bytes]:
        return [memory[start : start + length] for start, length in runs]

    trees = tuple(Tree(0, pid, 16 * pid, RTS_52 | ROOT | 13) for pid in range(ROOTS))
    roots: list[Root] = [each.to_sweep() for each in trees]
    found = sweep(read_runs, roots, Limits(tables=1 << 20))
    places = [len(slab.offset) for slab in found.slabs]
    assert places[:2] == [ROOTS, ROOTS * 8192], "and of each of these 512 entries: 2 GiB, were they taken one by one"
    spaces = Spaces("", trees, found, RamMap([Range(0, MiB)]), (0, 64 * KiB))
    tracemalloc.start()
    try:
        report = audit(spaces, ["reserved-directory"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 256 * MiB
    (odd,) = report
    assert (report.counts["reserved-directory"], odd.entry_address, odd.ea) == (1, SECOND + 56, 3 << 62 | 7 << 30)
