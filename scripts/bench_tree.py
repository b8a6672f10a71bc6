"""A tree of millions of leaves in a file that is mapped like QEMU's RAM, for figures and for tests of size.

Half its leaves are 64K pages and half 4K, one entry in sixteen is empty, real addresses are drawn at random so that
next to nothing goes on, and tables lie where a guest's allocator puts them, whole 64 KiB pages of them shuffled over
four times the room they need. The file may be made a core, in which a Linux kernel is said to run, for drgn to open."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.errors import Unreadable
from inspector.memory import elf
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.radix.columns import Root
from inspector.radix.sweep import Sweep, sweep
from inspector.spaces import Spaces
from inspector.trees import Tree

PAGE = 1 << 16
LEAD = PAGE
"""Where RAM begins in a file that is a core."""
LINEAR = 0xC000_0000_0000_0000
LEAF = (3 << 62) | 0x18E
RTS_52 = 0x4000_0000_0000_00A0
DIRECTORY = 1 << 63
PID = 1
VMCOREINFO = b"VMCOREINFO\0"
U64 = NDArray[np.uint64]


class MappedFile:
    """RAM out of a file that is mapped, from byte ``lead`` on: a source with windows, as the shared RAM file is."""

    cheap = True

    def __init__(self, path: str, lead: int = 0) -> None:
        with open(path, "rb") as file:
            self.data = memoryview(mmap.mmap(file.fileno(), 0, offset=lead, access=mmap.ACCESS_READ))
        self.windows = [(0, self.data)]

    @property
    def description(self) -> str:
        return "a mapped file"

    def read(self, address: int, length: int) -> bytes:
        found = bytes(self.data[address : address + length])
        if len(found) != length:
            raise Unreadable(address, length, "it is beyond the file; make it larger")
        return found


@dataclass
class Synthetic:
    """A tree in a file: its memory, its root, the tables at each level as (bits, addresses), and its leaf count."""

    memory: PhysicalMemory
    root: int
    tables: list[tuple[int, U64]]
    leaves: int

    @property
    def entries(self) -> U64:
        """Every entry of every table, big-endian, one after the other: what the floor is measured on."""
        words = np.frombuffer(self.memory.windows[0][1], np.uint64)
        return np.concatenate([words[_entries_of(at, bits)].reshape(-1) for bits, at in self.tables])

    @property
    def roots(self) -> list[Root]:
        return [Root(PID, RTS_52 | self.root | 13)]

    def swept(self) -> Sweep:
        """A sweep of it."""
        return sweep(self.memory.read_runs, self.roots, windows=self.memory.windows)

    def spaces(self, found: Sweep) -> Spaces:
        """What commands are handed, of a sweep of it."""
        tree = Tree(0, PID, 0, self.roots[0].descriptor)
        return Spaces("a synthetic tree", (tree,), found, self.memory.ram, (0, PAGE))


class _Room:
    """Hands out tables in shuffled pages of 64 KiB, each full of tables of one size."""

    def __init__(self, rng: np.random.Generator, pages: int, first: int = 0) -> None:
        self.order = rng.permutation(pages).astype(np.uint64) + np.uint64(first)
        self.used = 0

    def take(self, count: int, bits: int) -> U64:
        each = PAGE >> (3 + bits)
        pages = max(-(-count // each), 1)
        mine = self.order[self.used : self.used + pages]
        self.used += pages
        inside = np.arange(each, dtype=np.uint64) * np.uint64(8 << bits)
        tables: U64 = (mine[:, None] * np.uint64(PAGE) + inside).reshape(-1)[:count]
        return tables


def synthetic(
    path: str, leaves: int, *, spread: int = 1, seed: int = 1, core: bool = False, targets: int = 1 << 34
) -> Synthetic:
    """A tree with about this many leaves. Only every ``spread``-th last-level table of the address space is there, and
    leaves lead to so many pages of 64 KiB (``targets``) from address 0 on.

    The file at ``path`` is RAM from address 0 on, or with ``core`` a core of it."""
    lead = LEAD if core else 0
    rng = np.random.default_rng(seed)
    half = leaves // 2
    counts = {5: -(-half // 30), 9: -(-half // 480)}
    need = sum((count << (3 + bits)) // PAGE + 2 for bits, count in counts.items())
    lasts = sum(counts.values()) * spread
    need += lasts // 512 // 16 + lasts // (512 * 512) // 16 + 8
    pages = 4 * need
    with open(path, "wb") as file:
        file.truncate(lead + pages * PAGE)
    words = np.memmap(path, np.uint64, "r+", offset=lead)
    room = _Room(rng, pages)
    tables: list[tuple[int, U64]] = []
    entries: list[U64] = []
    made = 0
    for bits, count in counts.items():
        at = room.take(count, bits)
        values = rng.integers(0, targets, (count, 1 << bits), dtype=np.uint64) << np.uint64(16)
        values |= np.uint64(LEAF)
        values[rng.random(values.shape) < 1 / 16] = 0
        made += int(np.count_nonzero(values))
        words[_entries_of(at, bits)] = values.byteswap()
        tables.append((bits, at))
        entries.append(np.uint64(DIRECTORY) | at | np.uint64(bits))
    level = np.zeros(lasts, np.uint64)
    level[::spread][: sum(counts.values())] = np.concatenate(entries)
    for _ in range(2):
        level = _directories(words, room, level, tables, 9)
    top = np.zeros(1 << 13, np.uint64)
    top[: len(level)] = level
    root = int(room.take(1, 13)[0])
    words[root // 8 : root // 8 + (1 << 13)] = top.byteswap()
    tables.append((13, np.array([root], np.uint64)))
    words.flush()
    if core:
        with open(path, "r+b") as file:
            file.write(_headers(pages * PAGE, root))
    memory = PhysicalMemory(MappedFile(path, lead), RamMap([Range(0, pages * PAGE)]))
    return Synthetic(memory, root, tables, made)


def hosted(path: str, guest: Synthetic, pages: int, *, seed: int = 2) -> Synthetic:
    """The partition-scoped tree of a host that has ``pages`` of 64 KiB behind a guest, in random order. The file is the
    host's RAM: what ``guest`` has in its first pages, tables and all, lies there in theirs. The file is sparse."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(pages).astype(np.uint64)
    lasts = -(-pages // 32)
    need = 4 * (lasts // 256 + lasts // 512 // 16 + 8)
    with open(path, "wb") as file:
        file.truncate((pages + need) * PAGE)
    words = np.memmap(path, np.uint64, "r+")
    inside = np.frombuffer(guest.memory.windows[0][1], np.uint64).reshape(-1, PAGE // 8)
    if len(inside) > pages:
        raise ValueError(f"the guest's tables need {len(inside)} pages, more than the {pages} of its memory")
    words.reshape(-1, PAGE // 8)[order[: len(inside)].astype(np.int64)] = inside
    room = _Room(rng, need, pages)
    at = room.take(lasts, 5)
    values = np.zeros(lasts * 32, np.uint64)
    values[:pages] = order * np.uint64(PAGE) | np.uint64(LEAF)
    words[_entries_of(at, 5)] = values.reshape(-1, 32).byteswap()
    tables: list[tuple[int, U64]] = [(5, at)]
    level = np.uint64(DIRECTORY) | at | np.uint64(5)
    for _ in range(2):
        level = _directories(words, room, level, tables, 9)
    top = np.zeros(1 << 13, np.uint64)
    top[: len(level)] = level
    root = int(room.take(1, 13)[0])
    words[root // 8 : root // 8 + (1 << 13)] = top.byteswap()
    tables.append((13, np.array([root], np.uint64)))
    words.flush()
    memory = PhysicalMemory(MappedFile(path), RamMap([Range(0, (pages + need) * PAGE)]))
    return Synthetic(memory, root, tables, pages)


def _headers(size: int, root: int) -> bytes:
    """The headers of a core with so much RAM, by which drgn knows a kernel of 64K pages and its linear map."""
    lines = ("OSRELEASE=6.1.0", f"PAGESIZE={PAGE}", f"SYMBOL(swapper_pg_dir)={LINEAR | root:x}", "KERNELOFFSET=0", "")
    text = "\n".join(lines).encode()
    note = struct.pack("<3I", len(VMCOREINFO), len(text), 0) + VMCOREINFO + bytes(1) + text + bytes(-len(text) % 4)
    at = elf.EHDR_BYTES + 2 * elf.PHDR_BYTES
    ident = b"\x7fELF\2\1\1" + bytes(9)
    sizes = (elf.EHDR_BYTES, elf.PHDR_BYTES, 2, 0, 0, 0)
    header = ident + struct.pack("<HHIQQQI6H", elf.ET_CORE, elf.EM_PPC64, 1, 0, elf.EHDR_BYTES, 0, 2, *sizes)
    notes = struct.pack("<IIQQQQQQ", elf.PT_NOTE, 0, at, 0, 0, len(note), len(note), 4)
    ram = struct.pack("<IIQQQQQQ", elf.PT_LOAD, 7, LEAD, LINEAR, 0, size, size, PAGE)
    return header + notes + ram + note


def _entries_of(tables: U64, bits: int) -> NDArray[np.int64]:
    """Where the entries of these tables are among the words of RAM: a row for each."""
    return (tables.view(np.int64) >> 3)[:, None] + np.arange(1 << bits)


def _directories(words: U64, room: _Room, below: U64, tables: list[tuple[int, U64]], bits: int) -> U64:
    """Tables of directories over these entries; their own entries for the level above."""
    count = -(-len(below) // (1 << bits))
    rows = np.zeros((count, 1 << bits), np.uint64)
    rows.reshape(-1)[: len(below)] = below
    there = rows.any(axis=1)
    at = np.zeros(count, np.uint64)
    at[there] = room.take(int(there.sum()), bits)
    words[_entries_of(at[there], bits)] = rows[there].byteswap()
    tables.append((bits, at[there]))
    return np.where(there, np.uint64(DIRECTORY) | at | np.uint64(bits), np.uint64(0))
