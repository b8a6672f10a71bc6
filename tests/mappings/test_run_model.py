"""Runs of leaves, held to the leaves that they were made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inspector.radix.tree import Leaf, Oddity
from tests.mappings.run_model import Run, coalesce, run_of

VALID_LEAF = 3 << 62
SHIFTS = {12: 0, 16: 0, 21: 1, 30: 2, 39: 3}
RPN = 0x01FF_FFFF_FFFF_F000
FLAGS = (0x18D, 0x18E, 0x386, 0x1AE, 0x06, 0x02, 0x40 | 0x18E, 1 << 61 | 0x105, 1 << 60 | 0x105)


def leaf(offset: int, ra: int, shift: int = 16, flags: int = 0x18E, stray: int = 0) -> Leaf:
    """A leaf whose entry has this real address, these flags, and stray bits below its page size."""
    return Leaf(offset, ra, shift, VALID_LEAF | ra | stray | flags, SHIFTS[shift])


@st.composite
def leaves(draw: st.DrawFn) -> list[Leaf]:
    """Leaves in order of address, in which each often goes on where the one before ended, in one way or another."""
    told: list[Leaf] = []
    for _ in range(draw(st.integers(0, 24))):
        before = told[-1] if told else leaf(0, 0)
        end = before.offset + (1 << before.shift)
        shift = draw(st.sampled_from([before.shift, before.shift, before.shift, *SHIFTS]))
        size = 1 << shift
        offset = (end + size - 1) // size * size + draw(st.sampled_from([0, 0, 0, size, 5 * size]))
        ra = (before.ra + (1 << before.shift)) // size * size + draw(st.sampled_from([0, 0, 0, size, 3 * size]))
        flags = draw(st.sampled_from([before.entry & ~RPN & 0xFFF, *FLAGS]))
        stray = draw(st.sampled_from([0, 0, 0, 0x1000])) if shift > 12 else 0
        if offset >> 52 or ra >> 53:
            break
        told.append(leaf(offset, ra, shift, flags, stray))
    return told


@given(leaves())
def test_the_runs_expand_to_the_very_leaves(given_leaves: list[Leaf]) -> None:
    runs = [each for each in coalesce(given_leaves) if isinstance(each, Run)]
    assert [each for run in runs for each in run.leaves()] == given_leaves
    assert sum(run.count for run in runs) == len(given_leaves)


@given(leaves())
def test_no_two_runs_could_be_one(given_leaves: list[Leaf]) -> None:
    runs = [each for each in coalesce(given_leaves) if isinstance(each, Run)]
    for one, two in pairwise(runs):
        assert list(coalesce([*one.leaves(), *two.leaves()])) == [one, two]
        together = (one.offset + one.size, one.ra + one.size, one.shift, one.level, one.flags)
        assert (two.offset, two.ra, two.shift, two.level, two.flags) != together


def test_pages_that_go_on_are_one_run() -> None:
    (run,) = coalesce([leaf(at, 0x100_0000 + at) for at in range(0, 5 << 16, 1 << 16)])
    assert run == Run(0, 0x100_0000, 16, 0, VALID_LEAF | 0x18E, 5)
    assert run.size == 5 << 16


def test_a_gap_a_jump_another_size_or_another_flag_ends_a_run() -> None:
    first = leaf(0, 0x100_0000)
    for second in (
        leaf(0x2_0000, 0x101_0000),  # an address left out
        leaf(0x1_0000, 0x102_0000),  # real memory left out
        leaf(0x1_0000, 0x101_0000, flags=0x18D),
        leaf(0x1_0000, 0x101_0000, flags=0x10E),  # not changed
        leaf(0x1_0000, 0x101_0000, flags=0x18E | 0x40),  # a reserved bit
        leaf(0x1_0000, 0x101_0000, stray=0x1000),  # a real page bit below the page size
        leaf(0x1_0000, 0x101_0000, shift=12),
    ):
        assert list(coalesce([first, second])) == [run_of(first), run_of(second)]


def test_write_implies_read_and_nothing_else_does() -> None:
    rights = {flags: str(run_of(leaf(0, 0, flags=flags)).rights) for flags in range(8)}
    assert rights == {0: "---", 1: "--x", 2: "rw-", 3: "rwx", 4: "r--", 5: "r-x", 6: "rw-", 7: "rwx"}


def test_flags_that_nobody_claims_are_told() -> None:
    clean = run_of(leaf(0, 0x100_0000))
    assert clean.unknown_flags == 0
    assert run_of(leaf(0, 0x100_0000, flags=0x18E | 0x40)).unknown_flags == 0x40
    assert run_of(leaf(0, 0x100_0000, flags=0x18E | 1 << 60)).unknown_flags == 1 << 60
    assert run_of(leaf(0, 0x100_0000, stray=0x3000)).unknown_flags == 0x3000
    assert run_of(leaf(0, 0x100_0000, flags=0x18E | 0xE00 | 1 << 61)).unknown_flags == 0, "software's bits are known"


def test_what_is_no_leaf_passes_through_and_ends_no_run() -> None:
    oddity = Oddity("cycle", "it leads back", 0x1_0000)
    one, two = leaf(0, 0), leaf(0x1_0000, 0x1_0000)
    found = list(coalesce([one, oddity, two]))
    assert found == [oddity, replace(run_of(one), count=2)]


def test_it_does_not_wait_for_the_end() -> None:
    def endless() -> Iterator[Leaf]:
        at = 0
        while True:
            yield leaf(at, 0)
            at += 0x1_0000

    runs = coalesce(endless())
    assert [next(runs) for _ in range(3)] == [run_of(leaf(at, 0)) for at in (0, 0x1_0000, 0x2_0000)]
