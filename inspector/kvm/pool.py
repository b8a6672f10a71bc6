"""Where the what-if's table pages come from: a stretch of real addresses that the user names."""

from __future__ import annotations

from typing import Protocol


class Words(Protocol):
    """Memory that may be changed, by big-endian doublewords at real addresses that are multiples of 8."""

    def read_u64(self, address: int) -> int:
        """The doubleword. Raises MemoryReadError."""

    def write_u64(self, address: int, value: int) -> None:
        """Change it. Raises MemoryReadError where it is no memory."""

    def read(self, address: int, length: int) -> bytes:
        """Many bytes at once."""

    def write(self, address: int, data: bytes) -> None:
        """Change many doublewords at once."""

    def clear(self, address: int, length: int) -> None:
        """Make these bytes zeros."""


class Pool:
    """Tables, each aligned to its size and zeroed when it is taken, out of ``size`` bytes at real ``start``.

    Like the seed's caches (``PGT_CACHE`` and ``kvm_pte_cache``) a table that was freed is the next to be taken of its
    size. Those below it that alignment leaves free stay free."""

    def __init__(self, words: Words, start: int, size: int) -> None:
        self.words = words
        self.start = start
        self.size = size
        self._next = start
        self._free: dict[int, list[int]] = {}
        self._taken: dict[int, int] = {}

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.start + self.size

    @property
    def tables(self) -> int:
        """How many are in use."""
        return len(self._taken)

    @property
    def used(self) -> int:
        """Bytes of them."""
        return sum(self._taken.values())

    def take(self, size: int) -> int | None:
        """The real address of a zeroed table of ``size`` bytes, a power of two; None where there is no room."""
        free = self._free.get(size)
        if free:
            address = free.pop()
        else:
            address = -(-self._next // size) * size
            if address + size > self.end:
                return None
            self._next = address + size
        self._taken[address] = size
        self.words.clear(address, size)
        return address

    def give_back(self, address: int) -> bool:
        """Free a table. False for one that is not of this pool: then nothing is kept of it."""
        size = self._taken.pop(address, None)
        if size is None:
            return False
        self._free.setdefault(size, []).append(address)
        return True
