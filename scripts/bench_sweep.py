"""The sweep and what is built on it, on a tree of 16 million leaves, each figure beside its floor in the same run.

The tree is made in a file that is mapped like QEMU's RAM: half its leaves are 64K pages and half 4K, one entry in
sixteen is empty, real addresses are drawn at random so that next to nothing goes on, and tables lie where a guest's
allocator puts them, whole 64 KiB pages of them shuffled over four times the room they need."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inspector.errors import Unreadable
from inspector.mappings.ranges import coalesce
from inspector.mappings.reverse import Index
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.radix.address import Context
from inspector.radix.bulk_walk import Translator
from inspector.radix.columns import Columns, Root
from inspector.radix.sweep import Sweep, stream, sweep
from inspector.radix.walk import translate
from scripts.figures import Figure

LEAVES = 1 << 24
ROUNDS = 5
ADDRESSES = 1_000_000
CURVE_LEAVES = 1 << 20
CURVE = (1, 16, 256)
"""How much wider than its leaves need the address space of a tree is, for the curve."""
SECONDS_OF_INDEX, SECONDS_OF_LOOKUP = 3.0, 1e-3
"""What was promised for ``rmap``."""
PAGE = 1 << 16
BEYOND = 1 << 50
"""Where the process table is said to be: the file holds the tree alone."""
LEAF = (3 << 62) | 0x18E
RTS_52 = 0x4000_0000_0000_00A0
DIRECTORY = 1 << 63
U64 = NDArray[np.uint64]


class MappedFile:
    """RAM out of a file that is mapped: a source with windows, as the shared RAM file is."""

    cheap = True

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
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
        return [Root(1, RTS_52 | self.root | 13)]

    def swept(self) -> Sweep:
        """A sweep of it."""
        return sweep(self.memory.read_runs, self.roots, windows=self.memory.windows)


class _Room:
    """Hands out tables in shuffled pages of 64 KiB, each full of tables of one size."""

    def __init__(self, rng: np.random.Generator, pages: int) -> None:
        self.order = rng.permutation(pages).astype(np.uint64)
        self.used = 0

    def take(self, count: int, bits: int) -> U64:
        each = PAGE >> (3 + bits)
        pages = max(-(-count // each), 1)
        mine = self.order[self.used : self.used + pages]
        self.used += pages
        inside = np.arange(each, dtype=np.uint64) * np.uint64(8 << bits)
        tables: U64 = (mine[:, None] * np.uint64(PAGE) + inside).reshape(-1)[:count]
        return tables


def synthetic(path: str, leaves: int, *, spread: int = 1, seed: int = 1) -> Synthetic:
    """A tree with about this many leaves. Only every ``spread``-th last-level table of the address space is there."""
    rng = np.random.default_rng(seed)
    half = leaves // 2
    counts = {5: -(-half // 30), 9: -(-half // 480)}
    need = sum((count << (3 + bits)) // PAGE + 2 for bits, count in counts.items())
    lasts = sum(counts.values()) * spread
    need += lasts // 512 // 16 + lasts // (512 * 512) // 16 + 8
    pages = 4 * need
    with open(path, "wb") as file:
        file.truncate(pages * PAGE)
    words = np.memmap(path, np.uint64, "r+")
    room = _Room(rng, pages)
    tables: list[tuple[int, U64]] = []
    entries: list[U64] = []
    made = 0
    for bits, count in counts.items():
        at = room.take(count, bits)
        values = rng.integers(0, 1 << 34, (count, 1 << bits), dtype=np.uint64) << np.uint64(16)
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
    memory = PhysicalMemory(MappedFile(path), RamMap([Range(0, pages * PAGE)]))
    return Synthetic(memory, root, tables, made)


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


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Least seconds of one call: what it costs where nothing else is in the way."""
    took = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def figures() -> Iterator[Figure]:
    """The sweep, its memory, translations, the reverse index, and the curve."""
    with tempfile.TemporaryDirectory() as folder:
        tree = synthetic(os.path.join(folder, "tree"), LEAVES)
        found = tree.swept()
        if found.leaf_count != tree.leaves or found.oddities:
            raise AssertionError(f"the sweep found {found.leaf_count} leaves of {tree.leaves}")
        yield _rate(tree, found)
        yield _peak(tree)
        columns = found.columns()
        yield _million(tree, found, columns)
        del found
        yield from _reverse(columns)
        del columns, tree
        yield _curve(folder)


def _rate(tree: Synthetic, found: Sweep) -> Figure:
    entries = tree.entries
    floor = best(lambda: entries.view(">u8").sum())
    took = best(tree.swept)
    columns = best(found.columns, 3)
    all_columns = found.columns()
    besides = {
        "leaves": tree.leaves,
        "tables": float(sum(len(at) for _, at in tree.tables)),
        "sweep_ms": took * 1e3,
        "columns_besides_ms": columns * 1e3,
        "ranges_besides_ms": best(lambda: coalesce(all_columns), 2) * 1e3,
        "stream_with_columns_ms": best(lambda: _streamed(tree), 2) * 1e3,
        "pass_that_keeps_the_swapped_ms": best(lambda: entries.byteswap().sum()) * 1e3,
    }
    rate = len(entries) / 1e6
    return Figure(
        "sweep",
        "sweep of 16 million leaves",
        rate / took,
        rate / floor,
        "M/s",
        0.2,
        least=True,
        floor_is="a numpy pass",
        besides=besides,
    )


