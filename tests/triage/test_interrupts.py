"""A guest's interrupt that no sample shows, for KVM's reading of its instruction hides it, and the further samples."""

from __future__ import annotations

from itertools import count

from inspector.radix.bits import DSISR_NOPTE, MSR_HV
from inspector.radix.prediction import HDSISR_CANARY
from inspector.triage.found import ENOUGH
from inspector.triage.interrupts import hidden, interrupt_of, seeks, sought
from inspector.triage.samples import CLOSER, CLOSER_LEAST, MOST, STANDS, Sample, taken
from tests.fakes import FakeControl, FakeTarget, firmware_target, guest

KERNEL = 0xC000_0000_0000_0000
NIP, EA, GPA = KERNEL | 0x2100, KERNEL | 0x5000_0000, 0xF000_0000
HELD = {"hsrr0": NIP, "hsrr1": 0x8000_0000_0000_1033, "hdar": EA, "hdsisr": DSISR_NOPTE, "asdr": GPA, "dar": 0}
READS = HELD | {"hsrr0": KERNEL | 0xAA1C8, "hsrr1": MSR_HV | 0x1033, "hdar": 2 << 62 | 0x2100, "asdr": 0x1FF_6900}
READS["lpidr"] = 1
ENTERS = READS | {"hsrr0": NIP, "hsrr1": HELD["hsrr1"], "hdsisr": HDSISR_CANARY}


def samples(*each: dict[str, int], halted: bool = False) -> list[Sample]:
    return [Sample(float(at), {0: known}, {0: halted}) for at, known in enumerate(each)]


def test_only_a_guests_own_is_one() -> None:
    found = interrupt_of(0, HELD)
    assert found is not None
    assert (found.nip, found.ea, found.guest_real) == (NIP, EA, GPA)
    assert [interrupt_of(0, known) for known in (READS, ENTERS)] == [None, None]


def test_what_kvm_looks_for_is_told_by_either_register() -> None:
    assert [seeks(known, NIP) for known in (HELD, READS, ENTERS)] == [False, True, True]
    assert sought({"dar": 1 << 62 | 0x40, "hdar": 2 << 62 | 0x80}) == {0x40, 0x80}
    assert sought({"dar": 0x40, "hdar": KERNEL | 0x40}) == sought({}) == set()


def test_hidden_is_what_enough_samples_seek_and_none_holds() -> None:
    often = [READS] * ENOUGH
    assert hidden(samples(*often)) == hidden(samples(*often[1:], ENTERS)) == {0}
    assert hidden(samples(*often[1:])) == set()
    assert hidden(samples(HELD, *often)) == hidden(samples(*often, HELD)) == set()
    assert hidden(samples(*often, halted=True)) == set(), "a vCPU with nothing to do holds what was long ago"
    assert hidden(samples(*often, HELD | {"hsrr0": NIP + 4})) == {0}


def test_a_vcpu_that_enters_no_guest_holds_what_was_long_ago() -> None:
    stale, entering = READS | {"lpidr": 0}, ENTERS | {"lpidr": 0}
    assert hidden(samples(*[stale] * MOST)) == hidden(samples(*[entering] * MOST)) == set()
    assert hidden(samples(stale, stale, READS)) == hidden(samples(stale, stale, entering)) == {0}


def running(known: dict[str, int]) -> tuple[FakeTarget, FakeControl]:
    target = firmware_target()
    target.set(0, **known)
    control = FakeControl(target)
    target.found_running = True  # type: ignore[attr-defined]
    return target, control


def test_samples_are_taken_until_one_holds_it() -> None:
    target, control = running(READS)
    stops = 0

    def wait() -> None:
        nonlocal stops
        stops += 1
        if stops == MOST + 5:
            target.set(0, **HELD)

    control.on_wait = wait
    sampling = taken(guest(target), 0.01)
    assert len(sampling.samples) == MOST + 7
    assert [each.at for each in sampling.samples] == sorted(each.at for each in sampling.samples)
    assert not hidden(sampling.samples)


def test_but_not_for_ever_nor_where_there_is_nothing_to_wait_for() -> None:
    assert len(taken(guest(running(READS)[0]), 0.01).samples) == MOST + CLOSER
    assert len(taken(guest(running(HELD)[0]), 0.01).samples) == MOST
    now = count(0.0, STANDS)
    assert len(taken(guest(running(READS)[0]), 0.01, clock=lambda: next(now)).samples) == MOST + CLOSER_LEAST
