"""Cores of others, and what is wrong with some: QEMU's odd headers, lies about sizes, foreign machines."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import FormatError, InspectorError, NotCaptured, TargetLost, Unreadable, WrongArchitecture
from inspector.memory.core import CoreMemory
from inspector.memory.elf import Core, claimed_bytes, read_core, read_notes
from inspector.memory.plainfile import FileBytes
from tests.memory.elfmaker import Load, elf_core, note


def parse(data: bytes) -> Core:
    return read_core("core", data, len(data))


def memory_of(data: bytes, **more: list[tuple[int, int]]) -> CoreMemory:
    return CoreMemory(FileBytes("core", data, len(data)), parse(data), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_runs_at_their_physical_address_whatever_the_byte_order_and_the_file_order(order: str) -> None:
    data = elf_core([Load(0x10000, b"second"), Load(0x1000, b"first")], order=order)
    memory = memory_of(data)
    assert memory.captured == ((0x1000, 5), (0x10000, 6))
    assert memory.read(0x10002, 4) == b"cond"
    assert memory.read(0x1000, 5) == b"first"


def test_opens_qemus_headers_with_their_short_ehsize_and_garbled_sections() -> None:
    # QEMU 7.2 dump.c: e_ehsize is the size of a pointer, e_shoff 64, the section header in the host's order.
    data = elf_core([Load(0, b"ram!")], order=">", ehsize=8, shoff=64, phoff=64)
    assert memory_of(data).read(0, 4) == b"ram!"
    assert parse(data).byte_order == "big"


def test_takes_the_number_of_program_headers_from_section_header_0() -> None:
    plain = elf_core([Load(0x4000, b"data")])
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 2, 0, 0)
    data = elf_core([Load(0x4000, b"data")], phnum=0xFFFF, shoff=len(plain)) + section
    assert memory_of(data).read(0x4000, 4) == b"data"
    with pytest.raises(FormatError, match="cut short"):
        parse(data[: len(plain) + 10])


def test_reads_across_touching_runs_and_stops_at_a_gap() -> None:
    memory = memory_of(elf_core([Load(0x1000, b"ab"), Load(0x1002, b"cd"), Load(0x1008, b"ef")]))
    assert memory.read(0x1001, 2) == b"bc"
    assert memory.read(0x1000, 4) == b"abcd"
    with pytest.raises(NotCaptured) as missing:
        memory.read(0x1003, 6)
    assert (missing.value.address, missing.value.length) == (0x1004, 4)


def test_tells_what_was_left_out_from_what_could_not_be_read_and_from_zeros() -> None:
    memory = memory_of(
        elf_core([Load(0x1000, b"x" * 16)]), unreadable=[(0x1010, 16), (0x1020, 16)], zeros=[(0x1040, 1 << 40)]
    )
    with pytest.raises(Unreadable) as refused:
        memory.read(0x1008, 16)
    assert (refused.value.address, refused.value.length) == (0x1010, 8)
    with pytest.raises(NotCaptured) as missing:
        memory.read(0x1030, 1 << 60)
    assert (missing.value.address, missing.value.length) == (0x1030, 16)
    assert memory.read(0x1040, 8) == bytes(8)
    with pytest.raises(NotCaptured):
        memory.read(0x1038, 16)


def test_ram_that_the_file_does_not_hold_is_a_hole_and_not_zeros() -> None:
    memory = memory_of(elf_core([Load(0x1000, b"data", memsz=0x1000)]))
    assert memory.read(0x1000, 4) == b"data"
    with pytest.raises(NotCaptured):
        memory.read(0x1004, 4)


def test_nothing_is_read_once_closed() -> None:
    memory = memory_of(elf_core([Load(0, b"data")]))
    memory.close()
    memory.close()
    with pytest.raises(TargetLost):
        memory.read(0, 4)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"just some text that is no core", "neither a snapshot nor an ELF core"),
        (b"\x7fELF\2\1", "cut short"),
        (b"KDUMP   " + bytes(100), "kdump-compressed"),
        (b"QFI\xfb" + bytes(100), "qcow2"),
        (b"QEVM" + bytes(100), "migration stream"),
        (b"\x1f\x8b\x08" + bytes(100), "packed twice"),
        (b"\xfd7zXZ\0" + bytes(100), "xz"),
        (elf_core([], kind=2), "--vmlinux"),
        (elf_core([], kind=3), "--vmlinux"),
        (elf_core([], kind=1), "object file"),
        (elf_core([], kind=0xFE00), "not a core"),
        (elf_core([], bits=1), "garbled"),
        (elf_core([], bits=7), "garbled"),
        (elf_core([Load(0, b"x")], phentsize=32), "32 bytes each"),
        (elf_core([Load(0, b"x")], phnum=1000), "cut short"),
        (elf_core([Load(0, b"x")], phoff=1 << 63), "cut short"),
        (elf_core([Load(0, b"x")], phnum=0xFFFF), "cut short"),
        (elf_core([Load(0, b"x", filesz=1 << 62, memsz=1 << 62)]), "cut short.*RAM at 0x0"),
        (elf_core([Load(0, b"x", offset=1 << 63)]), "cut short"),
        (elf_core([Load(0, b"xy", memsz=1)]), "longer in the file"),
        (elf_core([Load((1 << 64) - 4, b"x" * 8)]), "past the end"),
        (elf_core([Load(0x1000, b"x" * 8), Load(0x1004, b"x" * 8)]), "two pieces of it claim RAM at 0x1004"),
        (elf_core([Load(0, b"x", vaddr=0x400000), Load(0, b"y", vaddr=0x500000)]), "one process"),
        (elf_core([Load(0, b"x")], notes_size=1 << 40), "cut short"),
    ],
)
def test_says_what_is_wrong_with_a_file(data: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        parse(data)
    assert caught.value.path == "core"


def test_a_core_of_another_machine_says_which() -> None:
    with pytest.raises(WrongArchitecture, match="x86-64"):
        parse(elf_core([], machine=62))
    with pytest.raises(WrongArchitecture, match="32-bit PowerPC"):
        parse(elf_core([], machine=20, bits=1))
    with pytest.raises(WrongArchitecture, match="number 9999"):
        parse(elf_core([], machine=9999))


def test_a_segment_without_a_physical_address_is_passed_over() -> None:
    data = elf_core([Load((1 << 64) - 1, b"vmalloc", vaddr=0xC008 << 48), Load(0, b"ram")])
    assert memory_of(data).captured == ((0, 3),)


def test_more_notes_than_any_guest_has_are_refused_before_they_are_read() -> None:
    data = bytearray(elf_core([], b""))
    struct.pack_into("<Q", data, 64 + 32, 12 << 19)  # p_filesz of the PT_NOTE
    data += bytes(12 << 19)  # half a million empty notes
    core = parse(bytes(data))
    with pytest.raises(FormatError, match="garbled"):
        list(read_notes("core", bytes(data), core))


def test_notes_come_with_name_type_and_place() -> None:
    data = elf_core([], note(b"CORE", 1, b"abc") + note(b"VMCOREINFO", 0, b"OSRELEASE=6.1\n"))
    found = [(n.name, n.type, data[n.offset : n.offset + n.size]) for n in read_notes("core", data, parse(data))]
    assert found == [(b"CORE", 1, b"abc"), (b"VMCOREINFO", 0, b"OSRELEASE=6.1\n")]


def test_a_note_longer_than_its_place_is_garbled() -> None:
    notes = bytearray(note(b"CORE", 1, b"abcd"))
    struct.pack_into("<I", notes, 4, 0xFFFF_FFF0)
    data = elf_core([], bytes(notes))
    with pytest.raises(FormatError, match="notes are garbled at offset"):
        list(read_notes("core", data, parse(data)))


def test_claimed_bytes_reach_to_the_end_of_the_last_run() -> None:
    data = elf_core([Load(0, b"x" * 100), Load(0x1000, b"y", filesz=1 << 30, memsz=1 << 30)])
    assert claimed_bytes("core", data[:40]) is None
    assert claimed_bytes("core", data[:100]) is None
    assert claimed_bytes("core", data) == len(data) - 1 + (1 << 30)
    with pytest.raises(FormatError):
        claimed_bytes("core", b"no")


@given(st.data())
def test_damage_to_a_core_is_an_error_of_ours_or_none(draw: st.DataObject) -> None:
    good = bytearray(elf_core([Load(0x1000, b"x" * 64), Load(0x2000, b"y" * 64)], note(b"CORE", 1, b"z" * 32)))
    for _ in range(draw.draw(st.integers(1, 4))):
        good[draw.draw(st.integers(0, len(good) - 1))] = draw.draw(st.integers(0, 255))
    data = bytes(good[: draw.draw(st.integers(0, len(good)))]) if draw.draw(st.booleans()) else bytes(good)
    try:
        core = parse(data)
        for found in read_notes("core", data, core):
            assert found.offset + found.size <= len(data)
        for run in core.segments:
            assert run.offset + run.file_size <= len(data)
    except InspectorError:
        pass
