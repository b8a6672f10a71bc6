"""What vCPUs still hold of KVM guests' storage interrupts."""

from __future__ import annotations

from typing import Any

from inspector.radix.bits import DSISR_NOPTE, DSISR_PRTABLE_FAULT, MSR_HV
from inspector.radix.prediction import HDSISR_CANARY
from inspector.triage.samples import Sample
from inspector.triage.storage import Storage, last_interrupts, of_kernel, times

VIRTUAL, REAL = 0x8000_0000_0000_1033, 0x8000_0000_0000_1003
NIP, EA, GPA = 0x2100, 0x5000_0000, 0xF000_0000


def held(**changes: int) -> dict[str, int]:
    """A vCPU of the host's that holds a load's interrupt."""
    known = {"hsrr0": NIP, "hsrr1": VIRTUAL, "hdar": EA, "hdsisr": DSISR_NOPTE, "asdr": GPA, "lpidr": 0, "dar": 0}
    return known | changes


def found(*samples: dict[str, int] | dict[int, dict[str, int]]) -> list[Storage]:
    """Of samples of one vCPU, or of several by number."""
    cpus: list[Any] = [each if 0 in each or 1 in each else {0: each} for each in samples]
    return list(last_interrupts([Sample(float(at), each) for at, each in enumerate(cpus)]))


def test_the_same_in_every_sample_is_one() -> None:
    (one,) = found(held(), held(hdsisr=HDSISR_CANARY, lpidr=1), held(dar=1 << 62 | NIP))
    assert (one.cpu, one.nip, one.msr, one.ea, one.guest_real) == (0, NIP, VIRTUAL, EA, GPA)
    assert (one.seen, one.samples, one.canaries, one.bits) == (3, 3, 1, DSISR_NOPTE)
    assert (one.tried, one.past, dict(one.lpids)) == (1, 0, {1: 1})
    assert one.relocated
    assert not one.fetched
    assert not one.of_table


def test_the_one_seen_most_often_comes_first() -> None:
    other = held(hsrr0=NIP + 0x100, asdr=GPA + 0x1_0000)
    first, second = found({0: held(), 1: other}, {0: held(hsrr1=MSR_HV), 1: other})
    assert (first.cpu, first.seen, second.cpu, second.seen) == (1, 2, 0, 1)


def test_the_hosts_own_interrupts_are_none_of_a_guests() -> None:
    assert not found(held(hsrr1=VIRTUAL | MSR_HV), held(hsrr1=0), held(hdar=0, asdr=0), held(hdsisr=0))
    assert not found({"hsrr0": NIP, "hsrr1": VIRTUAL})


def test_a_fetch_tells_of_itself_by_hsrr1_and_leaves_the_rest_alone() -> None:
    (one,) = found(held(hsrr0=GPA, hsrr1=REAL | DSISR_NOPTE, hdsisr=HDSISR_CANARY))
    assert one.fetched
    assert not one.relocated
    assert (one.nip, one.ea, one.msr, one.bits) == (GPA, GPA, REAL, DSISR_NOPTE)


def test_an_entry_of_the_guests_own_tables() -> None:
    (one,) = found(held(hdsisr=DSISR_NOPTE | DSISR_PRTABLE_FAULT))
    assert one.of_table


def test_a_guest_that_goes_on_to_the_next_instruction_is_past_it() -> None:
    first, second = found(held(), held(), held(hsrr0=NIP + 4, hdsisr=HDSISR_CANARY))
    assert (first.seen, first.past, second.past) == (2, 1, 0)


def test_kvms_reading_of_a_kernels_code_takes_the_interrupts_registers() -> None:
    """As Linux 6.1 leaves them on QEMU 7.2: HSRR0 and HSRR1 are the host's until the guest is entered again."""
    kernel = 0xC000_0000_0000_0000
    one = held(hsrr0=kernel | NIP, hdar=kernel | EA)
    reads = one | {"hsrr0": kernel | 0xAA1C8, "hsrr1": VIRTUAL | MSR_HV, "hdar": 2 << 62 | NIP, "asdr": 0x1FF_6900}
    enters = reads | {"hsrr0": kernel | NIP, "hsrr1": VIRTUAL, "hdsisr": HDSISR_CANARY}
    (last,) = found(reads, one, enters, reads)
    assert (last.seen, last.instead, last.tried, last.samples) == (1, 3, 3, 4)
    assert (last.ea, last.guest_real, last.canaries) == (kernel | EA, GPA, 0)
    assert times(last) == " in 1 of 4 samples; in 3 more KVM was reading its instruction"
    assert not found(reads, enters, reads)


def test_what_is_the_same_in_every_process() -> None:
    kernel = 0xC000_0000_0000_0000
    (one,) = found(held(hsrr0=kernel | NIP, hdar=kernel | EA))
    assert of_kernel(one)
    (mixed,) = found(held(hdar=kernel | EA))
    assert not of_kernel(mixed)