def _streamed(tree: Synthetic) -> int:
    return sum(len(piece) for piece in stream(tree.memory.read_runs, tree.roots, windows=tree.memory.windows))


def _peak(tree: Synthetic) -> Figure:
    """Most bytes allocated at a time, as numpy tells tracemalloc, room that is never touched included."""
    tracemalloc.start()
    found = tree.swept()
    peak, result = tracemalloc.get_traced_memory()[1], found.nbytes
    tracemalloc.reset_peak()
    columns = found.columns()
    with_columns = tracemalloc.get_traced_memory()[1]
    both = result + columns.nbytes
    del found, columns
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    _streamed(tree)
    streamed = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    mib = 1 << 20
    besides = {"columns_peak_to_result": with_columns / both, "stream_peak_mib": streamed / mib}
    return Figure(
        "sweep-peak", "its peak memory", peak / mib, result / mib, "MiB", 3, floor_is="the result", besides=besides
    )


def _million(tree: Synthetic, found: Sweep, columns: Columns) -> Figure:
    rng = np.random.default_rng(2)
    eas = columns.offset[rng.integers(0, len(columns), ADDRESSES)]
    eas += rng.integers(0, 4096, ADDRESSES, dtype=np.uint64)
    start = time.perf_counter()
    translator = Translator(found)
    made = time.perf_counter() - start
    took = best(lambda: translator.translate(eas)) / ADDRESSES
    context = Context(
        lpcr=0x50_0000, msr=1 << 63 | 0x4030, pid=1, process_table=1 << 63 | BEYOND, flat=True, amr=0, iamr=0
    )
    some = eas[:2000].tolist()
    descriptor = tree.roots[0].descriptor

    def read(address: int) -> int:
        return descriptor if address == BEYOND + 16 else tree.memory.read_u64(address)

    def one_by_one() -> None:
        for ea in some:
            translate(read, context, ea)

    answers = translator.translate(eas[:2000])
    if [translate(read, context, ea).ra for ea in some] != answers.ra.tolist():
        raise AssertionError("translations differ")
    floor = best(one_by_one, 3) / len(some)
    return Figure(
        "million",
        "a million random addresses in one call",
        1e-6 / took,
        1e-6 / floor,
        "M/s",
        50,
        least=True,
        floor_is="one by one",
        besides={"ns_each": took * 1e9, "one_by_one_ns": floor * 1e9, "made_once_ms": made * 1e3},
    )


def _reverse(columns: Columns) -> Iterator[Figure]:
    index: list[Index] = []
    built = best(lambda: index.append(Index.build(columns)), 1)
    keys = np.random.default_rng(3).integers(0, 1 << 62, len(columns), dtype=np.uint64)
    sort = best(lambda: np.sort(keys), 1)
    yield Figure(
        "rmap-index",
        "an index of 16 million leaves",
        built * 1e3,
        SECONDS_OF_INDEX * 1e3,
        "ms",
        1,
        floor_is="the promise",
        besides={"a_sort_of_as_many_ms": sort * 1e3, "index_mib": index[0].nbytes / (1 << 20)},
    )
    ras = columns.ra[:: len(columns) // 500].tolist()
    look = best(lambda: [index[0].lookup(ra) for ra in ras]) / len(ras)
    scan = best(lambda: np.flatnonzero(columns.ra == np.uint64(ras[7])), 1)
    yield Figure(
        "rmap-lookup",
        "a lookup in it",
        look * 1e6,
        SECONDS_OF_LOOKUP * 1e6,
        "us",
        1,
        floor_is="the promise",
        besides={"a_scan_instead_us": scan * 1e6},
    )


def _curve(folder: str) -> Figure:
    """As many leaves in ever wider address spaces: what a sweep costs for each MiB of tables that there are."""
    costs: list[float] = []
    besides: dict[str, float] = {}
    for spread in CURVE:
        tree = synthetic(os.path.join(folder, f"spread-{spread}"), CURVE_LEAVES, spread=spread)
        mib = sum(len(at) << (3 + bits) for bits, at in tree.tables) / (1 << 20)
        took = best(tree.swept)
        costs.append(took / mib)
        reach = sum(len(at) for bits, at in tree.tables[:2]) * spread * 2 / 1024
        besides |= {f"x{spread}_address_space_gib": reach, f"x{spread}_tables_mib": mib, f"x{spread}_ms": took * 1e3}
    return Figure(
        "sweep-curve",
        f"a MiB of tables, address space x{CURVE[-1]} to x1",
        costs[-1] * 1e6,
        costs[0] * 1e6,
        "us",
        2,
        floor_is="x1",
        besides=besides,
    )
