"""What stands still in a device's queues is named, and what a busy or an idle one looks like is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inspector.radix.bits import MSR_HV
from inspector.triage.catalogue import diagnosed
from inspector.triage.causes.devices import HEALED_BY
from inspector.virtio import words
from inspector.virtio.state import QueueState
from tests.triage.looks import evidence, look, stood, told
from tests.virtio.rings import BUFFERS, RAM_BYTES, USUAL, Laid

HEALTHY = [("healthy", "low")]


def at_rest(laid: Laid | None = None) -> Laid:
    """A queue all of whose three buffers were used and taken."""
    laid = laid or Laid()
    laid.describe(0, BUFFERS, 512)
    laid.offer(3, event=3)
    laid.give_back(3, event=3)
    return laid


def signalled(laid: Laid, last: int, used: int, **of: Any) -> QueueState:
    return laid.queue(last, used, signalled_used=used, signalled_used_valid=True, **of)


def test_a_queue_at_rest_is_healthy() -> None:
    laid = at_rest()
    assert told(evidence(look(0, stood(laid, signalled(laid, 3, 3))))) == HEALTHY


# -- used, and not taken -----------------------------------------------------------------------------------------------


def untaken(event: int = 2) -> tuple[Laid, QueueState]:
    laid = at_rest()
    laid.offer(3, event=event)
    return laid, signalled(laid, 3, 3)


def test_an_interrupt_that_was_raised_and_not_taken() -> None:
    laid, state = untaken()
    (found,) = diagnosed(evidence(look(0, stood(laid, state))))
    assert (found.cause.slug, found.found.confidence) == ("interrupt-not-taken", "high")
    assert found.found.device == "00:00.0 virtio-blk, queue 0 (requests)"
    assert "for at least 2.0 s, in each of 5 samples" in found.found.evidence[0]
    assert "vCPU 0 would have taken" in found.found.evidence[-1]
    (found,) = diagnosed(evidence(look(0, stood(laid, state)), msr=0))
    assert "MSR[EE] was 0 on every vCPU" in found.found.evidence[-1]


@pytest.mark.parametrize(("msr", "said"), [(MSR_HV, "vCPU 0 would have taken"), (0, "none takes an interrupt")])
def test_a_bare_machines_idle_vcpu_is_woken_with_interrupts_off(msr: int, said: str) -> None:
    laid, state = untaken()
    found = evidence(look(0, stood(laid, state)), msr=msr)
    idle = [replace(each, halted={0: True}) for each in found.sampling.samples]
    (told_of,) = diagnosed(replace(found, sampling=replace(found.sampling, samples=idle)))
    assert said in told_of.found.evidence[-1]


@pytest.mark.parametrize(
    "of", [{"times": 1}, {"times": 2}, {"seconds": 0.3}], ids=["one sample", "two samples", "not for long"]
)
def test_what_was_not_seen_for_long_is_not_told(of: dict[str, Any]) -> None:
    laid, state = untaken()
    queue = stood(laid, state, times=of.get("times", 5))
    assert told(evidence(look(0, queue), **of)) == HEALTHY


def test_what_moved_is_busy() -> None:
    laid, state = untaken()
    assert told(evidence(look(0, stood(laid, state, moved=True)))) == HEALTHY
    still = stood(laid, state)
    assert told(evidence(look(0, replace(still, was=replace(state, last_avail_idx=2))))) == HEALTHY


def test_a_queue_that_may_be_polled_is_told_with_doubt() -> None:
    laid, state = untaken(event=0)
    assert told(evidence(look(0, stood(laid, state)))) == [("interrupt-not-taken", "low")]


@pytest.mark.parametrize("kind", [words.NET, words.CONSOLE, words.INPUT])
def test_what_may_leave_used_buffers_is_let_be(kind: int) -> None:
    laid, state = untaken()
    queue = stood(laid, state, device_id=kind, count=2)
    assert told(evidence(look(0, queue, device_id=kind))) == HEALTHY


def test_interrupts_that_are_suppressed() -> None:
    laid, state = untaken(event=3 + 0x4000)
    assert told(evidence(look(0, stood(laid, state)))) == [("used-not-taken", "medium")]
    laid = at_rest(Laid(features=USUAL & ~(1 << 29)))
    laid.offer(3, flags=1)
    state = laid.queue(3, 3)
    assert told(evidence(look(0, stood(laid, state), features=laid.features))) == [("used-not-taken", "low")]


def test_what_the_device_has_not_told_of() -> None:
    laid, _ = untaken()
    state = laid.queue(3, 3, signalled_used=2, signalled_used_valid=True)
    assert told(evidence(look(0, stood(laid, state)))) == [("used-not-taken", "low")]


# -- available, and not taken ------------------------------------------------------------------------------------------


def pending(event: int) -> tuple[Laid, QueueState]:
    laid = at_rest()
    laid.offer(4, {3: 0}, event=3)
    laid.give_back(3, event=event)
    return laid, signalled(laid, 3, 3)


@pytest.mark.parametrize(("event", "slug"), [(3, "available-not-taken"), (99, "available-not-notified")])
def test_pending_buffers(event: int, slug: str) -> None:
    laid, state = pending(event)
    assert told(evidence(look(0, stood(laid, state)))) == [(slug, "high")]
    assert told(evidence(look(0, stood(laid, state, moved=True)))) == HEALTHY
    assert told(evidence(look(0, stood(laid, state, times=1)), times=1)) == HEALTHY


def test_queues_that_hold_buffers_for_ever() -> None:
    laid, state = pending(3)
    for kind, found in ((words.NET, HEALTHY), (words.CONSOLE, HEALTHY), (words.RNG, [("available-not-taken", "low")])):
        queue = stood(laid, state, device_id=kind, count=2)
        assert told(evidence(look(0, queue, device_id=kind))) == found


def test_what_was_pending_before_the_guest_went_on() -> None:
    """QEMU looks at its queues as a guest goes on, so that what was lost is seen at the first stop alone."""
    laid, state = pending(99)
    first = stood(laid, state).queue
    rest = at_rest()
    rest.offer(4, event=4)
    rest.give_back(4, event=4)
    now = replace(stood(rest, signalled(rest, 4, 4), moved=True), first=first)
    assert told(evidence(look(0, now))) == [("available-not-notified", "medium")]
    due, state = pending(3)
    now = replace(now, first=stood(due, state).queue)
    assert told(evidence(look(0, now))) == HEALTHY
    off = look(0, now, bars=())
    assert told(evidence(off)) == HEALTHY  # where devices answer is not known at all
    (found,) = diagnosed(evidence(off, look(1)))
    assert (found.cause.slug, found.found.confidence) == ("available-not-taken", "medium")
    assert found.found.evidence[-1] == HEALED_BY
    legacy = look(0, now, bars=(), features=USUAL & ~(1 << words.VERSION_1))
    assert told(evidence(legacy, look(1))) == HEALTHY


def test_a_disk_that_does_not_finish() -> None:
    laid = at_rest()
    laid.offer(4, {3: 0}, event=3)
    state = signalled(laid, 4, 3, inuse=1)
    assert told(evidence(look(0, stood(laid, state)))) == [("request-not-finished", "low")]
    assert told(evidence(look(0, stood(laid, state)), seconds=0.6)) == HEALTHY


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_rings_and_buffers_where_no_ram_is() -> None:
    laid = at_rest()
    state = replace(signalled(laid, 3, 3), used=RAM_BYTES)
    assert told(evidence(look(0, stood(laid, state)))) == [("ring-not-ram", "high")]
    laid, state = pending(99)
    laid.describe(0, RAM_BYTES, 512)
    queue = stood(laid, state)
    assert told(evidence(look(0, queue))) == [("buffer-not-ram", "high")]
    assert told(evidence(look(0, queue), times=1)) == [("buffer-not-ram", "medium")]
    behind = USUAL | 1 << words.ACCESS_PLATFORM
    assert told(evidence(look(0, queue, features=behind))) == HEALTHY


@pytest.mark.parametrize(("avail", "used"), [(500, 3), (3, 2)], ids=["far ahead", "not what the device wrote"])
def test_indices_that_cannot_be(avail: int, used: int) -> None:
    laid = at_rest()
    laid.offer(avail, event=3)
    laid.give_back(used, event=3)
    queue = stood(laid, signalled(laid, 3, 3))
    assert told(evidence(look(0, queue)))[0] == ("ring-index-impossible", "high")
