"""``kvmppc_create_pte``: every outcome that the seed's text has, and what later kernels made of it."""

from __future__ import annotations

import pytest

from inspector.kvm.history import VERSIONS
from tests.kvm.scene import HUGE, LARGE, NEXT, PAGE, POOL, PRESENT, PTE, RWX, RX, Scene, pages_of, scene

SINCE_418 = VERSIONS[VERSIONS.index("4.18") :]
ROOT, MIDDLE = 64 << 10, 4 << 10
NO_MEMORY = (
    (0, ROOT, ["no-memory"], [3]),
    (0, ROOT + MIDDLE, ["new-table", "no-memory"], [3, 2]),
    (0, ROOT + MIDDLE + 256, ["new-table", "no-memory"], [3, 2]),
    (0, ROOT + 2 * MIDDLE, ["new-table", "new-table", "no-memory"], [3, 2, 1]),
    (1, ROOT, ["no-memory"], [3]),
    (1, ROOT + MIDDLE, ["new-table", "no-memory"], [3, 2]),
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("page_shift", "bits"), [(16, 5), (12, 9)])
def test_missing_tables_are_made_from_the_root_down(version: str, page_shift: int, bits: int) -> None:
    made = scene(version, page_shift=page_shift)
    assert made.create(RWX | 5 * PAGE, 3 * PAGE) is None
    assert made.tree() == {(3 * PAGE, page_shift): RWX | 5 * PAGE}
    assert [each.level for each in made.trace.taken] == [2, 1, 0]
    middle, large, leaves = (each.address for each in made.trace.taken)
    assert made.word(made.vm.tree.root) == PRESENT | middle | 9
    assert made.word(middle) == PRESENT | large | 9
    assert made.word(large) == PRESENT | leaves | bits
    assert leaves % (8 << bits) == 0
    assert not made.trace.tlbie


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_leaf_takes_no_table_of_leaves(version: str) -> None:
    made = scene(version)
    assert made.create(RWX | LARGE, LARGE + PAGE, 1) is None
    assert made.tree() == {(LARGE, 21): RWX | LARGE}
    assert [each.level for each in made.trace.taken] == [2, 1]
    assert made.trace.installed is not None
    assert made.trace.installed[:3] == (LARGE, RWX | LARGE, 21)


@pytest.mark.parametrize("version", SINCE_418)
def test_a_leaf_of_1g_takes_one_table(version: str) -> None:
    made = scene(version)
    assert made.create(RWX | HUGE, HUGE + LARGE, 2) is None
    assert made.tree() == {(HUGE, 30): RWX | HUGE}
    assert [each.level for each in made.trace.taken] == [2]


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_taken_where_the_tables_are_there(version: str) -> None:
    made = scene(version)
    made.create(RX, 0)
    before = made.machine.pool.tables
    assert made.create(RX | PAGE, PAGE) is None
    assert made.machine.pool.tables == before
    assert not made.trace.taken
    assert not made.trace.freed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("level", [0, 1])
def test_an_invalidation_changes_nothing_and_all_tables_go_back(version: str, level: int) -> None:
    made = scene(version)
    assert made.create(RX, 0, level, invalidated=True) == "EAGAIN"
    assert made.tree() == {}
    assert made.machine.pool.tables == 1, "the root alone"
    assert made.trace.slugs == ["invalidated"]
    assert not made.trace.taken
    assert not made.trace.freed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("level", "pool", "path", "linked"), NO_MEMORY)
def test_what_was_linked_before_the_pool_ran_out_stays(
    version: str, level: int, pool: int, path: list[str], linked: list[int]
) -> None:
    made = scene(version, pool=pool)
    assert made.create(RX, 0, level) == "ENOMEM"
    assert made.trace.slugs == path
    assert made.tree() == {}
    assert [of for _, of in made.tables()] == linked
    assert made.machine.pool.tables == len(linked), "a table that could not be linked went back"


@pytest.mark.parametrize("there", [RX, RWX, RX & ~PRESENT])
@pytest.mark.parametrize("level", [0, 1])
def test_the_seed_never_touches_what_looks_like_a_2m_leaf(there: int, level: int) -> None:
    made = scene("SEED")
    made.create(there, 0, 1)
    before = dict(made.tree())
    assert made.create(RWX, PAGE, level) == "EAGAIN"
    assert made.tree() == before
    assert made.trace.slugs == ["large-there"]
    assert made.machine.pool.tables == 3
    assert not made.trace.tlbie


