"""The headers of an ELF64 core of a ppc64 machine: segments and notes, every size checked first.

Only the program headers are used. QEMU's dump-guest-memory (7.2 to 10.2, ``dump/dump.c``) writes
e_ehsize 8, section headers in the host's byte order and, before 8.1, a big-endian ELF for a
little-endian pseries guest; ``pyelftools`` stumbles over such sections, and its import alone takes
longer than reading a small snapshot. So this is plain ``struct`` over bytes.

The layouts are those of the System V ABI (ELF-64): file header 64 bytes, program header 56, section
header 64, note header 12.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from inspector.errors import FormatError, WrongArchitecture

ET_CORE = 4
EM_PPC64 = 21
PT_LOAD, PT_NOTE = 1, 4
PN_XNUM = 0xFFFF
"""e_phnum when there are more program headers than 16 bits count: section header 0's sh_info has the number."""
EHDR_BYTES, PHDR_BYTES, SHDR_BYTES = 64, 56, 64
NO_PADDR = (1 << 64) - 1
"""p_paddr of a segment that has no physical address (/proc/kcore's vmalloc area)."""

MAX_HEADERS = 1 << 18
MAX_NOTE_BYTES = 64 << 20
MAX_NOTES = 1 << 18

TYPES = {1: "an object file", 2: "a program", 3: "a program or shared object"}
MACHINES = {
    2: "a SPARC machine", 3: "an x86 machine (i386)", 8: "a MIPS machine", 20: "a 32-bit PowerPC machine",
    22: "an S/390 machine", 40: "an Arm machine", 43: "a SPARC machine", 62: "an x86-64 machine",
    183: "an AArch64 machine", 243: "a RISC-V machine", 258: "a LoongArch machine",
}  # fmt: skip
FOREIGN = (
    (b"KDUMP   ", "it is a kdump-compressed dump; make an ELF core of it ('dump-guest-memory FILE' without -z -l -s)"),
    (b"DISKDUMP", "it is a diskdump; make an ELF core instead"),
    (b"makedumpfile", "it is a flattened makedumpfile dump; rearrange it ('makedumpfile -R') to an ELF core first"),
    (b"QEVM", "it is a QEMU migration stream, not a core; use 'dump-guest-memory' or 'record' instead"),
    (b"QFI\xfb", "it is a qcow2 disk image, not memory"),
    (b"\xfd7zXZ\0", "it is packed with xz; unpack it first ('xz -dk'), or pack it with gzip or zstd"),
    (b"BZh", "it is packed with bzip2; unpack it first ('bunzip2 -k'), or pack it with gzip or zstd"),
    (b"\x1f\x8b", "it is packed twice; unpack it once"),
    (b"\x28\xb5\x2f\xfd", "it is packed twice; unpack it once"),
)  # fmt: skip


class Bytes(Protocol):
    """``bytes`` or a map: what slices to bytes and lends itself to ``struct``."""

    def __getitem__(self, at: slice, /) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...


@dataclass(frozen=True, slots=True)
class Segment:
    """One PT_LOAD: ``file_size`` bytes at ``offset`` of the file are ``size`` bytes of RAM at ``address``.

    What the file does not hold of it (``file_size < size``) was left out when it was written: a hole, not zeros."""

    address: int
    size: int
    offset: int
    file_size: int


@dataclass(frozen=True, slots=True)
class Note:
    """One note: its name without the terminator, its type, and where its ``size`` bytes are in the file.

    ``start`` is where its header is."""

    start: int
    name: bytes
    type: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """The file header: byte order as ``struct`` writes it, and where the program headers are."""

    order: str
    phoff: int
    phnum: int


@dataclass(frozen=True, slots=True)
class Core:
    """What the headers say. Segments are sorted by address and disjoint, and all they claim is in the file."""

    order: str
    segments: tuple[Segment, ...]
    note_spans: tuple[tuple[int, int], ...]

    @property
    def byte_order(self) -> str:
        """'little' or 'big': EI_DATA, which QEMU before 8.1 gets wrong for little-endian guests."""
        return "little" if self.order == "<" else "big"


def read_header(path: str, data: Bytes, size: int) -> Header | None:
    """The header of a ppc64 core from the first ``size`` bytes of a file, or None if more of them are needed.

    Raises FormatError or WrongArchitecture for what is no such core."""
    head = data[0:EHDR_BYTES]
    if head[:4] != b"\x7fELF"[: len(head[:4])]:
        for magic, words in FOREIGN:
            if head.startswith(magic):
                raise FormatError(path, words)
        raise FormatError(
            path, "it is neither a snapshot nor an ELF core; a flat image of memory is opened as raw:FILE[@ADDR]"
        )
    if len(head) < EHDR_BYTES:
        return None
    order = {1: "<", 2: ">"}.get(head[5])
    if order is None or head[4] not in (1, 2):
        raise FormatError(path, "its ELF header is garbled; get the file again")
    kind, machine = struct.unpack_from(order + "HH", head, 16)
    if machine != EM_PPC64:
        bits = "32-bit machine " if head[4] == 1 else "machine "
        raise WrongArchitecture(path, MACHINES.get(machine, f"{bits}number {machine}"))
    if head[4] != 2:
        raise FormatError(path, "its ELF header is garbled (a 64-bit machine in a 32-bit file); get the file again")
    if kind in TYPES:
        raise FormatError(
            path, f"it is {TYPES[kind]}, not a core; a kernel image is given with --vmlinux, beside a target"
        )
    if kind != ET_CORE:
        raise FormatError(path, f"its ELF type is {kind}, not a core (4); get the file again")
    phoff, shoff = struct.unpack_from(order + "QQ", head, 32)
    phentsize, phnum = struct.unpack_from(order + "HH", head, 54)
    if phnum == PN_XNUM and shoff >= EHDR_BYTES:
        # Section header 0 is the one thing that is ever read of the section table.
        if shoff + SHDR_BYTES > size:
            return None
        (phnum,) = struct.unpack(order + "I", data[shoff + 44 : shoff + 48])
    if phnum and phentsize != PHDR_BYTES:
        raise FormatError(path, f"its program headers are {phentsize} bytes each, not {PHDR_BYTES}; get the file again")
    if phnum > MAX_HEADERS:
        raise FormatError(path, f"it claims {phnum} program headers, more than any guest needs; get the file again")
    return Header(order, phoff, phnum)


