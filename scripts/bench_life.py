"""KVM's second-level life cycle: a replay beside reading and writing its lines as JSON, a dirty log beside copying the
tables that it is in, and the memory that faults take beside what they change."""

from __future__ import annotations

import json
import os
import random
import tempfile
import tracemalloc
from collections.abc import Iterator
from time import process_time
from typing import Any

import inspector
from inspector.commands.registry import Session, run
from inspector.kvm import operations
from inspector.kvm.create import create_pte
from inspector.kvm.fault import Fault
from inspector.kvm.host import HostPage
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.pool import Pool
from inspector.kvm.slots import LOG_DIRTY_PAGES, MemorySlot
from inspector.memory.overlay import Overlay
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.render import show
from inspector.render.style import Style
from scripts.figures import Figure, best_time

LINES = 100_000
ROUNDS = 3
HVA = 0x7F00_0000_0000
PAGE_SHIFT, LARGE_SHIFT = 16, 21
MEMORY = 64 << 30
PAGES = MEMORY >> PAGE_SHIFT
TERABYTE = 1 << 40
PROMISED_RATE, PROMISED_SECONDS = 20_000, 1.0
DIRTY = 0xC000_0000_0000_0387
STORE = 0x4200_0000
POOL = 1 << 41
"""Where tables are laid: above the terabyte."""


def figures() -> Iterator[Figure]:
    """The replay, the log, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _replay(os.path.join(folder, "lines"))
    yield _log()
    yield _memory()


def _lines() -> Iterator[dict[str, Any]]:
    """Mostly faults, all over 64 GiB."""
    rng = random.Random(5)
    yield {"op": "slot", "lpid": 1, "base": "0x0", "size": hex(MEMORY), "flags": 0, "hva": hex(HVA)}
    for _ in range(LINES - 1):
        gpa = rng.randrange(PAGES) << PAGE_SHIFT
        op = rng.choice(("fault",) * 7 + ("unmap", "age", "test-age"))
        if op != "fault":
            yield {"op": op, "lpid": 1, "gpa": hex(gpa)}
            continue
        there = {
            "hva": hex(HVA + gpa),
            "base": hex(gpa),
            "shift": PAGE_SHIFT,
            "writable": True,
            "dirty": True,
            "io": False,
        }
        yield {"op": op, "lpid": 1, "ea": hex(gpa), "gpa": hex(gpa), "dsisr": hex(STORE), "host": there}


def _replay(path: str) -> Iterator[Figure]:
    lines = [json.dumps(each) for each in _lines()]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    took, floor = [], []
    for _ in range(ROUNDS):  # turn by turn
        start = process_time()
        answered = _replayed(path)
        took.append(process_time() - start)
        start = process_time()
        for line in lines:
            json.dumps(json.loads(line))
        floor.append(process_time() - start)
        if answered != LINES:
            raise AssertionError(f"{answered} answers to {LINES} lines")
    rate = LINES / min(took)
    bare = LINES / min(floor)
    yield Figure(
        "replay",
        f"replay of {LINES:,} operations, JSON in and out",
        rate,
        bare,
        "1/s",
        0.1,
        least=True,
        floor_is="JSON alone",
    )
    yield Figure("replay-promise", "the same", rate, PROMISED_RATE, "1/s", 1, least=True, floor_is="the promise")


def _replayed(path: str) -> int:
    """How many lines it answered."""
    style = Style()
    with inspector.open_target("demo") as guest:
        answers = (
            line for each in run(Session(guest), ["replay", path, "--as", "6.1"]) for line in show.text(each, style)
        )
        return sum(line.startswith("{") for line in answers)


class _Nothing:
    """RAM that is all zeros."""

    description = "zeros"
    cheap = True

    def read(self, _address: int, length: int) -> bytes:
        return bytes(length)


def _machine(version: str) -> tuple[Machine, Vm, Overlay]:
    """A hypervisor with one guest, whose tables are laid in a pool."""
    overlay = Overlay(PhysicalMemory(_Nothing(), RamMap([Range(0, 1 << 30)])), [Range(POOL, 256 << 20)])
    machine = Machine(overlay, Pool(overlay, POOL, 256 << 20), version=version)
    return machine, machine.make(1), overlay


def _log() -> Figure:
    """The log of a terabyte in leaves of 2M, all dirty: of 4.16, for a later kernel logs no large leaf as a whole."""
    machine, vm, overlay = _machine("4.16")
    slot = MemorySlot(0, TERABYTE, LOG_DIRTY_PAGES)
    vm.slots.add(slot)
    leaves = TERABYTE >> LARGE_SHIFT
    for number in range(leaves):
        create_pte(machine, vm, DIRTY | number << LARGE_SHIFT, number << LARGE_SHIFT, 1)
    tables = range(POOL, POOL + machine.pool.used, 4096)
    copy = best_time(lambda: [bytearray(overlay.read(address, 4096)) for address in tables], ROUNDS)
    start = process_time()
    answer = operations.read_log(machine, vm, slot)
    took = process_time() - start
    if answer.log is None or answer.log.pages != TERABYTE >> PAGE_SHIFT or len(answer.trace.tlbie) != leaves:
        raise AssertionError("the log is not whole")
    return Figure(
        "dirty-log",
        f"the dirty log of 1 TiB in {leaves:,} leaves of 2M",
        took * 1e3,
        PROMISED_SECONDS * 1e3,
        "ms",
        1,
        floor_is="the promise",
        besides={"a_copy_of_its_tables_ms": copy * 1e3, "tables": float(len(tables))},
    )


def _memory() -> Figure:
    """Most bytes while a page in every 2M of 64 GiB is faulted in, beside the tables that come of it; and while one is,
    as often."""
    frames = [number << LARGE_SHIFT for number in range(MEMORY >> LARGE_SHIFT)]
    spread, tables = _peak(frames)
    one, _ = _peak([0] * len(frames))
    mib = 1 << 20
    return Figure(
        "fault-memory",
        f"memory of {len(frames):,} faults, one in each 2M",
        spread / mib,
        tables / mib,
        "MiB",
        3,
        floor_is="their tables",
        besides={"as_many_faults_of_one_page_mib": one / mib},
    )


def _peak(addresses: list[int]) -> tuple[int, int]:
    """(Most bytes allocated, bytes of tables) for faults at these addresses."""
    machine, vm, _ = _machine("6.1")
    vm.slots.add(MemorySlot(0, MEMORY))
    tracemalloc.start()
    for gpa in addresses:
        operations.fault(machine, vm, Fault(gpa, gpa, STORE, HostPage(HVA + gpa, gpa)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, machine.pool.used
