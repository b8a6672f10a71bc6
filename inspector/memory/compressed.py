"""Files packed with gzip or zstd, told apart by content and unpacked within bounds.

A packed file is untrusted: a kilobyte of it can claim a terabyte. So it is unpacked a little at a
time, never further than what its own first bytes account for (an ELF core's program headers) and a
little slack; up to 64 MiB into memory, beyond that into a temporary file that has no name, and not
at all when that is larger than the disk's free space or 64 GiB.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from inspector.errors import FormatError
from inspector.memory.plainfile import FileBytes, open_regular, read_descriptor, sized

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"

IN_MEMORY = 64 << 20
ON_DISK = 64 << 30
SLACK = 1 << 20
"""What may follow the last claimed byte: section headers, padding."""
DISK_RESERVE = 256 << 20
INPUT = 1 << 16
OUTPUT = 1 << 20
ZSTD_INPUT = 1 << 10
"""zstd has no bound for its output; but a block is at least 4 bytes and at most 128 KiB, so this much input
yields at most 32 MiB."""
ZSTD_WINDOW = 1 << 27

Bound = Callable[[str, bytes], int | None]
"""From a path and the first bytes of what is in it to how long all of it may be; None if more bytes are needed
to say. Raises FormatError or WrongArchitecture for what is not wanted at all."""


def open_bytes(path: str, bound: Bound) -> FileBytes:
    """The content of ``path``, unpacked if it is packed.

    Raises FormatError for what is no readable file, is cut short or garbled, or unpacks to more than
    ``bound`` accounts for; and what ``bound`` raises."""
    fd, size = open_regular(path)
    try:
        magic = os.pread(fd, 4, 0)
        if magic.startswith(GZIP):
            return _unpack(path, _gunzip(path, fd), bound, "gzip -dk")
        if magic == ZSTD:
            return _unpack(path, _unzstd(path, fd), bound, "zstd -dk")
        return read_descriptor(path, fd, size)
    except OSError as e:
        raise FormatError(path, f"it cannot be read: {e.strerror}; copy it to a local disk and try again") from None
    finally:
        os.close(fd)


def _garbled(path: str, packer: str, detail: object) -> FormatError:
    return FormatError(path, f"its {packer} packing is garbled ({detail}); get the file again")


def _gunzip(path: str, fd: int) -> Iterator[bytes]:
    """Unpacked pieces of at most OUTPUT bytes; every member of the file, its checksum held to."""
    import zlib

    unpacker = zlib.decompressobj(wbits=31)  # 31: a gzip header and trailer, checked
    at = 0
    data = b""
    while True:
        if not data:
            data = os.pread(fd, INPUT, at)
            at += len(data)
            if not data:
                break
        if unpacker.eof:
            data = data.lstrip(b"\0")  # padding after a member is customary (tape blocks)
            if not data:
                continue
            unpacker = zlib.decompressobj(wbits=31)
        try:
            yield unpacker.decompress(data, OUTPUT)
        except zlib.error as e:
            raise _garbled(path, "gzip", e) from None
        data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    while not unpacker.eof:
        try:
            piece = unpacker.decompress(b"", OUTPUT)
        except zlib.error as e:
            raise _garbled(path, "gzip", e) from None
        if not piece:
            break
        yield piece
    if not unpacker.eof:
        raise FormatError(path, "the file is cut short: its gzip packing has no end; copy it again")


def _unzstd(path: str, fd: int) -> Iterator[bytes]:
    """Unpacked pieces; every frame of the file, checksums held to where it has them."""
    try:
        import zstandard
    except ImportError:
        raise FormatError(path, "the Python package zstandard, which unpacks it, is missing; use 'zstd -dk'") from None
    maker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    unpacker = maker.decompressobj()
    at = 0
    block = rest = b""
    while True:
        if not rest:
            if not block:
                block = os.pread(fd, INPUT, at)
                at += len(block)
                if not block:
                    break
            rest, block = block[:ZSTD_INPUT], block[ZSTD_INPUT:]
        if unpacker.eof:
            unpacker = maker.decompressobj()
        try:
            yield unpacker.decompress(rest)
        except (zstandard.ZstdError, MemoryError) as e:
            raise _garbled(path, "zstd", e) from None
        rest = unpacker.unused_data if unpacker.eof else b""
    if not unpacker.eof:
        raise FormatError(path, "the file is cut short: its zstd packing has no end; copy it again")


def _unpack(path: str, pieces: Iterator[bytes], bound: Bound, by_hand: str) -> FileBytes:
    """Collect ``pieces`` in memory, or on disk once they are too many."""
    held = bytearray()
    limit: int | None = None
    for piece in pieces:
        held += piece
        if limit is None:
            limit = bound(path, bytes(held))
        if limit is not None and len(held) > limit + SLACK:
            raise _too_long(path, limit)
        if len(held) > IN_MEMORY:
            if limit is None:
                raise FormatError(
                    path, f"its headers are not in the first {sized(IN_MEMORY)} of it; get the file again"
                )
            return _spool(path, held, pieces, limit, by_hand)
    if not held:
        raise FormatError(path, "there is nothing in it; was it being written when it was copied?")
    return FileBytes(path, bytes(held), len(held))


def _too_long(path: str, limit: int) -> FormatError:
    return FormatError(path, f"it unpacks to more than the {sized(limit)} that its headers account for; get it again")


def _spool(path: str, held: bytearray, pieces: Iterator[bytes], limit: int, by_hand: str) -> FileBytes:
    """Put ``held`` and the rest of ``pieces`` into a temporary file without a name, and map it."""
    import shutil
    import tempfile

    place = tempfile.gettempdir()
    room = min(ON_DISK, shutil.disk_usage(place).free - DISK_RESERVE)
    if limit > room:
        raise FormatError(
            path,
            f"it unpacks to {sized(limit)}, and there is room for {sized(max(room, 0))} in {place}; "
            f"unpack it elsewhere ('{by_hand}') or set TMPDIR",
        )
    with tempfile.TemporaryFile(prefix="inspector-") as spool:
        try:
            spool.write(held)
            size = len(held)
            held.clear()
            for piece in pieces:
                size += len(piece)
                if size > limit + SLACK:
                    raise _too_long(path, limit)
                spool.write(piece)
            spool.flush()
        except OSError as e:
            raise FormatError(
                path, f"it could not be unpacked into {place}: {e.strerror}; unpack it elsewhere ('{by_hand}')"
            ) from None
        return read_descriptor(path, spool.fileno(), size)
