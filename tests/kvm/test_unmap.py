"""``kvm_unmap_radix``, ``kvm_age_radix`` and ``kvm_test_age_radix``: what they give back, change, flush and log."""

from __future__ import annotations

import pytest

from inspector.kvm import operations
from inspector.kvm.history import VERSIONS
from inspector.kvm.operations import age, unmap
from inspector.kvm.slots import LOG_DIRTY_PAGES
from inspector.radix.bits import PTE_R
from tests.kvm.scene import HUGE, LARGE, PAGE, PRESENT, RWX, RX, pages_of, scene

BEFORE_418 = ("SEED", "4.16")
every = pytest.mark.parametrize("version", VERSIONS)
SIZES = pytest.mark.parametrize(("level", "shift", "ap"), [(0, 16, 5), (1, 21, 1), (2, 30, 2)])


@every
@SIZES
def test_a_leaf_is_unmapped_with_one_tlbie(version: str, level: int, shift: int, ap: int) -> None:
    made = scene(version)
    made.create(RX, HUGE, level)
    assert unmap(made.machine, made.vm, HUGE).result == 0
    assert made.tree() == ({(HUGE, shift): RX & ~PRESENT} if version in BEFORE_418 else {})
    if level == 2 and version in BEFORE_418:
        ap = 1  # which knows of no larger page
    assert made.rbs == [HUGE | ap << 5]
    left = {"SEED": ["looks-large"], "4.16": ["looks-large-once"]}.get(version, []) if level else []
    assert made.trace.slugs == ["unmapped", *left]


@every
@pytest.mark.parametrize("there", [None, RWX & ~PRESENT])
@pytest.mark.parametrize("operation", [unmap, age, operations.test_age])
def test_nothing_is_done_where_nothing_is_present(version: str, there: int | None, operation: object) -> None:
    made = scene(version)
    slot = made.slot(flags=LOG_DIRTY_PAGES)
    if there is not None:
        made.create(there, 0)
    before = list(made.overlay.changes())
    assert operation(made.machine, made.vm, 0).result == 0  # type: ignore[operator]
    assert list(made.overlay.changes()) == before
    assert not made.rbs
    assert pages_of(slot.log) == set()


@every
def test_a_dirty_page_goes_into_the_log(version: str) -> None:
    made = scene(version)
    slot = made.slot(PAGE, 8 * PAGE, LOG_DIRTY_PAGES)
    made.create(RWX, 3 * PAGE)
    unmap(made.machine, made.vm, 3 * PAGE + 0xABC)
    assert pages_of(slot.log) == {2}
    assert made.rbs == [3 * PAGE | 5 << 5], "the page, not the address within it"


@every
def test_a_clean_page_does_not(version: str) -> None:
    made = scene(version)
    slot = made.slot(flags=LOG_DIRTY_PAGES)
    made.create(RX, 0)
    unmap(made.machine, made.vm, 0)
    assert pages_of(slot.log) == set()


@every
def test_where_no_log_is_kept_nothing_is_logged(version: str) -> None:
    made = scene(version)
    for flags in (None, 0):
        if flags is not None:
            made.slot(flags=flags)
        made.create(RWX, 0)
        unmap(made.machine, made.vm, 0)
        assert "dirty-nowhere" in made.trace.slugs


LOGGED = (
    # version, bits of the host's page, level, what is logged of a leaf at 2M or 1G in a slot at 0
    ("SEED", 16, 1, range(32, 64)),
    ("4.16", 16, 1, range(32, 33)),
    ("4.18", 16, 1, range(32, 33)),
    ("4.19", 16, 1, range(32, 64)),
    ("6.1", 16, 1, range(32, 64)),
    ("SEED", 12, 1, range(64 * 512, 65 * 512)),
    ("4.16", 12, 1, range(512, 513)),
    ("4.19", 12, 1, range(512, 1024)),
    ("4.18", 16, 2, range(16384, 16385)),
    ("4.18", 12, 2, range(262144, 262144 + 64)),
    ("4.19", 16, 2, range(16384, 32768)),
    ("6.1", 12, 2, range(262144, 524288)),
)


