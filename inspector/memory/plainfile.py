"""Files as bytes: small ones read whole, large ones mapped; nothing but a regular file is opened.

A path comes from the user or from a script. A FIFO would wait for ever, a device may have side
effects and a directory is a slip of the hand: each is refused in words.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from inspector.errors import FormatError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:  # the mmap module is only loaded for a file that is large enough to need it
    from mmap import mmap

READ_WHOLE = 4 << 20
"""Files up to this many bytes are read rather than mapped: as quick, and a file that someone cuts
short while it is open cannot then raise SIGBUS."""


@dataclass(slots=True)
class FileBytes:
    """The content of ``path``: ``size`` bytes in ``data``, of which a slice is ``bytes``."""

    path: str
    data: bytes | mmap
    size: int

    def close(self) -> None:
        """Let the file go. Safe to call twice; ``data`` is empty from then on."""
        if not isinstance(self.data, bytes):
            self.data.close()
        self.data = b""
        self.size = 0


def placed(name: str, written: str) -> tuple[str, int]:
    """(path, real address of its first byte) of ``FILE[@ADDR]``; no address is 0. ``written`` is how the user gives it,
    up to the file's name.

    A file whose whole name is there is taken as it is, '@' and all; else the last '@' parts the address off, if a
    number (0x…, decimal) follows. Raises UsageError."""
    if not name:
        raise UsageError(f"{written.strip()} names no file; write {written}FILE or {written}FILE@ADDR")
    path, at, tail = name.rpartition("@")
    if not at or not path or os.path.exists(name):
        return name, 0
    try:
        address = int(tail, 0)
    except ValueError:
        if tail.lower().startswith("0x"):
            raise UsageError(f"{name!r}: {tail!r} is not an address; write {written}{path}@0x…") from None
        return name, 0
    if not 0 <= address < 1 << 64:
        raise UsageError(f"{tail} is no real address of 64 bits; write {written}{path}@0x…")
    return path, address


def open_regular(path: str) -> tuple[int, int]:
    """An open descriptor of the regular file ``path`` and its size in bytes. Raises FormatError."""
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to must not wait.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise FormatError(path, "there is no such file; give the path of a snapshot, a core or an image") from None
    except OSError as e:
        raise FormatError(path, f"it cannot be opened: {e.strerror}; give a file that can be read") from None
    except ValueError:
        raise FormatError(path, "this is no file name (it holds a NUL character)") from None
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        os.close(fd)
        what = "a directory" if stat.S_ISDIR(info.st_mode) else "not a regular file"
        raise FormatError(path, f"it is {what}; give the path of a file")
    if info.st_size == 0:
        os.close(fd)
        raise FormatError(path, "the file is empty; was it being written when it was copied?")
    return fd, info.st_size


def read_descriptor(path: str, fd: int, size: int) -> FileBytes:
    """``size`` bytes of the open file ``fd``, read or mapped. ``fd`` may be closed afterwards. Raises FormatError."""
    try:
        if size <= READ_WHOLE:
            pieces = []
            at = 0
            while at < size and (piece := os.pread(fd, size - at, at)):
                pieces.append(piece)
                at += len(piece)
            return FileBytes(path, b"".join(pieces), at)
        from mmap import ACCESS_READ, mmap

        return FileBytes(path, mmap(fd, size, access=ACCESS_READ), size)
    except (OSError, ValueError, OverflowError) as e:
        raise FormatError(path, f"it cannot be read: {e}; copy it to a local disk and try again") from None


def open_plain(path: str) -> FileBytes:
    """The content of the regular file ``path``, as it is. Raises FormatError."""
    fd, size = open_regular(path)
    try:
        return read_descriptor(path, fd, size)
    finally:
        os.close(fd)


def sized(count: int) -> str:
    """``count`` bytes in words: '1.5 GiB'."""
    if count < 1024:
        return f"{count} bytes"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} EiB"