@pytest.mark.parametrize("version", ["SEED", "4.16"])
def test_a_table_in_the_way_of_a_large_leaf_is_told(version: str) -> None:
    made = scene(version)
    made.create(RX, PAGE)
    before = dict(made.tree())
    assert made.create(RWX, 0, 1) == "EBUSY"
    assert made.tree() == before


@pytest.mark.parametrize("version", ["SEED", "4.16"])
@pytest.mark.parametrize("again", [RX, RWX])
def test_a_leaf_that_is_there_is_invalidated_flushed_logged_and_written(version: str, again: int) -> None:
    made = scene(version)
    slot = made.slot(flags=1)
    made.create(RWX | 7 * PAGE, PAGE)
    assert made.create(again | 7 * PAGE, PAGE + 0x123) is None
    assert made.tree() == {(PAGE, 16): again | 7 * PAGE}
    assert made.rbs == [PAGE | 5 << 5], "RB without its low 12 bits, AP of 64K"
    assert made.trace.tlbie[0].lpid == 5
    assert pages_of(slot.log) == {1}
    assert made.trace.slugs == ["replace", "carry-dirty", "installed"]


def test_a_clean_leaf_that_is_replaced_leaves_the_log_alone() -> None:
    made = scene("SEED")
    slot = made.slot(flags=1)
    made.create(RX, PAGE)
    made.create(RWX, PAGE)
    assert pages_of(slot.log) == set()
    assert len(made.rbs) == 1


def test_a_leaf_without_present_is_written_over_without_a_tlbie() -> None:
    made = scene("SEED")
    made.create(RWX & ~PRESENT, PAGE)
    assert made.create(RX, PAGE) is None
    assert made.tree() == {(PAGE, 16): RX}
    assert not made.rbs


def test_dd1_needs_no_second_flush_where_present_itself_is_cleared() -> None:
    made = scene("SEED", dd1=True)
    made.create(RX, PAGE)
    made.create(RWX, PAGE)
    assert len(made.rbs) == 1


@pytest.mark.parametrize("there", [RWX, RWX & ~PRESENT])
def test_416_clears_a_2m_leaf_whether_present_or_not(there: int) -> None:
    made = scene("4.16")
    slot = made.slot(flags=1)
    made.create(there | 4 * LARGE, LARGE, 1)
    assert made.create(RX, LARGE + 3 * PAGE) is None
    assert made.tree() == {(LARGE + 3 * PAGE, 16): RX}
    assert made.rbs == [LARGE | 1 << 5]
    assert pages_of(slot.log) == set(range(32, 64))


def test_416_clears_a_2m_leaf_for_the_same_one() -> None:
    made = scene("4.16")
    made.create(RX, LARGE, 1)
    assert made.create(RX, LARGE, 1) is None
    assert made.tree() == {(LARGE, 21): RX}
    assert made.rbs == [LARGE | 1 << 5]


@pytest.mark.parametrize("version", SINCE_418)
@pytest.mark.parametrize(("level", "shift"), [(0, 16), (1, 21), (2, 30)])
def test_bits_are_added_to_a_leaf_of_the_same_size(version: str, level: int, shift: int) -> None:
    made = scene(version)
    made.create(RX, HUGE, level)
    assert made.create(RWX, HUGE, level) is None
    assert made.tree() == {(HUGE, shift): RWX}
    assert made.trace.slugs == ["add-bits"]
    assert made.trace.installed is None
    assert made.create(RX, HUGE, level) is None
    assert made.tree() == {(HUGE, shift): RWX}, "rights are never taken away"
    assert made.create(RWX, HUGE, level) is None
    assert made.trace.slugs == ["same-leaf"]
    assert not made.rbs


@pytest.mark.parametrize("version", SINCE_418)
def test_two_leaves_of_different_pages_are_merged_with_a_warning(version: str) -> None:
    made = scene(version)
    made.create(RX | PAGE, 0)
    made.create(RX | 2 * PAGE, 0)
    assert made.tree() == {(0, 16): RX | 3 * PAGE}
    assert "must-match" in made.trace.slugs


