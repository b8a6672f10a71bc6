from __future__ import annotations

import gzip
import io
import os
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import FormatError, UnknownSymbol, UsageError, WrongArchitecture
from inspector.linux.symbols import LARGEST_READ, Symbols
from tests.linux.images import (
    BASE,
    BUILD_ID,
    GLOBAL,
    NAMES,
    NOTYPE,
    STRTAB_HEADER,
    SYMTAB_HEADER,
    TEXT,
    damaged,
    kernel,
    opened,
)


@pytest.fixture(params=["<", ">"], ids=["little", "big"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_names_to_addresses(tmp_path: Path, order: str) -> None:
    symbols = opened(tmp_path, kernel(order))
    assert symbols.byte_order == ("little" if order == "<" else "big")
    assert symbols.byte_order_known
    assert symbols.build_id == BUILD_ID.hex()
    assert symbols.count == len(NAMES)
    assert symbols.address("process_tb") == BASE + 0x3000
    assert symbols.size("process_tb") == 8
    assert symbols.size("_stext") is None
    assert symbols.address("number") == 0x1234


def test_a_global_goes_before_a_weak_before_a_local(tmp_path: Path) -> None:
    symbols = opened(tmp_path, kernel())
    assert symbols.address("init") == BASE + 0x100
    assert symbols.address("weak_one") == BASE + 0x140


def test_locals_that_share_a_name_are_not_guessed_among(tmp_path: Path) -> None:
    symbols = opened(tmp_path, kernel())
    with pytest.raises(UsageError, match=r"'__key\.0' names 2 places .*0xc000000000002010, 0xc000000000002020"):
        symbols.address("__key.0")
    assert symbols.address("same.1") == BASE + 0x2010


@pytest.mark.parametrize(
    "name", ["absent", "nothing", "rocess_tb", "process_t", "", "a\0b", "head.c", "caf\u00e9", "_key.0"]
)
def test_what_is_not_there(tmp_path: Path, name: str) -> None:
    symbols = opened(tmp_path, kernel())
    with pytest.raises(UnknownSymbol, match="there is no symbol"):
        symbols.address(name)


def test_every_symbol_is_where_another_reader_finds_it(tmp_path: Path, order: str) -> None:
    content = kernel(order)
    symbols = opened(tmp_path, content)
    section = ELFFile(io.BytesIO(content)).get_section(SYMTAB_HEADER)
    assert isinstance(section, SymbolTableSection)
    seen = 0
    for found in section.iter_symbols():
        shared = [other for other in NAMES if other[0] == found.name and other[3] != 0]
        if found["st_info"]["bind"] != "STB_GLOBAL" or found["st_shndx"] == "SHN_UNDEF":
            continue
        assert symbols.address(found.name) == found["st_value"]
        assert symbols.size(found.name) == (found["st_size"] or None)
        assert shared
        seen += 1
    assert seen == 6


def test_a_name_that_ends_many_others_is_found(tmp_path: Path) -> None:
    """More candidates than are sought one by one."""
    names = [f"{letter}_end" for letter in "abcdefghijklmnopqrst"]
    kept = list(NAMES)
    try:
        NAMES.extend((name, GLOBAL, NOTYPE, TEXT, BASE + 0x10 + i, 0) for i, name in enumerate(names))
        symbols = opened(tmp_path, kernel())
    finally:
        NAMES[:] = kept
    assert symbols.address("_end") == BASE + 0x3100
    assert symbols.address("t_end") == BASE + 0x10 + 19
    with pytest.raises(UnknownSymbol):
        symbols.address("nd")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (BASE, ("start", 0)),
        (BASE + 0xFF, ("start", 0xFF)),
        (BASE + 0x104, ("init", 4)),
        (BASE + 0x3FF, ("0000006d.plt_branch.x", 0xFF)),
        (BASE + 0x400, None),
        (BASE - 1, None),
        (BASE + 0x1000, None),
        (BASE + 0x2003, ("banner", 3)),
        (BASE + 0x3007, ("process_tb", 7)),
        (BASE + 0x3100, None),
        (0x1234, None),
        ((1 << 64) - 1, None),
    ],
)
def test_addresses_to_names(tmp_path: Path, address: int, found: tuple[str, int] | None) -> None:
    assert opened(tmp_path, kernel()).name_of(address) == found


def test_completion(tmp_path: Path) -> None:
    symbols = opened(tmp_path, kernel())
    assert symbols.complete("") == sorted(
        {"__key.0", "_end", "_stext", "banner", "init", "number", "process_tb", "same.1", "start", "weak_one"}
    )
    assert symbols.complete("_") == ["__key.0", "_end", "_stext"]
    assert symbols.complete("_", 2) == ["__key.0", "_end"]
    assert symbols.complete("in") == ["init"]
    assert symbols.complete("zz") == []
    assert symbols.complete("s", 0) == []