@pytest.mark.parametrize(("version", "page_shift", "level", "logged"), LOGGED)
def test_the_pages_of_a_large_leaf_in_the_log(version: str, page_shift: int, level: int, logged: range) -> None:
    made = scene(version, page_shift=page_shift)
    slot = made.slot(flags=LOG_DIRTY_PAGES)
    gpa = LARGE if level == 1 else HUGE
    made.create(RWX, gpa, level)
    unmap(made.machine, made.vm, gpa)
    assert pages_of(slot.log) == set(logged)


def test_the_seed_writes_past_both_halves_of_the_log() -> None:
    made = scene("SEED", page_shift=12)
    slot = made.slot(0, 8 * LARGE, LOG_DIRTY_PAGES)  # 4096 pages: 512 bytes, and as many for reading it
    for number, past in ((0, 0), (1, 64 * 512 + 512 - 8192), (7, 512)):
        made.create(RWX, number * LARGE, 1)
        unmap(made.machine, made.vm, number * LARGE)
        told = [values for slug, values in made.trace.path if slug == "log-overrun"]
        assert told == ([] if not number else [(min(past, 512) // 8,)])
    assert pages_of(slot.log) == set(range(512)), "the first of the slot alone is in the right place"


@pytest.mark.parametrize(
    ("version", "logged"), [("SEED", range(37, 69)), ("4.19", range(32, 64)), ("6.1", range(32, 64))]
)
def test_an_address_within_a_2m_leaf_logs_from_there_on(version: str, logged: range) -> None:
    made = scene(version)
    slot = made.slot(flags=LOG_DIRTY_PAGES)
    made.create(RWX, LARGE, 1)
    unmap(made.machine, made.vm, LARGE + 5 * PAGE)
    assert pages_of(slot.log) == set(logged), "whole bytes, from the one that holds the page, in later kernels"
    rb = LARGE + 5 * PAGE if version == "SEED" else LARGE
    assert made.rbs == [rb | 1 << 5]


def test_the_seed_looks_up_the_slot_of_each_page() -> None:
    made = scene("SEED")
    first, second = made.slot(0, 16 * PAGE, LOG_DIRTY_PAGES), made.slot(16 * PAGE, 64 * PAGE, LOG_DIRTY_PAGES)
    made.create(RWX, 0, 1)
    unmap(made.machine, made.vm, 0)
    assert pages_of(first.log) == set(range(16))
    assert pages_of(second.log) == set(range(16))


def test_later_kernels_stay_in_the_slots_own_memory() -> None:
    made = scene("6.1")
    first, second = made.slot(0, 16 * PAGE, LOG_DIRTY_PAGES), made.slot(16 * PAGE, 64 * PAGE, LOG_DIRTY_PAGES)
    made.create(RWX, 0, 1)
    unmap(made.machine, made.vm, 0)
    assert pages_of(first.log) == set(range(32)), "also past its last page: the log is whole longs"
    assert pages_of(second.log) == set()


@every
@SIZES
def test_ageing_clears_r_without_a_tlbie(version: str, level: int, shift: int, ap: int) -> None:
    made = scene(version)
    made.create(RWX, HUGE, level)
    assert operations.test_age(made.machine, made.vm, HUGE + 5).result == 1
    assert made.tree() == {(HUGE, shift): RWX}
    assert age(made.machine, made.vm, HUGE + 5).result == 1
    assert made.tree() == {(HUGE, shift): RWX & ~PTE_R}
    assert not made.rbs
    assert operations.test_age(made.machine, made.vm, HUGE).result == 0
    assert age(made.machine, made.vm, HUGE).result == 0
    assert made.tree() == {(HUGE, shift): RWX & ~PTE_R}


@every
def test_ageing_on_dd1_goes_through_an_invalid_entry(version: str) -> None:
    made = scene(version, dd1=True)
    made.create(RWX, PAGE)
    assert age(made.machine, made.vm, PAGE).result == 1
    assert made.tree() == {(PAGE, 16): RWX & ~PTE_R}, "present as before"
    assert made.rbs == ([PAGE | 5 << 5] if version in ("SEED", "4.16", "4.18") else [])
