"""What triage sampled, to JSON and back, and what a stranger's may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.devices import of_guest
from inspector.errors import FormatError, InspectorError
from inspector.snapshot import jsonsafe
from inspector.triage.devices import MOST_LOOKED_AT, Watch
from inspector.triage.recorded import MOST_SAMPLES, First, Kept, firsts_of, of_target, sampling_of, states_of
from inspector.triage.samples import WANTED, Sample, Sampling, taken
from inspector.virtio.bus import bus_of
from inspector.virtio.ring import read_queue
from inspector.virtio.state import DeviceState, QueueState, VirtioState
from tests.commands.asking import told
from tests.commands.test_virtio import machine
from tests.fakes import FakeTarget, guest, kvm_host_target, linux_target

words64 = st.integers(0, (1 << 64) - 1)
seconds = st.floats(0, 1e6)
stops = st.dictionaries(st.sampled_from(["DAR", "SRR0"]), st.integers(0, 99), max_size=2)
samples = st.builds(
    Sample,
    at=seconds,
    cpus=st.dictionaries(st.integers(0, 4095), st.dictionaries(st.sampled_from(["nip", "r31"]), words64), max_size=3),
    halted=st.dictionaries(st.integers(0, 4095), st.booleans(), max_size=3),
    refused=st.dictionaries(st.integers(0, 4095), stops, max_size=3),
    again=st.dictionaries(st.integers(0, 4095), stops, max_size=3),
)
samplings = st.builds(
    Sampling, seconds, st.lists(samples, min_size=1, max_size=4), st.none() | seconds, st.text(max_size=5)
)
BEFORE = VirtioState((DeviceState("/machine/a", "virtio-blk", 2, 15, 1 << 32, 1 << 32),), (), "monitor")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(samplings, st.sampled_from([None, BEFORE]))
def test_it_is_read_back_as_it_was(sampling: Sampling, before: VirtioState | None) -> None:
    kept = Kept(sampling, before, "none")
    plain = json.loads(json.dumps(kept.to_json()))
    found = Kept.from_json(plain)
    sampling.why_one = jsonsafe.text(sampling.why_one) or ""
    assert found == kept


def test_every_field_goes_through() -> None:
    """One that is added to a sample has to be of a type that is known here."""
    full = {each.name for each in fields(Sample)}
    plain = Kept(Sampling(1.0, [Sample(0.0, {0: {"nip": 1}})])).to_json()
    assert set(plain["sampling"]["samples"][0]) == full
    assert Kept.from_json(plain).sampling.samples == [Sample(0.0, {0: {"nip": 1}})]


def test_a_queue_of_the_first_stop_is_read_back() -> None:
    target = machine()
    target.source.put(0x23B_0802, (2).to_bytes(2, "little"))  # a head is pending
    at = guest(target)
    state = of_guest(at)
    assert state is not None
    found = [
        First(device.path, read_queue(at.memory, bus_of(False, ()), device, queue))
        for device in state.devices
        for queue in device.queues
    ]
    assert any(each.queue.pending and each.queue.chains and each.queue.used for each in found)
    kept = Kept(Sampling(1.0, [Sample(0.0, {0: {}})]), firsts=tuple(found))
    plain = json.loads(json.dumps(kept.to_json()))
    assert Kept.from_json(plain) == kept
    assert firsts_of(holding(plain)) == {(each.device, each.queue.state.index): each.queue for each in found}
    plain["firsts"][0]["queue"]["state"]["num"] = "many"
    with pytest.raises(ValueError, match="num"):
        Kept.from_json(plain)


def good(**sampling: Any) -> dict[str, Any]:
    return {"version": 1, "sampling": {"asked": 1, "samples": [{"at": 0, "cpus": {"0": {"nip": 1}}}], **sampling}}


WRONG: dict[str, Any] = {
    "a newer version": {**good(), "version": 2},
    "no version": {"sampling": good()["sampling"]},
    "nothing": {"version": 1},
    "no samples": good(samples=[]),
    "too many": good(samples=[{"at": 0, "cpus": {"0": {}}}] * (MOST_SAMPLES + 1)),
    "no list": good(samples={"at": 0}),
    "no object": good(samples=[7]),
    "no time": good(samples=[{"cpus": {"0": {}}}]),
    "a time that is none": good(samples=[{"at": "soon", "cpus": {"0": {}}}]),
    "a time beyond all": good(samples=[{"at": 1e300, "cpus": {"0": {}}}]),
    "a register that is none": good(samples=[{"at": 0, "cpus": {"0": {"nip": "x"}}}]),
    "a register of 65 bits": good(samples=[{"at": 0, "cpus": {"0": {"nip": 1 << 64}}}]),
    "a vCPU of no number": good(samples=[{"at": 0, "cpus": {"zero": {}}}]),
    "a vCPU that there is not": good(samples=[{"at": 0, "cpus": {"77": {}}}]),
    "no vCPU": good(samples=[{"at": 0, "cpus": {}}]),
    "halted by number": good(samples=[{"at": 0, "cpus": {"0": {}}, "halted": {"0": 1}}]),
    "rings of nothing": good(samples=[{"at": 0, "cpus": {"0": {}}, "rings": [{}]}]),
    "rings without end": good(
        samples=[
            {
                "at": 0,
                "cpus": {"0": {}},
                "rings": [
                    dict.fromkeys(("queue", "avail", "avail_flags", "used_event", "used", "used_flags"), 1)
                    | {"device": "d", "avail_event": 0}
                ]
                * 20_000,
            }
        ]
    ),
    "why by number": good(why_one=5),
    "devices that are none": {**good(), "virtio_before": {"version": 1}},
}


class Recorded(FakeTarget):
    """One with what a snapshot may hold of triage."""

    triage: Any = None
    virtio: Any = None


def holding(triage: Any, virtio: Any = None, make: Callable[[], FakeTarget] = linux_target) -> Recorded:
    target = make()
    made = Recorded(target.source, target.ram, target.files, target.known_roots)
    made.triage, made.virtio = triage, virtio
    return made


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(FormatError, match="record it again") as caught:
        of_target(holding(WRONG[name]))
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["0", "1", "nip"]), inner, max_size=4),
    max_leaves=12,
)
PARTS = st.dictionaries(st.sampled_from([each.name for each in fields(Sample)]), json_values)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["asked", "stood", "why_one"]), json_values), st.lists(PARTS, max_size=3))
def test_any_json_is_a_sampling_or_an_error_of_ours(more: dict[str, Any], rows: list[Any]) -> None:
    with suppress(InspectorError):
        of_target(holding(good(**more, samples=rows)))


NUMBERS = (
    st.sampled_from([0, 1, 0xC000_0000_0000_0100, 0x8000_0000_0000_1033, 0x9000_0000_0000_1003, 0x4000_0000]) | words64
)
FILES = st.dictionaries(st.sampled_from(WANTED), NUMBERS, max_size=len(WANTED))
STRANGE = st.lists(
    st.builds(
        Sample,
        at=seconds,
        cpus=st.fixed_dictionaries({0: FILES}, optional={1: FILES}),
        halted=st.dictionaries(st.integers(0, 3), st.booleans(), max_size=3),
    ),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(STRANGE, st.sampled_from([linux_target, kvm_host_target]))
def test_whatever_was_sampled_triage_says_something_of_it(rows: list[Sample], make: Any) -> None:
    target = holding(Kept(Sampling(1.0, rows)).to_json(), make=make)
    assert all(each for each in told("triage", target))


def test_words_cannot_steer_a_terminal() -> None:
    kept = of_target(holding(good(why_one="\x1b[2J")))
    assert kept is not None
    assert "\x1b" not in kept.sampling.why_one


def test_recorded_samples_are_taken_instead_of_one() -> None:
    two = [Sample(0.0, {0: {"nip": 1}}), Sample(2.0, {0: {"nip": 2}}, {0: True})]
    target = holding(Kept(Sampling(2.0, two, 0.1), None, "too old").to_json())
    found = taken(guest(target), 5.0)
    assert (found.samples, found.stood) == (two, None)
    assert states_of(target) == ([], "too old")
    by_hand = sampling_of(guest(target, overrides={"nip": 9, "ptcr": 1}))
    assert by_hand is not None
    assert [each.cpus for each in by_hand.samples] == [{0: {"nip": 9}}] * 2
    assert len(taken(guest(holding(None)), None).samples) == 1


def test_the_devices_are_those_of_the_first_stop_and_of_the_last() -> None:
    last = replace(BEFORE, devices=(replace(BEFORE.devices[0], broken=True),))
    kept = Kept(Sampling(1.0, [Sample(0.0, {0: {}})]), BEFORE).to_json()
    assert states_of(holding(kept, last.to_json())) == ([BEFORE, last], "")
    assert states_of(holding(None, last.to_json())) == ([last], "")
    with pytest.raises(FormatError, match="virtio"):
        states_of(holding(kept, {"version": 5}))


def test_of_a_strangers_many_queues_only_so_many_are_read() -> None:
    many = tuple(QueueState(index, 32768, 0x10_0000, 0x20_0000, 0x30_0000, 0, 0) for index in range(40))
    claimed = DeviceState("/machine/a", "virtio-blk", 2, 15, 1 << 32, 1 << 32, count=40, queues=many)
    target = holding(Kept(Sampling(1.0, [Sample(0.0, {0: {"nip": 1}})])).to_json(), VirtioState((claimed,)).to_json())
    missed: list[str] = []
    found = Watch(guest(target)).devices(Sampling(0.0, [Sample(0.0, {})]), missed)
    assert len(found.looks[0].queues) == MOST_LOOKED_AT // 32768
    assert any("more queues than are looked at" in each for each in missed)


@pytest.mark.parametrize("features", [1 << 32, 1 << 32 | 1 << 34], ids=["split", "packed"])
def test_that_rings_were_not_watched_is_said(features: int) -> None:
    queue = QueueState(0, 8, 0x10_0000, 0x20_0000, 0x30_0000, 0, 0)
    claimed = DeviceState("/machine/a", "virtio-blk", 2, 15, features, features, count=1, queues=(queue,))
    state = VirtioState((claimed,)).to_json()

    def said(triage: Any) -> bool:
        at, missed = guest(holding(triage, state)), list[str]()
        watch = Watch(at)
        watch.devices(taken(at, None, watch.marks), missed)
        return any("in the queues of virtio-blk is not known" in each for each in missed)

    assert not said(None)
    assert said(Kept(Sampling(1.0, [Sample(0.0, {0: {"nip": 1}})])).to_json())
