"""vCPUs that run a process whose process-table entry is gone, and those of which that is no news."""

from __future__ import annotations

import pytest

from inspector.radix.bits import PRTS_MASK
from inspector.triage.orphans import orphans
from tests.fakes import (
    GR,
    KERNEL_MSR,
    PID,
    PROCESS_TABLE_AT,
    PRTS,
    USER_MSR,
    USER_TEXT_EA,
    FakeTarget,
    guest,
    linux_target,
)
from tests.triage.stuckguests import sampled

ENTRY = PROCESS_TABLE_AT + 16 * PID


def cleared() -> FakeTarget:
    """The guest whose vCPU 1 runs process PID, whose entry is gone."""
    target = linux_target()
    target.source.put_word(ENTRY, 0)
    return target


def test_user_code_without_an_entry() -> None:
    target = cleared()
    (one,) = orphans(guest(target), sampled(target))
    assert (one.cpu, one.nip, one.fetch.pid, one.seen) == (1, USER_TEXT_EA + 0x100, PID, 9)
    assert one.fetch.steps[-1].address == ENTRY
    in_kernel = {"msr": KERNEL_MSR}
    (one,) = orphans(guest(target), sampled(target, lambda n: {} if n in (2, 8) else in_kernel, cpu=1))
    assert one.seen == 2


def test_one_with_an_entry_is_none() -> None:
    target = linux_target()
    assert orphans(guest(target), sampled(target)) == ()
    assert orphans(guest(target), []) == ()


def test_a_page_that_is_not_there_yet_is_no_news() -> None:
    target = linux_target()
    target.set(1, nip=USER_TEXT_EA + 0x1000_0000)
    assert orphans(guest(target), sampled(target)) == ()


@pytest.mark.parametrize("last", [{"msr": KERNEL_MSR}, {"pid": 0}, {"msr": USER_MSR & ~0x20}])
def test_the_kernel_keeps_the_pid_of_a_process_that_is_gone(last: dict[str, int]) -> None:
    target = cleared()
    samples = sampled(target, lambda n: last if n == 8 else {}, cpu=1)
    target.set(1, **last)
    assert orphans(guest(target), samples) == (), "it may have ended since"


def test_one_that_is_halted_runs_nothing() -> None:
    target = cleared()
    assert orphans(guest(target), sampled(target, cpu=1, halted=True)) == ()


def test_a_pid_past_the_table() -> None:
    small = GR | PROCESS_TABLE_AT | (PRTS & ~PRTS_MASK)
    target = linux_target(registered=small)
    target.set(1, pid=0x200)
    (one,) = orphans(guest(target), sampled(target))
    assert (one.fetch.cause, one.fetch.pid) == ("pid-beyond-table", 0x200)
