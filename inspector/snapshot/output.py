"""A file that is there whole or not at all: written beside its name, flushed, put into place.

What is there already is never touched before the new file is complete and on the disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from inspector.errors import RecordError


class Packer(Protocol):
    """zlib's and zstandard's compression objects."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Output:
    """An open file to write to, packed on the way by ``packer`` if there is one."""

    def __init__(self, fd: int, packer: Packer | None) -> None:
        self._fd = fd
        self._packer = packer
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append ``data``. Raises OSError."""
        self._put(self._packer.compress(data) if self._packer else data)

    def finish(self) -> int:
        """Write what is held back and bring it all to the disk. The size of the file. Raises OSError."""
        if self._packer:
            self._put(self._packer.flush())
        os.fsync(self._fd)
        return self._size

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._fd, rest)
            self._size += written
            rest = rest[written:]


def packer_for(path: str) -> Packer | None:
    """How a file of this name is packed: .gz, .zst, or not. The same content always gives the same bytes."""
    if path.endswith(".gz"):
        import zlib

        return zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: a gzip header, whose time stamp zlib leaves 0
    if path.endswith(".zst"):
        try:
            import zstandard
        except ImportError:
            raise RecordError(
                f"{path} was not written: the Python package zstandard is missing; give a name that ends in .gz"
            ) from None
        return zstandard.ZstdCompressor(level=9, write_checksum=True).compressobj()
    return None


@contextmanager
def replacing(path: str, force: bool) -> Iterator[Output]:
    """An Output whose file becomes ``path`` when the block ends well and is gone when it does not.

    Raises RecordError where ``path`` exists and not ``force``, and for anything the disk refuses."""
    refuse_existing(path, force)
    folder, name = os.path.split(path)
    packer = packer_for(path)
    beside = os.path.join(folder, f".{name[:200]}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as e:
        raise _failed(path, e) from None
    try:
        try:
            yield Output(fd, packer)
        finally:
            os.close(fd)
        _put_in_place(beside, path, force)
        _flush_folder(folder or ".")
    except OSError as e:
        raise _failed(path, e) from None
    finally:
        # After a rename there is nothing to remove; after anything else, Ctrl-C included, there is.
        with suppress(OSError):
            os.unlink(beside)


def _failed(path: str, error: OSError | ValueError) -> RecordError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return RecordError(f"{path} was not written: {why}; nothing was left behind, so try another place")


def refuse_existing(path: str, force: bool) -> None:
    """Raise RecordError where ``path`` is no name for a file, in no folder, or there already and not ``force``."""
    if not os.path.basename(path):
        raise RecordError(f"{path!r} is no file name; give one, such as guest.core.gz")
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as e:
        if not os.path.isdir(os.path.dirname(path) or "."):
            raise _failed(path, e) from None
        return
    except (OSError, ValueError) as e:
        raise _failed(path, e) from None
    if not stat.S_ISREG(mode):
        raise RecordError(f"{path} was not written: it is not a regular file; give another name")
    if not force:
        raise RecordError(f"{path} was not written: it is already there; give another name, or --force to replace it")


def _put_in_place(beside: str, path: str, force: bool) -> None:
    """Give the finished file its name. Without ``force`` a file that has appeared meanwhile wins."""
    if not force:
        try:
            os.link(beside, path)
            return
        except FileExistsError:
            refuse_existing(path, force)
        except OSError:
            refuse_existing(path, force)  # a file system without hard links
    os.replace(beside, path)


def _flush_folder(folder: str) -> None:
    """Bring the new name to the disk too, where the file system can."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)
