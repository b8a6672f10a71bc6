"""A memory of words read as runs and as windows, for tests of sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from inspector.errors import MemoryReadError, NotRam
from inspector.memory.physical import one_by_one
from inspector.radix.bits import ENTRY_BYTES, PRTB_MASK, PRTS_MASK, table_bytes
from inspector.radix.columns import Root
from tests.radix.trees import LPID, Memory, World


@dataclass
class Block:
    """A memory as bytes: what walk_tree reads, and what a sweep reads. ``runs`` is every run asked for."""

    memory: Memory
    runs: list[tuple[int, int]] = field(default_factory=list)

    def read(self, address: int, length: int) -> bytes:
        if not self.memory.holds(address, length):
            raise NotRam(address, length)
        words = self.memory.words
        if length > 8 * len(words):
            image = bytearray(length)
            for at, value in words.items():
                if address <= at < address + length:
                    image[at - address : at - address + 8] = value.to_bytes(8, "big")
            return bytes(image)
        return b"".join(self.memory.word(at).to_bytes(8, "big") for at in range(address, address + length, 8))

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        self.runs += runs
        return one_by_one(self.read, runs)

    def windows(self) -> list[tuple[int, bytes]]:
        """All of its RAM that has any words, by MiB."""
        pages = sorted({at >> 20 for at in self.memory.words})
        return [(page << 20, self.read(page << 20, 1 << 20)) for page in pages]


def roots_of(world: World) -> list[Root]:
    """A root for each PID of a flat world's process table that is not empty, and for PATE0s of any other."""
    context, words = world.context, world.memory.words
    table = context.process_table
    if table is None:
        return [
            Root(None, value, lpid=(at - 0x2_0000) // 16)
            for at, value in words.items()
            if at in (0x2_0000, 0x2_0000 + 16 * LPID)
        ]
    base, size = table & PRTB_MASK, table_bytes(table & PRTS_MASK)
    return [
        Root((at - base) // ENTRY_BYTES, value, 0 if at > base else 3 << 62)
        for at, value in words.items()
        if base <= at < base + size and not (at - base) % ENTRY_BYTES
    ]
