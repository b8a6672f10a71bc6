"""VMCOREINFO in a guest's RAM: the whole note, and nothing that only looks like it."""

from __future__ import annotations

import struct
from typing import Literal

import pytest

from inspector.linux.vmcoreinfo import CHUNK, by_search
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from tests.fakes import SparseMemory

TEXT = b"OSRELEASE=6.1.0-50-powerpc64le\nPAGESIZE=65536\nSYMBOL(swapper_pg_dir)=c000000002740000\n"
SIZE = 2 * CHUNK


def note(order: Literal["little", "big"], text: bytes = TEXT, size: int | None = None) -> bytes:
    header = struct.pack(("<" if order == "little" else ">") + "III", 11, len(text) if size is None else size, 0)
    return header + b"VMCOREINFO\0\0" + text


def search(*pieces: tuple[int, bytes], order: Literal["little", "big"] = "little") -> bytes | None:
    source = SparseMemory()
    for address, data in pieces:
        source.put(address, data)
    memory = PhysicalMemory(source, RamMap([Range(0, SIZE)]))
    return by_search(memory, order, lambda _done, _total: None)


@pytest.mark.parametrize("at", [0, 0x1234, CHUNK - 20, CHUNK - 1, CHUNK, SIZE - len(note("little"))])
@pytest.mark.parametrize("order", ["little", "big"])
def test_the_note_is_found_wherever_it_lies(at: int, order: Literal["little", "big"]) -> None:
    assert search((at, note(order)), order=order) == TEXT


def test_what_only_looks_like_it_is_passed_over() -> None:
    """A format string, the bare lines, a header of the other byte order, and one that claims more than there is."""
    decoys = (
        (0x100, b"VMCOREINFO\0\0OSRELEASE=%s\n"),
        (0x1000, TEXT),
        (0x2000, note("big")),
        (0x3000, note("little", size=1 << 30)),
    )
    assert search(*decoys) is None
    assert search(*decoys, (0x9000, note("little"))) == TEXT


def test_none_is_found_in_nothing() -> None:
    assert search() is None
