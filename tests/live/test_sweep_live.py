"""Sweeps of live guests against everyone else who can say where their pages are: a plain reading of the tables, QEMU,
the guest's own kernel, our own walk address by address, and drgn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

import inspector
from inspector.guest import Guest
from inspector.memory.tiers import TIERS
from inspector.recording import record
from inspector.spaces import Spaces
from scripts.guests import Machine
from scripts.oracle import gva2gpa
from scripts.peers import Drgn
from scripts.qmp import PATIENCE
from tests.agreement import drgn_agrees, xlate_agrees
from tests.live import pagemap, plain_walk
from tests.live.plain_walk import Leaf

pytestmark = [pytest.mark.live, pytest.mark.guests("pseries-p9", "powernv9")]

LINEAR, VMALLOC = 0xC000_0000_0000_0000, 0xC008_0000_0000_0000
PROCESS_TABLE_BYTES = 1 << 24
"""PRTB_SIZE_SHIFT of Linux 6.1, arch/powerpc/include/asm/book3s/64/radix.h, for 20 bits of PID."""
SAMPLE = 1500
PROBLEM_STATE = 1 << 14


@contextmanager
def looked_into(machine: Machine, source: str = "ram") -> Iterator[Guest]:
    """The guest, stopped and attached to."""
    ram = str(machine.ram_file) if source == "ram" else None
    with inspector.open_target(machine.target, source=source, ram=ram) as guest:
        yield guest


@cache
def process_tb(vmlinux: Path) -> int:
    """Where the kernel keeps its pointer to the process table, by the image's symbols."""
    with vmlinux.open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(symbols, SymbolTableSection)
        named = symbols.get_symbol_by_name("process_tb")
        assert named is not None
        return int(named[0]["st_value"])


def expected(machine: Machine) -> dict[int, list[Leaf]]:
    """Every leaf by PID, from the kernel's pointer to the process table on, read plainly."""
    with plain_walk.mapped(machine.ram_file) as ram:
        at = process_tb(machine.vmlinux) - LINEAR
        table = int.from_bytes(ram[at : at + 8], "little") - LINEAR
        trees = plain_walk.trees(ram, table, PROCESS_TABLE_BYTES)
        return {pid: list(plain_walk.leaves(ram, descriptor)) for pid, descriptor in trees.items()}


def found(spaces: Spaces) -> dict[int, list[Leaf]]:
    """The same by a sweep."""
    columns, parted = spaces.columns, {}
    for at, process in enumerate(spaces.processes):
        mine = columns.take(columns.root == at)
        parts = (mine.offset, mine.ra, mine.shift, mine.entry)
        parted[process.pid] = [Leaf(*row) for row in zip(*(part.tolist() for part in parts), strict=True)]
    return parted


@pytest.mark.parametrize("source", TIERS)
def test_every_leaf_of_every_process_is_what_the_tables_hold(guest: Machine, source: str) -> None:
    with looked_into(guest, source) as seen:
        spaces = seen.spaces()
        swept, read = found(spaces), expected(guest)
        assert spaces.table[1] == PROCESS_TABLE_BYTES
    assert swept == read
    assert len(swept) > 5
    assert sum(map(len, swept.values())) > 500
    assert not spaces.missed.length
    assert not spaces.sweep.oddities


def test_qemu_finds_the_kernels_leaves_where_they_are_and_nothing_beside_them(guest: Machine) -> None:
    rng = Random(11)
    with looked_into(guest) as seen:
        cpu = next(cpu for cpu in seen.target.cpus if not seen.registers(cpu).need("msr") & PROBLEM_STATE)
        kernel = found(seen.spaces([0]))[0]
        for leaf in rng.sample(kernel, min(SAMPLE, len(kernel))):
            inside = rng.randrange(1 << leaf.shift)
            assert gva2gpa(guest, LINEAR | leaf.offset | inside, cpu) == leaf.ra | inside, hex(leaf.offset)
        assert_nothing_between(guest, kernel, LINEAR, cpu)


def assert_nothing_between(machine: Machine, leaves: list[Leaf], base: int, cpu: int) -> None:
    """QEMU maps nothing right behind a leaf that no other follows."""
    starts = {leaf.offset for leaf in leaves}
    after = [end for leaf in leaves if (end := leaf.offset + (1 << leaf.shift)) not in starts]
    assert after
    assert [hex(end) for end in after if gva2gpa(machine, base | end, cpu) is not None] == []


