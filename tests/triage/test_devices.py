"""A device's own state, and what maps its registers: what is wrong is named, and what only looks so is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from inspector.devicemaps import nowhere
from inspector.devices import of_monitor_again
from inspector.linux.regions import IO_START
from inspector.memory.physical import RamMap, Range
from inspector.triage.catalogue import diagnosed
from inspector.triage.devices import at_rest, unmoved
from inspector.triage.samples import RingMark, Sample
from inspector.virtio.state import Part, VirtioState
from tests.triage.looks import BAR, NOWHERE, PAGE, bar, evidence, look, mapped, stood, told
from tests.triage.test_rings import HEALTHY, pending
from tests.virtio.rings import Laid

EA = IO_START + 0x1000_0000


@pytest.mark.parametrize(
    ("of", "found"),
    [
        ({"status": 0}, [("device-reset", "high")]),
        ({"status": 1}, HEALTHY),
        ({"status": 0, "bars": ()}, HEALTHY),
        ({"status": 0, "bars": (bar(BAR),)}, HEALTHY),
        ({"status": 0x4F}, [("device-needs-reset", "high")]),
        ({"broken": True}, [("device-needs-reset", "high")]),
        ({"status": 0x83}, [("device-failed", "medium")]),
        ({"status": 1, "disabled": True}, HEALTHY),
    ],
)
def test_a_device_by_its_status(of: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert told(evidence(look(0, **of))) == found


def test_one_moment_is_less_sure() -> None:
    assert told(evidence(look(0, was=False, status=0), times=1)) == [("device-reset", "medium")]
    assert told(evidence(look(0, was=False, broken=True), times=1)) == [("device-needs-reset", "medium")]


def test_bus_mastering_off_under_a_driver() -> None:
    laid, state = pending(3)
    found = evidence(look(0, stood(laid, state), status=0xB, disabled=True))
    assert told(found) == [("device-disabled", "high")]
    assert diagnosed(found)[0].found.device == "00:00.0 virtio-blk"


def test_two_devices_are_two_findings() -> None:
    assert told(evidence(look(0, status=0), look(1, status=0), look(2))) == [("device-reset", "high")] * 2


# -- its registers -----------------------------------------------------------------------------------------------------


def test_registers_that_nothing_maps() -> None:
    gone = (bar(BAR),)
    assert told(evidence(look(0, bars=gone), look(1))) == [("mmio-page-not-mapped", "medium")]
    laid, state = pending(3)
    (found,) = diagnosed(evidence(look(0, stood(laid, state), bars=gone), look(1)))
    assert (found.cause.slug, found.found.confidence, found.found.ra) == ("mmio-page-not-mapped", "high", BAR)


def test_fewer_mappings_than_others_have_count_where_a_notification_is_due() -> None:
    fewer = (bar(BAR, (EA, EA + PAGE, EA + 2 * PAGE)),)
    assert told(evidence(look(0, bars=fewer), look(1))) == HEALTHY
    laid, state = pending(3)
    assert told(evidence(look(0, stood(laid, state), bars=fewer), look(1))) == [("mmio-page-not-mapped", "low")]


def lost(real: int) -> tuple[Any, ...]:
    """What maps the second of three devices, leading elsewhere."""
    return tuple(mapped(EA + (4 + n) * PAGE, real) for n in range(4))


def test_wrong_and_stale_are_told_apart_by_the_devices_beside() -> None:
    others = look(0), look(2)
    wrong = evidence(*others, look(1, bars=(bar(BAR + PAGE),)), nowhere=lost(NOWHERE))
    (found,) = diagnosed(wrong)
    assert (found.cause.slug, found.found.ea, found.found.ra) == ("mmio-wrong-address", EA + 4 * PAGE, NOWHERE)
    stale = evidence(*others, look(1, bars=(bar(NOWHERE),)), nowhere=lost(BAR + PAGE))
    (found,) = diagnosed(stale)
    assert (found.cause.slug, found.found.ra, found.found.device) == ("mmio-stale", BAR + PAGE, "00:01.0 virtio-blk")


def test_both_at_once_are_each_given_its_own() -> None:
    looks = look(0), look(1, bars=(bar(BAR + PAGE),)), look(2), look(3, bars=(bar(NOWHERE + PAGE),)), look(4)
    stale = tuple(mapped(EA + (12 + n) * PAGE, BAR + 3 * PAGE) for n in range(4))
    found = diagnosed(evidence(*looks, nowhere=(*lost(NOWHERE), *stale)))
    assert {(each.cause.slug, each.found.device) for each in found} == {
        ("mmio-wrong-address", "00:01.0 virtio-blk"),
        ("mmio-stale", "00:03.0 virtio-blk"),
    }


def test_what_leads_nowhere_is_no_matter_where_no_device_lacks_it() -> None:
    assert told(evidence(look(0), look(1), nowhere=lost(NOWHERE))) == HEALTHY


def test_registers_that_are_not_io() -> None:
    assert told(evidence(look(0, bars=(bar(BAR, (EA,), 0),)))) == [("mmio-not-io", "medium")]
    assert told(evidence(look(0, bars=(bar(BAR, (EA,), 0x30),)))) == HEALTHY


def test_what_answers_is_known_or_is_not() -> None:
    io = (mapped(EA, 0x1000), mapped(EA + PAGE, 0x10_0000), mapped(EA + 2 * PAGE, 0x20_0000))
    ram = RamMap([Range(0, 0x8000, "ram")])
    assert nowhere(io, VirtioState(()), ram) is None
    answers = (Part("large", 0, 0x8000_0000), Part("small", 0x8000, 8))
    assert nowhere(io, VirtioState((), answers=answers), ram) == ()
    assert nowhere(io, VirtioState((), answers=(Part("one", 0x10_3FFF, 1),)), ram) == io[2:]


# -- what need not be asked again --------------------------------------------------------------------------------------


def test_a_queue_is_at_rest_only_where_nothing_can_have_happened() -> None:
    laid = Laid()
    mark = RingMark("/machine/x", 0, 3, 0, 3, 3, 0, 3)

    def resting(*marks: RingMark, **of: Any) -> bool:
        device = laid.device(queues=(replace(laid.queue(3, 3), **of),))
        samples = [Sample(float(n), {}, {}, (each,)) for n, each in enumerate(marks)]
        return bool(at_rest(VirtioState((device,)), samples))

    assert resting(mark, mark)
    assert resting(desc=0)
    assert not resting()
    assert not resting(mark, replace(mark, used_event=2))
    assert not resting(replace(mark, avail=4), replace(mark, avail=4))
    assert not resting(mark, inuse=1)


@pytest.mark.parametrize("of", [{"status": 0}, {"status": 1}, {"status": 0x4F}, {"broken": True}, {"disabled": True}])
def test_a_device_that_had_a_problem_is_asked_again(of: dict[str, Any]) -> None:
    laid = Laid()
    device = laid.device(queues=(laid.queue(3, 3),))
    rest = frozenset({(device.path, 0)})
    assert unmoved(VirtioState((device,)), rest) == {device.path}
    assert not unmoved(VirtioState((device,)), frozenset())
    assert not unmoved(VirtioState((replace(device, **of),)), rest)


def test_only_what_may_have_changed_is_asked_of_the_monitor() -> None:
    laid = Laid()
    still = replace(laid.device(queues=(laid.queue(3, 3),)), path="/machine/still")
    gone = replace(still, path="/machine/gone")
    asked: list[str] = []

    def ask(commands: Sequence[str]) -> list[str]:
        asked.extend(commands)
        return ["" for _ in commands]

    before = VirtioState((still, gone))
    assert of_monitor_again(ask, before, {("/machine/still", 0)}, {"/machine/still"}) == VirtioState((still,))
    assert asked == ["info virtio-status /machine/gone"]