def _program_headers(header: Header, table: bytes) -> Iterator[tuple[int, int, int, int, int, int]]:
    """(type, offset, vaddr, paddr, filesz, memsz) of each."""
    for kind, _, offset, vaddr, paddr, filesz, memsz, _ in struct.iter_unpack(header.order + "IIQQQQQQ", table):
        yield kind, offset, vaddr, paddr, filesz, memsz


def claimed_bytes(path: str, head: bytes) -> int | None:
    """How long the file is by its own program headers, or None if ``head`` does not hold them all.

    What bounds an unpacked file. Raises FormatError or WrongArchitecture for what is no ppc64 core."""
    header = read_header(path, head, len(head))
    if header is None or header.phoff + header.phnum * PHDR_BYTES > len(head):
        return None
    end = header.phoff + header.phnum * PHDR_BYTES
    table = head[header.phoff : end]
    return max([end, *(offset + filesz for _, offset, _, _, filesz, _ in _program_headers(header, table))])


def read_core(path: str, data: Bytes, size: int) -> Core:
    """The segments and note areas of the ppc64 core whose ``size`` bytes are ``data``.

    Raises FormatError for one that is cut short, garbled, or claims what cannot be, and
    WrongArchitecture for one of another machine."""
    header = read_header(path, data, size)
    if header is None or header.phoff + header.phnum * PHDR_BYTES > size:
        raise cut_short(path, size, "its headers")
    table = data[header.phoff : header.phoff + header.phnum * PHDR_BYTES]
    segments: list[Segment] = []
    notes: list[tuple[int, int]] = []
    virtual = False
    for kind, offset, vaddr, paddr, filesz, memsz in _program_headers(header, table):
        if kind not in (PT_LOAD, PT_NOTE):
            continue
        if offset + filesz > size:
            what = "its notes" if kind == PT_NOTE else f"RAM at {paddr:#x}"
            raise cut_short(path, size, what)
        if kind == PT_NOTE:
            notes.append((offset, filesz))
            continue
        if paddr == NO_PADDR or memsz == 0 == filesz:
            continue
        if filesz > memsz:
            raise FormatError(path, f"RAM at {paddr:#x} is longer in the file than in memory; get the file again")
        if paddr + memsz > 1 << 64:
            raise FormatError(path, f"RAM at {paddr:#x} runs past the end of the address space; get the file again")
        virtual = virtual or (vaddr != 0 and paddr == 0)
        segments.append(Segment(paddr, memsz, offset, filesz))
    if sum(length for _, length in notes) > MAX_NOTE_BYTES:
        raise FormatError(path, f"it claims more than {MAX_NOTE_BYTES >> 20} MiB of notes; get the file again")
    segments.sort(key=lambda s: s.address)
    if virtual and len(segments) > 1 and not any(s.address for s in segments):
        raise FormatError(path, "it is the core of one process, not of a guest; dump the guest with 'record'")
    for before, after in pairwise(segments):
        if before.address + before.size > after.address:
            raise FormatError(path, f"two pieces of it claim RAM at {after.address:#x}; get the file again")
    return Core(header.order, tuple(segments), tuple(notes))


def read_notes(path: str, data: Bytes, core: Core) -> Iterator[Note]:
    """Every note in turn; their bytes are left in the file. Raises FormatError for a garbled one."""
    head = struct.Struct(core.order + "III")
    left = MAX_NOTES
    for start, length in core.note_spans:
        at, end = start, start + length
        while at + head.size <= end:
            namesz, descsz, kind = head.unpack_from(data, at)
            name_at = at + head.size
            desc_at = name_at + (namesz + 3 & ~3)
            left -= 1
            if desc_at + descsz > end or left < 0:
                raise FormatError(path, f"its notes are garbled at offset {at:#x}; get the file again")
            yield Note(at, data[name_at : name_at + min(namesz, 64)].rstrip(b"\0"), kind, desc_at, descsz)
            at = desc_at + (descsz + 3 & ~3)


def cut_short(path: str, size: int, what: str) -> FormatError:
    """The error for a file that ends too early."""
    return FormatError(path, f"the file is cut short: it ends after {size} bytes, before {what}; copy it again")
