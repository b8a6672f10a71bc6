"""What a replay's logs may take together, whoever's they are."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from inspector.errors import UsageError
from inspector.kvm import operations
from inspector.kvm.free import free
from inspector.kvm.lines import parse
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.pool import Pool
from inspector.kvm.replay import MOST_LOGGED, Replay
from inspector.kvm.slots import LOG_DIRTY_PAGES
from inspector.memory.overlay import Overlay
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from tests.kvm.scene import PAGE, POOL, POOL_SIZE, RAM, Immutable

QUARTER = MOST_LOGGED * PAGE // 4
"""Bytes of a slot, of which four may be logged."""


class Guests:
    """Guests that are made as they are met."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def begin(self, lpid: int) -> Vm:
        """One with an empty tree, where there is none."""
        return self.machine.vms.get(lpid) or self.machine.make(lpid)

    def there(self, lpid: int) -> bool:
        """Whether there is one."""
        return lpid in self.machine.vms

    def free(self, vm: Vm) -> None:
        """It is gone."""
        free(self.machine, vm)


def machine() -> Machine:
    """One without guests."""
    overlay = Overlay(PhysicalMemory(Immutable(), RamMap([Range(0, RAM)])), [Range(POOL, POOL_SIZE)])
    return Machine(overlay, Pool(overlay, POOL, POOL_SIZE))


def refused(replay: Replay, **asked: Any) -> bool:
    """Whether there is no room for that."""
    try:
        replay.run(parse(json.dumps(asked)))
    except UsageError:
        return True
    return False


def logged(replay: Replay, lpid: int, flags: int = LOG_DIRTY_PAGES, size: int = QUARTER) -> bool:
    """Whether a slot at 0 is refused that guest."""
    return refused(replay, op="slot", lpid=lpid, base=0, size=size, flags=flags)


@pytest.mark.parametrize("way", ["free", "slot", "flags"])
def test_a_log_that_is_gone_makes_room(way: str) -> None:
    at = machine()
    replay = Replay(at, Guests(at))
    assert [logged(replay, lpid) for lpid in range(1, 6)] == [False] * 4 + [True]
    assert not logged(replay, 1), "what it has already is not counted twice"
    if way == "free":
        assert not refused(replay, op="free", lpid=4)
    else:
        assert not logged(replay, 4, flags=0, size=0 if way == "slot" else QUARTER)
    assert [logged(replay, 5), logged(replay, 6)] == [False, True]


def test_logs_from_before_a_replay_are_counted() -> None:
    at = machine()
    for lpid in range(1, 5):
        operations.set_slot(at, at.make(lpid), 0, QUARTER, LOG_DIRTY_PAGES)
    replay = Replay(at, Guests(at))
    assert logged(replay, 5)
    assert not refused(replay, op="free", lpid=2)
    assert not logged(replay, 5)


def test_what_is_counted_is_what_is_there() -> None:
    at, rng = machine(), Random(6)
    replay = Replay(at, Guests(at))
    for _ in range(400):
        lpid = rng.randrange(1, 5)
        if rng.random() < 0.1:
            refused(replay, op="free", lpid=lpid)
        else:
            size = rng.choice((0, PAGE, 3 * PAGE, PAGE // 2))
            refused(replay, op="slot", lpid=lpid, base=PAGE * rng.randrange(6), size=size, flags=rng.randrange(4))
        there = sum(slot.pages for vm in at.vms.values() for slot in vm.slots.each if slot.log is not None)
        assert replay.logged == there
