"""A guest's tables, broken on purpose: its RAM, written through the shared file while it stands."""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator
from contextlib import contextmanager

from inspector.radix.translation import Step
from scripts.guests import Machine


class Tables:
    """The guest's RAM, writable by the test: it stands in for a guest that breaks its own tables."""

    def __init__(self, machine: Machine) -> None:
        self.file = machine.ram_file.open("r+b")
        self.map = mmap.mmap(self.file.fileno(), machine.ram_size)

    def close(self) -> None:
        self.map.close()
        self.file.close()

    def word(self, address: int) -> int:
        return int.from_bytes(self.map[address : address + 8], "big")

    @contextmanager
    def holding(self, address: int, value: int) -> Iterator[None]:
        """The doubleword at ``address`` is ``value`` for a while."""
        before = self.map[address : address + 8]
        self.map[address : address + 8] = value.to_bytes(8, "big")
        try:
            yield
        finally:
            self.map[address : address + 8] = before


def broken(rng: random.Random, step: Step, others: list[int], ram: int) -> int:
    """An entry like ``step``'s, broken in one of many ways."""
    value = step.value or 0
    match rng.randrange(9):
        case 0:
            return 0
        case 1:
            return value & ~(1 << 63)
        case 2:
            return value ^ (1 << 62)
        case 3:
            return value & ~0x1F | rng.randrange(32)
        case 4:
            bit: int = rng.choice((*range(31), 60, 61, 62, 63))
            return value ^ 1 << bit
        case 5:
            return value & ~0x0FFF_FFFF_FFFF_FF00 | rng.randrange(2 * ram) & ~0xFF
        case 6:
            return rng.choice(others)
        case 7:
            return value | rng.randrange(1 << 16) << 12 & 0x1F_FFFF_FFFF_F000
        case _:
            return value ^ rng.choice((1, 2, 4, 8, 16, 32, 48, 0x80, 0x100))