def test_first_values(tmp_path: Path) -> None:
    symbols = opened(tmp_path, kernel())
    assert symbols.read_initial("banner") == b"hello"
    assert symbols.read_initial("banner", 2) == b"he"
    assert symbols.read_initial("process_tb") == bytes(8)
    assert symbols.read_initial("start", 4) == b"\x60\0\0\0"
    with pytest.raises(UsageError, match="unknown"):
        symbols.read_initial("_stext")
    with pytest.raises(UsageError, match="too large"):
        symbols.read_initial("banner", LARGEST_READ + 1)
    with pytest.raises(FormatError, match="holds no 0x1000 bytes"):
        symbols.read_initial("banner", 0x1000)
    with pytest.raises(FormatError, match="holds no"):
        symbols.read_initial("number", 8)
    (tmp_path / "vmlinux").write_bytes(kernel()[:80])
    with pytest.raises(FormatError, match="ends before"):
        symbols.read_initial("banner")


def patched(content: bytes, at: int, layout: str, value: int) -> bytes:
    out = bytearray(content)
    struct.pack_into("<" + layout, out, at, value)
    return bytes(out)


def header_at(index: int) -> int:
    return int(struct.unpack_from("<Q", kernel(), 40)[0]) + 64 * index


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "neither a kernel's ELF image nor a System.map"),
        (b"\x7fELF", "ends at 0x4, before its ELF header"),
        (b"MZ\x90\0", "neither"),
        (gzip.compress(kernel()), "packed with gzip; unpack it first"),
        (b"\x28\xb5\x2f\xfd\0\0", "packed with zstd"),
        (kernel(stripped=True), "has no symbol table"),
        (kernel(kind=1), "a module or other object, not a linked kernel"),
        (kernel(kind=4), "a core or snapshot, not a linked kernel"),
        (kernel()[:-1], "before its section headers"),
        (kernel()[:100], "cut short or damaged"),
        (patched(kernel(), 40, "Q", 0), "has no sections"),
        (patched(kernel(), 40, "Q", (1 << 64) - 1), "before its section headers"),
        (patched(kernel(), 58, "H", 40), "section headers are 40 bytes"),
        (patched(kernel(), 60, "H", 0xFFFF), "claims 65535 sections"),
        (patched(kernel(), 60, "H", 0), "claims 0 sections"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 32, "Q", 24 << 50), "symbol table claims"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 32, "Q", 24 << 20), "before its symbol table"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 24, "Q", 1 << 63), "before its symbol table"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 32, "Q", 25), "not one of 64-bit symbols"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 56, "Q", 16), "not one of 64-bit symbols"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 40, "I", 99), "names no string table"),
        (patched(kernel(), header_at(SYMTAB_HEADER) + 40, "I", 1), "names no string table"),
        (patched(kernel(), header_at(STRTAB_HEADER) + 32, "Q", 3), "does not end where a string ends"),
        (patched(kernel(), header_at(STRTAB_HEADER) + 32, "Q", 0), "does not end where a string ends"),
        (patched(kernel(), 4, "B", 7), "neither 32 nor 64 bits"),
    ],
)
def test_what_is_no_kernel_is_told_in_one_sentence(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        opened(tmp_path, content)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (kernel(machine=62), "an x86-64 machine"),
        (kernel(machine=183), "an AArch64 machine"),
        (kernel(machine=20, elf_class=1, order=">"), "a 32-bit PowerPC machine"),
        (kernel(machine=4242), "machine number 4242"),
    ],
)
def test_another_machine(tmp_path: Path, content: bytes, found: str) -> None:
    with pytest.raises(WrongArchitecture) as caught:
        opened(tmp_path, content)
    assert caught.value.found == found


def test_a_name_outside_the_strings_is_said_when_it_matters(tmp_path: Path) -> None:
    at = struct.unpack_from("<Q", kernel(), header_at(SYMTAB_HEADER) + 24)[0] + 24 * (len(NAMES) - 1)
    symbols = opened(tmp_path, patched(kernel(), at, "I", 1 << 30))
    assert symbols.address("process_tb") == BASE + 0x3000
    with pytest.raises(FormatError, match="a symbol's name is at 0x40000000"):
        symbols.complete("")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file or directory"):
        Symbols.open(str(tmp_path / "none"))
    with pytest.raises(FormatError, match="is not a file"):
        Symbols.open(str(tmp_path))
    with pytest.raises(FormatError, match="cannot be opened"):
        Symbols.open("a\0b")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FormatError, match="is not a file"):
        Symbols.open(str(pipe))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_damage_is_an_error_of_ours(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(kernel(data.draw(st.sampled_from("<>"))))
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    structural = [*range(64), *range(max(len(content) - 448, 0), len(content))]
    places = st.one_of(st.integers(0, len(content) - 1), st.sampled_from(structural)) if content else st.nothing()
    flips = data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)) if content else []
    damaged(tmp_path, content, flips)
