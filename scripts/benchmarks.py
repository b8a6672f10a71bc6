"""How fast it is where a person waits: each figure beside its floor, measured in the same run.

    scripts/bench [--json] [NAME…]

A floor is what the machine itself costs for the same work: a bare socket to the same stub, a bare Python. The bound is
the ratio that was promised; nothing here passes or fails, it tells."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial

import inspector
from inspector.guest import Guest
from inspector.memory.physical import MemorySource
from inspector.radix.address import Context
from inspector.radix.walk import translate
from scripts.figures import Figure, median_time
from scripts.guests import Machine
from scripts.oracle import addresses
from scripts.stubsocket import StubSocket

ROUNDS = 7
KERNEL = 0xC000_0000_0000_0000


class Spy:
    """A source that counts what is asked of it."""

    def __init__(self, source: MemorySource) -> None:
        self.source = source
        self.asked: list[tuple[int, int]] = []

    @property
    def description(self) -> str:
        return self.source.description

    @property
    def cheap(self) -> bool:
        return self.source.cheap

    def read(self, address: int, length: int) -> bytes:
        self.asked.append((address, length))
        return self.source.read(address, length)


def bridge(machine: Machine) -> Iterator[Figure]:
    """The bridge against a bare socket to the same stub, turn by turn."""
    small: list[tuple[float, float]] = []
    walks: list[tuple[float, float]] = []
    bulk: list[tuple[float, float]] = []
    with inspector.open_target(machine.target, source="gdb") as guest:
        counted = _thousand(guest)
    for _ in range(ROUNDS):
        with inspector.open_target(machine.target, source="gdb") as guest:
            one, mib = _reads(guest.target.source.read)
            ours, reads = cold(guest, guest.context(), KERNEL)
        with StubSocket(machine.gdb_address) as stub:
            floor, floor_mib = _reads(stub.read)
            same = median_time(partial(repeat, stub, reads), 100)
        small.append((one, floor))
        walks.append((ours, same))
        bulk.append((1 / mib, 1 / floor_mib))
    yield Figure("small-read", "one 8-byte read over the bridge", *middle(small, 1e6), "us", 3)
    yield Figure("cold-xlate", f"a cold xlate ({len(reads)} reads)", *middle(walks, 1e6), "us", 3)
    yield Figure("bulk-read", "a 1 MiB read", *middle(bulk, 1), "MiB/s", 0.3, least=True)
    yield Figure(
        "thousand",
        "fetches for 1,000 addresses, to distinct table parts",
        counted["fetches"],
        counted["distinct"],
        "fetches",
        1,
        floor_is="each once",
        besides=counted,
    )


def middle(pairs: Sequence[tuple[float, float]], scale: float) -> tuple[float, float]:
    """The pair whose ratio is the median of all pairs'."""
    ours, floor = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    return ours * scale, floor * scale


def _reads(read: Callable[[int, int], bytes]) -> tuple[float, float]:
    """Median seconds of 8 bytes and of 1 MiB."""
    return median_time(lambda: read(0x274_0000, 8), 300), median_time(lambda: read(0, 1 << 20), 5)


def repeat(stub: StubSocket, reads: Sequence[tuple[int, int]]) -> None:
    """Make these reads, one after the other."""
    for address, length in reads:
        stub.read(address, length)


def cold(guest: Guest, context: Context, ea: int) -> tuple[float, list[tuple[int, int]]]:
    """Median seconds of a walk with nothing kept, its registers being known, and the reads that it made."""
    spy = guest.memory.source = Spy(guest.target.source)

    def once() -> None:
        guest.target.clock.tick()
        spy.asked.clear()
        if not translate(guest.memory.read_u64, context, ea).ok:
            raise AssertionError(f"{ea:#x} leads nowhere")

    took = median_time(once, 100)
    return took, list(spy.asked)


def _thousand(guest: Guest) -> dict[str, float]:
    """How often the stub is asked for 1,000 addresses of a stopped guest."""
    asked = list(addresses(guest, 1000, seed=1))
    guest.target.clock.tick()
    spy = guest.memory.source = Spy(guest.target.source)
    start = time.perf_counter()
    for ea in asked:
        guest.translate(ea)
    took = time.perf_counter() - start
    return {"fetches": len(spy.asked), "distinct": len(set(spy.asked)), "seconds": took}


STARTS = (("start", "xlate", f"{KERNEL:#x}"), ("start-maps", "maps"), ("start-maps-all", "maps", "--all"))


def start() -> Iterator[Figure]:
    """From process start to answer, against Python importing numpy, turn by turn."""
    ours: dict[str, list[float]] = {name: [] for name, *_ in STARTS}
    floor = []
    for _ in range(2 * ROUNDS):
        for name, *words in STARTS:
            ours[name].append(_run("-m", "inspector", "demo", *words))
        floor.append(_run("-c", "import numpy"))
    for name, *words in STARTS:
        yield Figure(
            name,
            f"inspector demo {words[0]}{' --all' if '--all' in words else ''}, from start to answer",
            statistics.median(ours[name]) * 1e3,
            statistics.median(floor) * 1e3,
            "ms",
            3,
            floor_is="import numpy",
        )


def _run(*words: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, timeout=60, env=os.environ)
    return time.perf_counter() - begin


def live() -> Iterator[Figure]:
    """What needs a guest."""
    with Machine("pseries-p9") as machine:
        machine.wait_ready()
        yield from bridge(machine)


def sources() -> Iterator[Figure]:
    """The ways to RAM; see bench_sources.py."""
    from scripts.bench_sources import sources

    yield from sources()


def sweep() -> Iterator[Figure]:
    """Whole trees in bulk; see bench_sweep.py."""
    from scripts.bench_sweep import figures

    yield from figures()


def stages() -> Iterator[Figure]:
    """Both stages; see bench_stages.py."""
    from scripts.bench_stages import figures

    yield from figures()


def spaces() -> Iterator[Figure]:
    """Every process of a live guest; see bench_spaces.py."""
    from scripts.bench_spaces import figures

    yield from figures()


def life() -> Iterator[Figure]:
    """KVM's second-level life cycle; see bench_life.py."""
    from scripts.bench_life import figures

    yield from figures()


GROUPS: dict[str, Callable[[], Iterator[Figure]]] = {
    "start": start,
    "bridge": live,
    "life": life,
    "sources": sources,
    "spaces": spaces,
    "stages": stages,
    "sweep": sweep,
}


def main(words: Sequence[str]) -> int:
    """Print the figures of the groups named, or of all."""
    as_json = "--json" in words
    names = [word for word in words if word != "--json"] or list(GROUPS)
    for name in names:
        if name not in GROUPS:
            print(f"bench: there is no group {name!r}; there are {', '.join(GROUPS)}", file=sys.stderr)
            return 2
    figures = [figure for name in names for figure in GROUPS[name]()]
    for figure in figures:
        if as_json:
            print(json.dumps({**asdict(figure), "ratio": figure.ratio, "kept": figure.kept}))
    if not as_json:
        _table(figures)
    return 0


def _table(figures: Sequence[Figure]) -> None:
    print(f"{'what':<52} {'figure':>10} {'floor':>10} {'unit':<8} {'ratio':>7}  bound")
    for each in figures:
        bound = f"{'>=' if each.least else '<='} {each.bound:g} of {each.floor_is}"
        print(
            f"{each.what:<52} {each.figure:>10.1f} {each.floor:>10.1f} {each.unit:<8} {each.ratio:>7.4g}  {bound}"
            + ("" if each.kept else "  NOT KEPT")
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
