"""Which process a guest's VMM is, inferred: held against a recording's own truth, and against small trees."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inspector import open_target
from inspector.guest import Guest
from inspector.radix.bits import PTE_LEAF, PTE_VALID
from inspector.radix.columns import Columns, Places, Root
from inspector.vmm import InferredSlot, Vmm, infer, vmm_of

FIXTURES = Path(__file__).parents[1] / "fixtures"
ORACLE: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / "powernv9-kvm.oracle.gz").read_bytes()))
PAGE = 1 << 16
LEAF = PTE_VALID | PTE_LEAF


@pytest.fixture(scope="module")
def host() -> Guest:
    at: Guest = open_target(str(FIXTURES / "powernv9-kvm.core.gz"))
    return at


@pytest.mark.parametrize("told", ORACLE["guests"], ids=lambda told: f"LPID {told['lpid']}")
def test_the_monitor_of_a_recorded_guest_is_found_and_its_slots_lie_in_those_it_made(
    host: Guest, told: dict[str, Any]
) -> None:
    vmm = vmm_of(host, told["lpid"])
    assert vmm is not None
    assert vmm.sure
    assert (vmm.matched, vmm.leaves) == (len(told["radix"]), len(told["radix"]))
    made = [(int(base, 0), int(size, 0), pages) for base, size, pages in told["slots"]]
    for slot in vmm.slots:
        around = [(base, pages) for base, size, pages in made if base <= slot.base and slot.end <= base + size]
        assert len(around) == 1, f"{slot} lies in no slot of the monitor's"
        base, pages = around[0]
        for at in range(slot.base, slot.end, PAGE):
            ra = pages[(at - base) // PAGE]  # as the kernel's pagemap of the monitor has it
            found = host.translate(slot.hva + at - slot.base, pid=vmm.pid, lpid=0)
            assert found.ra == (None if ra is None else int(ra, 0))


def test_no_two_guests_of_the_recording_have_one_monitor(host: Guest) -> None:
    pids = [vmm.pid for told in ORACLE["guests"] if (vmm := vmm_of(host, told["lpid"]))]
    assert len(set(pids)) == len(ORACLE["guests"])


def _columns(*trees: tuple[Root, list[tuple[int, int, int]]]) -> Columns:
    """Leaves (offset, real address, shift) of each tree."""
    rows = [(number, *leaf) for number, (_, leaves) in enumerate(trees) for leaf in leaves]
    count = len(rows)
    places = Places(
        np.array([row[0] for row in rows], np.uint32), np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    )
    return Columns(
        tuple(root for root, _ in trees),
        places,
        np.arange(count, dtype=np.uint32),
        np.array([row[1] for row in rows], np.uint64),
        np.array([LEAF | row[2] for row in rows], np.uint64),
        np.array([row[3] for row in rows], np.uint8),
    )


def _of(behind: list[tuple[int, int, int]], *processes: list[tuple[int, int, int]]) -> Vmm | None:
    host = [(Root(pid, 0), leaves) for pid, leaves in enumerate(processes, 1)]
    kernel = (Root(0, 0, 3 << 62), [(0, 0, 30)])  # the linear map, which has all of memory
    return infer(_columns((Root(None, 0, lpid=1), behind)), _columns(kernel, *host))


HVA = 0x7FFF_0000_0000


def test_slots_of_different_distances_are_told_apart() -> None:
    vmm = _of(
        [(0, 0x10_0000, 16), (0x1_0000, 0x30_0000, 16), (0x4000_0000, 0x20_0000, 21)],
        [(HVA, 0x10_0000, 16), (HVA + PAGE, 0x30_0000, 16), (HVA + 0x20_0000, 0x20_0000, 21)],
    )
    assert vmm is not None
    assert vmm.slots == (InferredSlot(0, 2 * PAGE, HVA, 2), InferredSlot(0x4000_0000, 1 << 21, HVA + 0x20_0000, 1))


def test_a_small_leaf_within_a_large_page_of_the_host_is_found() -> None:
    vmm = _of([(0x5000_0000, 0x24_0000, 16)], [(HVA, 0x20_0000, 21)])
    assert vmm is not None
    assert vmm.slots == (InferredSlot(0x5000_0000, PAGE, HVA + 0x4_0000, 1),)


def test_two_that_map_the_same_leave_it_open() -> None:
    both = [(HVA, 0x10_0000, 16)]
    vmm = _of([(0, 0x10_0000, 16)], both, both)
    assert vmm is not None
    assert not vmm.sure


def test_one_that_shares_a_page_is_not_taken_for_it() -> None:
    vmm = _of(
        [(0, 0x10_0000, 16), (PAGE, 0x30_0000, 16)],
        [(HVA, 0x10_0000, 16)],
        [(HVA, 0x10_0000, 16), (HVA + PAGE, 0x30_0000, 16)],
    )
    assert vmm is not None
    assert (vmm.pid, vmm.sure, vmm.runner_up) == (2, True, 1)


def test_of_two_mappings_of_one_page_that_counts_which_others_share() -> None:
    vmm = _of(
        [(0, 0x10_0000, 16), (PAGE, 0x30_0000, 16)],
        [(0x1000_0000, 0x10_0000, 16), (HVA, 0x10_0000, 16), (HVA + PAGE, 0x30_0000, 16)],
    )
    assert vmm is not None
    assert vmm.slots == (InferredSlot(0, 2 * PAGE, HVA, 2),)


def test_memory_that_no_process_maps_has_no_vmm() -> None:
    assert _of([(0, 0x10_0000, 16)], [(HVA, 0x40_0000, 16)]) is None
