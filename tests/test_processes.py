"""The scan of a process table, held to what was put there."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.processes import scan

BASE = 0x4_0000
WORDS = st.sampled_from((0, 1, 1 << 63, 0x1234_5678_9ABC_DEF0))


@dataclass
class Flat:
    """Bytes from BASE on."""

    data: bytes
    description: str = "bytes of a test"
    cheap: bool = True

    def read(self, address: int, length: int) -> bytes:
        return self.data[address - BASE : address - BASE + length]


@given(st.dictionaries(st.integers(0, 16383), st.tuples(WORDS, WORDS), max_size=40))
def test_every_entry_of_which_any_bit_is_set(entries: dict[int, tuple[int, int]]) -> None:
    size = 16384 * 16
    table = bytearray(size)
    for pid, words in entries.items():
        table[16 * pid : 16 * pid + 16] = struct.pack(">QQ", *words)
    memory = PhysicalMemory(Flat(bytes(table)), RamMap([Range(BASE, size)]))
    found = [(each.pid, each.address, each.entry, each.second) for each in scan(memory, BASE, size, None, _quiet)]
    assert found == [(pid, BASE + 16 * pid, *words) for pid, words in sorted(entries.items()) if any(words)]


def _quiet(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""
