"""Each way to a live guest's RAM beside its floor: a memory copy, or a bare socket to the same stub."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import inspector
from inspector.errors import MemoryReadError
from inspector.guest import Guest
from inspector.radix.bits import PDE_NLB, PDE_NLS, PTE_LEAF, PTE_VALID, RPDB_MASK, RPDS_MASK
from scripts.figures import Figure
from scripts.guests import Machine
from scripts.stubsocket import StubSocket

ROUNDS = 5
BULK = (0x100000, 16 << 20)
"""What is read in one piece: the kernel, mostly."""

Runs = list[tuple[int, int]]


def sources() -> Iterator[Figure]:
    """Bulk reads, a whole guest's tables, and what choosing a way costs."""
    with Machine("pseries-p9") as machine:
        machine.wait_ready()
        machine.pause()
        copy = _copying()
        with inspector.open_target(machine.target, source="gdb") as guest:
            levels = tables(guest)
        with StubSocket(machine.gdb_address) as stub:
            bulk = _took(lambda: stub.read(*BULK), 1)
        machine.pause()
        yield from _bulk(machine, copy, bulk)
        yield from _tables(machine, levels)


def _bulk(machine: Machine, copy: float, socket: float) -> Iterator[Figure]:
    size = BULK[1] / (1 << 20)
    for source, floor, floor_is, bound in (
        ("ram", copy, "memory copy", 0.3),
        ("process", copy, "memory copy", 0.1),
        ("pmemsave", copy, "memory copy", 0.01),
        ("gdb", socket, "bare socket", 0.3),
    ):
        with inspector.open_target(machine.target, source=source) as guest:
            read = guest.target.source.read
            took = _took(lambda read=read: read(*BULK), ROUNDS if source != "gdb" else 1)  # type: ignore[misc]
        yield Figure(
            f"bulk-{source}",
            f"{size:.0f} MiB by {source}",
            size / took,
            size / floor,
            "MiB/s",
            bound,
            least=True,
            floor_is=floor_is,
        )


def _tables(machine: Machine, levels: Sequence[Runs]) -> Iterator[Figure]:
    """All tables of a guest, level by level, each level in one call."""
    count, size = sum(map(len, levels)), sum(length for runs in levels for _, length in runs)
    with StubSocket(machine.gdb_address) as stub:
        floor = _took(lambda: [stub.read(*run) for runs in levels for run in runs], ROUNDS)
    machine.pause()
    for source in ("ram", "process", "pmemsave", "gdb"):
        with inspector.open_target(machine.target, source=source) as guest:

            def whole(guest: Guest = guest) -> None:
                guest.target.clock.tick()
                for runs in levels:
                    guest.memory.read_runs(runs)

            yield Figure(
                f"tables-{source}",
                f"{count} tables, {size >> 10} KiB, by {source}",
                _took(whole, ROUNDS) * 1e3,
                floor * 1e3,
                "ms",
                3,
            )
    with inspector.open_target(machine.target) as guest:
        start = time.perf_counter()
        guest.memory.expect(1 << 30)
        yield Figure(
            "choose",
            "looking for the fastest way, once",
            (time.perf_counter() - start) * 1e3,
            floor * 1e3,
            "ms",
            3,
            besides={"tables": count},
        )


def tables(guest: Guest) -> list[Runs]:
    """(address, length) of every table of every process and the kernel, by level from the roots, each once."""
    level: set[tuple[int, int]] = {
        (entry & RPDB_MASK, 8 << (entry & RPDS_MASK)) for entry in (each.entry for each in guest.processes())
    }
    seen: set[tuple[int, int]] = set()
    levels = []
    while level:
        runs = sorted(level - seen)
        seen |= level
        levels.append(runs)
        level = set()
        for data in guest.memory.read_runs(runs):
            if isinstance(data, MemoryReadError):
                continue
            for at in range(0, len(data), 8):
                entry = int.from_bytes(data[at : at + 8], "big")
                if entry & PTE_VALID and not entry & PTE_LEAF:
                    level.add((entry & PDE_NLB, 8 << (entry & PDE_NLS)))
    return [runs for runs in levels if runs]


def _copying() -> float:
    """Seconds that a copy of as many bytes in memory takes."""
    data = bytearray(BULK[1])
    return _took(lambda: bytes(data), ROUNDS)


def _took(work: Callable[[], object], times: int) -> float:
    """Median seconds of one call, after one that warms up."""
    work()
    took = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)
