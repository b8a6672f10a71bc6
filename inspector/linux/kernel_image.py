"""The few parts of a kernel's ELF file that symbols need: headers, its symbol and string tables, its build id.

Read with ``struct`` and not with pyelftools: importing that costs 40 to 50 ms, more than everything here together, and
its symbols come one object at a time (2.5 s for a kernel's 107,000). An image is untrusted input: whatever it claims is
held against the file's size before a byte is allocated for it. Layout: System V ABI, 64-bit ELF; OpenPOWER ELF V2 ABI.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal, NoReturn

from inspector.errors import FormatError, WrongArchitecture
from inspector.memory.elf import EM_PPC64, MACHINES

ByteOrder = Literal["little", "big"]

MOST_SECTIONS = 4096
LARGEST_TABLE = 1 << 28
"""Bytes of a symbol or string table: 40 times what Debian's kernel has."""
LARGEST_NOTES = 1 << 16
GIVE = "give a kernel's vmlinux or its System.map"
GIVE_WHOLE = "give the unstripped vmlinux or its System.map"
SYMBOL_BYTES = 24

SHT_SYMTAB, SHT_STRTAB, SHT_NOTE, SHT_NOBITS = 2, 3, 7, 8
SHF_ALLOC = 2
ET_EXEC, ET_DYN = 2, 3
NT_GNU_BUILD_ID = 3


@dataclass(frozen=True, slots=True)
class Section:
    """One section header, sizes in bytes."""

    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int

    def holds(self, address: int) -> bool:
        """Whether the section occupies ``address`` in the running kernel."""
        return bool(self.flags & SHF_ALLOC) and self.address <= address < self.address + self.size


@dataclass(frozen=True, slots=True)
class KernelImage:
    """What was read of one image. ``symbols`` and ``strings`` are its raw tables, ``build_id`` in hex or None."""

    path: str
    byte_order: ByteOrder
    sections: tuple[Section, ...]
    symbols: bytes
    strings: bytes
    build_id: str | None

    def section_of(self, address: int) -> Section | None:
        """The section that occupies ``address``."""
        return next((section for section in self.sections if section.holds(address)), None)


def open_regular(path: str) -> BinaryIO:
    """``path`` opened for reading. Raises FormatError for what is not there, not readable or not a file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise FormatError(path, f"is not a file; {GIVE}")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise FormatError(path, f"cannot be opened ({why}); {GIVE}") from error


def read_image(file: BinaryIO, path: str) -> KernelImage:
    """The image in ``file``, which starts with the ELF magic.

    Raises WrongArchitecture for another machine's, FormatError for one cut short, damaged, stripped or no kernel."""
    return _Reader(file, path).image()


class _Reader:
    def __init__(self, file: BinaryIO, path: str) -> None:
        self.file, self.path = file, path
        self.size = os.fstat(file.fileno()).st_size

    def image(self) -> KernelImage:
        head = self.take(0, 64, "ELF header")
        if head[4] not in (1, 2) or head[5] not in (1, 2):
            self.damaged("its ELF header says neither 32 nor 64 bits, or no byte order")
        order: ByteOrder = "little" if head[5] == 1 else "big"
        self.prefix = "<" if order == "little" else ">"
        kind, machine = self.unpack("HH", head, 16)
        if machine != EM_PPC64 or head[4] != 2:
            raise WrongArchitecture(self.path, MACHINES.get(machine, f"machine number {machine}"))
        if kind not in (ET_EXEC, ET_DYN):
            what = {1: "a module or other object", 4: "a core or snapshot"}.get(kind, f"an ELF file of type {kind}")
            raise FormatError(self.path, f"is {what}, not a linked kernel; {GIVE}")
        sections = self.sections(head)
        table = next((section for section in sections if section.type == SHT_SYMTAB), None)
        if table is None:
            raise FormatError(self.path, f"has no symbol table (stripped); {GIVE_WHOLE}")
        if table.entry_size != SYMBOL_BYTES or table.size % SYMBOL_BYTES:
            self.damaged("its symbol table is not one of 64-bit symbols")
        if not 0 < table.link < len(sections) or sections[table.link].type != SHT_STRTAB:
            self.damaged("its symbol table names no string table")
        symbols = self.content(table, LARGEST_TABLE, "symbol table")
        strings = self.content(sections[table.link], LARGEST_TABLE, "string table")
        if strings[-1:] != b"\0":
            self.damaged("its string table does not end where a string ends")
        return KernelImage(self.path, order, sections, symbols, strings, self.build_id(sections))

    def sections(self, head: bytes) -> tuple[Section, ...]:
        (offset,) = self.unpack("Q", head, 40)
        each, count = self.unpack("HH", head, 58)
        if offset == 0:
            raise FormatError(self.path, f"has no sections (stripped); {GIVE_WHOLE}")
        if each != 64:
            self.damaged(f"its section headers are {each} bytes, not 64")
        if count == 0:
            (count,) = self.unpack("Q", self.take(offset, 64, "section headers"), 32)
        if not 0 < count <= MOST_SECTIONS:
            self.damaged(f"it claims {count} sections")
        raw = self.take(offset, 64 * count, "section headers")
        found = []
        for at in range(0, len(raw), 64):
            _, kind, flags, address, start, size, link, _, _, entry = self.unpack("IIQQQQIIQQ", raw, at)
            found.append(Section(kind, flags, address, start, size, link, entry))
        return tuple(found)

    def build_id(self, sections: tuple[Section, ...]) -> str | None:
        """The GNU build id; a kernel without a readable one is none the worse."""
        for section in sections:
            if section.type != SHT_NOTE or section.size > LARGEST_NOTES or section.offset + section.size > self.size:
                continue
            notes = self.content(section, LARGEST_NOTES, "notes")
            at = 0
            while at + 12 <= len(notes):
                name_size, size, kind = self.unpack("III", notes, at)
                name, at = notes[at + 12 : at + 12 + name_size], at + 12 + (name_size + 3 & ~3)
                content = notes[at : at + size]
                if kind == NT_GNU_BUILD_ID and name == b"GNU\0" and 0 < len(content) == size <= 64:
                    return content.hex()
                at += size + 3 & ~3
        return None

    def content(self, section: Section, most: int, what: str) -> bytes:
        if section.type == SHT_NOBITS:
            self.damaged(f"its {what} has no content")
        if section.size > most:
            self.damaged(f"its {what} claims {section.size:#x} bytes")
        return self.take(section.offset, section.size, what)

    def take(self, offset: int, length: int, what: str) -> bytes:
        """Bytes of the file, never more than it has."""
        if offset + length > self.size:
            raise FormatError(
                self.path,
                f"ends at {self.size:#x}, before its {what} ({length:#x} bytes at {offset:#x}) does: "
                "it is cut short or damaged; copy it again",
            )
        try:
            self.file.seek(offset)
            found = self.file.read(length)
        except OSError as error:
            raise FormatError(self.path, f"cannot be read ({error.strerror}); copy it again") from error
        if len(found) != length:
            raise FormatError(self.path, "became shorter while it was read; copy it again")
        return found

    def unpack(self, layout: str, raw: bytes, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.prefix + layout, raw, at)

    def damaged(self, problem: str) -> NoReturn:
        raise FormatError(self.path, f"is damaged, {problem}; copy it again")
