"""The bitmap of a slot, held to a set of pages made one by one, and to the loop that KVM makes it with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inspector.errors import UsageError
from inspector.mappings import dirtylog
from inspector.mappings.dirtylog import MOST_PAGES, Slot, page_log, slot_address
from inspector.mappings.ranges import coalesce
from tests.mappings.test_ranges import columns_of
from tests.mappings.test_run_model import leaf

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
SIZES = (4 * KiB, 64 * KiB, 2 * MiB, GiB, 192 * KiB)


def log(mapped: list[tuple[int, int]], slot: Slot) -> dirtylog.PageLog:
    """The log of (address, size) mappings."""
    columns = np.array(mapped, np.uint64).reshape(-1, 2)
    return page_log(columns[:, 0], columns[:, 1], slot)


def bits(bitmap: bytes) -> list[int]:
    """The numbers of the bits that are set: bit n of byte m is 8m+n."""
    return [8 * at + bit for at, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]


def page_by_page(mapped: list[tuple[int, int]], slot: Slot) -> list[int]:
    """Which pages of the slot have a byte in any mapping, asked of each."""
    page = 1 << slot.page_shift
    starts = range(slot.base, slot.base + slot.size, page)
    return [n for n, at in enumerate(starts) if any(start < at + page and at < start + size for start, size in mapped)]


def kvm_log(dirty: dict[int, int], slot: Slot) -> list[int]:
    """As ``kvmppc_hv_get_dirty_log_radix`` goes through a slot: it looks for the entry of each page, and passes over
    the pages of a large one. ``dirty`` is log2 of the page size by guest real address, of pages within the slot."""
    found: list[int] = []
    at = 0
    while at < slot.pages:
        address = slot.base + (at << slot.page_shift)
        shift = next((shift for start, shift in dirty.items() if start <= address < start + (1 << shift)), None)
        pages = 0 if shift is None else 1 << max(shift - slot.page_shift, 0)
        assert not pages or (address >> slot.page_shift) % pages == 0, "a large page is met at its first"
        found += range(at, at + pages)
        at += pages or 1
    return found


@st.composite
def mappings(draw: st.DrawFn) -> tuple[list[tuple[int, int]], Slot]:
    """Mappings aligned to their size or not, in and around a slot."""
    shift = draw(st.sampled_from([12, 16]))
    base = draw(st.sampled_from([0, 1, 31, 32, 33, 1 << 20])) << shift
    slot = Slot(base, draw(st.integers(1, 200)) << shift, shift)
    mapped = []
    for _ in range(draw(st.integers(0, 6))):
        size = draw(st.sampled_from(SIZES))
        at = base + (draw(st.integers(-40, 220)) << draw(st.sampled_from([12, 16])))
        mapped.append((max(at, 0) // size * size if draw(st.booleans()) else max(at, 0), size))
    return mapped, slot


@given(mappings(), st.sampled_from([8, 64, 128, dirtylog.PIECE_BITS]))
@example(([(0, 4 * KiB)], Slot(0, 4 * KiB, 12)), 64)
@example(([(0, 64 * KiB), (64 * KiB, 64 * KiB), (63 * 4 * KiB, 2 * MiB)], Slot(0, 130 * 4 * KiB, 12)), 64)
def test_a_bit_is_set_where_a_page_is_mapped(case: tuple[list[tuple[int, int]], Slot], piece: int) -> None:
    mapped, slot = case
    found = log(mapped, slot)
    before = dirtylog.PIECE_BITS
    dirtylog.PIECE_BITS = piece
    try:
        bitmap = found.bitmap()
    finally:
        dirtylog.PIECE_BITS = before
    wanted = page_by_page(mapped, slot)
    assert bits(bitmap) == wanted
    assert found.count == len(wanted)
    assert len(bitmap) == slot.nbytes == (slot.pages + 63) // 64 * 8


@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 31), max_size=6)), st.sets(st.integers(0, 7)))
def test_it_is_what_kvms_loop_gives(small: dict[int, list[int]], large: set[int]) -> None:
    """Eight blocks of 2M, each one large page or some small ones, as guests are backed."""
    slot = Slot(GiB, 16 * MiB)
    dirty = {GiB + block * 2 * MiB: 21 for block in large}
    dirty |= {
        GiB + block * 2 * MiB + n * 64 * KiB: 16 for block, pages in small.items() for n in pages if block not in large
    }
    found = log([(at, 1 << shift) for at, shift in dirty.items()], slot)
    assert bits(found.bitmap()) == kvm_log(dirty, slot)


def test_bytes_are_little_endian_whatever_this_host_is() -> None:
    slot = Slot(0, 65 * 64 * KiB)
    found = log([(0, 64 * KiB), (9 * 64 * KiB, 64 * KiB), (64 * 64 * KiB, 64 * KiB)], slot)
    assert found.bitmap() == bytes([1, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0])


def test_a_tebibyte_takes_2_mebibytes_and_pieces_are_passed_over() -> None:
    slot = Slot(0, 1 << 40)
    found = log([(1 << 39, GiB), ((1 << 40) - 4096, 4096)], slot)
    pieces = list(found.pieces())
    assert [len(piece) for piece in pieces] == [MiB, MiB]
    assert pieces[0] == bytes(MiB)
    assert pieces[1] == b"\xff" * 2048 + bytes(MiB - 2049) + b"\x80"
    assert found.count == (GiB >> 16) + 1


def test_a_piece_that_is_wholly_set() -> None:
    assert log([(0, 1 << 40)], Slot(0, 1 << 40)).bitmap() == b"\xff" * (2 * MiB)


def test_the_last_addresses_of_all() -> None:
    top = (1 << 64) - 128 * KiB
    assert bits(log([(top + 64 * KiB, 64 * KiB)], Slot(top, 128 * KiB)).bitmap()) == [1]


@pytest.mark.parametrize(
    ("base", "size", "shift", "says"),
    [
        (0x1234, 0x1_0000, 16, r"0x0:0x20000 holds it, or take smaller pages"),
        (0x1_0000, 0x1_0001, 16, r"0x10000:0x20000 holds it"),
        (0x800, 0x1000, 12, r"0x0:0x2000 holds it"),
        ((1 << 64) - 1, 1, 16, "0xffffffffffff0000:0x10000 holds it"),
        (0, 1 << 52, 16, "8589934592 bytes"),
        (0, 1 << 52, 12, "137438953472 bytes"),
        (0, MOST_PAGES + 1 << 16, 16, "larger than KVM takes"),
        (0, 0, 16, "not within 64 bits"),
        (1 << 63, 1 << 63 | 1 << 16, 16, "not within 64 bits"),
    ],
)
def test_what_is_no_slot_is_refused_before_anything_is_made(base: int, size: int, shift: int, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Slot(base, size, shift)
    assert Slot(0, MOST_PAGES << 16).nbytes == 256 * MiB


def test_slots_are_of_real_addresses_and_of_guest_real_ones_where_the_tree_is_partition_scoped() -> None:
    trees = [[leaf(0x4_0000, 0x10_0000)], [leaf(0x5_0000, 0x20_0000)], [leaf(0x6_0000, 0x30_0000)]]
    ranges = coalesce(columns_of(trees))
    assert ranges.pid.tolist() == [0, 5, -1]
    assert slot_address(ranges).tolist() == [0x10_0000, 0x20_0000, 0x6_0000]
