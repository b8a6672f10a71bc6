"""What vCPUs recorded, held to the tables at every stop: what that costs, and what it tells of a busy program."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from inspector.guest import Guest
from inspector.radix.bits import LPCR_HR, MSR_DR, MSR_IR, PTE_WRITE
from inspector.targets.base import KnownRoots
from inspector.triage.catalogue import diagnosed
from inspector.triage.devices import Watch
from inspector.triage.evidence import gathered
from inspector.triage.found import ENOUGH, HEALTHY, Found
from inspector.triage.held import STOPS_ENOUGH, Refusals, not_held
from inspector.triage.samples import CLOSER, CLOSER_LEAST, MOST, STANDS, Sample, taken
from inspector.triage.stuck import Stuck, stuck
from tests.fakes import IO, KERNEL, NIP, PID, USER_DATA_EA, FakeControl, FakeTarget, firmware_target, guest
from tests.triage.stuckguests import FORBIDDEN, NO_ENTRY, change, entry, found, held_up, in_handler, sampled
from tests.triage.test_stuck import in_hypervisor, paging, under_hypervisor

MISSING = IO + 0x1000_0000


def registers(target: FakeTarget, **changes: int) -> dict[int, dict[str, int]]:
    """Those of vCPU 0."""
    return {0: {**target.files[0].values, **changes}}


def counts(refusals: Refusals, target: FakeTarget) -> tuple[dict[str, int], dict[str, int]]:
    """What a sample of vCPU 0 is told of its access."""
    noted = refusals.noted(Sample(0.0, registers(target)))
    return dict(noted.refused.get(0, {})), dict(noted.again.get(0, {}))


def times(target: FakeTarget, count: int, **changes: int) -> Refusals:
    """So many looks at a guest whose vCPU 0 is there each time."""
    refusals = Refusals(guest(target))
    for _ in range(count):
        refusals.look(registers(target, **changes), {})
    return refusals


def allow(target: FakeTarget) -> None:
    """Give the user's page its write right back."""
    change(target, entry(target, USER_DATA_EA, 0, pid=PID), 0, PTE_WRITE)


def forbid(target: FakeTarget) -> None:
    """Take it away."""
    change(target, entry(target, USER_DATA_EA, 0, pid=PID), PTE_WRITE)


@pytest.mark.parametrize("where", [{}, in_handler(1)], ids=["at it", "in the handler"])
def test_what_is_refused_each_time_is_counted(where: dict[str, int]) -> None:
    target = held_up(MISSING, NO_ENTRY)
    assert counts(times(target, 1, **where), target) == ({}, {}), "it may be gone by the next stop"
    assert counts(times(target, 4, **where), target) == ({"DAR": 3}, {"DAR": 0 if where else 3})
    fetched = held_up(0, 0, nip=MISSING, srr0=MISSING, srr1=0x8000_0000_0000_1033 | NO_ENTRY)
    assert counts(times(fetched, 3), fetched) == ({"SRR0": 2}, {"SRR0": 2})


def test_what_was_allowed_once_is_not_walked_for_again() -> None:
    target = paging(FORBIDDEN)
    refusals = times(target, 3)
    allow(target)
    refusals.look(registers(target), {})
    forbid(target)
    target.source.asked.clear()
    refusals.look(registers(target), {})
    assert not target.source.asked
    assert counts(refusals, target)[0] == {"DAR": 0}


def test_what_is_not_held_to_tables() -> None:
    target = held_up(MISSING, NO_ENTRY)
    refusals = Refusals(guest(target))
    for _ in range(3):
        refusals.look(registers(target), {0: True})
    assert counts(refusals, target) == ({}, {}), "it waits"
    hypervisor = under_hypervisor()
    assert counts(times(hypervisor, 3, **in_hypervisor(1)), hypervisor) == ({}, {})
    segment = held_up(0xC010_0000_0000_0008, 0)
    assert counts(times(segment, 3), segment) == ({}, {})
    target.source.refused = [(0, 1 << 60)]
    assert counts(times(target, 3), target) == ({}, {}), "tables that cannot be read say nothing"


def test_a_busy_guest_costs_no_walk() -> None:
    target = held_up(MISSING, NO_ENTRY)
    refusals = Refusals(guest(target))
    _ = refusals.guest.roots
    target.source.asked.clear()
    for number in range(MOST):
        refusals.look(registers(target, dar=MISSING + 0x1000 * number, srr0=NIP + 4 * number), {})
    assert not target.source.asked


def test_only_a_users_access_is_doubtful_and_until_it_is_allowed() -> None:
    assert times(held_up(MISSING, NO_ENTRY), 9).doubtful == set()
    target = paging(FORBIDDEN)
    assert times(target, ENOUGH).doubtful == set()
    refusals = times(target, ENOUGH + 1)
    assert refusals.doubtful == {0}
    refusals.look(registers(target, nip=target.files[0].need("nip") + 8), {})
    assert refusals.doubtful == set(), "its process went on"
    assert times(target, STOPS_ENOUGH + 1).doubtful == set(), "there is no doubt any more"
    assert times(target, STOPS_ENOUGH + 9, **in_handler(1)).doubtful == {0}, "it was not gone back to yet"


