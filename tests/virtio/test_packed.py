"""Packed rings, held to a driver and a device that keep them as virtio 1.2, 2.8 has it."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.virtio.bus import Bus
from inspector.virtio.chain import MOST_LINKS
from inspector.virtio.ring import Queue, read_queue
from inspector.virtio.state import DeviceState, QueueState
from tests.fakes import SparseMemory

RING, DRIVER, DEVICE, BUFFERS, TABLE = 0x1_0000, 0x2_0000, 0x3_0000, 0x4_0000, 0x5_0000
FEATURES = 1 << 32 | 1 << 34 | 1 << 29
NEXT, WRITE, INDIRECT, AVAIL, USED = 1, 2, 4, 1 << 7, 1 << 15


@dataclass
class Sides:
    """A ring of ``num`` descriptors with the driver and the device that use it: by the specification, and none of it
    by the reader under test."""

    num: int
    memory: SparseMemory = field(default_factory=SparseMemory)
    next: int = 0
    driver_round: bool = True
    free: int = 0
    place: int = 0
    used: int = 0
    used_round: bool = True
    offered: list[tuple[int, int]] = field(default_factory=list)
    """(buffer id, descriptors) that the device has not taken, the oldest first."""
    held: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0
    features: int = FEATURES
    driver_seen: int = 0
    """Descriptors that the driver has taken back, in all; it takes each at once."""

    def __post_init__(self) -> None:
        self.free = self.num
        self.memory.put(RING, bytes(16 * self.num))
        self.events()

    def events(self, driver: int = 0, driver_place: int = 0, device: int = 0, device_place: int = 0) -> None:
        self.memory.put(DRIVER, struct.pack("<HH", driver_place, driver))
        self.memory.put(DEVICE, struct.pack("<HH", device_place, device))

    def offer(self, length: int) -> None:
        """The driver makes a buffer of so many descriptors available, if there is room."""
        if not 0 < length <= self.free:
            return
        self.count += 1
        for n in range(length):
            flags = (NEXT if n < length - 1 else 0) | (AVAIL if self.driver_round else USED)
            at = BUFFERS + 64 * (self.count % 64)
            self.memory.put(RING + 16 * self.next, struct.pack("<QIHH", at, 64, self.count & 0xFFFF, flags))
            self.next = (self.next + 1) % self.num
            self.driver_round ^= self.next == 0
        self.free -= length
        self.offered.append((self.count & 0xFFFF, length))

    def take(self) -> None:
        """The device takes the oldest."""
        if self.offered:
            one = self.offered.pop(0)
            self.place = (self.place + one[1]) % self.num
            self.held.append(one)

    def give_back(self, which: int) -> None:
        """The device is done with one that it holds, and the driver takes it back at once."""
        if self.held:
            number, length = self.held.pop(which % len(self.held))
            flags = AVAIL | USED if self.used_round else 0
            self.memory.put(RING + 16 * self.used, struct.pack("<QIHH", 0, 64, number, flags))
            self.used += length
            if self.used >= self.num:
                self.used, self.used_round = self.used - self.num, not self.used_round
            self.free += length
            self.driver_seen += length

    def place_of(self, descriptors: int) -> int:
        """The place, with its round, after so many descriptors in all."""
        rounds, place = divmod(descriptors, self.num)
        return place | (0 if rounds % 2 else 1 << 15)

    @property
    def memory_map(self) -> PhysicalMemory:
        return PhysicalMemory(self.memory, RamMap([Range(0, 1 << 20, "ram")]))

    @property
    def device(self) -> DeviceState:
        return DeviceState("/machine/x", "virtio-blk", 2, 0xF, self.features, self.features, count=1)

    def state(self, **more: object) -> QueueState:
        """As QEMU 7.2 has it, which counts descriptors in ``inuse``."""
        inuse = sum(length for _, length in self.held)
        known: dict[str, object] = {"used_idx": self.used, "last_avail_idx": self.place, "inuse": inuse}
        rings = {"desc": RING, "avail": DRIVER, "used": DEVICE}
        return QueueState(0, self.num, **{**rings, **known, **more})  # type: ignore[arg-type]

    def read(self, chains: int = 64, **more: object) -> Queue:
        return read_queue(self.memory_map, Bus(), self.device, self.state(**more), chains)

    def play(self, seed: int, steps: int) -> None:
        """So many steps of either side, by chance."""
        chance = random.Random(seed)
        for _ in range(steps):
            match chance.randrange(3):
                case 0:
                    self.offer(chance.randrange(1, self.num + 1))
                case 1:
                    self.take()
                case 2:
                    self.give_back(chance.randrange(8))


def slugs(queue: Queue) -> list[str]:
    return [each.slug for each in queue.problems]


@given(st.integers(1, 9), st.integers(0, 1 << 32), st.integers(0, 120))
def test_what_waits_is_what_the_driver_offered(num: int, seed: int, steps: int) -> None:
    sides = Sides(num)
    sides.play(seed, steps)
    queue = sides.read()
    assert queue.pending == len(sides.offered)
    assert [each.head for each in queue.chains] == [number for number, _ in sides.offered]
    assert [len(each.links) for each in queue.chains] == [length for _, length in sides.offered]
    assert queue.taken == sum(length for _, length in sides.held)
    assert slugs(queue) == []
    assert queue.kick_due is (True if sides.offered else None)


@pytest.mark.parametrize(("flags", "due"), [(0, True), (1, False), (3, None)])
def test_the_devices_flags_say_whether_it_is_to_be_notified(flags: int, due: bool | None) -> None:
    sides = Sides(8)
    sides.offer(2)
    sides.events(device=flags)
    assert sides.read().kick_due is due


@pytest.mark.parametrize(
    ("place", "due"), [(3 | 1 << 15, True), (4 | 1 << 15, True), (5 | 1 << 15, False), (2 | 1 << 15, False), (3, False)]
)
def test_or_the_place_at_which_it_wants_to_be(place: int, due: bool) -> None:
    """Three are behind it, two wait at 3 and 4; a place is of one round only."""
    sides = Sides(8)
    for _ in range(3):
        sides.offer(1)
        sides.take()
        sides.give_back(0)
    sides.offer(2)
    sides.events(device=2, device_place=place)
    assert sides.read().kick_due is due


def test_a_place_in_the_next_round() -> None:
    sides = Sides(4)
    for _ in range(3):
        sides.offer(1)
        sides.take()
        sides.give_back(0)
    sides.offer(2)
    sides.events(device=2, device_place=0)
    assert sides.read().kick_due is True, "it is the second of the two that wait"
    sides.events(device=2, device_place=0 | 1 << 15)
    assert sides.read().kick_due is False, "it is passed long ago"


def test_what_the_driver_has_not_taken_back() -> None:
    sides = Sides(8)
    for _ in range(3):
        sides.offer(1)
        sides.take()
        sides.give_back(0)
    sides.events(driver=2, driver_place=1 | 1 << 15)
    late = sides.read(signalled_used=0, signalled_used_valid=True)
    assert (late.untaken, late.interrupt_off) == (2, False)
    sides.events(driver=2, driver_place=6 | 1 << 15)
    quiet = sides.read(signalled_used=0, signalled_used_valid=True)
    assert (quiet.untaken, quiet.interrupt_off) == (None, True)
    sides.events(driver=1)
    assert sides.read(signalled_used=0, signalled_used_valid=True).interrupt_off is True
    assert sides.read(signalled_used=3, signalled_used_valid=True).interrupt_off is None


def test_an_indirect_table_is_read() -> None:
    sides = Sides(8)
    table = struct.pack("<QIHH", BUFFERS, 16, 0, 0) + struct.pack("<QIHH", BUFFERS + 16, 1, 0, WRITE)
    sides.memory.put(TABLE, table)
    sides.memory.put(RING, struct.pack("<QIHH", TABLE, 32, 7, INDIRECT | AVAIL))
    (chain,) = sides.read().chains
    assert (chain.head, chain.length, [each.indirect for each in chain.links]) == (7, 17, [False, True, True])
    assert chain.links[2].descriptor.written


def test_a_ring_of_great_tables_is_counted_and_not_all_followed() -> None:
    num = 256
    sides = Sides(num)
    sides.memory.put(RING, struct.pack("<QIHH", TABLE, 16 * 1024, 7, INDIRECT | AVAIL) * num)
    few = sides.read(2)
    assert (few.pending, len(few.chains)) == (num, 2)
    tables = [asked for asked in sides.memory.asked if asked[0] == TABLE]
    assert len(tables) == 2, "what nobody wants to see is not read"
    links = sum(len(each.links) for each in sides.read(num).chains)
    assert MOST_LINKS <= links < MOST_LINKS + 1 + 1024


@pytest.mark.parametrize(
    ("entry", "slug"),
    [
        ((1 << 40, 16, 7, AVAIL), "buffer-not-ram"),
        ((TABLE, 24, 7, INDIRECT | AVAIL), "indirect-length"),
        ((1 << 40, 32, 7, INDIRECT | AVAIL), "table-not-ram"),
        ((BUFFERS, 16, 7, NEXT | AVAIL), "chain-open"),
    ],
)
def test_what_cannot_be_is_said(entry: tuple[int, int, int, int], slug: str) -> None:
    sides = Sides(8)
    sides.memory.put(RING, struct.pack("<QIHH", *entry))
    assert slugs(sides.read()) == [slug]


def test_a_part_that_the_source_lacks_is_called_what_it_is() -> None:
    sides = Sides(8)
    sides.memory.captured = [(RING, 128), (DEVICE, 4)]
    (problem,) = sides.read().problems
    assert (problem.slug, problem.reason[:24]) == ("ring-unreadable", "the driver's event area ")


def test_places_beyond_the_ring_and_rings_that_are_no_ram() -> None:
    sides = Sides(8)
    assert slugs(sides.read(last_avail_idx=8)) == ["index-impossible"]
    assert slugs(sides.read(used_idx=9)) == ["index-impossible"]
    (problem,) = sides.read(desc=1 << 30).problems
    assert (problem.slug, problem.reason[:20]) == ("ring-not-ram", "the descriptor ring:")
    assert slugs(sides.read(avail=DRIVER + 2)) == ["ring-misaligned"]
    assert sides.read(last_avail_idx=None).pending is None


@pytest.mark.parametrize("flags", [3, 4, 0x8001])
def test_flags_that_mean_nothing(flags: int) -> None:
    sides = Sides(8)
    sides.events(driver=flags)
    (problem,) = sides.read().problems
    assert (problem.slug, problem.reason[:21]) == ("event-impossible", "the driver's event ar")
    sides.events(device=flags)
    assert sides.read().problems[0].reason[:21] == "the device's event ar"


def test_places_that_cannot_be_asked_for() -> None:
    sides = Sides(8)
    sides.events(driver=2, driver_place=8 | 1 << 15)
    assert slugs(sides.read()) == ["event-impossible"]
    sides.events(driver=0, driver_place=8 | 1 << 15, device=2, device_place=7)
    assert slugs(sides.read()) == []
    sides.features = FEATURES & ~(1 << 29)
    assert slugs(sides.read()) == ["event-impossible"]


@given(st.integers(2, 9), st.integers(0, 1 << 32), st.integers(0, 120), st.data())
def test_marks_of_no_round_are_told(num: int, seed: int, steps: int, data: st.DataObject) -> None:
    """A descriptor past all that waits, and past what may be half written, that is used in the round to come. Where it
    were available, the ring may be one of which all waits."""
    sides = Sides(num)
    sides.play(seed, steps)
    waiting = sum(length for _, length in sides.offered)
    if num - waiting < 3 or sides.held:
        return
    index = (sides.next + data.draw(st.integers(2, num - waiting - 1), "past")) % num
    if index == (sides.place - 1) % num:
        return  # by which the round itself is made out
    ahead = sides.driver_round ^ (index < sides.next)
    sides.memory.put(RING + 16 * index + 14, struct.pack("<H", AVAIL | USED if ahead else 0))
    assert "marks-impossible" in slugs(sides.read())


def test_a_ring_of_zeros_is_of_no_round_but_where_one_begins() -> None:
    sides = Sides(8)
    for _ in range(3):
        sides.offer(1)
        sides.take()
        sides.give_back(0)
    sides.memory.put(RING, bytes(16 * 8))
    (problem,) = sides.read().problems
    assert (problem.slug, problem.reason[:40]) == ("marks-impossible", "the device has come to 3, and descriptor")


@given(st.integers(1, 6), st.integers(0, 8), st.integers(0, 20))
def test_a_buffer_that_is_being_written_is_none_of_them(length: int, written: int, before: int) -> None:
    """All but its first descriptor is written before that."""
    sides = Sides(8)
    for _ in range(before):
        sides.offer(1)
        sides.take()
        sides.give_back(0)
    first, ring = sides.next, sides.memory.peek(RING, 16 * 8)
    sides.offer(length)
    for n in (0, *range(written + 1, length)):
        at = 16 * ((first + n) % 8)
        sides.memory.put(RING + at, ring[at : at + 16])
    found = sides.read()
    assert (slugs(found), found.pending) == ([], 0)


def test_more_than_the_ring_holds() -> None:
    assert slugs(Sides(8).read(inuse=9)) == ["inuse-impossible"]
