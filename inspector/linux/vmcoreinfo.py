"""A Linux guest's VMCOREINFO: the text in its RAM by which drgn and crash know the kernel.

Linux 6.1 ``kernel/crash_core.c``: an ELF note named VMCOREINFO whose description is lines of ``NAME=value``, the first
of them OSRELEASE. The name occurs in RAM as a string too, and the lines without a note before them; only a whole note
counts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Literal

from inspector.errors import MemoryReadError, UnknownSymbol
from inspector.linux.symbols import Symbols
from inspector.memory.physical import PhysicalMemory
from inspector.radix.bits import REAL_MODE_MASK

LARGEST = 1 << 16
"""The text is a page of the kernel's at most, which is 64 KiB at most."""

FIRST = b"OSRELEASE="
NAME = b"VMCOREINFO\0\0"
HEADER = 12
"""Bytes of a note before its name: the sizes of name and description, and the type."""
CHUNK = 16 << 20

Told = Callable[[int, int], None]
"""Hears how many bytes of RAM have been looked through, of how many."""


def by_symbols(memory: PhysicalMemory, symbols: Symbols) -> bytes | None:
    """The text that ``vmcoreinfo_data`` points to, ``vmcoreinfo_size`` long; None where it cannot be read."""
    order = symbols.byte_order
    try:
        pointer, size = (
            int.from_bytes(memory.read(symbols.address(name) & REAL_MODE_MASK, 8), order)
            for name in ("vmcoreinfo_data", "vmcoreinfo_size")
        )
        if not 0 < size <= LARGEST:
            return None
        text = memory.read(pointer & REAL_MODE_MASK, size)
    except (MemoryReadError, UnknownSymbol):
        return None
    return text if text.startswith(FIRST) else None


def by_search(memory: PhysicalMemory, order: Literal["little", "big"], told: Told) -> bytes | None:
    """The description of the first whole note in RAM, whose header is in the kernel's ``order``; None without one."""
    spans = list(memory.within(0, 1 << 64))
    total = sum(end - start for start, end in spans)
    done = 0
    for start, end in spans:
        for at in range(start, end, CHUNK):
            size = min(CHUNK + LARGEST, end - at)
            try:
                found = _note_in(memory.read(at, size), order)
            except MemoryReadError:
                found = None
            if found is not None:
                return found
            done += min(CHUNK, end - at)
            told(done, total)
    return None


def _note_in(data: bytes, order: Literal["little", "big"]) -> bytes | None:
    """The description of the first whole note in ``data``."""
    at = data.find(NAME + FIRST)
    while at >= 0:
        if at >= HEADER:
            name, size, _ = struct.unpack_from(("<" if order == "little" else ">") + "III", data, at - HEADER)
            text = data[at + len(NAME) : at + len(NAME) + size]
            if name == len(NAME) - 1 and 0 < size <= LARGEST and len(text) == size:
                return text
        at = data.find(NAME + FIRST, at + 1)
    return None
