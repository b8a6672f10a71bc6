"""Mappings that do not agree, held to a look at each page and pair."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.conflicts import Conflict, conflicts, layers
from inspector.mappings.ranges import coalesce
from inspector.radix.tree import Leaf
from tests.mappings.test_ranges import columns_of
from tests.radix.trees import GUARDED, LEAF, TOLERANT, VALID

PAGE = 1 << 12
FLAGS = st.sampled_from([0x105, 0x386, 0x384, 0x18D, 0x18E, 0x387, 0x18F, 0x18E | TOLERANT, 0x38D | GUARDED])


@st.composite
def one_tree(draw: st.DrawFn) -> list[Leaf]:
    """Pages of two sizes over a little real memory, so that they meet."""
    leaves = []
    offset = 0
    for _ in range(draw(st.integers(0, 6))):
        shift = draw(st.sampled_from([12, 16]))
        ra = draw(st.integers(0, 1 if shift == 16 else 20)) << shift
        leaves.append(Leaf(offset, ra, shift, VALID | LEAF | ra | draw(FLAGS), 0))
        offset += 1 << 16
    return leaves


def kind_of(flags: int) -> tuple[bool, bool, bool, int]:
    """Written, executed, for user mode, and the attribute."""
    attribute = flags & 0x30
    return bool(flags & 2), bool(flags & 1) and attribute != 0x20, not flags & 8, attribute


def unlike(kind: str, one: int, other: int) -> bool:
    """Whether two entries are so unlike, this way round."""
    (write, _, user, attribute), (_, execute, other_user, other_attribute) = kind_of(one), kind_of(other)
    if kind == "writable-executable":
        return write and execute
    if kind == "user-privileged":
        return user and not other_user
    return attribute != other_attribute


KINDS = ("writable-executable", "user-privileged", "attributes")
WHERE = st.sampled_from([(0, 1 << 64), (0x3000, 0x3001), (0x800, 0x5800), (0x1_0000, 0x1_4000), (0x2_0000, 0x2_0000)])


@given(st.lists(one_tree(), min_size=1, max_size=3), WHERE, st.booleans())
def test_they_are_what_every_pair_on_every_page_says(
    trees: list[list[Leaf]], where: tuple[int, int], together: bool
) -> None:
    leaves = [each for tree in trees for each in tree]
    columns = columns_of(trees)
    mapped = coalesce(columns) if together else columns
    start, end = where
    found = layers(mapped, start, end)
    told: dict[str, Conflict] = {each.kind: each for each in conflicts(mapped, found)}
    edges = sorted({start, *(at for at in range(0, 1 << 18, PAGE) if start < at < end), min(end, 1 << 18)})
    for kind in KINDS:
        size, first = 0, None
        for low, high in pairwise(edges):
            here = [each for each in leaves if each.ra <= low < each.ra + (1 << each.shift)]
            pairs = ((one, other) for one in here for other in here if one is not other)
            if any(unlike(kind, one.entry, other.entry) for one, other in pairs):
                size += high - low
                first = low if first is None else first
        assert (kind in told) == (size > 0)
        if first is None:
            continue
        conflict = told[kind]
        assert (conflict.size, conflict.ra) == (size, first)
        assert conflict.one != conflict.other
        flags = mapped.flags.tolist()
        for row in (conflict.one, conflict.other):
            ra = int(mapped.ra[row])
            assert ra <= first < ra + int(mapped.size[row])
        assert unlike(kind, flags[conflict.one], flags[conflict.other])


@given(st.lists(one_tree(), min_size=1, max_size=3))
def test_layers_count_every_mapping(trees: list[list[Leaf]]) -> None:
    leaves = [each for tree in trees for each in tree]
    found = layers(columns_of(trees))
    for at in range(0, 1 << 18, PAGE):
        here = [each for each in leaves if each.ra <= at < each.ra + (1 << each.shift)]
        row = next((row for row, start in enumerate(found.start.tolist()) if start <= at < int(found.end[row])), None)
        assert (0 if row is None else int(found.mappings[row])) == len(here)
    pages = {at for each in leaves for at in range(each.ra, each.ra + (1 << each.shift), PAGE)}
    assert found.mapped == len(pages) * PAGE
