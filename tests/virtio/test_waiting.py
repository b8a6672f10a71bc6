"""How long something has waited in a queue, by looks at it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from inspector.virtio.waiting import Waits

STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


@given(STEPS, st.integers(0, 0xFFFF))
def test_it_is_the_first_look_at_which_the_same_buffer_waited(steps: Sequence[tuple[int, int]], start: int) -> None:
    """Against a queue of numbered buffers, each of which knows when it was first seen."""
    waits, made, taken = Waits(iter(range(len(steps))).__next__), 0, 0
    first_seen: dict[int, float] = {}
    for at, (more, fewer) in enumerate(steps):
        made += more
        taken = min(taken + fewer, made)
        for number in range(taken, made):
            first_seen.setdefault(number, at)
        expected = None if taken == made else at - first_seen[taken]
        found = waits.since("device", 0, (start + made) & 0xFFFF, (start + taken) & 0xFFFF)
        assert (found is None) == (expected is None)
        assert expected is None or (found is not None and found <= expected), "at least so long, never longer"
        if fewer == 0 and more == 0 and expected:
            assert found is not None


def test_queues_are_told_apart() -> None:
    waits = Waits(iter((0, 3, 4, 9)).__next__)
    assert waits.since("one", 0, 5, 4) == 0
    assert waits.since("one", 1, 5, 4) == 0
    assert waits.since("two", 0, 5, 4) == 0
    assert waits.since("one", 0, 6, 4) == 9


def test_an_index_that_went_back_is_of_another_ring() -> None:
    waits = Waits()
    assert waits.since("one", 0, 5, 1) == 0
    assert waits.since("one", 0, 3, 1) == 0
