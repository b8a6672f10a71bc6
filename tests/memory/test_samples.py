"""Telling a guest's RAM from anything else."""

from __future__ import annotations

from inspector.memory.samples import SAMPLE_BYTES, SAMPLES, Verdict, compare
from tests.memory.sessions import SIZE, FakeSession, pattern
from tests.memory.test_ramfile import Guest

SPANS = [(0, SIZE)]


def test_the_same_and_another() -> None:
    truth = pattern(SIZE)
    assert compare(Guest(truth), Guest(truth), SPANS) == Verdict(None, SAMPLES + 1)
    assert compare(Guest(pattern(SIZE, 2)), Guest(truth), SPANS).differ == 0
    shifted = truth[4096:] + truth[:4096]
    assert compare(Guest(shifted), Guest(truth), SPANS).differ is not None


def test_a_part_that_differs_is_found_in_each_span() -> None:
    truth = pattern(2 * SIZE)
    wrong = truth[:SIZE] + pattern(SIZE, 9)
    assert compare(Guest(wrong), Guest(truth), SPANS).differ is None
    differ = compare(Guest(wrong), Guest(truth), [(0, SIZE), (SIZE, 2 * SIZE)]).differ
    assert differ is not None
    assert differ >= SIZE
    many = [(at, at + 4096) for at in range(0, SIZE, 8192)]
    late = truth[: SIZE - 8192] + pattern(SIZE + 8192, 9)
    assert compare(Guest(late), Guest(truth), many).differ == SIZE - 8192


def test_zeros_tell_nothing_but_must_be_zeros_there_too() -> None:
    assert compare(Guest(bytes(SIZE)), Guest(bytes(SIZE)), SPANS) == Verdict(None, 0)
    assert compare(Guest(bytes(SIZE)), Guest(pattern(SIZE)), SPANS).differ is not None


def test_the_guest_is_asked_little_and_in_one_go() -> None:
    session = FakeSession()
    calls = []

    class Batch(Guest):
        gap = 0

        def read_runs(self, runs: list[tuple[int, int]]) -> list[bytes | None]:
            calls.append(runs)
            return session.read_runs(runs)

    assert compare(Guest(session.data), Batch(session.data), SPANS).differ is None
    assert len(calls) == 1
    assert sum(length for _, length in calls[0]) <= (SAMPLES + 1) * SAMPLE_BYTES