@pytest.mark.parametrize("version", SINCE_418)
@pytest.mark.parametrize(("there", "shift", "wanted"), [(1, 21, 0), (2, 30, 0), (2, 30, 1)])
def test_a_larger_leaf_makes_room_for_a_smaller_one(version: str, there: int, shift: int, wanted: int) -> None:
    made = scene(version)
    slot = made.slot(flags=1)
    made.create(RWX, HUGE, there)
    assert made.create(RX, HUGE + LARGE // 2, wanted) is None
    assert list(made.tree().values()) == [RX]
    assert made.rbs == [HUGE | (1 if shift == 21 else 2) << 5]
    assert len(pages_of(slot.log)) == 1 << shift - 16


def test_no_table_for_a_smaller_leaf_is_taken_for_a_race() -> None:
    made = scene("6.1", pool=ROOT + 2 * MIDDLE)
    made.create(RX, 0, 1)
    assert made.create(RX, PAGE) == "EAGAIN"
    assert made.tree() == {(0, 21): RX}
    assert made.trace.slugs == ["raced"]


@pytest.mark.parametrize("version", SINCE_418)
def test_a_table_makes_room_for_a_2m_leaf(version: str) -> None:
    made = scene(version)
    slot = made.slot(flags=1)
    made.create(RWX | 0x30_0000, 0)
    made.create(RX | 0x40_0000, PAGE)
    tables = made.machine.pool.tables
    assert made.create(RX, 0, 1) is None
    assert made.tree() == {(0, 21): RX}
    assert made.machine.pool.tables == tables - 1
    assert [(each.rb, each.ric) for each in made.trace.tlbie] == [
        (0x800, 1),  # the page-walk cache, of all that the LPID has
        (0x30_0000 | 5 << 5, 0),  # the host's real addresses: the kernel takes them from the leaves
        (0x40_0000 | 5 << 5, 0),
    ]
    assert pages_of(slot.log) == {0x30}, "of the host's address as well"
    assert made.trace.slugs.count("host-addresses") == 1
    assert [each.level for each in made.trace.freed] == [0]


@pytest.mark.parametrize("version", SINCE_418)
def test_tables_make_room_for_a_1g_leaf(version: str) -> None:
    made = scene(version)
    made.create(RX | 0x30_0000, HUGE)
    made.create(RX | 5 * LARGE, HUGE + LARGE, 1)
    assert made.create(RX, HUGE, 2) is None
    assert made.tree() == {(HUGE, 30): RX}
    assert made.machine.pool.tables == 2
    assert [each.rb for each in made.trace.tlbie] == [0x800, 0x30_0000 | 5 << 5, 5 * LARGE | 1 << 5]
    assert [each.level for each in made.trace.freed] == [0, 1]


@pytest.mark.parametrize("version", ["4.18", "6.1"])
@pytest.mark.parametrize("level", [0, 1])
def test_a_stale_2m_leaf_does_not_stand_in_the_way_later(version: str, level: int) -> None:
    made = scene(version)
    made.create(RX & ~PRESENT, 0, 1)
    assert made.create(RX, 0, level) is None
    assert made.tree() == {(0, (16, 21)[level]): RX}


def entry_of(made: Scene, gpa: int) -> int:
    """Real address of the entry of 2M of ``gpa``."""
    middle = made.word(made.vm.tree.root + 8 * (gpa >> 39)) & NEXT
    return (made.word(middle + 8 * (gpa >> 30 & 511)) & NEXT) + 8 * (gpa >> 21 & 511)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_half_changed_where_a_table_lies_outside_of_memory(version: str) -> None:
    from inspector.errors import MemoryReadError

    made = scene(version)
    made.create(RX, HUGE)
    made.put(entry_of(made, HUGE), PRESENT | 0x7000_0000 | 5)
    before, tables = list(made.overlay.changes()), made.machine.pool.tables
    for level in (0, 1) if version not in ("SEED", "4.16") else (0,):
        with pytest.raises(MemoryReadError):
            made.create(RWX, HUGE, level)
        assert list(made.overlay.changes()) == before
        assert made.machine.pool.tables == tables


def test_the_pool_lies_where_it_was_said() -> None:
    made = scene()
    made.create(RX, 0)
    assert all(POOL <= at < POOL + (1 << 20) for at, _ in made.tables())
    assert made.tree()[0, 16] & PTE