# -- what follows ------------------------------------------------------------------------------------------------------


def told(target: FakeTarget, stops: int, again: int = 1) -> list[Sample]:
    """Samples of a vCPU in its handler, with so many stops at which its access was refused, or about to be again."""
    refused, made_again = {0: {"DAR": stops}}, {0: {"DAR": again}}
    return [replace(each, refused=refused, again=made_again) for each in sampled(target, in_handler)]


def test_allowed_at_one_stop_is_not_stuck() -> None:
    for target in (paging(FORBIDDEN), held_up(MISSING, NO_ENTRY)):
        assert found(target, sampled(target, in_handler))
        assert not found(target, told(target, 0))


def test_a_user_page_that_was_refused_often_is_no_chance() -> None:
    def one(target: FakeTarget, stops: int) -> Stuck:
        (only,) = found(target, told(target, stops))
        return only

    target = paging()
    assert [one(target, stops).paging for stops in (ENOUGH, STOPS_ENOUGH - 1, STOPS_ENOUGH)] == [True, True, False]
    assert one(target, STOPS_ENOUGH).refused == STOPS_ENOUGH
    assert not one(held_up(MISSING, NO_ENTRY), ENOUGH).paging, "no kernel fetches its own pages"


def live(target: FakeTarget) -> tuple[FakeControl, Guest]:
    """A guest that runs, and is met at the same place each time."""
    control = FakeControl(target)
    control._went = lambda *_: target.clock.tick()  # type: ignore[method-assign]
    found = Guest(target)
    target.found_running = True  # type: ignore[attr-defined]
    return control, found


def test_one_that_is_stuck_is_looked_at_more_closely() -> None:
    control, at = live(paging())
    sampling = taken(at, 0.01)
    assert len(sampling.samples) == MOST
    assert {each.refused[0]["DAR"] for each in sampling.samples} == {STOPS_ENOUGH + 1}
    assert {each.again[0]["DAR"] for each in sampling.samples} == {STOPS_ENOUGH + 1}
    assert control.calls.count("resume") == STOPS_ENOUGH + 1
    (one,) = stuck(at, sampling.samples, ENOUGH)
    assert not one.paging


@pytest.mark.parametrize(("where", "closer"), [({}, 0), (in_handler(1), CLOSER_LEAST)], ids=["at it", "in the handler"])
def test_a_slow_machine_is_looked_at_closely_too_where_nothing_is_known_yet(where: dict[str, int], closer: int) -> None:
    target = paging()
    target.set(0, **where)
    control, at = live(target)
    now = count(0.0, STANDS)
    taken(at, 0.01, clock=lambda: next(now))
    assert control.calls.count("resume") == MOST - 1 + closer


def test_one_whose_page_is_there_at_times_is_let_go_at_once() -> None:
    target = paging(FORBIDDEN)
    control, at = live(target)
    stops = 0

    def wait() -> None:
        nonlocal stops
        stops += 1
        if stops == MOST + 3:
            allow(target)
        if stops == MOST + 4:
            forbid(target)

    control.on_wait = wait
    sampling = taken(at, 0.01)
    assert {each.refused[0]["DAR"] for each in sampling.samples} == {0}
    assert stops < MOST + CLOSER // 2
    assert stuck(at, sampling.samples, ENOUGH) == ()


def test_a_kernel_that_is_at_a_users_page_for_long_may_clear_it() -> None:
    assert not found(paging(), told(paging(), STOPS_ENOUGH, again=0))
    target = held_up(MISSING, NO_ENTRY)
    assert found(target, told(target, STOPS_ENOUGH, again=0)), "no kernel fetches its own pages"
    target = paging(ea=1 << 39)
    assert found(target, told(target, STOPS_ENOUGH, again=0)), "nor does the root lose its entry with a page"


# -- no tables to go by ------------------------------------------------------------------------------------------------


def healthy(target: FakeTarget) -> Found:
    at = guest(target)
    watch = Watch(at)
    (finding,) = diagnosed(gathered(at, taken(at, None, watch.marks), watch))
    assert finding.cause.slug == HEALTHY
    return finding.found


def test_that_there_are_no_tables_is_said() -> None:
    target = held_up(MISSING, NO_ENTRY)
    assert not any("no access was held" in each for each in healthy(held_up(KERNEL, 0)).evidence)
    target.known_roots = KnownRoots()
    for cpu in target.cpus:
        target.set(cpu, lpcr=target.files[0].need("lpcr") & ~LPCR_HR)
    (said,) = [each for each in healthy(target).evidence if "no access was held" in each]
    assert "hashed page table" in said


def test_real_mode_needs_no_tables() -> None:
    target = firmware_target()
    assert not list(not_held(guest(target), registers(target)))
    on = target.files[0].need("msr") | MSR_IR | MSR_DR
    target.set(0, msr=on)
    assert list(not_held(guest(target), registers(target)))
