"""The sweep and what is built on it, on a tree of 16 million leaves, each figure beside its floor in the same run.

Where the floor is a promise in seconds, what the machine itself takes for a like work is told besides."""

from __future__ import annotations

import os
import random
import tempfile
import tracemalloc
from collections.abc import Iterator

import numpy as np

from inspector import processes
from inspector.mappings.ranges import coalesce
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.radix.sweep import Sweep, stream
from inspector.spaces import Spaces
from scripts.bench_translate import million
from scripts.bench_tree import MappedFile, Synthetic, synthetic
from scripts.figures import Figure, best_time

LEAVES = 1 << 24
ROUNDS = 9
CURVE_LEAVES = 1 << 20
CURVE = (1, 16, 256)
"""How much wider than its leaves need the address space of a tree is, for the curve."""
SECONDS_OF_INDEX, SECONDS_OF_LOOKUP = 3.0, 1e-3
"""What was promised for ``rmap``."""
TABLE_BYTES = 1 << 24
LIVE = 100
"""A process table of 2^20 entries, as Linux makes it, and how many of them are in use."""


def figures() -> Iterator[Figure]:
    """A process table, the curve, the sweep, its memory, translations, and the reverse index."""
    with tempfile.TemporaryDirectory() as folder:
        yield _scan(folder)
        yield from _curve(folder)  # before the heap has seen the large tree
        path = os.path.join(folder, "tree")
        tree = synthetic(path, LEAVES, core=True)
        found = tree.swept()
        if found.leaf_count != tree.leaves or found.oddities:
            raise AssertionError(f"the sweep found {found.leaf_count} leaves of {tree.leaves}")
        yield _rate(tree, found)
        yield _peak(tree)
        spaces = tree.spaces(found)
        yield from million(tree, spaces, path)
        yield from _reverse(spaces)


def _rate(tree: Synthetic, found: Sweep) -> Figure:
    entries = tree.entries
    rounds = [(best_time(lambda: entries.view(">u8").sum(), 1), best_time(tree.swept, 1)) for _ in range(ROUNDS)]
    floor, took = map(min, zip(*rounds, strict=True))  # turn by turn: whoever else is here meets both
    columns = best_time(found.columns, 3)
    all_columns = found.columns()
    besides = {
        "leaves": tree.leaves,
        "tables": float(sum(len(at) for _, at in tree.tables)),
        "sweep_ms": took * 1e3,
        "columns_besides_ms": columns * 1e3,
        "ranges_besides_ms": best_time(lambda: coalesce(all_columns), 2) * 1e3,
        "stream_with_columns_ms": best_time(lambda: _streamed(tree), 2) * 1e3,
        "pass_that_keeps_the_swapped_ms": best_time(lambda: entries.byteswap().sum()) * 1e3,
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


def _reverse(spaces: Spaces) -> Iterator[Figure]:
    """The index that ``rmap`` asks, made as it is made there."""
    ra = spaces.columns.ra  # they are kept, so that the index is measured alone
    built = best_time(lambda: _index_anew(spaces), 2)
    index = spaces.index
    keys = np.random.default_rng(3).integers(0, 1 << 62, len(ra), dtype=np.uint64)
    sort = best_time(lambda: np.sort(keys), 1)
    yield Figure(
        "rmap-index",
        "an index of 16 million leaves",
        built * 1e3,
        SECONDS_OF_INDEX * 1e3,
        "ms",
        1,
        floor_is="the promise",
        besides={"a_sort_of_as_many_ms": sort * 1e3, "index_mib": index.nbytes / (1 << 20)},
    )
    ras = ra[:: len(ra) // 500].tolist()
    look = best_time(lambda: [index.lookup(each) for each in ras]) / len(ras)
    scan = best_time(lambda: np.flatnonzero(ra == np.uint64(ras[7])), 1)
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


def _index_anew(spaces: Spaces) -> None:
    """Make the index that is kept from now on."""
    vars(spaces).pop("index", None)
    _ = spaces.index


def _curve(folder: str) -> Iterator[Figure]:
    """As many leaves in ever wider address spaces: what a sweep costs for each MiB of tables that there are."""
    trees = [synthetic(os.path.join(folder, f"x{spread}"), CURVE_LEAVES, spread=spread) for spread in CURVE]
    rounds = [[best_time(tree.swept, 1) for tree in trees] for _ in range(ROUNDS)]  # turn by turn
    costs = [min(took) for took in zip(*rounds, strict=True)]
    sizes = [sum(len(at) << (3 + bits) for bits, at in tree.tables) / (1 << 20) for tree in trees]
    for spread, tree, took, mib in zip(CURVE, trees, costs, sizes, strict=True):
        gib = sum(len(at) for _, at in tree.tables[:2]) * spread * 2 / 1024
        yield Figure(
            f"sweep-curve-{spread}",
            f"a MiB of tables of 1M leaves spread over {gib:,.0f} GiB",
            took / mib * 1e6,
            costs[0] / sizes[0] * 1e6,
            "us",
            2,
            floor_is=f"x{CURVE[0]}",
            besides={"address_space_gib": gib, "tables_mib": mib, "ms": took * 1e3},
        )


def _scan(folder: str) -> Figure:
    """A process table that is nearly empty, against reading its entries one by one."""
    path = os.path.join(folder, "process-table")
    rng = random.Random(4)
    table = bytearray(TABLE_BYTES)
    for at in rng.sample(range(0, TABLE_BYTES, 16), LIVE):
        table[at : at + 8] = rng.randbytes(8)
    with open(path, "wb") as file:
        file.write(table)
    memory = PhysicalMemory(MappedFile(path), RamMap([Range(0, TABLE_BYTES)]))

    def scan() -> int:
        return len(list(processes.scan(memory, 0, TABLE_BYTES, None, lambda *_told: None)))

    if scan() != LIVE:
        raise AssertionError("the scan lost a process")
    some = range(0, TABLE_BYTES // 64, 16)
    took, each = best_time(scan), best_time(lambda: [memory.read_u64(at) for at in some], 2) * 64
    words = np.frombuffer(memory.windows[0][1], np.uint64)
    return Figure(
        "scan",
        f"a process table of 2^20 entries, {LIVE} in use",
        took * 1e3,
        each * 1e3,
        "ms",
        0.1,
        floor_is="a read each",
        besides={"a_numpy_pass_ms": best_time(lambda: np.flatnonzero(words)) * 1e3},
    )
