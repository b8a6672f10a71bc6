"""``kvmppc_book3s_radix_page_fault``: the bits and the size of the leaf that it makes of the host's page."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kvm.scene import HUGE, HVA, LARGE, NOPTE, PAGE, RWX, STORE, host, scene

FLAGS: tuple[tuple[str, int, dict[str, Any], int], ...] = (
    # version, dsisr, host, low 12 bits
    ("SEED", STORE, {}, 0x187),
    ("SEED", STORE, {"dirty": False}, 0x187),
    ("SEED", NOPTE, {}, 0x187),
    ("SEED", NOPTE, {"dirty": False}, 0x105),
    ("SEED", NOPTE, {"writable": False}, 0x105),
    ("SEED", NOPTE, {"io": True}, 0x1A6),
    ("SEED", STORE, {"io": True}, 0x1A6),
    ("SEED", NOPTE, {"io": True, "writable": False}, 0x124),
    ("SEED", STORE, {"io": True, "writable": False}, 0x124),
    ("4.16", NOPTE, {"dirty": False}, 0x187),
    ("4.16", NOPTE, {"writable": False}, 0x105),
    ("4.16", NOPTE, {"io": True}, 0x1A6),
    ("4.18", NOPTE, {"dirty": False}, 0x187),
    ("4.18", NOPTE, {"writable": False}, 0x105),
    ("4.18", NOPTE, {"io": True}, 0x1A7),
    ("4.18", NOPTE, {"io": True, "writable": False}, 0x125),
    ("4.19", NOPTE, {"dirty": False}, 0x187),
    ("4.19", NOPTE, {"entry": 0xC000_0001_0000_0387}, 0x387),
    ("4.19", NOPTE, {"entry": 0xC000_0001_0000_0504, "writable": False}, 0x505),
    ("6.1", STORE, {"accessed": False, "dirty": False}, 0x187),
    ("6.1", NOPTE, {"writable": False}, 0x105),
    ("6.1", NOPTE, {"io": True}, 0x1A7),
)


@pytest.mark.parametrize(("version", "dsisr", "what", "low"), FLAGS)
def test_the_bits_of_a_leaf(version: str, dsisr: int, what: dict[str, int], low: int) -> None:
    made = scene(version)
    made.slot()
    assert made.fault(PAGE, dsisr, host(PAGE, **what)) == "RESUME_GUEST"
    assert made.tree() == {(PAGE, 16): 0xC000_0001_0000_0000 | PAGE | low} or "entry" in what
    assert made.tree()[PAGE, 16] & 0xFFF == low


def test_a_device_at_real_address_0_is_none_to_the_seed() -> None:
    made = scene("SEED")
    made.slot()
    assert made.fault(0, NOPTE, host(0, real=0, io=True)) == "EFAULT"


SIZES = (
    # version, shift, compound, transparent, shift of the leaf
    ("SEED", 16, 16, False, 16),
    ("SEED", 21, 21, False, 16),
    ("4.16", 16, 16, False, 16),
    ("4.16", 21, 21, False, 21),
    ("4.16", 21, 21, True, 21),
    ("4.16", 16, 21, True, 21),
    ("4.16", 30, 30, False, 21),
    ("4.18", 30, 30, False, 30),
    ("4.18", 16, 21, True, 21),
    ("4.19", 30, 30, False, 30),
    ("4.19", 21, 30, False, 21),
    ("4.19", 16, 21, True, 16),
    ("6.1", 30, 30, False, 30),
    ("6.1", 21, 21, True, 21),
    ("6.1", 16, 21, True, 16),
)


@pytest.mark.parametrize(("version", "shift", "compound", "transparent", "leaf"), SIZES)
def test_the_size_of_a_leaf(version: str, shift: int, compound: int, transparent: bool, leaf: int) -> None:
    made = scene(version)
    made.slot(flags=0)
    gpa = HUGE + 3 * LARGE + 5 * PAGE
    page = host(gpa, shift, compound_shift=compound, transparent=transparent)
    assert made.fault(gpa, STORE, page) == "RESUME_GUEST"
    assert made.tree() == {(gpa >> leaf << leaf, leaf): RWX | 0x1_0000_0000 | gpa >> leaf << leaf}


@pytest.mark.parametrize("version", ["4.16", "4.18", "4.19", "6.1"])
def test_a_2m_page_that_does_not_lie_alike_is_mapped_page_by_page(version: str) -> None:
    from inspector.kvm.host import HostPage

    made = scene(version)
    made.slot()
    assert made.fault(0, STORE, HostPage(HVA + 3 * PAGE, 0x1_0000_0000, 21)) == "RESUME_GUEST"
    assert made.tree() == {(0, 16): RWX | 0x1_0000_0000 | 3 * PAGE}


@pytest.mark.parametrize(("version", "leaf"), [("4.18", 21), ("4.19", 16), ("6.1", 16)])
def test_a_1g_page_that_lies_alike_in_2m_alone(version: str, leaf: int) -> None:
    from inspector.kvm.host import HostPage

    made = scene(version)
    made.slot()
    assert made.fault(0, STORE, HostPage(HVA + LARGE, 0x1_0000_0000, 30)) == "RESUME_GUEST"
    assert set(made.tree()) == {(0, leaf)}


def test_the_seed_makes_2m_leaves_in_one_2m_frame_alone() -> None:
    from inspector.kvm.host import HostPage

    made = scene("SEED")
    made.slot()
    # 3 pages apart, and yet in the same frame: the wrong page is mapped
    made.fault(5 * PAGE, STORE, HostPage(2 * PAGE, 0x1_0000_0000, 21))
    assert made.tree() == {(0, 21): RWX | 0x1_0000_0000}


@pytest.mark.parametrize(("version", "leaf"), [("4.19", 21), ("6.1", 16)])
def test_leaves_while_dirty_pages_are_logged(version: str, leaf: int) -> None:
    made = scene(version)
    made.slot(flags=1)
    made.fault(5 * PAGE, STORE, host(5 * PAGE, 21))
    assert set(made.tree()) == {(5 * PAGE >> leaf << leaf, leaf)}