def test_qemu_finds_the_leaves_of_a_process_that_runs_where_they_are(guest: Machine) -> None:
    spinning = int(guest.shell("sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!"))
    try:
        guest.computes(spinning)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            time.sleep(0.05)
            with looked_into(guest) as seen:
                # Only in problem state does QEMU's own answer not hang on AMR and IAMR: the kernel locks users' pages.
                running = [cpu for cpu in seen.target.cpus if seen.registers(cpu).need("msr") & PROBLEM_STATE]
                if not running:
                    continue
                pid = seen.registers(running[0]).need("pid")
                leaves = found(seen.spaces([pid]))[pid]
                assert len(leaves) > 10
                for leaf in leaves:
                    assert gva2gpa(guest, leaf.offset | 0x123, running[0]) == leaf.ra | 0x123, hex(leaf.offset)
                assert_nothing_between(guest, leaves, 0, running[0])
                return
        pytest.fail("a task that does nothing but run was never seen running")
    finally:
        guest.shell(f"kill {spinning}")


def test_the_guests_own_pagemap_has_the_same_pages(guest: Machine) -> None:
    with pagemap.holding(guest) as holder:
        before = pagemap.tasks(guest)
        with looked_into(guest) as seen:
            swept = found(seen.spaces())
            text = bytes(pagemap.TEXT, "ascii")
            with plain_walk.mapped(guest.ram_file) as ram:
                holding = [
                    pid
                    for pid, leaves in swept.items()
                    if pid and sum(ram[leaf.ra : leaf.ra + (1 << leaf.shift)].count(text * 8) for leaf in leaves) > 1000
                ]
        after = pagemap.tasks(guest)
    # What ran in between (the shell that asks, and what it began) may have moved a page; all others stand still.
    still = [pid for pid, task in before.items() if pid in after and after[pid].pages == task.pages]
    assert {1, holder} <= set(still)
    assert len([pid for pid in still if "sleep" in before[pid].words]) >= 4
    assert not any(before[pid].swapped for pid in still)
    if guest.kind.machine == "pseries":  # QEMU 7.2 does not tell a powernv kernel of any page size but 4K and 64K
        assert any(leaf.shift == 21 for pid, leaves in swept.items() if pid for leaf in leaves), "no large page"
    pages = {pid: dict(page for leaf in leaves for page in leaf.pages()) for pid, leaves in swept.items() if pid}
    owner: dict[int, int] = {}
    for task in still:
        same = [pid for pid, theirs in pages.items() if theirs == before[task].pages]
        assert len(same) == 1, f"task {task} ({before[task].words}) has the pages of PIDs {same}"
        owner[same[0]] = task
    assert len(owner) == len(still), "each has a tree of its own"
    others = {pid for pid in pages.keys() - owner.keys() if pages[pid]}
    assert len(others) <= len(after.keys() & before.keys()) - len(still), "every tree is some task's"
    assert [owner.get(pid) for pid in holding] == [holder], "the text is found in its holder's tree alone"
    for pid, task in owner.items():
        for leaf in swept[pid]:
            rights = before[task].rights(leaf.offset)
            assert rights, f"task {task} maps nothing at {leaf.offset:#x}"
            for bit, letter in ((2, "w"), (1, "x")):
                assert not leaf.entry & bit or letter in rights, f"{letter} at {leaf.offset:#x} of task {task}"


def test_xlate_agrees_on_every_leaf_and_between_them(guest: Machine) -> None:
    with looked_into(guest) as seen:
        spaces = seen.spaces()
        answered = xlate_agrees(seen, spaces.sweep, Random(6))
    assert answered["ok"] > 1000
    assert answered["not-present"] > 500


def test_drgn_agrees_on_a_recording_of_all_its_memory(guest: Machine, tmp_path: Path) -> None:
    pytest.importorskip("drgn")
    core = tmp_path / "guest.core"
    with looked_into(guest) as seen:
        record(seen, str(core), everything=True)
        live = found(seen.spaces())
    try:
        peer = Drgn(str(core))
        with inspector.open_target(str(core)) as recorded, plain_walk.mapped(guest.ram_file) as ram:
            spaces = recorded.spaces()
            assert found(spaces) == live
            answered = drgn_agrees(peer, spaces, Random(12))
            assert answered["mapped"] > 1000
            assert answered["nowhere"] > 500
            # Beyond the linear map drgn needs its walk to read at all: modules and the like, which do not change.
            mine = spaces.columns.take(
                (spaces.columns.pid == 0) & (spaces.columns.entry & np.uint64(7) == np.uint64(5))
            )
            for ea, ra in zip(mine.ea.tolist(), mine.ra.tolist(), strict=True):
                assert peer.read(ea, 64) == ram[ra : ra + 64], hex(ea)
    finally:
        core.unlink()  # a gigabyte
