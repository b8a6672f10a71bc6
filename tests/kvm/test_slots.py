"""Memory slots and their logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.kvm.slots import LOG_DIRTY_PAGES, MemorySlot, Slots, set_bits, set_dirty_bits
from tests.kvm.scene import PAGE, pages_of

BIT = st.integers(0, 200)


@given(size=st.integers(0, 20), first=BIT, end=BIT, before=st.binary(min_size=20, max_size=20))
def test_bits_are_set_one_by_one(size: int, first: int, end: int, before: bytes) -> None:
    bitmap = bytearray(before[:size])
    set_bits(bitmap, first, end)
    assert pages_of(bitmap) == (pages_of(before[:size]) | set(range(first, end))) & set(range(8 * size))
    assert len(bitmap) == size


@given(first=BIT, count=st.integers(0, 7) | st.sampled_from((8, 32, 64, 512)))
def test_eight_and_more_are_set_as_whole_bytes(first: int, count: int) -> None:
    bitmap = bytearray(40)
    set_dirty_bits(bitmap, first, count)
    begin = first if count < 8 else first // 8 * 8
    assert pages_of(bitmap) == set(range(begin, begin + count)) & set(range(320))


@pytest.mark.parametrize(("pages", "size"), [(1, 8), (64, 8), (65, 16), (16384, 2048)])
def test_a_log_is_whole_longs(pages: int, size: int) -> None:
    slot = MemorySlot(0, pages * PAGE, LOG_DIRTY_PAGES)
    assert slot.pages == pages
    assert slot.log_bytes == size
    assert slot.log is not None
    assert len(slot.log) == size
    assert MemorySlot(0, pages * PAGE).log is None


def test_a_log_is_of_the_slots_own_pages_and_is_emptied_when_taken() -> None:
    slot = MemorySlot(4 * PAGE, 8 * PAGE, LOG_DIRTY_PAGES)
    for page in (3, 4, 11, 12):
        slot.mark(page)
    assert pages_of(slot.take_log()) == {0, 7}
    assert pages_of(slot.log) == set()
    assert slot.log is not None
    unlogged = MemorySlot(0, PAGE)
    unlogged.mark(0)
    unlogged.mark_pages(0, 1)
    assert unlogged.take_log() is None


@given(st.lists(st.integers(0, 20), unique=True), st.integers(0, 23))
def test_an_address_is_in_the_slot_that_holds_it(bases: list[int], page: int) -> None:
    slots = Slots()
    for base in bases:
        slots.add(MemorySlot(base * PAGE, PAGE))
    for address in (page * PAGE, (page + 1) * PAGE - 1, page * PAGE):
        found = slots.at(address)
        assert (found.base if found else None) == (page * PAGE if page in bases else None)
    assert [each.base for each in slots.each] == sorted(base * PAGE for base in bases)
    if page in bases:
        there = slots.based(page * PAGE)
        assert there is not None
        slots.remove(there)
        assert slots.at(page * PAGE) is None, "also where it was found last"


def test_slots_overlap_by_bytes() -> None:
    slots = Slots()
    slots.add(MemorySlot(4 * PAGE, 4 * PAGE))
    assert slots.overlapping(0, 4 * PAGE) is None
    assert slots.overlapping(8 * PAGE, PAGE) is None
    assert slots.overlapping(7 * PAGE, PAGE) is slots.each[0]
    assert slots.overlapping(0, 100 * PAGE) is slots.each[0]
