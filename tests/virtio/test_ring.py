"""Queues held against rings that a test laid: what is pending, and what cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.virtio.bus import DIRECT_FROM, Bus, bus_of
from inspector.virtio.chain import MOST_LINKS
from inspector.virtio.layout import wants_event
from inspector.virtio.ring import Queue, device_problems, read_queue
from inspector.virtio.state import QueueState, Window
from tests.virtio.rings import (
    AVAIL,
    BUFFERS,
    DESC,
    NEXT,
    PLATFORM,
    RAM_BYTES,
    TABLE,
    TABLE_OF,
    USED,
    USUAL,
    VERSION_1,
    WRITE,
    Laid,
)


def read(laid: Laid, state: QueueState, bus: Bus | None = None, **device: object) -> Queue:
    queue = read_queue(laid.memory, bus or Bus(), laid.device(**device), state)
    for address, length in laid.source.asked:
        assert 0 <= address <= RAM_BYTES - length, "nothing but RAM is ever asked for"
    return queue


def slugs(queue: Queue) -> list[str]:
    return [each.slug for each in queue.problems]


@pytest.mark.parametrize("little", [True, False])
def test_a_request_that_waits(little: bool) -> None:
    laid = Laid(little=little)
    laid.describe(3, BUFFERS, 16, NEXT, 5)
    laid.describe(5, BUFFERS + 0x100, 512, NEXT | WRITE, 1)
    laid.describe(1, BUFFERS + 0x800, 1, WRITE)
    laid.offer(0x10001, {0x10000: 3}, event=0xFFFF)
    laid.give_back(0xFFFF, event=0x10000, last=(7, 513))
    queue = read(laid, laid.queue(last=0, used=0xFFFF, inuse=1, signalled_used=0xFFFE, signalled_used_valid=True))
    assert (queue.pending, queue.taken, queue.untaken) == (1, 1, 0)
    assert queue.kick_due is True
    assert slugs(queue) == []
    (chain,) = queue.chains
    assert [link.descriptor.index for link in chain.links] == [3, 5, 1]
    assert [link.descriptor.written for link in chain.links] == [False, True, True]
    assert chain.length == 529
    assert queue.latest[0] == (7, 513)
    assert [(one.index, one.address, one.next) for one in queue.recent] == [(3, BUFFERS, 5)]


def test_an_indirect_request() -> None:
    laid = Laid()
    laid.describe(0, TABLE, 32, TABLE_OF)
    laid.describe(0, BUFFERS, 64, NEXT, 1, at=TABLE)
    laid.describe(1, BUFFERS + 64, 8, WRITE, at=TABLE)
    laid.offer(1, {0: 0})
    (chain,) = read(laid, laid.queue()).chains
    assert [(link.indirect, link.descriptor.index) for link in chain.links] == [(False, 0), (True, 0), (True, 1)]
    assert chain.length == 72
    assert not chain.problem


@pytest.mark.parametrize(
    ("problem", "links"),
    [
        ("chain-cycle", [(0, BUFFERS, 1, NEXT, 1), (1, BUFFERS, 1, NEXT, 0)]),
        ("descriptor-impossible", [(0, BUFFERS, 1, NEXT, 8)]),
        ("buffer-not-ram", [(0, RAM_BYTES - 4, 8, 0, 0)]),
        ("buffer-not-ram", [(0, 1 << 63, 1 << 31, 0, 0)]),
        ("table-not-ram", [(0, 0x2100_0000_0000, 32, TABLE_OF, 0)]),
        ("indirect-length", [(0, TABLE, 24, TABLE_OF, 0)]),
        ("indirect-length", [(0, TABLE, 0, TABLE_OF, 0)]),
        ("indirect-more", [(0, TABLE, 32, TABLE_OF | NEXT, 1)]),
    ],
)
def test_a_chain_that_cannot_be_right(problem: str, links: list[tuple[int, int, int, int, int]]) -> None:
    laid = Laid()
    for link in links:
        laid.describe(*link)
    laid.offer(1, {0: 0})
    queue = read(laid, laid.queue())
    assert slugs(queue) == [problem]
    assert "head 0" in queue.problems[0].reason


def test_an_indirect_table_in_another() -> None:
    laid = Laid()
    laid.describe(0, TABLE, 16, TABLE_OF)
    laid.describe(0, TABLE, 16, TABLE_OF, at=TABLE)
    laid.offer(1, {0: 0})
    assert slugs(read(laid, laid.queue())) == ["indirect-nested"]


def test_a_head_that_is_none() -> None:
    laid = Laid()
    laid.offer(1, {0: 8})
    assert slugs(read(laid, laid.queue())) == ["head-impossible"]


def test_indices_that_cannot_be() -> None:
    laid = Laid()
    laid.offer(9)
    queue = read(laid, laid.queue())
    assert slugs(queue) == ["index-impossible"]
    assert queue.chains == ()
    laid.offer(12)
    laid.give_back(3)
    assert slugs(read(laid, laid.queue(last=8, used=3))) == ["index-impossible"], "nine are out in a queue of eight"
    laid.give_back(5)
    assert slugs(read(laid, laid.queue(last=12, used=4))) == ["used-differs"]
    assert slugs(read(laid, laid.queue(last=12, used=5, inuse=9))) == ["inuse-impossible"]


def test_rings_that_are_no_ram_are_not_read() -> None:
    laid = Laid()
    state = QueueState(0, 8, 0x2100_0000_3000, RAM_BYTES - 4, USED + 1, last_avail_idx=0)
    queue = read(laid, state)
    assert sorted(slugs(queue)) == ["ring-misaligned", "ring-not-ram", "ring-not-ram"]
    assert queue.pending is None


def test_a_ring_that_the_source_lacks() -> None:
    laid = Laid()
    laid.source.captured = [(DESC, 0x100), (USED, 0x100)]
    queue = read(laid, laid.queue())
    assert slugs(queue) == ["ring-unreadable"]
    assert queue.used is not None
    assert queue.available is None


def test_suppression_by_flags_where_there_are_no_event_indices() -> None:
    laid = Laid(features=VERSION_1)
    laid.describe(0, BUFFERS, 4)
    laid.offer(1, {0: 0}, flags=1)
    for flag, due in ((0, True), (1, False)):
        laid.give_back(0, flags=flag)
        queue = read(laid, laid.queue())
        assert (queue.kick_due, queue.notify_off, queue.interrupt_off) == (due, bool(flag), True)
    laid.give_back(1)
    laid.offer(1)
    assert read(laid, laid.queue(last=1, used=1)).untaken is None, "nothing says how far the driver came"


def test_suppression_by_event_indices() -> None:
    laid = Laid()
    laid.offer(6, {5: 0}, event=2)
    laid.give_back(5, event=4)
    queue = read(laid, laid.queue(last=5, used=5, signalled_used=3, signalled_used_valid=True))
    assert (queue.untaken, queue.interrupt_off, queue.kick_due) == (3, True, False)
    laid.offer(6, {5: 0}, event=4)
    laid.give_back(5, event=5)
    queue = read(laid, laid.queue(last=5, used=5, signalled_used=3, signalled_used_valid=True))
    assert (queue.untaken, queue.interrupt_off, queue.kick_due) == (1, False, True)


@given(st.integers(0, 0xFFFF), st.integers(1, 8), st.integers(0, 0xFFFF))
def test_an_event_is_wanted_when_its_index_is_passed(old: int, more: int, event: int) -> None:
    passed = any((old + n) & 0xFFFF == event for n in range(more))
    assert wants_event(event, (old + more) & 0xFFFF, old) is passed


WINDOWS = (Window("tce-iommu-80000000", 0, 1 << 30), Window("tce-iommu-80000001", DIRECT_FROM, 1 << 30))


def test_behind_the_iommu() -> None:
    laid = Laid(features=USUAL | PLATFORM, shift=DIRECT_FROM)
    laid.describe(0, BUFFERS, 16)
    laid.offer(1, {0: 0})
    queue = read(laid, laid.queue(), bus_of(True, WINDOWS))
    assert queue.chains[0].links[0].real == BUFFERS
    assert queue.parts[0].real == DESC
    assert slugs(queue) == []
    blind = read(laid, laid.queue(), bus_of(True, WINDOWS[:1]))
    assert slugs(blind) == [], "what cannot be followed is no fault"
    assert blind.pending is None
    assert "cannot be followed" in blind.parts[0].why
    low = bus_of(True, WINDOWS).real(laid.memory.ram, AVAIL, 8)
    assert low[0] is None, "the small window holds what the guest put there, in no order"


def test_a_bridge_that_passes_addresses_through() -> None:
    bus = bus_of(True, [Window("phb4-0.0 bypass", DIRECT_FROM, DIRECT_FROM)])
    ram = Laid().memory.ram
    assert bus.real(ram, DIRECT_FROM | BUFFERS, 16) == (BUFFERS, "")
    assert bus.real(ram, BUFFERS, 16)[0] is None, "a 32-bit address goes through a table"
    assert bus.real(ram, DIRECT_FROM | RAM_BYTES, 1)[0] is None
    assert "bit 59" in bus.presumed
    assert Bus().real(ram, BUFFERS, 16) == (BUFFERS, "")


def test_what_is_not_looked_into() -> None:
    laid = Laid()
    assert not read(laid, QueueState(0, 8, 0, 0, 0)).set_up
    assert slugs(read(Laid(), QueueState(0, 1 << 16, DESC, AVAIL, USED))) == ["size-impossible"]


def test_a_device_that_says_what_is_wrong() -> None:
    laid = Laid()
    assert list(device_problems(laid.device())) == []
    assert [each.slug for each in device_problems(laid.device(status=0xCF, broken=True))] == [
        "device-broken",
        "needs-reset",
        "driver-failed",
    ]
    assert [each.slug for each in device_problems(laid.device(status=7))] == ["status-impossible"]
    assert list(device_problems(laid.device(status=7, features=0))) == [], "a legacy driver knows no FEATURES_OK"
    off = laid.device(status=0xB, disabled=True, queues=(laid.queue(),))
    assert [each.slug for each in device_problems(off)] == ["device-disabled"]
    assert list(device_problems(laid.device(status=0, disabled=True))) == [], "nobody drives it"


@given(
    noise=st.binary(min_size=64, max_size=256),
    num=st.sampled_from([1, 2, 8, 256]),
    rings=st.lists(
        st.sampled_from([DESC, DESC + 8, AVAIL, RAM_BYTES - 6, 1 << 45, (1 << 64) - 2]), min_size=3, max_size=3
    ),
    last=st.integers(0, 0xFFFF),
    little=st.booleans(),
    features=st.sampled_from([0, USUAL, USUAL | PLATFORM]),
)
def test_whatever_rings_hold_reading_them_ends_and_touches_ram_alone(
    noise: bytes, num: int, rings: list[int], last: int, little: bool, features: int
) -> None:
    laid = Laid(num=num, little=little, features=features)
    for at in (DESC, AVAIL, USED, TABLE):
        laid.source.put(at, noise)
    bus = bus_of(bool(features & PLATFORM), WINDOWS)
    desc, avail, used = rings
    queue = read(laid, QueueState(0, num, desc, avail, used, last_avail_idx=last), bus)
    assert len(queue.chains) <= 4
    assert all(len(chain.links) <= 1024 for chain in queue.chains)


def test_a_long_chain_ends() -> None:
    laid = Laid(num=32768)
    for n in range(1100):
        laid.describe(n, BUFFERS, 0, NEXT, n + 1)
    laid.source.chunks = {at: chunk for at, chunk in laid.source.chunks.items() if at * 4096 < AVAIL}
    state = QueueState(0, 32768, DESC, 0xC_0000, 0x8_0000, last_avail_idx=0)
    laid.source.put(0xC_0002, (1).to_bytes(2, "little"))
    assert slugs(read(laid, state)) == ["chain-long"]


def test_many_long_chains_end_too() -> None:
    laid = Laid(num=256)
    for index in range(256):
        laid.describe(index, BUFFERS, 16, NEXT, (index + 1) % 256)
    laid.offer(256, dict.fromkeys(range(256), 0))
    queue = read_queue(laid.memory, Bus(), laid.device(), laid.queue(), 256)
    assert queue.pending == 256
    assert {each.problem for each in queue.chains} == {"chain-cycle"}
    assert MOST_LINKS <= sum(len(each.links) for each in queue.chains) < MOST_LINKS + 256
