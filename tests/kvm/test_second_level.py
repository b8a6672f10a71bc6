"""Linux's own view of a second-level tree: where entries are, how they change, and what is flushed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kvm.scene import HUGE, LARGE, PAGE, PRESENT, RWX, RX, scene


@pytest.mark.parametrize("page_shift", [16, 12])
@given(gpa=st.integers(0, (1 << 52) - 1))
def test_an_entry_is_where_the_index_sizes_put_it(page_shift: int, gpa: int) -> None:
    tree = scene(page_shift=page_shift).vm.tree
    assert tree.root_entry(gpa) == tree.root + 8 * (gpa >> 39)
    for entry, shift, count in (
        (tree.huge_entry, 30, 512),
        (tree.large_entry, 21, 512),
        (tree.leaf_entry, page_shift, 1 << 21 - page_shift),
    ):
        assert entry(PRESENT | 0x5_0000 | 9, gpa) == 0x5_0000 + 8 * ((gpa >> shift) % count)


def test_what_is_found_and_how_far_it_goes() -> None:
    made = scene()
    find = made.vm.tree.find_or_skip
    assert find(5 * PAGE) == (None, (1 << 39) - 5 * PAGE)
    made.create(RX, HUGE, 2)
    assert find(5 * PAGE) == (None, HUGE - 5 * PAGE)
    found, span = find(HUGE + LARGE)
    assert found is not None
    assert (found.value, found.shift, span) == (RX, 30, HUGE - LARGE)
    made.create(RX & ~PRESENT, 3 * HUGE, 1)
    found, span = find(3 * HUGE + PAGE)
    assert found is not None
    assert (found.value, found.shift, span) == (RX & ~PRESENT, 21, LARGE - PAGE), "whether present or not"
    made.create(RX, 3 * HUGE + LARGE)
    found, span = find(3 * HUGE + LARGE + PAGE)
    assert found is not None
    assert (found.value, found.shift, span) == (0, 0, PAGE), "the place of a leaf where there is a table"


@pytest.mark.parametrize("dd1", [False, True])
@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize(("clear", "bits"), [(0x100, 0), (0, 0x180), (PRESENT, 0), ((1 << 64) - 1, 0), (0x80, 0x100)])
def test_an_entry_is_changed_and_its_old_value_given(dd1: bool, present: bool, clear: int, bits: int) -> None:
    made = scene("SEED", dd1=dd1)
    before = RWX if present else RWX & ~PRESENT
    made.create(before, PAGE)
    found = made.vm.tree.find(PAGE)
    assert found is not None
    made.begin()
    writes: list[int] = []
    words = made.vm.tree.words

    class Watched:
        read_u64 = staticmethod(words.read_u64)

        @staticmethod
        def write_u64(address: int, value: int) -> None:
            writes.append(value)
            words.write_u64(address, value)

    made.vm.tree.words = Watched()  # type: ignore[assignment]
    assert made.vm.tree.update(found.address, clear, bits, PAGE, 0) == before, "PRESENT included"
    after = before & ~clear | bits
    first = dd1 and present and not clear & PRESENT
    assert writes == ([before & ~PRESENT] if first else []) + [after]
    assert made.rbs == ([PAGE | 5 << 5] if first else [])


RB = (
    # version, bits of a page, shift, RB of 0x12345678abc0
    ("SEED", 16, 0, 0x1234_5678_A0A0),
    ("SEED", 12, 0, 0x1234_5678_A000),
    ("SEED", 16, 21, 0x1234_5678_A020),
    ("4.16", 16, 30, 0x1234_5678_A020),
    ("4.18", 16, 0, 0x1234_5678_00A0),
    ("4.19", 12, 0, 0x1234_5678_A000),
    ("4.18", 16, 21, 0x1234_5660_0020),
    ("6.1", 16, 21, 0x1234_5660_0020),
    ("6.1", 12, 30, 0x1234_4000_0040),
)


@pytest.mark.parametrize(("version", "page_shift", "shift", "rb"), RB)
def test_a_tlbie_names_address_and_size(version: str, page_shift: int, shift: int, rb: int) -> None:
    made = scene(version, page_shift=page_shift)
    made.begin()
    made.vm.tree.tlbie(0x1234_5678_ABC0, shift)
    made.vm.tree.tlbies([0x1234_5678_ABC0], shift)
    assert [tuple(each) for each in made.trace.tlbie] == [(rb, 5, 0)] * 2
    assert made.trace.tlbie[0] == made.trace.tlbie[1]
    assert made.trace.tlbie[1].lpid == 5


def test_a_table_that_was_only_taken_is_none_that_was_freed() -> None:
    made = scene()
    made.begin()
    tree = made.vm.tree
    at = tree.take(0)
    assert at is not None
    tree.give_back(at, 0)
    assert (made.trace.taken, made.trace.freed) == ([], [])
