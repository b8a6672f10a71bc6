"""A kernel image of a few symbols, made by hand, and a file of it opened."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from inspector.errors import InspectorError
from inspector.linux.symbols import Symbols

BASE = 0xC000000000000000
BUILD_ID = bytes(range(20))
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION, FILE = 0, 1, 2, 3, 4
TEXT, DATA, BSS, ABS = 1, 2, 3, 0xFFF1
SYMTAB_HEADER, STRTAB_HEADER = 5, 6

NAMES: list[tuple[str, int, int, int, int, int]] = [
    # name, binding, type, section, address, size
    ("", LOCAL, NOTYPE, 0, 0, 0),
    ("", LOCAL, SECTION, TEXT, BASE, 0),
    ("head.c", LOCAL, FILE, ABS, 0, 0),
    ("__key.0", LOCAL, OBJECT, DATA, BASE + 0x2010, 8),
    ("__key.0", LOCAL, OBJECT, DATA, BASE + 0x2020, 8),
    ("same.1", LOCAL, OBJECT, DATA, BASE + 0x2010, 8),
    ("same.1", LOCAL, OBJECT, DATA, BASE + 0x2010, 8),
    ("number", LOCAL, NOTYPE, ABS, 0x1234, 0),
    ("0000006d.plt_branch.x", LOCAL, NOTYPE, TEXT, BASE + 0x300, 0),
    ("init", LOCAL, FUNC, TEXT, BASE + 0x200, 0x10),
    ("absent", GLOBAL, NOTYPE, 0, 0, 0),
    ("_stext", GLOBAL, NOTYPE, TEXT, BASE, 0),
    ("start", GLOBAL, FUNC, TEXT, BASE, 0x100),
    ("init", GLOBAL, FUNC, TEXT, BASE + 0x100, 0x20),
    ("weak_one", WEAK, FUNC, TEXT, BASE + 0x140, 4),
    ("weak_one", LOCAL, FUNC, TEXT, BASE + 0x180, 4),
    ("process_tb", GLOBAL, OBJECT, BSS, BASE + 0x3000, 8),
    ("banner", GLOBAL, OBJECT, DATA, BASE + 0x2000, 5),
    ("_end", GLOBAL, NOTYPE, BSS, BASE + 0x3100, 0),
]


def strings_of(names: list[str]) -> tuple[bytes, dict[str, int]]:
    """A string table in which a name that ends another shares its bytes, as linkers write them."""
    table = b"\0"
    for name in sorted(set(names), key=len, reverse=True):
        if name and table.find(name.encode() + b"\0") < 0:
            table += name.encode() + b"\0"
    return table, {name: table.find(name.encode() + b"\0") if name else 0 for name in names}


def kernel(order: str = "<", machine: int = 21, elf_class: int = 2, kind: int = 2, stripped: bool = False) -> bytes:
    """A small linked kernel: text, data, bss, notes, symbols, strings."""
    strings, offsets = strings_of([name for name, *_ in NAMES])
    symbols = b"".join(
        struct.pack(order + "IBBHQQ", offsets[name], binding << 4 | typed, 0, section, address, size)
        for name, binding, typed, section, address, size in NAMES
    )
    text, data = b"\x60\0\0\0" * 0x100, b"hello" + bytes(0x3B)
    note = struct.pack(order + "III", 4, 20, 3) + b"GNU\0" + BUILD_ID
    contents = [text, data, note, symbols, strings]
    at, places = 64, []
    for content in contents:
        places.append(at)
        at += len(content) + 7 & ~7
    headers = [
        (0, 0, 0, 0, 0, 0, 0, 0),
        (1, 2, BASE, places[0], len(text), 0, 0, 0),
        (1, 2, BASE + 0x2000, places[1], len(data), 0, 0, 0),
        (8, 2, BASE + 0x3000, places[2], 0x100, 0, 0, 0),
        (7, 2, BASE + 0x1000, places[2], len(note), 0, 0, 0),
        (2, 0, 0, places[3], len(symbols), STRTAB_HEADER, 11, 24),
        (3, 0, 0, places[4], len(strings), 0, 0, 0),
    ]
    if stripped:
        headers = headers[:5]
    out = bytearray(at)
    ident = b"\x7fELF" + bytes([elf_class, 1 if order == "<" else 2, 1]) + bytes(9)
    out[:64] = ident + struct.pack(
        order + "HHIQQQIHHHHHH", kind, machine, 1, BASE, 0, at, 2, 64, 56, 0, 64, len(headers), 0
    )
    for place, content in zip(places, contents, strict=True):
        out[place : place + len(content)] = content
    for sh_type, flags, address, offset, size, link, info, each in headers:
        out += struct.pack(order + "IIQQQQIIQQ", 0, sh_type, flags, address, offset, size, link, info, 8, each)
    return bytes(out)


def opened(tmp_path: Path, content: bytes) -> Symbols:
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    return Symbols.open(str(path))


def use(symbols: Symbols) -> None:
    """Everything that reads the table; only InspectorError may come of it."""
    for name in ("process_tb", "__key.0", "_end", "nothing"):
        for ask in (symbols.address, symbols.read_initial):
            with suppress(InspectorError):
                ask(name)
    for address in (BASE, BASE + 0x2001, 5):
        with suppress(InspectorError):
            symbols.name_of(address)
            symbols.complete("p")


def damaged(tmp_path: Path, content: bytearray, flips: Iterable[tuple[int, int]]) -> None:
    """Open and use what these bytes, (place, value), were put into: it goes well, or is an error of one line."""
    for at, value in flips:
        if at < len(content):
            content[at] = value
    caught = ""
    try:
        symbols = opened(tmp_path, bytes(content))
    except InspectorError as error:
        caught = str(error)
    else:
        use(symbols)
    assert "\n" not in caught
