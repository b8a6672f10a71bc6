"""Whole trees of KVM guests and of their host, swept: against KVM's listing, the monitor's pagemap, the walk address by
address, and what the guests' own CPU stored, by every way to RAM."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
import pytest

import inspector
from inspector.guest import Guest
from inspector.mappings.runs import runs_of
from inspector.radix.access import encoded_rights
from inspector.radix.bits import PTE_PRIVILEGED, PTE_WRITE
from inspector.radix.columns import Columns
from inspector.radix.translation import NO_RIGHTS, Rights
from scripts.hostword import PAGE, listed, resident
from scripts.monitor import VIRTUAL
from scripts.scene import DEVICE, KERNEL, KvmGuest, Scene

pytestmark = pytest.mark.live

SOURCES = ("ram", "process", "gdb")
SHARED_FIRST, SHARED_SECOND = 0x6000_0000, 0x9000_0000
"""Where each has the memory that they share."""
SAMPLE = 400
"""Leaves of a tree that are asked about: all of a small one, some of a large one."""


@contextmanager
def looked_into(scene: Scene, source: str = "ram") -> Iterator[Guest]:
    """The host, stopped and attached to."""
    ram = str(scene.machine.ram_file) if source == "ram" else None
    with inspector.open_target(scene.machine.target, source=source, ram=ram) as guest:
        yield guest


@pytest.fixture(params=SOURCES)
def seen(scene: Scene, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """The same by one of the ways to its RAM."""
    with looked_into(scene, request.param) as guest:
        yield guest


def with_trees(scene: Scene) -> list[KvmGuest]:
    """The guests that have processes."""
    return [guest for guest in scene.guests if guest.layout.table is not None]


def of_tree(columns: Columns, at: int) -> Columns:
    """The leaves of one tree."""
    return columns.take(columns.root == at)


# --- the host's trees -------------------------------------------------------------------------------------------------


def test_the_leaves_of_a_partition_are_those_that_kvm_lists(scene: Scene) -> None:
    """Listed while the guests and their monitors stand still, and the host itself runs; then the host is stopped."""
    lists = {guest.lpid: listed(scene.machine, guest) for guest in scene.guests}
    for source in SOURCES:
        with looked_into(scene, source) as seen:
            for lpid, (root, lines) in lists.items():
                spaces = seen.spaces(lpid=lpid, partition=True)
                leaves = spaces.columns
                rows = zip(leaves.offset.tolist(), leaves.entry.tolist(), leaves.shift.tolist(), strict=True)
                assert [f" {gpa:x}: {entry:x} {shift}" for gpa, entry, shift in rows] == lines
                assert len(lines) >= 2
                assert [(each.lpid, each.pid, each.root) for each in spaces.trees] == [(lpid, None, root)]
                assert not spaces.sweep.oddities


def test_the_leaves_of_a_partition_are_the_monitors_own_memory(scene: Scene) -> None:
    frames = {
        (guest.lpid, slot.gpa): resident(scene.machine, guest, slot.gpa, slot.size)
        for guest in scene.guests
        for slot in guest.layout.slots
    }
    with looked_into(scene) as seen:
        for guest in scene.guests:
            leaves = seen.spaces(lpid=guest.lpid, partition=True).columns
            inside = 0
            for gpa, ra, size in zip(leaves.offset.tolist(), leaves.ra.tolist(), leaves.size.tolist(), strict=True):
                slot = guest.layout.slot(gpa)
                assert slot is not None, f"{gpa:#x} of LPID {guest.lpid} is no memory"
                there = frames[guest.lpid, slot.gpa]
                for page in range(0, size, PAGE):
                    assert there[(gpa - slot.gpa + page) // PAGE] == (ra + page) // PAGE, hex(gpa)
                inside += 1
            assert inside == len(leaves) > 0


def test_a_page_that_two_guests_share_is_found_from_its_host_address(scene: Scene) -> None:
    first, second = scene.guests[:2]
    stored = next(each for each in first.stored if each.gpa >> 16 == SHARED_FIRST >> 16)
    said = second.monitor.ask(f"load 5 {0x2900_0000 + (stored.gpa & 0xFFFF):x} 0 {VIRTUAL:x}")
    assert said == [f"ok {stored.value:x}"], "its CPU sees what the first has stored"
    for source in SOURCES:
        with looked_into(scene, source) as seen:
            one = seen.spaces(lpid=first.lpid, partition=True)
            other = seen.spaces(lpid=second.lpid, partition=True)
            shared = {
                int(one.columns.offset[row]): int(other.columns.offset[match])
                for row, ra in enumerate(one.columns.ra.tolist())
                # What was only read may be the host's one page of zeros.
                if int(one.columns.entry[row]) & PTE_WRITE
                for match in other.index.lookup(ra).tolist()
            }
            assert SHARED_FIRST in shared
            assert {theirs - SHARED_SECOND for theirs in shared.values()} == {ours - SHARED_FIRST for ours in shared}
            # By the index of the processes too: both map it, each at an address of its own.
            at = int(one.columns.ra[one.columns.offset.tolist().index(SHARED_FIRST)])
            for guest, pid, ea in ((first, 5, 0x2800_0000), (second, 5, 0x2900_0000)):
                composed = seen.spaces(lpid=guest.lpid)
                rows = composed.index.lookup(at)
                found = zip(composed.columns.pid[rows].tolist(), composed.columns.offset[rows].tolist(), strict=True)
                assert (pid, ea) in set(found)


# --- both stages ------------------------------------------------------------------------------------------------------


def asked_rights(leaf: int, problem_state: bool) -> Rights:
    """What a composed leaf gives to code of this state: keys are no matter to problem state, and to privileged code on
    privileged pages."""
    return NO_RIGHTS if problem_state and leaf & PTE_PRIVILEGED else encoded_rights(leaf)


def test_composed_leaves_are_where_the_walk_ends(scene: Scene, seen: Guest) -> None:
    rng = Random(5)
    shifts = Counter[int]()
    for guest in with_trees(scene):
        spaces = seen.spaces(lpid=guest.lpid)
        assert not spaces.sweep.oddities or {each.cause for each in spaces.sweep.oddities} == {"shared-table"}
        assert {each.pid for each in spaces.trees} == {leaf.pid for leaf in guest.layout.leaves}
        for at, root in enumerate(spaces.roots):
            mine = of_tree(spaces.columns, at)
            assert mine.gra is not None
            some = np.sort(np.array(rng.sample(range(len(mine)), min(SAMPLE, len(mine)))))
            part = mine.take(some)
            assert part.gra is not None
            columns = (part.offset, part.ra, part.gra, part.shift, part.entry)
            for offset, ra, gra, shift, entry in zip(*(column.tolist() for column in columns), strict=True):
                for inside in (0, rng.randrange(1 << shift), (1 << shift) - 1):
                    ea = root.base | offset + inside
                    answer = seen.translate(ea, pid=root.pid, lpid=guest.lpid)
                    told = (answer.ok, answer.ra, answer.gra, answer.page_shift, answer.rights)
                    rights = asked_rights(entry, root.base == 0)
                    assert told == (True, ra + inside, gra + inside, shift, rights), hex(ea)
                shifts[shift] += 1
    assert set(shifts) == {12, 16, 21}


def test_between_composed_leaves_the_walk_faults_by_stage(scene: Scene, seen: Guest) -> None:
    rng = Random(6)
    stages = Counter[int | None]()
    for guest in with_trees(scene):
        spaces = seen.spaces(lpid=guest.lpid)
        holes = spaces.holes
        assert holes is not None
        for hole in runs_of(holes):
            assert hole.pid is not None
            for inside in (0, rng.randrange(hole.size), hole.size - 1):
                answer = seen.translate(hole.ea + inside, pid=hole.pid, lpid=guest.lpid)
                assert (answer.ok, answer.stage, answer.gra) == (False, 2, hole.ra + inside), hex(hole.ea + inside)
                stages[2] += 1
        assert DEVICE in holes.ra.tolist(), "a device is no memory of the host's"
        for at, root in enumerate(spaces.roots):
            mine = of_tree(spaces.columns, at)
            begins, sizes = mine.offset.tolist(), mine.size.tolist()
            gone = holes.take(holes.root == at)
            empty = list(zip(gone.offset.tolist(), gone.size.tolist(), strict=True))
            ends = [begin + size for begin, size in zip(begins, sizes, strict=True)]
            asked = [rng.getrandbits(rng.choice((29, 31, 33, 52))) for _ in range(100)]
            asked += rng.sample(ends, min(100, len(ends)))
            for offset in asked:
                row = bisect_right(begins, offset) - 1
                answer = seen.translate(root.base | offset, pid=root.pid, lpid=guest.lpid)
                if row >= 0 and offset < ends[row]:
                    assert answer.ra == int(mine.ra[row]) + offset - begins[row], hex(offset)
                elif any(0 <= offset - begin < size for begin, size in empty):
                    assert (answer.ok, answer.stage) == (False, 2), hex(offset)
                else:
                    assert (answer.ok, answer.stage) == (False, 1), hex(offset)
                stages[answer.stage] += 1
    assert set(stages) == {None, 1, 2}


def test_what_the_guests_stored_lies_at_the_composed_address(scene: Scene, seen: Guest) -> None:
    found = 0
    for guest in with_trees(scene):
        spaces = seen.spaces(lpid=guest.lpid)
        memory = seen.partition(guest.lpid).memory
        trees = {tree.pid: at for at, tree in enumerate(spaces.trees)}
        for stored in guest.stored:
            kernel = stored.ea & KERNEL == KERNEL
            mine = of_tree(spaces.columns, trees[0 if kernel else stored.pid])
            offset = stored.ea & ~KERNEL
            row = int(np.searchsorted(mine.offset, np.uint64(offset), side="right")) - 1
            inside = offset - int(mine.offset[row])
            assert mine.gra is not None
            assert (int(mine.gra[row]) + inside, int(mine.shift[row])) == (stored.gpa, stored.shift)
            assert int.from_bytes(seen.memory.read(int(mine.ra[row]) + inside, 8), "little") == stored.value
            assert int.from_bytes(memory.read(stored.gpa, 8), "little") == stored.value
            rows = spaces.index.lookup(int(mine.ra[row]) + inside)
            assert offset - inside in spaces.columns.offset[rows].tolist()
            found += 1
    assert found > 20


def test_without_the_hosts_stage_leaves_are_the_guests_own(scene: Scene, seen: Guest) -> None:
    for guest in with_trees(scene):
        spaces = seen.spaces(lpid=guest.lpid, composed=False)
        rows = zip(spaces.columns.pid.tolist(), spaces.columns.ea.tolist(), *_own(spaces.columns), strict=True)
        wanted = [(leaf.pid, leaf.ea, leaf.gpa, leaf.shift, leaf.flags & ~0x180) for leaf in guest.layout.leaves]
        assert sorted(rows) == sorted(wanted)


def _own(columns: Columns) -> list[list[int]]:
    """Real address, shift and flags but R and C, which the guest's CPU sets."""
    low = np.uint64(0xFFF & ~0x180)
    return [columns.ra.tolist(), columns.shift.tolist(), (columns.entry & low).tolist()]
