"""The scan of a process table, held to a look at each entry."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from inspector.radix.process_scan import live_entries


@given(st.dictionaries(st.integers(0, 4095), st.tuples(*[st.sampled_from((0, 1, 1 << 63, 0x1234_5678_9ABC_DEF0))] * 2)))
def test_the_entries_of_which_any_bit_is_set(entries: dict[int, tuple[int, int]]) -> None:
    table = bytearray(4096 * 16)
    for pid, words in entries.items():
        table[16 * pid : 16 * pid + 16] = struct.pack(">QQ", *words)
    pids, words_found = live_entries(table)
    live = {pid: words for pid, words in sorted(entries.items()) if any(words)}
    assert pids.tolist() == list(live)
    assert [tuple(row) for row in words_found.tolist()] == list(live.values())


def test_a_piece_may_be_empty_or_end_within_an_entry() -> None:
    assert live_entries(b"")[0].tolist() == []
    pids, words = live_entries(memoryview(b"\xff" * 40))
    assert pids.tolist() == [0, 1]
    assert words.shape == (2, 2)
