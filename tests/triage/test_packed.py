"""What stands still in a packed ring is named as in a split one, as far as it can be known; and nothing else is."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.triage.catalogue import diagnosed
from inspector.triage.causes.devices import HEALED_BY
from inspector.triage.devices import DeviceLook, QueueLook, Watch, at_rest
from inspector.triage.recorded import First, Kept
from inspector.triage.samples import PackedMark, Sample, Sampling, taken
from inspector.virtio import words
from inspector.virtio.ring import Queue
from inspector.virtio.state import VirtioState
from tests.fakes import FakeTarget, guest, linux_target
from tests.triage.looks import TIMES, evidence, look, told
from tests.triage.test_rings import HEALTHY
from tests.virtio.test_packed import AVAIL, BUFFERS, DEVICE, DRIVER, FEATURES, NEXT, RING, Sides

NO_EVENT_IDX = FEATURES & ~(1 << 29)
ENABLE, DISABLE, AT = 0, 1, 2
SOON = 0.7
"""Seconds: long enough to stand still, and not so long that a disk which holds requests is told of."""


def mark(sides: Sides, **more: Any) -> PackedMark:
    memory = sides.memory
    driver_place, driver = struct.unpack("<HH", memory.peek(DRIVER, 4))
    device_place, device = struct.unpack("<HH", memory.peek(DEVICE, 4))
    summed = crc32(memory.peek(RING, 16 * sides.num))
    return replace(PackedMark("/machine/x", 0, summed, driver, driver_place, device, device_place), **more)


def stood(
    sides: Sides, *, moved: bool = False, first: Queue | None = None, times: int = TIMES, **state: Any
) -> QueueLook:
    """The queue, the same at each stop, of whose last used descriptor the device has told; ``moved`` has its first mark
    be another."""
    known = {"signalled_used": sides.used, "signalled_used_valid": True, **state}
    marks = [mark(sides)] * times
    if moved:
        marks[0] = mark(sides, descriptors=0)
    return QueueLook(sides.read(**known), sides.state(**known), tuple(marks), first)


def disk(sides: Sides, *queues: QueueLook, **of: Any) -> DeviceLook:
    return look(0, *queues, features=sides.features, offered=sides.features, **of)


def verdicts(sides: Sides, *, seconds: float = SOON, **of: Any) -> list[tuple[str, str]]:
    return told(evidence(disk(sides, stood(sides, **of)), seconds=seconds))


def went(count: int, num: int = 8, features: int = FEATURES) -> Sides:
    """A disk that so many requests were asked of, all given back and taken, as Linux and QEMU leave its event areas."""
    sides = Sides(num, features=features)
    for _ in range(count):
        sides.offer(1)
        sides.take()
        sides.give_back(0)
    if features & 1 << 29:
        place = sides.place_of(count)
        sides.events(AT, place, AT, place)
    return sides


# -- what is healthy ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 1 << 32), st.integers(0, 120), st.booleans())
def test_a_queue_at_rest_is_healthy(num: int, seed: int, steps: int, by_place: bool) -> None:
    sides = Sides(num, features=FEATURES if by_place else NO_EVENT_IDX)
    sides.play(seed, steps)
    while sides.offered or sides.held:
        sides.take()
        sides.give_back(0)
    if by_place:
        place = sides.place_of(sides.driver_seen)
        sides.events(AT, place, AT, place)
    assert verdicts(sides) == HEALTHY


@given(st.integers(1, 9), st.integers(0, 1 << 32), st.integers(0, 120), st.tuples(*[st.integers(0, 2)] * 2))
def test_a_busy_one_is_healthy_in_whatever_state(num: int, seed: int, steps: int, flags: tuple[int, int]) -> None:
    sides = Sides(num)
    sides.play(seed, steps)
    place = sides.place_of(max(sides.driver_seen - 1, 0))
    sides.events(flags[0], place, flags[1], place)
    assert verdicts(sides, moved=True) == HEALTHY


@pytest.mark.parametrize(
    ("flags", "place"), [(DISABLE, 0), (ENABLE, 0), (DISABLE, 3 | 1 << 15)], ids=["polls", "never asked", "took all"]
)
def test_a_driver_that_may_poll_or_took_all_is_let_be(flags: int, place: int) -> None:
    sides = went(3)
    sides.events(flags, place, AT, sides.place_of(3))
    assert verdicts(sides) == HEALTHY


@pytest.mark.parametrize("flags", [ENABLE, DISABLE], ids=["always", "never"])
def test_without_places_nothing_is_known_of_what_the_driver_took(flags: int) -> None:
    sides = went(3, features=NO_EVENT_IDX)
    sides.events(flags)
    assert verdicts(sides) == HEALTHY


# -- what hangs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "place", "slug"),
    [
        (AT, 3, "available-not-taken"),
        (AT, 2, "available-not-notified"),
        (ENABLE, 0, "available-not-taken"),
        (DISABLE, 0, "available-not-notified"),
    ],
    ids=["at what waits", "at what it took before", "always", "never"],
)
def test_buffers_that_the_device_does_not_take(flags: int, place: int, slug: str) -> None:
    sides = went(3)
    sides.offer(2)
    sides.offer(1)
    sides.events(AT, sides.place_of(3), flags, place | 1 << 15)
    (found,) = diagnosed(evidence(disk(sides, stood(sides)), seconds=SOON))
    assert (found.cause.slug, found.found.confidence) == (slug, "high")
    assert found.found.evidence[0].startswith("2 buffers have been pending for at least 0.7 s")
    assert found.found.evidence[1] == (
        "in its packed ring of 8 the device has taken up to descriptor 3 and given back up to 3"
    )
    assert verdicts(sides, moved=True) == HEALTHY
    assert told(evidence(disk(sides, stood(sides, times=1)), times=1)) == HEALTHY


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17])
@pytest.mark.parametrize("late", [1, 3, 8])
def test_an_interrupt_that_was_raised_and_not_taken(count: int, late: int) -> None:
    """In whatever round, over its end as well, and of as much as a whole ring."""
    sides = went(count)
    for _ in range(late):
        sides.offer(1)
        sides.take()
    for _ in range(late):
        sides.give_back(0)
    (found,) = diagnosed(evidence(disk(sides, stood(sides)), seconds=SOON))
    assert (found.cause.slug, found.found.confidence) == ("interrupt-not-taken", "high")
    assert found.found.evidence[0].startswith(f"{late} used descriptor")
    assert f"asked to be interrupted at {count % 8}" in found.found.evidence[0]
    assert verdicts(sides, signalled_used_valid=False) == [("used-not-taken", "low")]
    assert verdicts(sides, inuse=1) == HEALTHY, "where the device is of two minds, nothing is told"


@pytest.mark.parametrize(
    ("flags", "ahead"), [(DISABLE, 0), (AT, 3), (AT, 6)], ids=["at all", "ahead", "ahead, in the next round"]
)
def test_a_driver_that_was_silenced(flags: int, ahead: int) -> None:
    sides = went(3)
    sides.events(flags, sides.place_of(3), AT, sides.place_of(4))
    sides.offer(1)
    sides.take()
    assert verdicts(sides) == HEALTHY, "a request is still out"
    sides.give_back(0)
    sides.events(flags, sides.place_of(3 + ahead), AT, sides.place_of(4))
    assert verdicts(sides, signalled_used=3) == [("used-not-taken", "medium")]


def test_kinds_that_may_leave_buffers() -> None:
    sides = went(3)
    sides.offer(1)
    for kind, found in ((words.NET, HEALTHY), (words.RNG, [("available-not-taken", "low")])):
        queue = stood(sides)
        name = words.queue_name(kind, 0, 2, FEATURES)
        queue = replace(queue, queue=replace(queue.queue, name=name))
        assert told(evidence(disk(sides, queue, device_id=kind), seconds=2.0)) == found


def test_a_disk_that_does_not_finish() -> None:
    sides = went(3)
    sides.offer(2)
    sides.take()
    (found,) = diagnosed(evidence(disk(sides, stood(sides)), seconds=2.0))
    assert (found.cause.slug, found.found.confidence) == ("request-not-finished", "low")
    assert found.found.evidence[0].startswith("the device has held 2 descriptors for")


def test_what_was_pending_before_the_guest_went_on() -> None:
    sides = went(3)
    sides.offer(1)
    sides.events(AT, sides.place_of(3), DISABLE)
    first = sides.read()
    (found,) = diagnosed(evidence(disk(sides, stood(went(4), moved=True, first=first)), seconds=SOON))
    assert (found.cause.slug, found.found.confidence) == ("available-not-notified", "medium")
    assert "asked to be notified never (its event area)" in found.found.evidence[0]
    assert found.found.evidence[-1] == HEALED_BY


def test_a_reset_of_one_that_was_given_buffers() -> None:
    sides = went(3)
    assert told(evidence(disk(sides, stood(sides), status=3))) == [("device-reset", "medium")]
    assert told(evidence(disk(sides, stood(Sides(8)), status=3))) == HEALTHY


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_rings_that_are_no_ram() -> None:
    sides = went(3)
    assert verdicts(sides, desc=1 << 30) == [("ring-not-ram", "high")]
    assert verdicts(sides, used=1 << 30) == [("ring-not-ram", "high")]


def test_rings_that_something_wrote_over() -> None:
    sides = went(3)
    sides.memory.put(RING, bytes(16 * 8))
    assert verdicts(sides) == [("ring-index-impossible", "high")]
    sides = went(3)
    sides.events(7, 0, AT, sides.place_of(3))
    assert verdicts(sides) == [("ring-index-impossible", "high")]
    sides = went(0)
    sides.memory.put(RING, struct.pack("<QIHH", BUFFERS, 16, 7, NEXT | AVAIL))
    assert verdicts(sides) == [("ring-index-impossible", "high")]


# -- how it is watched, and kept ---------------------------------------------------------------------------------------


def over(sides: Sides) -> FakeTarget:
    """A guest that has this ring in its memory."""
    target = linux_target()
    target.virtio = VirtioState((replace(sides.device, queues=(sides.state(),)),))  # type: ignore[attr-defined]
    for at, size in ((RING, 16 * sides.num), (DRIVER, 4), (DEVICE, 4)):
        target.source.put(at, sides.memory.peek(at, size))
    return target


def test_every_stop_sees_whether_it_moved() -> None:
    sides = went(3)
    watch = Watch(guest(over(sides)))
    (before,) = watch.marks()
    assert before == mark(sides)
    assert not watch.firsts
    (again,) = watch.marks()
    assert again == before
    sides.offer(1)
    watch.guest.memory.source.put(RING, sides.memory.peek(RING, 16 * 8))  # type: ignore[attr-defined]
    (after,) = watch.marks()
    assert after != before


def test_what_is_pending_at_the_first_stop_is_kept_small() -> None:
    sides = went(3)
    sides.offer(1)
    watch = Watch(guest(over(sides)))
    watch.marks()
    ((which, first),) = watch.firsts.items()
    assert which == ("/machine/x", 0)
    assert first.pending == 1
    assert first.packed is not None
    assert first.packed.entries == ()
    kept = Kept(Sampling(1.0, [Sample(0.0, {0: {}}, packed=(mark(sides),))]), firsts=(First("/machine/x", first),))
    assert Kept.from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_a_file_that_was_recorded_before_these_were_watched_is_read() -> None:
    plain = Kept(Sampling(1.0, [Sample(0.0, {0: {"nip": 1}})])).to_json()
    del plain["sampling"]["samples"][0]["packed"]
    assert Kept.from_json(plain).sampling.samples == [Sample(0.0, {0: {"nip": 1}})]


def test_marks_go_where_they_belong_and_the_device_is_asked_again() -> None:
    sides = went(3)
    at = guest(over(sides))
    sampling = taken(at, None, Watch(at).marks)
    (sample,) = sampling.samples
    assert (sample.rings, sample.packed, sample.marks) == ((), (mark(sides),), (mark(sides),))
    state = VirtioState((replace(sides.device, queues=(sides.state(),)),))
    assert not at_rest(state, [sample, replace(sample, at=1.0)])
