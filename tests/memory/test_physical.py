"""The guard that lets nothing but RAM be asked for, and the cache that forgets when the guest has run."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import MemoryReadError, NotCaptured, NotRam, Unreadable
from inspector.memory.physical import CACHE_UNITS, UNIT, Clock, PhysicalMemory, RamMap, Range
from inspector.radix import software_walk, walk
from tests.memory.spy import Recorded, Spy, inside, memory, pattern
from tests.radix.broken import worlds
from tests.radix.trees import HOLE, LEAF, RAM, READ, VALID, Memory, World, flat


class TestRamMap:
    def test_ranges_are_sorted_and_empty_ones_are_dropped(self) -> None:
        ram = RamMap([Range(0x3000, 0x1000, "b"), Range(0x1000, 0, "none"), Range(0, 0x1000, "a")])
        assert [r.name for r in ram] == ["a", "b"]
        assert ram.spans() == [(0, 0x1000), (0x3000, 0x4000)]
        assert ram.total == 0x2000

    def test_touching_and_overlapping_ranges_are_one_span(self) -> None:
        ram = RamMap([Range(0x1000, 0x1000), Range(0, 0x1000), Range(0x1800, 0x1000), Range(0x1900, 0x10)])
        assert ram.spans() == [(0, 0x2800)]
        assert ram.total == 0x2800

    def test_no_ram_at_all(self) -> None:
        ram = RamMap([])
        assert (ram.span(0), ram.total, ram.covers(0, 1), ram.covers(0, 0)) == (None, 0, False, True)

    @pytest.mark.parametrize(
        ("address", "length", "covered"),
        [
            (0x1000, 1, True),
            (0xFFF, 1, False),
            (0xFFF, 2, False),
            (0x1FFF, 1, True),
            (0x1FFF, 2, False),
            (0x2000, 1, False),
            (0x1000, 0x1000, True),
            (0x1000, 0x1001, False),
            (-1, 1, False),
            (0x1000, -1, False),
            (1 << 64, 8, False),
            (0, 1 << 64, False),
            (0x9999_9999, 0, True),
        ],
    )
    def test_coverage_is_to_the_byte(self, address: int, length: int, covered: bool) -> None:
        assert RamMap([Range(0x1000, 0x1000)]).covers(address, length) is covered

    @given(
        st.lists(st.tuples(st.integers(0, 64), st.integers(0, 16)), max_size=5),
        st.integers(-2, 90),
        st.integers(0, 20),
    )
    def test_it_agrees_with_a_set_of_bytes(self, ranges: list[tuple[int, int]], address: int, length: int) -> None:
        ram = RamMap(Range(start, size) for start, size in ranges)
        held = {at for start, size in ranges for at in range(start, start + size)}
        assert ram.covers(address, length) == all(at in held for at in range(address, address + length))
        assert ram.total == len(held)
        span = ram.span(address)
        assert (span is not None) == (address in held)
        if span:
            assert held.issuperset(range(*span))
            assert not {span[0] - 1, span[1]} & held

    @given(
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=6), st.integers(0, 70), st.integers(0, 40)
    )
    def test_within_is_what_the_spans_and_the_run_have_in_common(
        self, ranges: list[tuple[int, int]], address: int, length: int
    ) -> None:
        ram = RamMap(Range(start, size) for start, size in ranges)
        found = list(ram.within(address, length))
        covered = {at for start, size in ranges for at in range(start, start + size)}
        assert [at for span in found for at in range(*span)] == sorted(covered & set(range(address, address + length)))
        assert all(before[1] < after[0] for before, after in pairwise(found)), "touching parts are one"


def test_within_passes_over_what_a_recorded_source_lacks() -> None:
    physical, spy = memory((0, 1 << 62))
    assert list(physical.within(0x1000, 1 << 50)) == [(0x1000, 0x1000 + (1 << 50))]
    physical.source = Recorded(captured=((0, 0x1800), (0x4000, 0x1000)))
    assert list(physical.within(0x1000, 1 << 50)) == [(0x1000, 0x1800), (0x4000, 0x5000)]
    assert spy.asked == []


class TestGuard:
    @pytest.mark.parametrize("cheap", [False, True])
    @pytest.mark.parametrize("running", [False, True])
    @pytest.mark.parametrize(("address", "length"), [(HOLE, 8), (0xFFC, 8), (0x1000, 1), (0, 0x1001), (-8, 8)])
    def test_what_is_not_ram_never_reaches_the_source(
        self, address: int, length: int, running: bool, cheap: bool
    ) -> None:
        ram, spy = memory((0, 0x1000), spy=Spy(cheap=cheap), clock=Clock(running=running))
        with pytest.raises(NotRam) as told:
            ram.read(address, length)
        assert (told.value.address, told.value.length) == (address, length)
        assert spy.asked == []
        assert (ram.traffic.refused, ram.traffic.reads) == (1, 0)

    def test_a_read_over_the_end_of_ram_is_refused_whole(self) -> None:
        ram, spy = memory((0, 0x1000))
        assert ram.read(0xFF8, 8) == pattern(0xFF8, 8)
        with pytest.raises(NotRam):
            ram.read(0xFF9, 8)
        assert all(address + length <= 0x1000 for address, length in spy.asked)

    def test_ram_smaller_than_a_unit_is_fetched_no_further_than_it_goes(self) -> None:
        ram, spy = memory((0x110, 0x130), (0x150, 0x158))
        assert ram.read(0x118, 8) == pattern(0x118, 8)
        assert ram.read(0x150, 8) == pattern(0x150, 8)
        assert ram.read(0x110, 0x20) == pattern(0x110, 0x20)
        assert spy.asked == [(0x110, 0x20), (0x150, 8)]

    def test_adjacent_ranges_are_read_across(self) -> None:
        border = 2 * UNIT + UNIT // 4
        ram, spy = memory((0, border), (border, 8 * UNIT))
        assert ram.read(border - 4, 8) == pattern(border - 4, 8)
        assert ram.read(UNIT - 8, 16) == pattern(UNIT - 8, 16)
        assert ram.read(0, 8 * UNIT) == pattern(0, 8 * UNIT)
        assert spy.asked == [(2 * UNIT, UNIT), (0, UNIT), (UNIT, UNIT), (0, 8 * UNIT)]

    @settings(max_examples=400)
    @given(
        st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000)), max_size=4),
        st.lists(st.tuples(st.integers(-10, 9000), st.integers(0, 2500)), min_size=1, max_size=8),
        st.booleans(),
    )
    def test_every_read_is_refused_or_right_and_nothing_outside_is_asked(
        self, ranges: list[tuple[int, int]], reads: list[tuple[int, int]], cheap: bool
    ) -> None:
        spans = tuple((start, start + size) for start, size in ranges)
        ram, spy = memory(*spans, spy=Spy(cheap=cheap))
        for address, length in reads:
            if inside(spans, address, length):
                assert ram.read(address, length) == (pattern(address, length) if length else b"")
            else:
                with pytest.raises(NotRam):
                    ram.read(address, length)
        assert all(inside(spans, address, length) for address, length in spy.asked)

    @settings(max_examples=400)
    @given(worlds(), st.sampled_from(sorted(software_walk.VARIANTS)))
    def test_whatever_a_table_says_nothing_outside_ram_is_asked(self, world: World, name: str) -> None:
        ram, source = behind_the_guard(world.memory)
        for ea in world.eas:
            for access in ("r", "w", "x", None):
                walk.translate(ram.read_u64, world.context, ea, access)
            if world.context.flat:
                software_walk.translate(ram.read_u64, world.context, ea, software_walk.variant(name))
        assert all(world.memory.holds(address, length) for address, length in source.asked)

    def test_a_table_that_points_at_a_device_is_a_fault_and_the_device_is_not_asked(self) -> None:
        world = flat().poke(1, VALID | HOLE & ~0xFFF | 9)
        ram, source = behind_the_guard(world.memory)
        assert walk.translate(ram.read_u64, world.context, world.eas[0], "r").cause == "table-not-ram"
        assert ram.traffic.refused == 1
        assert max(address for address, _ in source.asked) < RAM[0][1]

    def test_a_page_that_is_a_device_is_translated_and_not_asked(self) -> None:
        world = flat(VALID | LEAF | READ | HOLE & ~0xFFF)
        ram, source = behind_the_guard(world.memory)
        answer = walk.translate(ram.read_u64, world.context, world.eas[0], "r")
        assert answer.ra is not None
        with pytest.raises(NotRam):
            ram.read(answer.ra, 8)
        assert max(address for address, _ in source.asked) < RAM[0][1]


@dataclass
class Tables:
    """A world's memory as a source; it remembers what it was asked, and fails where no RAM is."""

    memory: Memory
    asked: list[tuple[int, int]] = field(default_factory=list)
    cheap = False
    description = "tables"

    def read(self, address: int, length: int) -> bytes:
        self.asked.append((address, length))
        first = address & ~7
        whole = b"".join(self.memory.word(at).to_bytes(8, "big") for at in range(first, address + length, 8))
        return whole[address - first : address - first + length]


