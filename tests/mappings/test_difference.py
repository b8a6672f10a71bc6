"""Differences in bulk, held to a comparison page by page: applied to the one side they give the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.difference import KINDS, RIGHTS, SOFTWARE, Changes, Half, Kind, Unseen, compare, pages_of
from inspector.mappings.ranges import Ranges, coalesce
from inspector.mappings.select import Selection
from inspector.radix.bits import PTE_ATT, PTE_C, PTE_R, PTE_WRITE
from inspector.radix.columns import Columns, Places, Root
from tests.radix.trees import LEAF, VALID

PAGE = 1 << 12
BLOCK = 1 << 21
Page = tuple[int, int, int]
"""What 4 KiB are mapped to: (real address, log2 of the page size, flags)."""
Pages = dict[tuple[int | None, int], Page]
"""By (PID, offset)."""
Leaf = tuple[int, int, int, int]
"""(offset, real address, log2 of the page size, flags)."""
FLAGS = tuple(VALID | LEAF | bits for bits in (0x18E, 0x10E, 0x386, 0x1AE, 0x18C, 0x1000_0000_0000_018E))


@dataclass(frozen=True)
class Tree:
    """One tree as leaves."""

    root: Root
    leaves: tuple[Leaf, ...]


@st.composite
def blocks(draw: st.DrawFn, at: int) -> list[Leaf]:
    """What may stand in 2 MiB of a tree: one leaf, or some of 64K or 4K, which mostly go on from each other."""
    shift = draw(st.sampled_from((21, 16, 16, 12)))
    if shift == 21:
        return [(at, draw(st.sampled_from((0, BLOCK))), 21, draw(st.sampled_from(FLAGS)))]
    found: list[Leaf] = []
    offset = at + (draw(st.integers(0, 3)) << shift)
    for _ in range(draw(st.integers(1, 3))):
        ra, flags = draw(st.sampled_from((0, BLOCK, 2 * BLOCK))), draw(st.sampled_from(FLAGS))
        for _ in range(draw(st.integers(1, 6))):
            found.append((offset, ra + (offset & (BLOCK - 1)), shift, flags))
            offset += 1 << shift
        offset += draw(st.integers(0, 1)) << shift
    return found


PIDS: tuple[int | None, ...] = (None, 0, 4)
SLOTS = (0, BLOCK, 1 << 39, (1 << 52) - BLOCK)


@st.composite
def moments(draw: st.DrawFn) -> tuple[list[Tree], list[Tree]]:
    """Two moments: trees that came, went, stayed as they were, or were changed here and there."""
    sides: tuple[list[Tree], list[Tree]] = ([], [])
    for pid in PIDS:
        slots: tuple[dict[int, list[Leaf]], dict[int, list[Leaf]]] = ({}, {})
        for slot in SLOTS:
            block = draw(st.none() | blocks(slot))
            other = block if draw(st.booleans()) else draw(st.none() | blocks(slot))
            for side, mine in zip(slots, (block, other), strict=True):
                side[slot] = mine or []
        there = draw(st.sampled_from(((True, True), (True, True), (True, False), (False, True))))
        for trees, side, is_there in zip(sides, slots, there, strict=True):
            if is_there:
                root = Root(pid, draw(st.integers(1, 2)), 3 << 62 if pid == 0 else 0, 7 if pid is None else 0)
                trees.append(Tree(root, tuple(leaf for slot in SLOTS for leaf in side[slot])))
    return sides


def ranges_of(trees: Sequence[Tree]) -> Ranges:
    """Their leaves put together."""
    rows = [(number, *leaf) for number, tree in enumerate(trees) for leaf in tree.leaves]
    count = len(trees)
    places = Places(np.arange(count, dtype=np.uint32), np.zeros(count, np.uint64), np.zeros(count, np.uint64))
    return coalesce(
        Columns(
            tuple(tree.root for tree in trees),
            places,
            np.array([row[0] for row in rows], np.uint32),
            np.array([row[1] for row in rows], np.uint64),
            np.array([row[2] | row[4] for row in rows], np.uint64),
            np.array([row[3] for row in rows], np.uint8),
        )
    )


def pages(trees: Sequence[Tree]) -> Pages:
    """Page by page of 4 KiB."""
    return {
        (tree.root.pid, offset + at): (ra + at, shift, flags)
        for tree in trees
        for offset, ra, shift, flags in tree.leaves
        for at in range(0, 1 << shift, PAGE)
    }


def of_half(half: Half, row: int, at: int) -> Page | None:
    """What a side of a change maps at ``at`` bytes from its first."""
    flags = int(half.flags[row])
    return (int(half.ra[row]) + at, int(half.shift[row]), flags) if flags else None


def kinds_of(before: Page | None, after: Page | None) -> Kind:
    """In what two pages differ, in plain words."""
    kinds = Kind(0)
    if before == after:
        return kinds
    if before is None or after is None:
        kinds = Kind.ADDED if after else Kind.REMOVED
        return kinds | Kind.TOUCHED if after and after[2] & (PTE_R | PTE_C) else kinds
    same = before[0] == after[0]
    changed = before[2] ^ after[2]
    kinds |= Kind(0) if same else Kind.MOVED
    kinds |= Kind.SIZE if before[1] != after[1] else Kind(0)
    kinds |= Kind.RIGHTS if changed & RIGHTS else Kind(0)
    kinds |= Kind.ATTRIBUTE if changed & PTE_ATT else Kind(0)
    kinds |= Kind.SOFTWARE if changed & SOFTWARE else Kind(0)
    kinds |= Kind.RESERVED if changed & ~(RIGHTS | PTE_ATT | SOFTWARE | PTE_R | PTE_C) else Kind(0)
    for bit in (PTE_R, PTE_C):
        if after[2] & bit and not (same and before[2] & bit):
            kinds |= Kind.TOUCHED
        if same and before[2] & bit and not after[2] & bit:
            kinds |= Kind.CLEARED
    return kinds


def each_page(changes: Changes) -> dict[tuple[int | None, int], tuple[Kind, Page | None, Page | None]]:
    """The changes page by page; none is told twice."""
    found: dict[tuple[int | None, int], tuple[Kind, Page | None, Page | None]] = {}
    for row in range(len(changes)):
        pid, offset = changes.roots[int(changes.root[row])].pid, int(changes.offset[row])
        for at in range(0, int(changes.size[row]), PAGE):
            assert (pid, offset + at) not in found
            both = of_half(changes.before, row, at), of_half(changes.after, row, at)
            found[pid, offset + at] = Kind(int(changes.kinds[row])), *both
    return found


@given(moments(), st.integers(1, 5))
def test_it_says_of_every_page_what_is_so(sides: tuple[list[Tree], list[Tree]], rows: int) -> None:
    """So that applied to what was it gives what is: page by page, whatever parts it is done in."""
    before, after = (pages(trees) for trees in sides)
    changes = compare(*map(ranges_of, sides), part_rows=rows)
    expected = {
        key: (kinds_of(before.get(key), after.get(key)), before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }
    assert each_page(changes) == expected


@given(moments())
def test_nothing_differs_from_itself(sides: tuple[list[Tree], list[Tree]]) -> None:
    for trees in sides:
        one = ranges_of(trees)
        assert len(compare(one, one)) == 0
        backwards = one.take(np.arange(len(one))[::-1])
        assert len(compare(one, backwards)) == 0, "whatever their order"


@given(moments())
def test_backwards_it_is_the_mirror_image(sides: tuple[list[Tree], list[Tree]]) -> None:
    here, there = (compare(*map(ranges_of, pair)) for pair in (sides, sides[::-1]))
    names = ("root", "offset", "size")
    assert all(np.array_equal(getattr(here, name), getattr(there, name)) for name in names)
    for one, other in ((here.before, there.after), (here.after, there.before)):
        assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("ra", "shift", "flags"))
    added, removed = (here.kinds & np.uint16(kind) != 0 for kind in (Kind.ADDED, Kind.REMOVED))
    assert np.array_equal(added, there.kinds & np.uint16(Kind.REMOVED) != 0)
    assert np.array_equal(removed, there.kinds & np.uint16(Kind.ADDED) != 0)
    same = ~added & ~removed & (here.kinds & np.uint16(Kind.MOVED) == 0)
    assert np.array_equal(
        here.kinds[same] & np.uint16(Kind.TOUCHED) != 0, there.kinds[same] & np.uint16(Kind.CLEARED) != 0
    )


@given(moments(), st.integers(1, 5))
def test_what_goes_on_is_put_together(sides: tuple[list[Tree], list[Tree]], rows: int) -> None:
    """No two rows could be one, in whatever parts it is done; so the rows do not depend on the parts."""
    parts, whole = (compare(*map(ranges_of, sides), part_rows=each) for each in (rows, 1 << 16))
    assert each_page(parts) == each_page(whole)
    assert len(parts) == len(whole)
    for row in range(1, len(whole)):
        before, size = row - 1, int(whole.size[row - 1])
        if whole.root[row] != whole.root[before] or int(whole.offset[row]) != int(whole.offset[before]) + size:
            continue
        sides_of = [(of_half(half, before, size), of_half(half, row, 0)) for half in (whole.before, whole.after)]
        assert any(on != here for on, here in sides_of) or whole.kinds[row] != whole.kinds[before]


@given(moments(), st.sets(st.tuples(st.integers(0, 1), st.sampled_from(SLOTS), st.sampled_from((21, 30)))))
def test_where_tables_were_not_read_nothing_is_said_to_have_come_or_gone(
    sides: tuple[list[Tree], list[Tree]], unread: set[tuple[int, int, int]]
) -> None:
    before, after = map(ranges_of, sides)
    plain = each_page(compare(before, after))
    spans = []
    for side, trees in enumerate(sides):
        mine = [(offset & ~((1 << shift) - 1), 1 << shift) for which, offset, shift in unread if which == side]
        mine = mine if trees else []
        spans.append(
            Unseen(
                tuple(tree.root for tree in trees),
                np.zeros(len(mine), np.uint32),
                np.array([start for start, _ in mine], np.uint64),
                np.array([size for _, size in mine], np.uint64),
            )
        )

    def hidden(side: int, pid: int | None, offset: int) -> bool:
        if not sides[side] or sides[side][0].root.pid != pid:
            return False
        return any(
            which == side and start & ~((1 << shift) - 1) <= offset < (start & ~((1 << shift) - 1)) + (1 << shift)
            for which, start, shift in unread
        )

    expected = {}
    for (pid, offset), (kinds, was, now) in plain.items():
        lost = (kinds & Kind.ADDED and hidden(0, pid, offset)) or (kinds & Kind.REMOVED and hidden(1, pid, offset))
        expected[pid, offset] = (Kind.UNSEEN if lost else kinds, was, now)
    found = compare(before, after, unseen_before=spans[0], unseen_after=spans[1], part_rows=2)
    assert each_page(found) == expected


@given(moments())
def test_counts_are_those_of_the_rows(sides: tuple[list[Tree], list[Tree]]) -> None:
    changes = compare(*map(ranges_of, sides))
    counted = pages_of(changes)
    for number in range(len(changes.roots)):
        for kind in Kind:
            rows = (changes.root == number) & (changes.kinds & np.uint16(kind) != 0)
            expected = (int(rows.sum()), int(changes.size[rows].sum()))
            assert counted.get((number, kind), (0, 0)) == expected


@given(moments(), st.sampled_from(list(Kind)))
def test_kinds_and_selections_choose_rows(sides: tuple[list[Tree], list[Tree]], kind: Kind) -> None:
    changes = compare(*map(ranges_of, sides))
    assert set(changes.of_kinds(kind).kinds.tolist()) == {each for each in changes.kinds.tolist() if each & kind}
    questions: tuple[tuple[Selection, Callable[[Page], bool]], ...] = (
        (Selection(rights="w"), lambda page: bool(page[2] & PTE_WRITE)),
        (Selection(shifts={16}), lambda page: page[1] == 16),
        (Selection(changed=False, shifts={16}), lambda page: page[1] == 16 and not page[2] & PTE_C),
    )
    for selection, true in questions:
        chosen = changes.selected(selection)
        expected = {
            key: value
            for key, value in each_page(changes).items()
            if any(page is not None and true(page) for page in value[1:])
        }
        assert each_page(chosen) == expected
    assert changes.selected(Selection()) is changes


def leaf_tree(pid: int, *leaves: Leaf) -> Ranges:
    return ranges_of([Tree(Root(pid, 1), leaves)])


RW = VALID | LEAF | 0x386


def test_a_split_page_has_not_moved() -> None:
    whole = leaf_tree(4, (0, 0, 21, RW))
    split = leaf_tree(4, *((at, at, 16, RW) for at in range(0, BLOCK, 1 << 16)))
    (kinds,) = compare(whole, split).kinds.tolist()
    assert kinds == Kind.SIZE
    touched = leaf_tree(4, *((at, at, 16, RW if at else RW & ~PTE_C) for at in range(0, BLOCK, 1 << 16)))
    changes = compare(whole, touched)
    assert changes.kinds.tolist() == [Kind.SIZE | Kind.CLEARED, Kind.SIZE]
    assert changes.size.tolist() == [1 << 16, BLOCK - (1 << 16)]
    assert changes.ra_before.tolist() == [0, 1 << 16], "where in the large page it is"


def test_trees_are_told_apart_by_pid_and_not_by_their_order() -> None:
    one, other = Tree(Root(4, 1), ((0, 0, 16, RW),)), Tree(Root(9, 2), ((0, 1 << 16, 16, RW),))
    assert len(compare(ranges_of([one, other]), ranges_of([other, one]))) == 0
    gone = compare(ranges_of([one, other]), ranges_of([other]))
    assert (gone.pid.tolist(), gone.kinds.tolist()) == ([4], [Kind.REMOVED])


def test_the_kinds_have_names() -> None:
    assert KINDS["touched"] is Kind.TOUCHED
    assert len(KINDS) == len(Kind)


def test_nothing_at_all() -> None:
    empty = ranges_of([])
    assert len(compare(empty, empty)) == 0
    assert pages_of(compare(empty, empty)) == {}
    assert len(compare(empty, empty).selected(Selection(rights="w"))) == 0
