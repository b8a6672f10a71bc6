"""Many runs asked for at once: read together where that pays, and answered as one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import MemoryReadError, NotCaptured, NotRam, Unreadable
from inspector.memory.physical import TOGETHER, Clock, one_by_one
from tests.memory.spy import Spy, inside, memory, pattern


@dataclass
class Batch(Spy):
    """One that takes many reads at once, and lacks what ``lacking`` says."""

    gap: int = 64
    batches: list[list[tuple[int, int]]] = field(default_factory=list)
    expected: list[int] = field(default_factory=list)

    def expect(self, length: int) -> None:
        self.expected.append(length)

    def read_runs(self, runs: list[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        self.batches.append(list(runs))
        return one_by_one(self.read, runs)


class TestManyRuns:
    """Runs read at once answer as reads one by one do, and cost less."""

    @given(
        runs=st.lists(st.tuples(st.integers(0, 0x5000), st.integers(0, 0x900)), max_size=20),
        batch=st.booleans(),
        cheap=st.booleans(),
        running=st.booleans(),
        gap=st.sampled_from([0, 64, 1 << 16]),
    )
    def test_the_same_answers_as_one_by_one(
        self, runs: list[tuple[int, int]], batch: bool, cheap: bool, running: bool, gap: int
    ) -> None:
        spans = ((0, 0x1000), (0x2000, 0x4000))
        lacking = (0x2800, 0x2900)
        spy = Batch(cheap=cheap, lacking=lacking, gap=gap) if batch else Spy(cheap=cheap, lacking=lacking)
        ram, spy = memory(*spans, spy=spy, clock=Clock(running=running))
        for found, (address, length) in zip(ram.read_runs(runs), runs, strict=True):
            if length and not inside(spans, address, length):
                assert isinstance(found, NotRam)
                assert (found.address, found.length) == (address, length)
            elif length and address < lacking[1] and address + length > lacking[0]:
                assert isinstance(found, NotCaptured)
            else:
                assert found == pattern(address, length)
        assert all(inside(spans, *asked) for asked in spy.asked)

    def test_near_runs_are_read_together_and_far_ones_are_not(self) -> None:
        spy = Batch()
        ram, _ = memory((0, 1 << 20), (2 << 20, 3 << 20), spy=spy)
        runs = [(0x400, 8), (0, 16), (0x50, 16), (0x10000, 256), ((1 << 20) - 8, 8), (2 << 20, 8)]
        assert ram.read_runs(runs) == [pattern(*run) for run in runs]
        assert spy.batches == [[(0, 0x60), (0x400, 8), (0x10000, 256), ((1 << 20) - 8, 8), (2 << 20, 8)]]
        assert spy.expected == [sum(length for _, length in runs)]
        assert ram.traffic.reads == 5

    def test_a_group_is_bounded(self) -> None:
        spy = Batch()
        ram, _ = memory((0, 8 << 20), spy=spy)
        runs = [(at, 1 << 16) for at in range(0, 4 << 20, 1 << 16)]
        assert ram.read_runs(runs) == [pattern(*run) for run in runs]
        assert max(length for _, length in spy.batches[0]) <= TOGETHER
        assert len(spy.batches[0]) == 4

    def test_what_was_read_is_kept_until_the_guest_runs(self) -> None:
        clock = Clock()
        ram, spy = memory((0, 1 << 20), clock=clock)
        runs = [(0, 512), (0x8000, 1024)]
        before = ram.read_runs(runs)
        told = len(spy.asked)
        assert ram.read_runs(runs) == before
        assert len(spy.asked) == told
        spy.written = {0: b"x" * 512}
        clock.tick()
        assert ram.read_runs(runs)[0] == b"x" * 512
        clock.running = True
        spy.written = {0: b"y" * 512}
        assert ram.read_runs(runs)[0] == b"y" * 512

    def test_a_cheap_source_is_asked_each_time(self) -> None:
        ram, spy = memory((0, 1 << 20), spy=Spy(cheap=True))
        ram.read_runs([(0, 512)])
        ram.read_runs([(0, 512)])
        assert spy.asked == [(0, 512)] * 2

    def test_a_short_answer_is_no_answer(self) -> None:
        ram, _ = memory((0, 1 << 20), spy=Batch(clipped=1))
        assert all(isinstance(found, Unreadable) for found in ram.read_runs([(0, 8), (0x8000, 8)]))
