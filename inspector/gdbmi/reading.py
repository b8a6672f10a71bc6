"""Many reads at once through gdb.

A few bytes come as hex in a record of GDB/MI. More are read by a function inside gdb (:data:`READ`),
which takes a list of runs and writes their bytes to a file in memory: gdb then prints nothing, and
one command reads hundreds of tables. What is left is gdb's own time for a packet, about 140
microseconds for the 2 KiB that QEMU puts into one. A gdb without Python does all in records.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from inspector.errors import ProtocolError
from inspector.gdbmi.records import MiError, Reply, memory_contents, quote
from inspector.gdbmi.transport import Transport

READ = """
import gdb
def inspector_read(path, *runs):
    process = gdb.selected_inferior()
    refused = []
    with open(path, "wb", 0) as out:
        for number, (address, length) in enumerate(runs):
            try:
                out.write(process.read_memory(address, length))
            except gdb.MemoryError:
                refused.append(number)
    print(*refused)
"""
"""Runs inside gdb: writes the bytes of every run to ``path``, one after another, and prints the numbers of those that
gdb refused, of which nothing is written. It goes the way of every read of gdb's, its memory regions included."""

RECORD_BYTES = 2048
"""Up to here a read of its own comes in a record, which is sooner there."""

PIECE_BYTES = 256 * 1024
"""Bytes of one command; the next is under way meanwhile."""

PIECE_TEXT = 3000
"""Characters of the runs in one command, which has to fit a line."""


@dataclass(frozen=True, slots=True)
class Piece:
    """``length`` bytes at ``address``, of run number ``run``."""

    run: int
    address: int
    length: int


def files_may_grow() -> bool:
    """Whether gdb, which has our limits, may write a file as large as one command's bytes (``ulimit -f``)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return soft == resource.RLIM_INFINITY or soft >= PIECE_BYTES


def read_record(transport: Transport, address: int, length: int) -> bytes | None:
    """The bytes out of one record, or None where gdb refused. Raises TargetLost, ReplyTimeout, ProtocolError."""
    text = f"-data-read-memory-bytes {address} {length}"
    reply = transport.finish(transport.submit(text), text, quick=True)
    if _refused(transport, text, reply):
        return None
    found = memory_contents(reply.line, length)
    if found is None:
        reply.payload()  # says so where the record itself is not whole
    return found


def read_runs(transport: Transport, runs: Sequence[tuple[int, int]], python: bool) -> list[bytes | None]:
    """The bytes of every (address, length), in order; None for one that gdb refused. ``python``: it has :data:`READ`.

    Raises TargetLost, ReplyTimeout, ProtocolError."""
    if not python or (len(runs) == 1 and runs[0][1] <= RECORD_BYTES):
        return [read_record(transport, *run) if run[1] else b"" for run in runs]
    found: list[list[bytes] | None] = [[] for _ in runs]
    groups = list(_groups(runs))
    texts = [_text(transport.scratch_paths[number % 2], group) for number, group in enumerate(groups)]
    ahead = [transport.submit(text) for text in texts[:2]]
    for number, group in enumerate(groups):
        reply = transport.finish(ahead[number], texts[number])
        for piece, taken in zip(group, _take(transport, number % 2, group, texts[number], reply), strict=True):
            parts = found[piece.run]
            if taken is None:
                found[piece.run] = None
            elif parts is not None:
                parts.append(taken)
        if number + 2 < len(texts):
            ahead.append(transport.submit(texts[number + 2]))
    return [None if parts is None else parts[0] if len(parts) == 1 else b"".join(parts) for parts in found]


def _groups(runs: Sequence[tuple[int, int]]) -> Iterator[list[Piece]]:
    """The runs cut and put together to what one command reads."""
    group: list[Piece] = []
    size = text = 0
    for run, (start, length) in enumerate(runs):
        address, end = start, start + length
        while address < end:
            room = PIECE_BYTES - size
            if not room or text > PIECE_TEXT:
                yield group
                group, size, text, room = [], 0, 0, PIECE_BYTES
            piece = Piece(run, address, min(room, end - address))
            group.append(piece)
            size += piece.length
            text += len(_words(piece))
            address += piece.length
    if group:
        yield group


def _words(piece: Piece) -> str:
    return f",({piece.address},{piece.length})"


def _text(path: str, group: list[Piece]) -> str:
    return f"-interpreter-exec console {quote(f'python inspector_read({path!r}' + ''.join(map(_words, group)) + ')')}"


def _take(transport: Transport, file: int, group: list[Piece], text: str, reply: Reply) -> list[bytes | None]:
    """What a command brought for each of its pieces. Raises TargetLost where gdb refused because the guest is gone."""
    if _refused(transport, text, reply):
        return [None] * len(group)
    try:
        refused = {int(word) for word in reply.text().split()}
    except ValueError as bad:
        raise ProtocolError("gdb said something else than it was asked; run the command again") from bad
    written = [0 if number in refused else piece.length for number, piece in enumerate(group)]
    data = transport.scratch(file, sum(written))
    taken: list[bytes | None] = []
    at = 0
    for length in written:
        taken.append(data[at : at + length] if length else None)
        at += length
    return taken


def _refused(transport: Transport, text: str, reply: Reply) -> bool:
    if reply.result == b"error":
        with suppress(MiError):
            transport.check(text, reply)
        return True
    return False