def behind_the_guard(tables: Memory) -> tuple[PhysicalMemory, Tables]:
    source = Tables(tables)
    return PhysicalMemory(source, RamMap(Range(start, end - start) for start, end in tables.ram)), source


class TestEpochs:
    def test_while_stopped_each_unit_is_fetched_once(self) -> None:
        ram, spy = memory((0, 1 << 20))
        rng = Random(1)
        for _ in range(3000):
            address = rng.randrange(64 * UNIT - 16)
            assert ram.read(address, 16) == pattern(address, 16)
        assert len(spy.asked) == len(set(spy.asked)) == 64
        assert all(length == UNIT and address % UNIT == 0 for address, length in spy.asked)
        assert (ram.traffic.reads, ram.traffic.bytes) == (64, 64 * UNIT)

    def test_a_thousand_walks_fetch_each_page_of_the_tables_once(self) -> None:
        world = flat()
        ram, source = behind_the_guard(world.memory)
        for page in range(1000):
            walk.translate(ram.read_u64, world.context, world.eas[0] + page, "r")
        assert len(source.asked) == len(set(source.asked)) == 5

    def test_when_the_guest_has_run_nothing_is_trusted(self) -> None:
        clock = Clock()
        ram, spy = memory((0, 0x1000), clock=clock)
        before = ram.read(0, 8)
        spy.written[0] = bytes(UNIT)
        assert ram.read(0, 8) == before
        clock.tick()
        assert ram.read(0, 8) == bytes(8)
        assert ram.read(8, 8) == bytes(8)
        assert len(spy.asked) == 2

    def test_nothing_is_kept_while_the_guest_runs_nor_taken_from_what_was_kept(self) -> None:
        clock = Clock()
        ram, spy = memory((0, 0x1000), clock=clock)
        ram.read(0, 8)
        clock.running = True
        assert ram.changing
        spy.written[0] = b"\xff" * 8
        assert ram.read(0, 8) == b"\xff" * 8
        spy.written[0] = b"\xee" * 8
        assert ram.read(0, 8) == b"\xee" * 8
        assert spy.asked[1:] == [(0, 8), (0, 8)]
        clock.running = False
        clock.tick()
        spy.written[0] = b"\xdd" * UNIT
        assert ram.read(0, 8) == b"\xdd" * 8

    def test_the_guest_running_between_two_pieces_of_one_read_leaves_nothing_stale(self) -> None:
        clock = Clock()

        class Restless(Spy):
            def read(self, address: int, length: int) -> bytes:
                found = super().read(address, length)
                clock.tick()
                return found

        ram, spy = memory((0, 0x4000), spy=Restless(), clock=clock)
        for _ in range(2):
            assert ram.read(UNIT - 8, 16) == pattern(UNIT - 8, 16)
        assert len(spy.asked) == 4

    def test_a_source_that_costs_a_copy_is_asked_for_just_what_is_wanted_each_time(self) -> None:
        ram, spy = memory((0, 0x1000), spy=Spy(cheap=True))
        for _ in range(3):
            assert ram.read(0x10, 8) == pattern(0x10, 8)
        assert spy.asked == [(0x10, 8)] * 3

    def test_a_long_read_is_one_request_and_is_not_kept(self) -> None:
        ram, spy = memory((0, 1 << 20))
        assert len(ram.read(4, 256 * UNIT)) == 256 * UNIT
        assert spy.asked == [(4, 256 * UNIT)]
        ram.read(4, 8)
        assert spy.asked[1:] == [(0, UNIT)]

    def test_no_more_is_kept_than_the_limit_and_the_oldest_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert CACHE_UNITS * UNIT == 64 << 20
        monkeypatch.setattr("inspector.memory.physical.CACHE_UNITS", 4)
        ram, spy = memory((0, 1 << 20))
        for unit in (0, 1, 2, 3, 0, 4):
            ram.read(unit * UNIT, 8)
        assert len(spy.asked) == 5
        ram.read(0, 8)  # used since, so kept
        assert len(spy.asked) == 5
        ram.read(UNIT, 8)
        assert spy.asked[5:] == [(UNIT, UNIT)]


