"""RAM out of an ELF core: a snapshot of ours, QEMU's dump-guest-memory, a vmcore.

Bytes are served straight from the file's map, a run found by bisection; runs known to be zero need no
bytes in the file. What is not there is told apart: a piece that could not be read when the core was
recorded, and one that was left out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable

from inspector.errors import MemoryReadError, NotCaptured, TargetLost, Unreadable
from inspector.memory.elf import Core
from inspector.memory.physical import RamMap, Range
from inspector.memory.plainfile import FileBytes

Check = Callable[[int, int, int], bool]
"""Called with (run, offset in it, length) before bytes are handed out; raises FormatError where they are not
what was recorded. True once all of that run has been checked, and it need not be called for it again."""


class CoreMemory:
    """The captured runs of a core (a MemorySource).

    ``unreadable`` are (address, size) that refused when recorded, ``zeros`` those known to be zero;
    ``captured`` are those that the file holds."""

    cheap = True

    def __init__(
        self,
        file: FileBytes,
        core: Core,
        *,
        unreadable: Iterable[tuple[int, int]] = (),
        zeros: Iterable[tuple[int, int]] = (),
        check: Check | None = None,
        description: str = "an ELF core",
    ) -> None:
        held = [s for s in core.segments if s.file_size]
        self.description = description
        self.captured: tuple[tuple[int, int], ...] = tuple((s.address, s.file_size) for s in held)
        self._file = file
        self._data = file.data
        self._check = check
        self._starts = [s.address for s in held]
        self._ends = [s.address + s.file_size for s in held]
        self._unchecked = bytearray([check is not None]) * len(held)
        self._shifts = [s.offset - s.address for s in held]
        # RamMap sorts and joins them, and finds one in O(log n).
        self._zeros = RamMap(Range(address, size) for address, size in zeros)
        self.zeros: tuple[tuple[int, int], ...] = tuple((start, end - start) for start, end in self._zeros.spans())
        self._unreadable = RamMap(Range(address, size) for address, size in unreadable)
        spans = (*zip(self._starts, self._ends, strict=True), *self._zeros.spans(), *self._unreadable.spans())
        self._edges = sorted(start for start, _ in spans)
        self._closed = False

    def read(self, address: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``address``.

        Raises NotCaptured, Unreadable, FormatError where a checksum does not hold, TargetLost once closed."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0 and address + length <= self._ends[at]:
            if self._unchecked[at] and self._check is not None:
                self._unchecked[at] = not self._check(at, address - self._starts[at], length)
            offset = address + self._shifts[at]
            return self._data[offset : offset + length]
        return self._read_across(address, length)

    def _read_across(self, address: int, length: int) -> bytes:
        """The same where it is in more than one run, known to be zero, or not there at all."""
        if self._closed:
            raise TargetLost("the snapshot was closed; open it again")
        end = address + length
        pieces: list[tuple[int, int]] = []
        while address < end:  # whatever is missing is found before anything is copied
            at = bisect_right(self._starts, address) - 1
            if at >= 0 and address < self._ends[at]:
                stop = min(end, self._ends[at])
                pieces.append((address, stop - address))
            else:
                blank = self._zeros.span(address)
                if blank is None:
                    raise self._missing(address, end)
                stop = min(end, blank[1])
                pieces.append((-1, stop - address))
            address = stop
        return b"".join(bytes(size) if start < 0 else self.read(start, size) for start, size in pieces)

    def _missing(self, address: int, end: int) -> MemoryReadError:
        """Why ``address`` is not there; its length reaches to where something else begins, at most to ``end``."""
        after = bisect_right(self._edges, address)
        if after < len(self._edges):
            end = min(end, self._edges[after])
        span = self._unreadable.span(address)
        if span is not None:
            return Unreadable(
                address, min(end, span[1]) - address, "it is RAM that could not be read when this was recorded"
            )
        return NotCaptured(address, end - address)

    def close(self) -> None:
        """Let the file go; every read fails from then on."""
        self._closed = True
        self._starts, self._ends, self._shifts = [], [], []
        self._data = b""
        self._file.close()
