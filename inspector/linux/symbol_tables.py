"""Two shapes of symbol table, an ELF image's and a System.map's, with one face: by name, and all in a row.

The one of an image answers for a single name without being read through: the name is sought in the string table, and
the few offsets where it stands in the column of name offsets. (A string may be the tail of a longer one, as linkers
share them, so it is not enough to seek a string that starts there.)
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from inspector.errors import FormatError
from inspector.linux.kernel_image import SYMBOL_BYTES, KernelImage

Binding = Literal["global", "weak", "local"]
BINDINGS: tuple[Binding, ...] = ("global", "weak", "local")
"""From the strongest."""

_ELF_BINDINGS: Mapping[int, Binding] = MappingProxyType({1: "global", 2: "weak", 10: "global"})
_NOT_ADDRESSES = frozenset({3, 4, 6})
"""STT_SECTION, STT_FILE, STT_TLS."""
_TYPED = frozenset({1, 2, 10})
"""STT_OBJECT, STT_FUNC, STT_GNU_IFUNC."""
_SHN_UNDEF, _SHN_ABS = 0, 0xFFF1
FEW = 8
"""Up to so many offsets are sought one by one in the column, which is then quicker than going through it."""


class Symbol(NamedTuple):
    """One symbol (a tuple, as there are a hundred thousand of them).

    ``size`` in bytes is None where it is unknown; ``typed`` says that it is a function or a variable and not a bare
    label; ``absolute`` that its value is a number and not a place in the kernel."""

    name: str
    address: int
    size: int | None
    binding: Binding
    typed: bool = False
    absolute: bool = False


class SymbolTable(Protocol):
    """What :class:`inspector.linux.symbols.Symbols` asks of either."""

    @property
    def count(self) -> int:
        """Entries of the table, named or not."""

    def named(self, name: str) -> list[Symbol]:
        """Every symbol of this name, in the table's order."""

    def all(self) -> Iterator[Symbol]:
        """Every symbol, in the table's order."""


class ElfTable:
    """The symbol table of an image. Raises FormatError for one whose names lie outside its strings."""

    def __init__(self, image: KernelImage) -> None:
        self._image = image
        self._order = "<" if image.byte_order == "little" else ">"
        self._entry = struct.Struct(self._order + "IBBHQQ")
        self._column: bytes | None = None

    @property
    def count(self) -> int:
        """Entries of the table."""
        return len(self._image.symbols) // SYMBOL_BYTES

    def named(self, name: str) -> list[Symbol]:
        """Every symbol of this name, in the table's order."""
        if not name or not name.isascii() or "\0" in name:
            return []
        wanted = name.encode("ascii") + b"\0"
        strings, offsets = self._image.strings, []
        at = strings.find(wanted)
        while at >= 0 and not at >> 32:
            offsets.append(at)
            at = strings.find(wanted, at + 1)
        entries = (
            self._entry.unpack_from(self._image.symbols, index * SYMBOL_BYTES) for index in self._indexes(offsets)
        )
        made = [self._symbol(entry, name) for entry in entries]
        return [symbol for symbol in made if symbol is not None]

    def _indexes(self, offsets: list[int]) -> list[int]:
        """The entries whose names are at one of ``offsets`` of the string table, in order."""
        if self._column is None:
            self._column = memoryview(self._image.symbols).cast("I")[:: SYMBOL_BYTES // 4].tobytes()
        if len(offsets) > FEW:
            wanted = set(offsets)
            numbers = struct.unpack(f"{self._order}{self.count}I", self._column)
            return [index for index, offset in enumerate(numbers) if offset in wanted]
        indexes = []
        for offset in offsets:
            pattern = struct.pack(self._order + "I", offset)
            found = self._column.find(pattern)
            while found >= 0:
                if found % 4 == 0:
                    indexes.append(found // 4)
                found = self._column.find(pattern, found + 1)
        return sorted(indexes)

    def all(self) -> Iterator[Symbol]:
        """Every symbol that has a name and an address, in the table's order."""
        text = self._image.strings.decode("latin-1")
        end = len(text)
        for entry in self._entry.iter_unpack(self._image.symbols):
            start = entry[0]
            if start >= end:
                raise FormatError(
                    self._image.path, f"is damaged, a symbol's name is at {start:#x} of {end:#x}; copy it again"
                )
            name = text[start : text.index("\0", start)]
            symbol = self._symbol(entry, name) if name else None
            if symbol is not None:
                yield symbol

    def _symbol(self, entry: tuple[int, ...], name: str) -> Symbol | None:
        """The entry (name, info, other, section, value, size) as a symbol, or None for one without an address."""
        _, info, _, section, value, size = entry
        kind = info & 0xF
        if section == _SHN_UNDEF or kind in _NOT_ADDRESSES:
            return None
        binding = _ELF_BINDINGS.get(info >> 4, "local")
        return Symbol(name, value, size or None, binding, kind in _TYPED, section == _SHN_ABS)


_LINE = re.compile(r"([0-9a-fA-F]{1,16}| {16}) ([A-Za-z?]) (\S+)(?:[ \t]+\[\S+\])?\s*", re.ASCII)
LARGEST_MAP = 1 << 28


class TextTable:
    """A System.map or a copy of /proc/kallsyms: lines of address, type and name, as ``nm`` prints them.

    Raises FormatError for any other text, and for a kallsyms that hides its addresses."""

    def __init__(self, path: str, content: bytes) -> None:
        self._symbols: list[Symbol] = []
        self._names: dict[str, list[Symbol]] = {}
        for number, line in enumerate(content.decode("latin-1").splitlines(), 1):
            found = _LINE.fullmatch(line)
            if found is None:
                raise FormatError(
                    path, f"line {number} is not 'ADDRESS TYPE NAME'; give a kernel's vmlinux or its whole System.map"
                )
            letter = found[2]
            if letter in "U?" or found[1].isspace():
                continue
            binding: Binding = (
                "weak" if letter in "vVwW" else "global" if letter.isupper() or letter == "u" else "local"
            )
            symbol = Symbol(found[3], int(found[1], 16), None, binding, True, letter in "aA")
            self._symbols.append(symbol)
            self._names.setdefault(symbol.name, []).append(symbol)
        if not self._symbols:
            raise FormatError(path, "holds no symbols; give a kernel's vmlinux or its System.map")
        if not any(symbol.address for symbol in self._symbols):
            raise FormatError(path, "has only zeros for addresses; copy /proc/kallsyms as root")

    @property
    def count(self) -> int:
        """Symbols of the table."""
        return len(self._symbols)

    def named(self, name: str) -> list[Symbol]:
        """Every symbol of this name, in the table's order."""
        return self._names.get(name, [])

    def all(self) -> Iterator[Symbol]:
        """Every symbol, in the table's order."""
        return iter(self._symbols)


def looks_like_text(head: bytes) -> bool:
    """Whether the first bytes of a file could be a System.map's."""
    return _LINE.fullmatch(head.split(b"\n", 1)[0].decode("latin-1")) is not None
