from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.virtio.state import Bar, DeviceState, Part, QueueState, VirtioState, Window

NUMBERS = st.integers(0, (1 << 64) - 1)
SHORT = st.integers(0, 0xFFFF)
NAMES = st.text(st.characters(categories=("L", "N", "P")), max_size=40)
QUEUES = st.builds(
    QueueState, SHORT, SHORT, NUMBERS, NUMBERS, NUMBERS, SHORT, st.none() | SHORT, st.none() | SHORT,
    st.integers(0, 1 << 31), SHORT, st.booleans(),
)  # fmt: skip
PARTS = st.builds(Part, NAMES, NUMBERS, NUMBERS)
BARS = st.builds(
    Bar, st.integers(0, 5), NUMBERS, NUMBERS, st.booleans(), st.none() | NUMBERS,
    st.lists(PARTS, max_size=3).map(tuple),
)  # fmt: skip
DEVICES = st.builds(
    DeviceState, NAMES, NAMES, SHORT, st.integers(0, 255), NUMBERS, NUMBERS, st.booleans(), st.booleans(),
    st.booleans(), st.booleans(), st.booleans(), st.integers(0, 255), SHORT, st.lists(QUEUES, max_size=3).map(tuple),
    NAMES, st.lists(BARS, max_size=3).map(tuple), st.lists(NAMES, max_size=3).map(tuple),
)  # fmt: skip
WINDOWS = st.builds(Window, NAMES, NUMBERS, NUMBERS)
STATES = st.builds(
    VirtioState, st.lists(DEVICES, max_size=3).map(tuple), st.lists(WINDOWS, max_size=2).map(tuple), NAMES
)


@given(STATES)
def test_a_state_goes_to_json_and_back(state: VirtioState) -> None:
    assert VirtioState.from_json(json.loads(json.dumps(state.to_json()))) == state


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(STATES.filter(lambda state: bool(state.devices)), st.data())
def test_what_is_damaged_is_refused_or_is_a_state(state: VirtioState, data: st.DataObject) -> None:
    known: dict[str, Any] = json.loads(json.dumps(state.to_json()))
    at: Any = data.draw(st.sampled_from([known, known["devices"][0]]))
    at[data.draw(st.sampled_from(sorted(at)))] = data.draw(JSON)
    with suppress(ValueError):
        assert isinstance(VirtioState.from_json(known), VirtioState)


@pytest.mark.parametrize("value", [None, [], {}, {"version": 2}, {"version": 1, "devices": [{}], "source": ""}])
def test_what_is_none_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"version|object|word|expected"):
        VirtioState.from_json(value)


def test_more_devices_than_there_can_be_are_refused() -> None:
    one = json.loads(json.dumps(VirtioState((DeviceState("/m", "x", 4, 0, 0, 0),)).to_json()))
    one["devices"] *= 10_000
    with pytest.raises(ValueError, match="at most"):
        VirtioState.from_json(one)


def test_what_would_steer_a_terminal_is_taken_out() -> None:
    state = VirtioState((DeviceState("/m\x1b[2J", "x", 4, 0, 0, 0),))
    assert "\x1b" not in VirtioState.from_json(state.to_json()).devices[0].path
