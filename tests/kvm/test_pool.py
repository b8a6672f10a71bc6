"""Where table pages come from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inspector.kvm.pool import Pool

START = 0x1_0000_0000
SIZES = (256, 4096, 65536)


class Cleared:
    """Words that only say what was made zeros."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []

    def clear(self, address: int, length: int) -> None:
        self.runs.append((address, length))


def pool(size: int = 1 << 20) -> Pool:
    return Pool(Cleared(), START, size)  # type: ignore[arg-type]


def test_a_table_lies_at_a_multiple_of_its_size_and_is_zeroed() -> None:
    made = pool()
    assert made.take(256) == START
    assert made.take(4096) == START + 4096
    assert made.take(65536) == START + 65536
    assert made.words.runs == [(START, 256), (START + 4096, 4096), (START + 65536, 65536)]  # type: ignore[attr-defined]
    assert (made.tables, made.used) == (3, 256 + 4096 + 65536)


def test_what_was_freed_last_is_taken_next_and_zeroed_anew() -> None:
    made = pool()
    first, second = made.take(4096), made.take(4096)
    assert first is not None
    assert second is not None
    assert made.give_back(first)
    assert made.give_back(second)
    assert made.take(256) == START + 8192, "a table of another size is none of these"
    assert made.take(4096) == second
    assert made.take(4096) == first
    assert made.words.runs[-1] == (first, 4096)  # type: ignore[attr-defined]


def test_none_is_given_past_the_end() -> None:
    made = pool(4096 + 256)
    assert made.take(65536) is None
    assert made.take(4096) == START
    assert made.take(4096) is None
    assert made.take(256) == START + 4096
    assert made.take(256) is None
    assert (made.tables, made.end) == (2, START + 4096 + 256)


def test_another_ones_table_is_not_kept() -> None:
    made = pool()
    at = made.take(4096)
    assert at is not None
    assert not made.give_back(at + 256)
    assert made.give_back(at)
    assert not made.give_back(at), "nor one that was freed already"
    assert made.used == 0


@given(st.lists(st.sampled_from(SIZES) | st.integers(0, 30).map(lambda n: -n), max_size=60))
def test_tables_never_overlap_and_never_leave_the_pool(steps: list[int]) -> None:
    made = pool(256 << 10)
    taken: list[tuple[int, int]] = []
    for step in steps:
        if step > 0:
            at = made.take(step)
            if at is not None:
                assert at % step == 0
                assert made.start <= at <= made.end - step
                assert all(at + step <= other or other + size <= at for other, size in taken)
                taken.append((at, step))
        elif taken:
            made.give_back(taken.pop(-step % len(taken))[0])
        assert made.tables == len(taken)
        assert made.used == sum(size for _, size in taken)
