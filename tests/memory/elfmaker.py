"""ELF cores made by hand, right and wrong: not by this project's writer, so that the reader is held to the format."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass
class Load:
    """A PT_LOAD with its bytes; ``memsz``, ``filesz`` and ``offset`` lie where they are given."""

    paddr: int
    data: bytes = b""
    memsz: int | None = None
    filesz: int | None = None
    offset: int | None = None
    vaddr: int = 0


def note(name: bytes, kind: int, content: bytes, order: str = "<") -> bytes:
    """One note."""
    name += b"\0"
    head = struct.pack(order + "III", len(name), len(content), kind)
    return head + name.ljust(-(-len(name) // 4) * 4, b"\0") + content.ljust(-(-len(content) // 4) * 4, b"\0")


def prstatus(values: dict[int, int], order: str = "<") -> bytes:
    """NT_PRSTATUS whose doublewords of pr_reg are ``values``."""
    content = bytearray(504)
    for slot, value in values.items():
        struct.pack_into(order + "Q", content, 112 + 8 * slot, value)
    return note(b"CORE", 1, bytes(content), order)


def elf_core(
    loads: list[Load],
    notes: bytes = b"",
    *,
    order: str = "<",
    kind: int = 4,
    machine: int = 21,
    bits: int = 2,
    ehsize: int = 64,
    phentsize: int = 56,
    phnum: int | None = None,
    phoff: int = 64,
    shoff: int = 0,
    notes_size: int | None = None,
) -> bytes:
    """A core of ``loads``, program headers right behind the file header, then the notes, then the bytes."""
    count = len(loads) + 1
    head = b"\x7fELF" + bytes([bits, 1 if order == "<" else 2, 1]) + bytes(9)
    head += struct.pack(
        order + "HHIQQQIHHHHHH",
        kind, machine, 1, 0, phoff, shoff, 0, ehsize, phentsize, count if phnum is None else phnum, 64, 0, 0,
    )  # fmt: skip
    at = 64 + 56 * count
    size = len(notes) if notes_size is None else notes_size
    table = struct.pack(order + "IIQQQQQQ", 4, 0, at, 0, 0, size, 0, 4)
    at += len(notes)
    body = b""
    for load in loads:
        filesz = len(load.data) if load.filesz is None else load.filesz
        memsz = filesz if load.memsz is None else load.memsz
        offset = at if load.offset is None else load.offset
        table += struct.pack(order + "IIQQQQQQ", 1, 7, offset, load.vaddr, load.paddr, filesz, memsz, 0)
        body += load.data
        at += len(load.data)
    return head + table + notes + body
