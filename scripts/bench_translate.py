"""A million random addresses in one call, against drgn's ``follow_phys`` for one after the other on the same tree."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import inspector
from inspector.radix.address import Context
from inspector.radix.bulk_walk import Translator
from inspector.radix.columns import U64, Columns
from inspector.radix.walk import translate
from inspector.spaces import Spaces
from scripts.bench_tree import PID, Synthetic
from scripts.figures import Figure, best_time
from scripts.peers import Drgn

ADDRESSES = 1_000_000
SOME = 100_000
"""So many are asked of drgn, of the same addresses."""
BOUND = 50
RECORDED = Path(__file__).parent.parent / "fixtures" / "pseries-p9.core.gz"
BEYOND = 1 << 50
"""Where the process table of the synthetic tree is said to be: the file holds the tree alone."""


def million(tree: Synthetic, spaces: Spaces, core: str) -> Iterator[Figure]:
    """On a tree of many leaves, which is a core at ``core``; and on a recorded Debian guest, its kernel and a process.

    Without drgn the floor is our own walk, one address after the other."""
    columns = spaces.columns
    own = _one_by_one(tree, columns)
    try:
        peer = Drgn(core)
    except ImportError:
        print("bench: drgn is not installed (the 'drgn' extra has it); its figures are left out", file=sys.stderr)
        took, made = _ours(spaces, 0, _random(columns))
        yield _figure("million", "a million random addresses, 16M leaves", took, own, made, "one by one", {})
        return
    # drgn knows one page size at a time, here 64K: only those are asked about.
    yield _against(peer, "million", "16M leaves", spaces, columns.take(columns.shift == 16), {"one_by_one_ns": own})
    del peer
    with tempfile.TemporaryDirectory() as folder:
        unpacked = os.path.join(folder, "guest.core")
        Path(unpacked).write_bytes(gzip.decompress(RECORDED.read_bytes()))
        peer = Drgn(unpacked)
        with inspector.open_target(unpacked) as guest:
            recorded = guest.spaces()
            for at, name in ((0, "kernel"), (1, "process")):
                mine = recorded.columns.take(recorded.columns.root == at)
                yield _against(peer, f"million-{name}", f"a Debian {name}", recorded, mine, {}, at)


def _against(
    peer: Drgn, name: str, what: str, spaces: Spaces, leaves: Columns, besides: dict[str, float], at: int = 0
) -> Figure:
    """Ours and drgn's on the same addresses, turn by turn."""
    root, base = spaces.trees[at].root, spaces.roots[at].base
    eas = _random(leaves)
    asked = (eas[:SOME] | np.uint64(base)).tolist()
    answers = Translator(spaces.sweep, at).translate(eas)
    if [peer.follow(root, ea) for ea in asked[:1000]] != answers.ra[:1000].tolist():
        raise AssertionError("drgn finds other addresses")
    theirs = min(best_time(lambda: peer.follow_all(root, asked), 1) for _ in range(3)) / len(asked)
    took, made = _ours(spaces, at, eas)
    return _figure(name, f"a million random addresses, {what}", took, theirs * 1e9, made, "drgn", besides)


def _figure(
    name: str, what: str, took: float, floor: float, made: float, floor_is: str, besides: dict[str, float]
) -> Figure:
    """From nanoseconds for each address."""
    told = {"ns_each": took, f"{floor_is.replace(' ', '_')}_ns": floor, "made_once_ms": made, **besides}
    return Figure(name, what, 1e3 / took, 1e3 / floor, "M/s", BOUND, least=True, floor_is=floor_is, besides=told)


def _ours(spaces: Spaces, at: int, eas: U64) -> tuple[float, float]:
    """Nanoseconds for each address, and milliseconds once for a tree."""
    translator = Translator(spaces.sweep, at)
    made = best_time(lambda: Translator(spaces.sweep, at), 2)
    return best_time(lambda: translator.translate(eas)) / len(eas) * 1e9, made * 1e3


def _random(leaves: Columns) -> U64:
    """Addresses anywhere within random leaves, below the quadrant."""
    rng = np.random.default_rng(2)
    rows = rng.integers(0, len(leaves), ADDRESSES)
    inside = rng.integers(0, 1 << 62, ADDRESSES, dtype=np.uint64)
    eas: U64 = leaves.offset[rows] + (inside & ((np.uint64(1) << leaves.shift[rows].astype(np.uint64)) - np.uint64(1)))
    return eas


def _one_by_one(tree: Synthetic, columns: Columns) -> float:
    """Nanoseconds that our own walk takes for an address, in plain Python."""
    context = Context(
        lpcr=0x50_0000, msr=1 << 63 | 0x4030, pid=PID, process_table=1 << 63 | BEYOND, flat=True, amr=0, iamr=0
    )
    descriptor = tree.roots[0].descriptor

    def read(address: int) -> int:
        return descriptor if address == BEYOND + 16 * PID else tree.memory.read_u64(address)

    eas = _random(columns)[:2000]
    if [translate(read, context, ea).ra for ea in eas.tolist()] != Translator(tree.swept()).translate(eas).ra.tolist():
        raise AssertionError("translations differ")
    return best_time(lambda: [translate(read, context, ea) for ea in eas.tolist()], 3) / len(eas) * 1e9
