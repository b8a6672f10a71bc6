"""RAM out of flat images: each file is so many bytes of physical memory from an address on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from inspector.errors import FormatError, InspectorError, NotCaptured, TargetLost, UsageError
from inspector.memory.physical import Range
from inspector.memory.plainfile import FileBytes, open_plain


class RawMemory:
    """Images laid out in the address space (a MemorySource)."""

    cheap = True

    def __init__(self, images: Sequence[tuple[str, int]]) -> None:
        """``images`` are (path, real address). Raises FormatError, and UsageError where two overlap."""
        if not images:
            raise UsageError("no image was given; write raw:FILE or raw:FILE@ADDRESS")
        placed: list[tuple[int, FileBytes]] = []
        try:
            for path, address in images:
                file = open_plain(path)
                placed.append((address, file))
                if address < 0 or address + file.size > 1 << 64:
                    raise FormatError(
                        path, f"at {address:#x} it runs past the end of the address space; give another @ADDRESS"
                    )
            placed.sort(key=lambda p: p[0])
            for (a, one), (b, two) in pairwise(placed):
                if a + one.size > b:
                    raise UsageError(
                        f"{one.path} at {a:#x} (+{one.size:#x}) and {two.path} at {b:#x} overlap; "
                        "give each image its own address: raw:FILE@ADDRESS"
                    )
        except InspectorError:
            for _, file in placed:
                file.close()
            raise
        self._files = [file for _, file in placed]
        self._starts = [start for start, _ in placed]
        self.ranges: tuple[Range, ...] = tuple(Range(start, file.size, file.path) for start, file in placed)
        self._closed = False

    @property
    def description(self) -> str:
        """The images, in a few words."""
        return f"{len(self._files)} flat image{'s' if len(self._files) > 1 else ''}"

    def read(self, address: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``address``. Raises NotCaptured where no image is, TargetLost once closed."""
        at = bisect_right(self._starts, address) - 1
        if at >= 0:
            file = self._files[at]
            offset = address - self._starts[at]
            if offset + length <= file.size:
                return file.data[offset : offset + length]
        return self._read_across(address, length)

    def _read_across(self, address: int, length: int) -> bytes:
        if self._closed:
            raise TargetLost("the image was closed; open it again")
        end = address + length
        pieces: list[tuple[int, int]] = []
        while address < end:
            at = bisect_right(self._starts, address) - 1
            stop = self.ranges[at].end if at >= 0 else 0
            if address >= stop:
                raise NotCaptured(address, end - address)
            pieces.append((address, min(end, stop) - address))
            address = min(end, stop)
        return b"".join(self.read(start, size) for start, size in pieces)

    def close(self) -> None:
        """Let the files go; every read fails from then on."""
        self._closed = True
        for file in self._files:
            file.close()
