"""Both stages: a walk through them over the bridge beside a bare socket doing its reads, and a composed sweep beside a
sweep of the guest's own trees alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import inspector
from inspector.mappings.behind import Behind
from inspector.radix.columns import Root
from inspector.radix.sweep import sweep
from inspector.radix.walk import translate
from inspector.spaces import Spaces
from inspector.trees import Tree
from scripts.bench_tree import PAGE, PID, Synthetic, hosted, synthetic
from scripts.benchmarks import ROUNDS, cold, middle, repeat
from scripts.figures import Figure, best_time, median_time
from scripts.scene import scene
from scripts.stubsocket import StubSocket

LEAVES = 1 << 20
PAGES = 1 << 20
"""Of 64 KiB that the host has behind the guest, in random order: 64 GiB."""
LPID = 1
WALKED = (1, 5, 0x3000_0008)
"""LPID, PID and EA in the scene: a page of 4K in pages of 64K, so that both trees are walked to the bottom."""


def figures() -> Iterator[Figure]:
    """The sweep, then the walk, which boots a host."""
    with tempfile.TemporaryDirectory() as folder:
        yield _sweep(folder)
    yield from _walk()


def _walk() -> Iterator[Figure]:
    """Beside what the bare socket takes for every entry that the walk depends on, and for the reads that it really
    made: an entry may lie in what was read for another."""
    lpid, pid, ea = WALKED
    each: list[tuple[float, float]] = []
    fetched: list[tuple[float, float]] = []
    with closing(scene()) as host:
        for _ in range(ROUNDS):
            with inspector.open_target(host.machine.target, source="gdb") as guest:
                context = guest.context().as_partition(lpid).as_process(pid, ea)
                ours, reads = cold(guest, context, ea)
                steps = translate(guest.memory.read_u64, context, ea).steps
            entries = [(step.address, 8 if step.second is None else 16) for step in steps]
            with StubSocket(host.machine.gdb_address) as stub:
                each.append((ours, median_time(partial(repeat, stub, entries), 50)))
                fetched.append((ours, median_time(partial(repeat, stub, reads), 100)))
    yield Figure("two-stage-walk", f"a walk through both stages ({len(entries)} entries)", *middle(each, 1e6), "us", 3)
    yield Figure("two-stage-fetches", f"the same, by its {len(reads)} reads", *middle(fetched, 1e6), "us", 3)


def _sweep(folder: str) -> Figure:
    """All that a command asks: trees swept, leaves as columns, ranges; the host's own tree too, once and kept."""
    own = synthetic(os.path.join(folder, "guest"), LEAVES, targets=PAGES)
    host = hosted(os.path.join(folder, "host"), own, PAGES)
    behind = _behind(host)
    for spaces in (_alone(own), _composed(own, host, behind)):
        if len(spaces.columns) != own.leaves or spaces.sweep.oddities:
            raise AssertionError(f"there are {len(spaces.columns)} leaves of {own.leaves}")
    rounds = [
        (
            best_time(lambda: _all(_composed(own, host, _behind(host))), 1),
            best_time(lambda: _all(_composed(own, host, behind)), 1),
            best_time(lambda: _all(_alone(own)), 1),
        )
        for _ in range(ROUNDS)
    ]
    took, kept, floor = map(min, zip(*rounds, strict=True))
    return Figure(
        "composed-sweep",
        "a composed sweep of a guest with a million leaves",
        took * 1e3,
        floor * 1e3,
        "ms",
        3,
        floor_is="its own stage",
        besides={"with_the_hosts_tree_kept_ms": kept * 1e3, "host_leaves": PAGES, "guest_leaves": own.leaves},
    )


def _all(spaces: Spaces) -> None:
    _ = spaces.columns, spaces.ranges


def _alone(own: Synthetic) -> Spaces:
    """The guest's tree, as if the guest were all there is."""
    return own.spaces(own.swept())


def _behind(host: Synthetic) -> Behind:
    """The host's tree, swept."""
    return Behind(host.spaces(host.swept()).ranges)


def _composed(own: Synthetic, host: Synthetic, behind: Behind) -> Spaces:
    """The guest's tree, read from the host's memory wherever its tables lie there, and led on."""
    root = own.roots[0]
    found = sweep(
        host.memory.read_runs,
        [Root(PID, root.descriptor, lpid=LPID)],
        windows=host.memory.windows,
        through=behind,
    )
    tree = Tree(LPID, PID, 0, root.descriptor)
    return Spaces("a synthetic guest", (tree,), found, host.memory.ram, (0, PAGE), behind=behind)
