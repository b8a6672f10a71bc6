"""A guest's RAM out of QEMU's shared memory backend file (``memory-backend-file,share=on``).

Read through a mapping: a read costs a memory copy. Touching a mapping beyond the end of a file that
was truncated meanwhile ends a program with SIGBUS, so the file's size is looked at before each read
(which costs less than the read of a word), and a file that has become shorter is said in a sentence.
"""

from __future__ import annotations

import mmap
import os
import stat
from contextlib import suppress

from inspector.errors import FormatError, Unreadable
from inspector.memory.physical import Clock, MemorySource, RamMap
from inspector.memory.plainfile import placed
from inspector.memory.samples import compare

IN_ONE_GO = 1 << 16
"""A read of so many bytes or more is of what lies together, and the kernel may read ahead of it."""


def parse_ram_file(text: str) -> tuple[str, int]:
    """``FILE[@ADDR]``: the file's name, and the real address of its first byte. Raises UsageError."""
    return placed(text, "--ram ")


class RamFileSource:
    """A :class:`~inspector.memory.physical.MemorySource` over the file; ``fallback`` gives what it lacks.

    Reads work while the guest runs too, and are then of a moment each.

    The file is mapped twice, for small reads with the kernel told not to read ahead (MADV_RANDOM). It would fill
    megabytes of its cache around each page that the guest has not touched yet, which takes milliseconds (4 each time,
    where 8 MiB are read ahead), and samples are taken from all over while the guest stands still."""

    cheap = True

    def __init__(self, path: str, address: int, ram: RamMap, fallback: MemorySource | None, clock: Clock) -> None:
        """Open ``path`` read-only, its first byte being real address ``address``. Raises FormatError."""
        self.path = path
        self.address = address
        self.fallback = fallback
        self.clock = clock
        self._map: mmap.mmap | None = None
        self._scattered: mmap.mmap | None = None
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as bad:
            raise FormatError(path, f"{bad.strerror}; give the mem-path of QEMU's memory backend") from bad
        try:
            status = os.fstat(self._file)
            if not stat.S_ISREG(status.st_mode):
                raise FormatError(path, "it is no regular file; give the mem-path of QEMU's memory backend")
            self.size = status.st_size
            if not any(start < address + self.size and address < end for start, end in ram.spans()):
                raise FormatError(path, f"none of the guest's RAM is in it from {address:#x} on; give FILE@ADDR")
            self._map = mmap.mmap(self._file, self.size, access=mmap.ACCESS_READ)
            self._scattered = mmap.mmap(self._file, self.size, access=mmap.ACCESS_READ)
            self._scattered.madvise(mmap.MADV_RANDOM)
        except FormatError:
            self.close()
            raise
        except (OSError, ValueError) as bad:
            self.close()
            raise FormatError(path, f"it cannot be mapped ({bad}); give the mem-path of QEMU's memory backend") from bad

    @property
    def description(self) -> str:
        """What it is."""
        at = f" at {self.address:#x}" if self.address else ""
        rest = f", and {self.fallback.description}" if self.fallback is not None else ""
        return f"shared RAM file {self.path}{at}{rest}"

    @property
    def windows(self) -> list[tuple[int, memoryview]]:
        """(real address, bytes) of the whole file, as it lies in this process; nothing where it is shorter now."""
        if self._map is None or os.fstat(self._file).st_size < self.size:
            return []
        below: list[tuple[int, memoryview]] = getattr(self.fallback, "windows", [])
        return [(self.address, memoryview(self._map)), *below]

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at real address ``address``, from the file as far as it reaches.

        Raises Unreadable, and what the fallback raises for RAM that the file does not hold."""
        offset = address - self.address
        if offset >= 0 and offset + length <= self.size:
            return self._from_file(address, offset, length)
        pieces = []
        end = address + length
        low, high = max(address, self.address), min(end, self.address + self.size)
        if low >= high:
            return self._elsewhere(address, length)
        if address < low:
            pieces.append(self._elsewhere(address, low - address))
        pieces.append(self._from_file(low, low - self.address, high - low))
        if high < end:
            pieces.append(self._elsewhere(high, end - high))
        return b"".join(pieces)

    def verify(self, ram: RamMap, guest: MemorySource) -> int:
        """Compare samples with the stopped ``guest``; how many that hold something agree.

        Raises FormatError where the file is not its RAM."""
        spans = [(max(start, self.address), min(end, self.address + self.size)) for start, end in ram.spans()]
        verdict = compare(self, guest, [span for span in spans if span[0] < span[1]])
        if verdict.differ is not None:
            raise FormatError(
                self.path,
                f"it is not this guest's RAM (they differ at {verdict.differ:#x}); give the mem-path of its memory"
                " backend, which needs share=on, and FILE@ADDR where it does not begin at 0",
            )
        return verdict.telling

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._map is not None:
            with suppress(BufferError):  # someone still has a window: the mapping goes when that does
                self._map.close()
            self._map = None
        if self._scattered is not None:
            self._scattered.close()
            self._scattered = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _from_file(self, address: int, offset: int, length: int) -> bytes:
        mapped = self._scattered if length < IN_ONE_GO else self._map
        if mapped is None or os.fstat(self._file).st_size < offset + length:
            raise Unreadable(address, length, f"{self.path} has become shorter; is it still QEMU's memory backend?")
        return mapped[offset : offset + length]

    def _elsewhere(self, address: int, length: int) -> bytes:
        if self.fallback is None or self.clock.running:
            raise Unreadable(address, length, f"{self.path} does not hold it, and the guest is running; 'interrupt' it")
        return self.fallback.read(address, length)
