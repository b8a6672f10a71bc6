"""Table pages that came and went, by address, level, size and owner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.difference import Unseen
from inspector.mappings.select import Selection
from inspector.mappings.table_changes import Fate, TableChanges, compare_tables
from inspector.radix.columns import Root, Tables

MiB, GiB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Page:
    """One table page."""

    pid: int
    address: int
    level: int = 0
    length: int = 256
    offset: int = 0
    references: int = 1


def tables(*pages: Page, roots: tuple[int, ...] = (0, 4)) -> Tables:
    trees = tuple(Root(pid, 1, 3 << 62 if pid == 0 else 0) for pid in roots)

    def column(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(page, name) for page in pages], kind)

    nothing = np.zeros(len(pages), np.uint16)
    return Tables(
        trees,
        column("address", np.uint64),
        column("level", np.uint8),
        column("length", np.uint32),
        nothing,
        nothing,
        column("references", np.uint32),
        np.array([roots.index(page.pid) for page in pages], np.uint32),
        column("offset", np.uint64),
        np.ones(len(pages), np.bool_),
    )


def rows(found: TableChanges) -> list[tuple[str, int, int, int]]:
    """(fate, PID, level, address)."""
    columns = (found.fate, found.pid, found.level, found.address)
    return [
        (Fate(fate).name, pid, level, address)
        for fate, pid, level, address in zip(*(column.tolist() for column in columns), strict=True)
    ]


PAGES = st.lists(
    st.builds(
        Page, st.sampled_from((0, 4)), st.sampled_from((0x1000, 0x2000, 0x3000)), st.integers(0, 3), st.just(4096)
    ),
    max_size=8,
    unique_by=lambda page: (page.address, page.level),
)


@given(PAGES, PAGES)
def test_they_are_the_difference_of_sets(before: list[Page], after: list[Page]) -> None:
    was, now = ({(page.pid, page.level, page.address) for page in side} for side in (before, after))
    expected = {("ALLOCATED", *page) for page in now - was} | {("FREED", *page) for page in was - now}
    found = rows(compare_tables(tables(*before), tables(*after)))
    assert set(found) == expected
    assert len(found) == len(expected)
    assert [(pid, -level) for _, pid, level, _ in found] == sorted((pid, -level) for _, pid, level, _ in found)


def test_a_page_that_is_another_trees_now_was_freed_and_allocated() -> None:
    assert rows(compare_tables(tables(Page(0, 0x1000)), tables(Page(4, 0x1000)))) == [
        ("FREED", 0, 0, 0x1000),
        ("ALLOCATED", 4, 0, 0x1000),
    ]


def test_of_a_shared_page_any_tree_may_be_told_as_the_owner() -> None:
    one, other = Page(0, 0x1000, references=2), Page(4, 0x1000, references=2)
    assert rows(compare_tables(tables(one), tables(other))) == []
    assert rows(compare_tables(tables(one), tables(Page(4, 0x1000)))) != []


def test_another_size_is_another_table() -> None:
    found = rows(compare_tables(tables(Page(4, 0x1000)), tables(Page(4, 0x1000, length=4096))))
    assert [fate for fate, *_ in found] == ["ALLOCATED", "FREED"]


def test_below_what_could_not_be_read_nothing_is_said_to_have_come_or_gone() -> None:
    trees = tables().roots
    unread = Unseen(trees, np.array([1], np.uint32), np.array([GiB], np.uint64), np.array([GiB], np.uint64))
    there = tables(Page(4, 0x1000, offset=GiB), Page(4, 0x2000, offset=2 * GiB), Page(0, 0x3000, offset=GiB))
    hidden = [("ALLOCATED", 0, 0, 0x3000), ("UNSEEN", 4, 0, 0x1000), ("ALLOCATED", 4, 0, 0x2000)]
    assert rows(compare_tables(tables(), there, unseen_before=unread)) == hidden
    gone = [("FREED" if fate == "ALLOCATED" else fate, *rest) for fate, *rest in hidden]
    assert rows(compare_tables(there, tables(), unseen_after=unread)) == gone


def test_a_selection_means_what_a_table_covers_and_where_it_lies() -> None:
    found = compare_tables(tables(), tables(Page(4, 0x1000, 1, 4096, GiB), Page(0, 0x5000, 0, 256, 2 * MiB)))

    def chosen(selection: Selection) -> list[int]:
        return [address for *_, address in rows(found.selected(selection))]

    assert chosen(Selection()) == [0x5000, 0x1000]
    assert chosen(Selection(ea=[(GiB + 5 * MiB, GiB + 6 * MiB)])) == [0x1000]
    assert chosen(Selection(ea=[((3 << 62) + 3 * MiB, (3 << 62) + 4 * MiB)])) == [0x5000]
    assert chosen(Selection(ra=[(0x50FF, 0x5100)])) == [0x5000]
    assert chosen(Selection(ra=[(0x5100, 0x5200)])) == []
    assert chosen(Selection(pids={4})) == [0x1000]
    assert chosen(Selection(rights="w")) == []
