"""A guest's RAM out of QEMU's own process, on the same machine: ``/proc/PID/mem``, opened for reading only.

The kernel lets a process be read like this by whoever might debug it (ptrace(2), "Ptrace access mode
checking"); ``process_vm_readv`` wants the same permission. The file is the better of the two here: a
read of a word costs a third, it needs no foreign-function library, and once opened it stays that
process's memory, whatever its number is given to later (proc(5)).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from inspector.errors import Unreadable
from inspector.memory.physical import Clock, MemorySource


@dataclass(frozen=True, slots=True)
class Block:
    """``size`` bytes of RAM at real address ``start``, which QEMU keeps at ``host`` of its own address space."""

    start: int
    size: int
    host: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.start + self.size


class ProcessSource:
    """A :class:`~inspector.memory.physical.MemorySource` over QEMU's memory; ``fallback`` gives what no block holds.

    Reads work while the guest runs too, and are then of a moment each. Nothing but ``blocks`` is ever read."""

    cheap = True

    def __init__(self, pid: int, blocks: Iterable[Block], fallback: MemorySource | None, clock: Clock) -> None:
        """Open the memory of the OS process ``pid``. Raises OSError where that is not permitted."""
        self.pid = pid
        self.blocks = sorted(blocks, key=lambda block: block.start)
        self.fallback = fallback
        self.clock = clock
        self._starts = [block.start for block in self.blocks]
        self._file = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)

    @property
    def description(self) -> str:
        """What it is."""
        return f"the memory of QEMU's process {self.pid}"

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at real address ``address``.

        Raises Unreadable, and what the fallback raises for RAM that no block holds."""
        block = self._block(address)
        if block is not None and address + length <= block.end:
            return self._from_block(block, address, length)
        pieces = []
        end = address + length
        while address < end:
            block = self._block(address)
            if block is not None:
                piece = self._from_block(block, address, min(end, block.end) - address)
            else:
                after = bisect_right(self._starts, address)
                upto = min(end, self._starts[after]) if after < len(self._starts) else end
                piece = self._elsewhere(address, upto - address)
            pieces.append(piece)
            address += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _block(self, address: int) -> Block | None:
        at = bisect_right(self._starts, address) - 1
        return self.blocks[at] if at >= 0 and address < self.blocks[at].end else None

    def _from_block(self, block: Block, address: int, length: int) -> bytes:
        offset = block.host + address - block.start
        try:
            data = os.pread(self._file, length, offset)
            while data and len(data) < length:  # one read gives 2 GiB at most
                more = os.pread(self._file, length - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as bad:
            raise Unreadable(address, length, f"QEMU's process {self.pid} refused it ({bad.strerror})") from bad
        if len(data) != length:
            raise Unreadable(address, length, f"QEMU's process {self.pid} is gone; start it again and reattach")
        return data

    def _elsewhere(self, address: int, length: int) -> bytes:
        if self.fallback is None or self.clock.running:
            raise Unreadable(address, length, "it is in none of QEMU's RAM blocks, and the guest runs; 'interrupt' it")
        return self.fallback.read(address, length)
