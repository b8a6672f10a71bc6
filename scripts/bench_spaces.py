"""Every process of a live Debian guest in one sweep: by each way to RAM, against what was promised or a bare socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import inspector
from inspector.errors import MemoryReadError
from inspector.guest import Guest
from inspector.memory.physical import BatchSource
from scripts.figures import Figure, best_time
from scripts.guests import Machine
from scripts.stubsocket import StubSocket

ROUNDS = 7
PAIRS = 5
PROMISED = 0.050
"""Seconds for a sweep of all processes where RAM is quick to read."""


class Told:
    """A source that reads many runs at once, and keeps which it was asked for."""

    cheap = False

    def __init__(self, source: BatchSource) -> None:
        self.source = source
        self.gap = source.gap
        self.asked: list[tuple[int, int]] = []
        self.description = "what is asked of it is kept"

    def read(self, address: int, length: int) -> bytes:
        found = self.read_runs([(address, length)])[0]
        if isinstance(found, MemoryReadError):
            raise found
        return found

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        self.asked += runs
        return self.source.read_runs(runs)


def figures() -> Iterator[Figure]:
    """All of ``guest.spaces()``, from the process table on, nothing being kept from before."""
    with Machine("pseries-p9") as machine:
        machine.wait_ready()
        machine.shell("for i in 1 2 3 4 5 6 7 8; do sleep 1000000 & done")
        machine.pause()
        for source in ("ram", "process"):
            with inspector.open_target(machine.target, source=source) as guest:
                yield _promised(guest, source)
            machine.pause()
        yield _beside_the_socket(machine)


def anew(guest: Guest) -> None:
    """Sweep as if the guest had just stopped."""
    guest.target.clock.tick()
    guest.spaces()


def _promised(guest: Guest, source: str) -> Figure:
    anew(guest)
    bytes_before = guest.memory.traffic.bytes
    took = best_time(lambda: anew(guest), ROUNDS)
    spaces = guest.spaces()
    read = (guest.memory.traffic.bytes - bytes_before) // ROUNDS
    tables = spaces.sweep.tables()
    scan = best_time(lambda: list(guest.processes()), ROUNDS)
    copied = bytearray(read)
    return Figure(
        f"spaces-{source}",
        f"all {len(spaces.processes)} PIDs of a live guest, by {source}",
        took * 1e3,
        PROMISED * 1e3,
        "ms",
        1,
        floor_is="the promise",
        besides={
            "leaves": len(spaces.columns),
            "tables": len(tables),
            "tables_kib": int(tables.length.sum()) / 1024,
            "scan_of_the_process_table_ms": scan * 1e3,
            "copy_of_as_many_bytes_ms": best_time(lambda: bytes(copied), ROUNDS) * 1e3,
        },
    )


def _beside_the_socket(machine: Machine) -> Figure:
    """Over GDB/MI, and the same bytes by a bare socket, turn by turn: the pair whose ratio is in the middle."""
    pairs: list[tuple[float, float]] = []
    tables: list[tuple[float, float]] = []
    for _ in range(PAIRS):
        with inspector.open_target(machine.target, source="gdb") as guest:
            anew(guest)
            source = guest.target.source
            if not isinstance(source, BatchSource):
                raise AssertionError("the bridge reads one run at a time")
            told = guest.memory.source = Told(source)
            guest.target.clock.tick()
            processes = [each.pid for each in guest.processes()]
            whole = _once(lambda: anew(guest))
            told.asked.clear()
            anew(guest)
            everything = list(told.asked)
            guest.target.clock.tick()
            told.asked.clear()
            trees = _once(lambda: guest.spaces(processes))  # noqa: B023
            some = list(told.asked)
        machine.pause()
        with StubSocket(machine.gdb_address) as stub:
            pairs.append((whole, _once(lambda: [stub.read(*run) for run in everything])))  # noqa: B023
            tables.append((trees, _once(lambda: [stub.read(*run) for run in some])))  # noqa: B023
        machine.pause()
    ours, floor = _middle(pairs)
    without, floor_without = _middle(tables)
    return Figure(
        "spaces-gdb",
        f"all {len(processes)} PIDs of a live guest, over GDB/MI",
        ours * 1e3,
        floor * 1e3,
        "ms",
        3,
        besides={
            "mib": sum(length for _, length in everything) / (1 << 20),
            "reads": len(everything),
            "the_trees_alone_ms": without * 1e3,
            "their_bytes_by_socket_ms": floor_without * 1e3,
            "the_trees_alone_ratio": without / floor_without,
        },
    )


def _middle(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]


def _once(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
