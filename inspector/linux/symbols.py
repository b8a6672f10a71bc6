"""The symbols of the guest's kernel, from its vmlinux or its System.map: names to addresses and back.

Addresses are those of the kernel as linked, effective and unsigned; a kernel that runs elsewhere (KERNELOFFSET) is not
this module's to know. Big-endian kernels of the ELF V1 ABI name their functions' descriptors: ``.name`` is the code.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import BinaryIO, Literal

from inspector.errors import FormatError, NotSupported, UnknownSymbol, UsageError
from inspector.linux.kernel_image import SHT_NOBITS, KernelImage, open_regular, read_image
from inspector.linux.symbol_tables import (
    BINDINGS,
    LARGEST_MAP,
    ElfTable,
    Symbol,
    SymbolTable,
    TextTable,
    looks_like_text,
)

_COMPRESSED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))
LARGEST_READ = 1 << 20
"""Bytes that :meth:`Symbols.read_initial` gives at once."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Every symbol in order of its address, the best name of each address alone."""

    addresses: list[int]
    symbols: list[Symbol]


class Symbols:
    """The symbols of one kernel. Nothing stays open; the whole table is read only when a question needs it."""

    def __init__(self, path: str, table: SymbolTable, image: KernelImage | None = None) -> None:
        self.path = path
        self._table = table
        self._image = image
        self._places: _Places | None = None
        self._names: list[str] | None = None

    @classmethod
    def open(cls, path: str) -> Symbols:
        """The symbols of the kernel image or System.map at ``path``, told apart by content.

        Raises WrongArchitecture for another machine's image and FormatError for everything else that does not do."""
        with open_regular(path) as file:
            head = _read(file, path, 4096)
            if head.startswith(b"\x7fELF"):
                image = read_image(file, path)
                return cls(path, ElfTable(image), image)
            for magic, packer in _COMPRESSED:
                if head.startswith(magic):
                    raise FormatError(path, f"is packed with {packer}; unpack it first")
            if not looks_like_text(head):
                raise FormatError(path, "is neither a kernel's ELF image nor a System.map; give one of these")
            content = head + _read(file, path, LARGEST_MAP)
            if len(content) > LARGEST_MAP:
                raise FormatError(path, f"is larger than any System.map ({LARGEST_MAP:#x} bytes); give a kernel's own")
            return cls(path, TextTable(path, content))

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The kernel's byte order. A System.map does not say; it is then taken to be little, as of any ppc64le kernel:
        see :attr:`byte_order_known`."""
        return self._image.byte_order if self._image is not None else "little"

    @property
    def byte_order_known(self) -> bool:
        """Whether the file says which byte order it is."""
        return self._image is not None

    @property
    def build_id(self) -> str | None:
        """The GNU build id in hex, or None where there is none."""
        return self._image.build_id if self._image is not None else None

    @property
    def count(self) -> int:
        """Entries of the table."""
        return self._table.count

    def find(self, name: str) -> Symbol:
        """The symbol of this name: a global one before a weak one before a local one.

        Several local symbols may share a name (``__key.0``); where they are at different addresses none is chosen.
        Raises UnknownSymbol, and UsageError for such a name."""
        found = self._table.named(name)
        if not found:
            raise UnknownSymbol(name, self.path)
        for binding in BINDINGS:
            same = [symbol for symbol in found if symbol.binding == binding]
            if not same:
                continue
            addresses = sorted({symbol.address for symbol in same})
            if binding == "local" and len(addresses) > 1:
                shown = ", ".join(f"{address:#x}" for address in addresses[:4])
                raise UsageError(
                    f"{name!r} names {len(addresses)} places in {self.path} "
                    f"({shown}{', …' if len(addresses) > 4 else ''}); give the address of one"
                )
            return same[0]
        raise UnknownSymbol(name, self.path)

    def address(self, name: str) -> int:
        """The address of ``name``; see :meth:`find`. Raises UnknownSymbol and UsageError."""
        return self.find(name).address

    def size(self, name: str) -> int | None:
        """Bytes of ``name``, or None where the table does not say. Raises UnknownSymbol and UsageError."""
        return self.find(name).size

    def name_of(self, address: int) -> tuple[str, int] | None:
        """The name at or nearest below ``address`` and the bytes from there, or None outside the kernel's sections.

        Where several stand at one address a function or variable goes before a bare label, and a global name first."""
        places = self._by_address()
        at = bisect_right(places.addresses, address) - 1
        if at < 0:
            return None
        symbol = places.symbols[at]
        offset = address - symbol.address
        if self._image is not None:
            section = self._image.section_of(address)
            if section is None or symbol.address < section.address:
                return None
        elif offset and (symbol.name == "_end" or at == len(places.symbols) - 1):
            return None
        return symbol.name, offset

    def complete(self, prefix: str, limit: int = 100) -> list[str]:
        """At most ``limit`` names that begin with ``prefix`` and may be written in an operand, sorted."""
        if self._names is None:
            names = {symbol.name for symbol in self._table.all()}
            self._names = sorted(name for name in names if name[0].isalpha() or name[0] in "_.")
        start = bisect_left(self._names, prefix)
        found = []
        for name in self._names[start : start + max(limit, 0)]:
            if not name.startswith(prefix):
                break
            found.append(name)
        return found

    def read_initial(self, name: str, size: int | None = None) -> bytes:
        """The ``size`` bytes (None: its own size) that variable ``name`` starts out with, in the kernel's byte order.

        Zeros for what the image only reserves. Raises NotSupported for a System.map, which holds no values, UsageError
        for a size that is unknown or too large, FormatError for a variable outside the image, and as :meth:`find`."""
        symbol = self.find(name)
        if self._image is None:
            raise NotSupported(f"{self.path} holds names and no values; give the kernel's vmlinux")
        wanted = symbol.size if size is None else size
        if wanted is None or not 0 <= wanted <= LARGEST_READ:
            raise UsageError(f"the size of {name!r} is {'unknown' if wanted is None else 'too large'}; give its bytes")
        section = self._image.section_of(symbol.address)
        if section is None or symbol.address + wanted > section.address + section.size:
            raise FormatError(self.path, f"holds no {wanted:#x} bytes for {name!r}; give a smaller size")
        if section.type == SHT_NOBITS:
            return bytes(wanted)
        with open_regular(self.path) as file:
            if section.offset + section.size > os.fstat(file.fileno()).st_size:
                raise FormatError(self.path, f"ends before the values of {name!r}; get the image again")
            file.seek(section.offset + symbol.address - section.address)
            found = _read(file, self.path, wanted)
        if len(found) != wanted:
            raise FormatError(self.path, f"ends before the value of {name!r} does; copy it again")
        return found

    def _by_address(self) -> _Places:
        if self._places is None:
            best: dict[int, Symbol] = {}
            for symbol in self._table.all():
                if symbol.absolute:
                    continue
                other = best.get(symbol.address)
                if other is None or _rank(symbol) < _rank(other):
                    best[symbol.address] = symbol
            addresses = sorted(best)
            self._places = _Places(addresses, [best[address] for address in addresses])
        return self._places


def _rank(symbol: Symbol) -> tuple[bool, int]:
    """How good a name is for its address, the best the smallest."""
    return (not symbol.typed, BINDINGS.index(symbol.binding))


def _read(file: BinaryIO, path: str, length: int) -> bytes:
    """At most ``length`` bytes from where ``file`` stands. Raises FormatError."""
    try:
        return file.read(length)
    except (OSError, OverflowError, ValueError) as error:
        raise FormatError(path, f"cannot be read ({error}); copy it again") from error