class TestFailure:
    def test_a_failed_read_is_not_kept(self) -> None:
        spy = Spy(lacking=(0, UNIT))
        ram, _ = memory((0, 0x1000), spy=spy)
        with pytest.raises(NotCaptured):
            ram.read(0, 8)
        spy.lacking = None
        assert ram.read(0, 8) == pattern(0, 8)

    def test_what_a_source_lacks_does_not_take_its_neighbours_along(self) -> None:
        """A unit may be captured in part only: what was asked for is then read alone."""
        spy = Spy(lacking=(0x200, 0x300))
        ram, _ = memory((0, 0x1000), spy=spy)
        assert ram.read(0x1F8, 8) == pattern(0x1F8, 8)
        assert ram.read(0x300, 8) == pattern(0x300, 8)
        for address, length in ((0x200, 8), (0x1FC, 8), (0x2FC, 8), (0x1F0, 0x200)):
            with pytest.raises(NotCaptured):
                ram.read(address, length)

    @pytest.mark.parametrize("cheap", [False, True])
    @pytest.mark.parametrize("clipped", [1, 8, UNIT, -3])
    def test_a_source_that_gives_another_length_is_an_error_and_not_a_hang(self, clipped: int, cheap: bool) -> None:
        spy = Spy(cheap=cheap, clipped=clipped)
        spy.written = {0: bytes(4 * UNIT)}
        ram, _ = memory((0, 0x1000), spy=spy)
        with pytest.raises(Unreadable):
            ram.read(0, 8)
        with pytest.raises(Unreadable):
            ram.read(0, UNIT)

    def test_every_failure_names_the_address_and_ends_with_exit_status_1(self) -> None:
        ram, _ = memory((0, 0x1000))
        with pytest.raises(MemoryReadError) as told:
            ram.read(HOLE, 8)
        assert f"{HOLE:#x}" in str(told.value)
        assert "'ram' lists" in str(told.value)
        assert told.value.exit_status == 1


def test_words_are_big_endian() -> None:
    ram, spy = memory((0, 0x1000))
    spy.written[0] = bytes(range(8)) + bytes(UNIT - 8)
    assert ram.read_u64(0) == 0x0001_0203_0405_0607
