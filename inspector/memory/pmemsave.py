"""A stopped guest's RAM through files that QEMU writes on its own machine (``pmemsave``).

For a QEMU on this machine whose process may not be read. Every file is made here first, in a folder
that only this user may enter, so that QEMU finds it by name and nobody else does; it is read through
the descriptor that made it, and gone as soon as QEMU has answered. A QEMU that only seems local finds
no such folder, and writes nothing.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from inspector.errors import MemoryReadError, Unreadable
from inspector.gdbmi.session import GdbSession
from inspector.memory.gdb import GdbMemory

SMALL = 8 << 10
"""Below this gdb is sooner done: a file costs about 0.3 ms, and as much a MiB."""

FILE_BYTES = 32 << 20
"""Bytes of one file. The monitor's size has 32 bits in QEMU 7.2 (``hmp_physical_memory_save``)."""

FILES = 16
"""At most so many files are written for one wait, of FILE_BYTES together."""

FOLDERS = ("/dev/shm",)
"""Where the files are rather made than in the temporary folder: this is memory."""


class PmemsaveSource:
    """A :class:`~inspector.memory.physical.MemorySource` over ``pmemsave``; small reads go through gdb."""

    cheap = False
    gap = 64 << 10

    def __init__(self, session: GdbSession, small: GdbMemory) -> None:
        self.session = session
        self.small = small
        self.folder = _place()

    @property
    def description(self) -> str:
        """What it is."""
        return f"pmemsave into {self.folder}, and small reads through {self.small.description}"

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at real address ``address``. Raises Unreadable, TargetLost, ReplyTimeout."""
        found = self.read_runs([(address, length)])[0]
        if isinstance(found, MemoryReadError):
            raise found
        return found

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Many (address, length) at once, each its bytes or why not. Raises TargetLost, ReplyTimeout."""
        small = [run for run in runs if run[1] < SMALL]
        large = [run for run in runs if run[1] >= SMALL]
        if self.session.clock.running:
            small, large = list(runs), []  # gdb says why not
        by_gdb, saved = iter(self.small.read_runs(small)), self._saved(large)
        found = [next(saved) if large and run[1] >= SMALL else next(by_gdb) for run in runs]
        failed = [number for number, each in enumerate(found) if isinstance(each, MemoryReadError) and large]
        for number, again in zip(failed, self.small.read_runs([runs[number] for number in failed]), strict=True):
            found[number] = again  # a full disk, for one, stops QEMU from writing and not gdb from reading
        return found

    def check(self, start: int, length: int) -> str:
        """Why this way does not lead to the guest's RAM, tried on ``length`` bytes; empty where it does."""
        if not re.fullmatch(r"[\w./-]+", self.folder):
            return f"{self.folder!r} is no name that QEMU's monitor could be given; set TMPDIR to another"
        found = next(self._saved([(start, length)]))
        if isinstance(found, MemoryReadError):
            return found.why
        return "" if found == self.small.read(start, length) else "QEMU wrote something else than the guest's RAM"

    def _saved(self, runs: Sequence[tuple[int, int]]) -> Iterator[bytes | MemoryReadError]:
        """The runs in order, a few files at a time."""
        ready: list[tuple[int, int]] = []
        size = 0
        for address, length in runs:
            if length > FILE_BYTES or not self.session.ram.covers(address, length):
                yield from self._save(ready)
                ready, size = [], 0
                yield self._long(address, length)
                continue
            if len(ready) == FILES or size + length > FILE_BYTES:
                yield from self._save(ready)
                ready, size = [], 0
            ready.append((address, length))
            size += length
        yield from self._save(ready)

    def _long(self, address: int, length: int) -> bytes | MemoryReadError:
        if not self.session.ram.covers(address, length):
            return Unreadable(address, length, "the RAM map does not hold all of it; 'ram' lists what may be read")
        pieces = []
        for at in range(address, address + length, FILE_BYTES):
            (found,) = self._save([(at, min(FILE_BYTES, address + length - at))])
            if isinstance(found, MemoryReadError):
                return found
            pieces.append(found)
        return b"".join(pieces)

    def _save(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Let QEMU write each run, which RAM holds, to a file of its own, and take them."""
        if not runs:
            return []
        try:
            with _files(self.folder, len(runs)) as made:
                said = self.session.monitors(
                    [
                        f'pmemsave {address:#x} {length:#x} "{path}"'
                        for (address, length), (path, _) in zip(runs, made, strict=True)
                    ]
                )
                return [_taken(run, file, answer) for run, (_, file), answer in zip(runs, made, said, strict=True)]
        except OSError as bad:
            return [Unreadable(*run, f"no file could be made in {self.folder} ({bad.strerror})") for run in runs]


def _taken(run: tuple[int, int], file: int, said: str | None) -> bytes | MemoryReadError:
    """What QEMU wrote, read whole. Raises OSError."""
    if said is None or said.strip():
        words = " ".join((said or "nothing").split())
        return Unreadable(*run, f"QEMU's pmemsave said {words!r}; open the target with --source gdb")
    pieces = []
    offset = 0
    while piece := os.pread(file, run[1] + 1 - offset, offset):
        pieces.append(piece)
        offset += len(piece)
    if offset != run[1]:
        why = f"QEMU's pmemsave wrote {offset:#x} bytes to a file that this machine sees; open it with --source gdb"
        return Unreadable(*run, why)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@contextmanager
def _files(parent: str, number: int) -> Iterator[list[tuple[str, int]]]:
    """Empty files (path, descriptor) in a new folder of our own, gone at the end. Raises OSError."""
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="inspector-ram-", dir=parent)
        stack.callback(_removed, os.rmdir, folder)
        made = []
        for each in range(number):
            path = f"{folder}/{each}"
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, file)
            stack.callback(_removed, os.unlink, path)
            made.append((path, file))
        yield made


def _removed(remove: Callable[[str], None], path: str) -> None:
    with suppress(OSError):
        remove(path)


def _place() -> str:
    """The folder to make files in: one with room for a wait's files."""
    for folder in FOLDERS:
        with suppress(OSError):
            room = os.statvfs(folder)
            if os.access(folder, os.W_OK | os.X_OK) and room.f_bavail * room.f_frsize >= 2 * FILE_BYTES:
                return folder
    return tempfile.gettempdir()
