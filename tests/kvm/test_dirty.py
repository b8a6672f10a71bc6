"""``kvmppc_hv_get_dirty_log_radix``, held against the seed's own loop over the pages, written here anew."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import MemoryReadError
from inspector.kvm.dirty import dirty_log
from inspector.kvm.history import VERSIONS
from inspector.kvm.operations import read_log
from inspector.kvm.slots import LOG_DIRTY_PAGES
from tests.kvm.scene import HUGE, LARGE, PAGE, PRESENT, RWX, Scene, pages_of, scene

C = 0x80
LEAVES = st.lists(
    st.tuples(st.sampled_from((0, 0, 1, 1, 2)), st.integers(0, 300), st.booleans(), st.booleans()), max_size=40
)


class Plain:
    """The log, page by page: the leaves by (guest real address, shift), the pages that are logged already."""

    def __init__(self, made: Scene, base: int, pages: int, logged: set[int]) -> None:
        self.leaves = made.tree()
        self.page_shift = made.machine.pages.shift
        self.one_only = made.machine.version == "6.1"
        self.bytewise = made.machine.version != "SEED"
        self.dd1 = made.machine.dd1 and made.machine.version in ("SEED", "4.16", "4.18")
        self.room = -(-pages // 64) * 64
        self.bits = set(logged)
        self.flushed: list[tuple[int, int]] = []
        number = 0
        while number < pages:
            many = self.test_clear(base + (number << self.page_shift))
            if many >= 8 and self.bytewise:
                self.bits |= set(range(number & ~7, (number & ~7) + many))
            else:
                self.bits |= set(range(number, number + many))
            number += max(many, 1)
        self.bits &= set(range(self.room))

    def test_clear(self, gpa: int) -> int:
        for shift in (30, 21, self.page_shift):
            at = gpa >> shift << shift, shift
            value = self.leaves.get(at, 0)
            if value & PRESENT and value & C:
                self.leaves[at] = value & ~C
                self.flushed += [(gpa, shift)] * (2 if self.dd1 else 1)
                return 1 if self.one_only else 1 << shift - self.page_shift
        return 0


def lay(made: Scene, leaves: list[tuple[int, int, bool, bool]]) -> None:
    """Put leaves of all sizes into the tree, the first to come staying."""
    for level, number, present, dirty in leaves:
        value = RWX & (-1 if present else ~PRESENT) & (-1 if dirty else ~C)
        if level == 2:
            gpa = (number % 3) * HUGE
        elif level == 1:
            gpa = number * LARGE
        else:
            gpa = (number % 3 * 16384 + number) << made.machine.pages.shift
        if made.vm.tree.find(gpa) is None:
            made.machine.old, old = frozenset(), made.machine.old
            if not (
                level and made.vm.tree.words.read_u64(made.vm.tree.root_entry(gpa)) and _table_there(made, gpa, level)
            ):
                made.create(value, gpa, level)
            made.machine.old = old


def _table_there(made: Scene, gpa: int, level: int) -> bool:
    shift = 21 if level == 1 else 30
    return any(at >> shift == gpa >> shift for at, _ in made.tree())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("page_shift", [16, 12])
@given(
    leaves=LEAVES,
    base=st.integers(0, 100) | st.integers(0, 3).map(lambda n: n * 512),
    pages=st.integers(1, 1500) | st.sampled_from((16384, 32768)),
    logged=st.sets(st.integers(0, 63)),
    dd1=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_walk_by_tables_is_the_loop_over_pages(
    version: str,
    page_shift: int,
    leaves: list[tuple[int, int, bool, bool]],
    base: int,
    pages: int,
    logged: set[int],
    dd1: bool,
) -> None:
    made = scene(version, page_shift=page_shift, dd1=dd1)
    lay(made, leaves)
    slot = made.slot(base << page_shift, pages << page_shift, LOG_DIRTY_PAGES)
    logged = {each for each in logged if each < pages}
    for each in logged:
        slot.mark(slot.first + each)
    plain = Plain(made, slot.base, pages, logged)
    made.begin()
    before = list(made.overlay.changes())
    seen = dirty_log(made.machine, made.vm, slot, clear=False)
    assert list(made.overlay.changes()) == before
    assert pages_of(slot.log) == logged
    assert not made.rbs
    made.begin()
    found = dirty_log(made.machine, made.vm, slot)
    assert seen == found
    assert pages_of(found.bitmap) == plain.bits
    assert found.pages == len(plain.bits)
    assert made.tree() == plain.leaves
    assert pages_of(slot.log) == set()
    aps = {page_shift: 5 if page_shift == 16 else 0, 21: 1, 30: 1 if version in ("SEED", "4.16") else 2}
    rounded = version not in ("SEED", "4.16")
    assert made.rbs == [(gpa & -(1 << shift) if rounded else gpa) | aps[shift] << 5 for gpa, shift in plain.flushed]


@pytest.mark.parametrize(("version", "pages"), [("SEED", 64), ("4.19", 64), ("6.1", 2)])
def test_large_leaves_give_all_their_pages_until_61(version: str, pages: int) -> None:
    made = scene(version)
    slot = made.slot(0, 4 * LARGE, LOG_DIRTY_PAGES)
    made.create(RWX, 0, 1)
    made.create(RWX, 2 * LARGE, 1)
    slot.mark(100)
    answer = read_log(made.machine, made.vm, slot)
    assert answer.log is not None
    assert answer.log.pages == pages + 1
    assert answer.as_json()["bitmap"] == answer.log.bitmap.hex()
    assert answer.trace.slugs == ["log-taken", "leaves-cleaned"]
    again = read_log(made.machine, made.vm, slot).log
    assert again is not None
    assert again.pages == 0


def test_a_leaf_that_reaches_past_the_slot_is_told() -> None:
    made = scene("4.19")
    slot = made.slot(0, 40 * PAGE, LOG_DIRTY_PAGES)
    made.create(RWX, LARGE, 1)
    log = dirty_log(made.machine, made.vm, slot)
    assert pages_of(log.bitmap) == set(range(32, 64)), "the log is whole longs, so there is room for these"
    assert log.overrun == 24


def test_without_a_log_there_is_none_to_be_read() -> None:
    made = scene()
    made.create(RWX, 0)
    answer = read_log(made.machine, made.vm, made.slot())
    assert answer.result == "ENOENT"
    assert made.tree() == {(0, 16): RWX}


def test_nothing_is_cleaned_where_a_table_cannot_be_read() -> None:
    made = scene()
    slot = made.slot(flags=LOG_DIRTY_PAGES)
    slot.mark(9)
    made.create(RWX, 0)
    made.create(RWX, 3 * LARGE)
    entry = made.word(made.word(made.vm.tree.root) & ~0xFF & (1 << 60) - 1) & ~0xFF & (1 << 60) - 1
    made.put(entry + 8, PRESENT | 0x7000_0000 | 5)  # of 2M on: it leads outside of RAM
    before = list(made.overlay.changes())
    with pytest.raises(MemoryReadError):
        read_log(made.machine, made.vm, slot)
    assert list(made.overlay.changes()) == before
    assert pages_of(slot.log) == {9}


@pytest.mark.parametrize(("version", "stays"), [("SEED", True), ("4.19", True), ("6.1", False)])
def test_the_pages_of_a_leaf_that_begins_before_the_slot_are_passed_over(version: str, stays: bool) -> None:
    made = scene(version)
    made.create(RWX, 0, 1)
    made.create(RWX, 34 * PAGE)
    slot = made.slot(5 * PAGE, 64 * PAGE, LOG_DIRTY_PAGES)
    log = dirty_log(made.machine, made.vm, slot)
    assert pages_of(log.bitmap) == (set(range(32)) if stays else {0, 29})
    assert made.tree() == {(0, 21): RWX & ~C, (34 * PAGE, 16): RWX if stays else RWX & ~C}
