"""Accesses that are stuck: what has to be seen of one before it is said to be, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from inspector.radix.bits import AMR_NO_READ, AMR_NO_WRITE, MSR_HV, PTE_C, PTE_R, PTE_WRITE
from inspector.radix.prediction import HDSISR_CANARY
from tests.fakes import (
    GUEST_LOST_EA,
    GUEST_PID,
    GUEST_TEXT_EA,
    IO,
    KERNEL,
    KERNEL_MSR,
    LPID,
    NIP,
    PID,
    USER_DATA_EA,
    USER_MSR,
    USER_TEXT_EA,
    FakeTarget,
    MiB,
    guest_to_host,
    kvm_host_target,
)
from tests.triage.stuckguests import (
    BAD_SHAPE,
    DATA_EA,
    FORBIDDEN,
    HANDLER,
    HANDLERS_MSR,
    LOAD,
    NO_ENTRY,
    NO_R_OR_C,
    STORE,
    STORED,
    SYSTEM_CALL,
    but_in,
    change,
    elsewhere,
    entry,
    found,
    held_up,
    in_handler,
    sampled,
)

MISSING = IO + 0x1000_0000
USER_AT = USER_TEXT_EA + 0x100


def test_one_that_is_come_back_to_is_found_and_counted() -> None:
    target = held_up(MISSING, NO_ENTRY)
    (one,) = found(target)
    assert (one.cpu, one.nip, one.answer.ea, one.answer.cause) == (0, NIP, MISSING, "not-present")
    assert (one.seen, one.handling, one.user, one.text) == (9, False, False, "ld r5, 0(r4)")
    (some,) = found(target, sampled(target, but_in((1, 4, 5), elsewhere)))
    assert (some.seen, some.handling) == (3, False)
    assert found(target, sampled(target, but_in((1, 4), elsewhere))) == (), "twice may be chance"
    (once,) = found(target, sampled(target, count=1))
    assert once.seen == 1, "there is no more to be had of a recorded guest"


def test_the_handlers_samples_count_where_it_is_gone_back_to() -> None:
    target = held_up(MISSING, NO_ENTRY)
    (one,) = found(target, sampled(target, but_in((3,), in_handler)))
    assert (one.seen, one.handling, one.answer.ea) == (9, False, MISSING)


def test_a_handler_that_is_never_left() -> None:
    target = held_up(MISSING, NO_ENTRY)
    (one,) = found(target, sampled(target, in_handler))
    assert (one.nip, one.answer.ea, one.seen, one.handling) == (NIP, MISSING, 9, True)
    assert one.text == "ld r5, 0(r4)"
    assert found(target, sampled(target, lambda n: elsewhere(n) if n == 5 else in_handler(n))) == (), "it was left"
    assert found(target, sampled(target, in_handler, apart=0.01)) == (), "it may be a slow one"
    assert found(target, sampled(target, in_handler, count=2)) == ()


def test_an_idle_vcpu_keeps_the_registers_of_who_waits() -> None:
    target = held_up(MISSING, NO_ENTRY)
    idle = {"nip": KERNEL + 0x1_0000, "r4": 0}
    assert found(target, sampled(target, lambda _: idle)) == (), "it does not go on from one sample to the next"
    assert found(target, sampled(target, in_handler, halted=True)) == ()
    assert found(target, sampled(target, halted=True)) == ()


def test_a_system_call_leaves_srr0_too() -> None:
    target = held_up(MISSING, NO_ENTRY)
    target.source.put(NIP - KERNEL - 4, SYSTEM_CALL)
    assert found(target, sampled(target, in_handler)) == (), "DAR may be of long ago"
    assert len(found(target, sampled(target, but_in((3,), in_handler)))) == 1, "there r4 says it as well"


def test_what_the_tables_do_not_say_any_more_is_not_stuck() -> None:
    for ea, bits in ((DATA_EA, NO_ENTRY), (DATA_EA, FORBIDDEN), (MISSING, FORBIDDEN), (MISSING, NO_ENTRY | STORED)):
        target = held_up(ea, bits)
        assert found(target) == found(target, sampled(target, in_handler)) == (), hex(bits)


@pytest.mark.parametrize(
    "registers",
    [{"r4": MISSING + 0x1_0000}, {"dar": MISSING + 0x1_0000}, {"srr0": NIP + 4}, {"srr1": USER_MSR}],
    ids=["another address now", "another recorded", "interrupted elsewhere", "interrupted in another state"],
)
def test_what_was_recorded_has_to_be_of_this_access(registers: dict[str, int]) -> None:
    target = held_up(MISSING, NO_ENTRY)
    target.set(0, **registers)
    assert found(target) == ()


def test_what_accesses_nothing_is_not_stuck() -> None:
    assert found(held_up(MISSING, NO_ENTRY, SYSTEM_CALL)) == ()
    assert found(held_up(MISSING, NO_ENTRY, STORE)) == (), "a load was recorded"


def test_the_keys_are_those_of_the_sample() -> None:
    target = held_up(USER_DATA_EA, FORBIDDEN, amr=0)
    shut = {"amr": AMR_NO_READ | AMR_NO_WRITE}
    assert found(target) == ()
    (one,) = found(target, sampled(target, lambda _: shut))
    assert one.answer.cause == "key"


# -- what only looks like it -------------------------------------------------------------------------------------------


def paging(cause: int = NO_ENTRY, ea: int | None = None) -> FakeTarget:
    """User code that touches a page of its process that is not there, or may not be written."""
    ea = ea or (0x5000_0000 if cause == NO_ENTRY else USER_DATA_EA)
    target = held_up(ea, cause | STORED)
    target.source.put(48 * MiB + 0x100, STORE)
    if cause == FORBIDDEN:
        change(target, entry(target, ea, 0, pid=PID), PTE_WRITE)
    target.set(0, nip=USER_AT, srr0=USER_AT, msr=USER_MSR, srr1=USER_MSR)
    return target


CALLED = {"nip": HANDLER, "msr": HANDLERS_MSR, "srr0": USER_AT + 0x20, "srr1": USER_MSR}
OTHER_CODE = {"nip": USER_AT + 0x40}


@pytest.mark.parametrize("other", [CALLED, OTHER_CODE], ids=["a system call", "other code"])
@pytest.mark.parametrize("usual", [in_handler, lambda _: {}], ids=["in the handler", "at it"])
def test_a_process_that_goes_on_in_between(other: dict[str, int], usual: Callable[[int], dict[str, int]]) -> None:
    target = paging()
    assert found(target, sampled(target, usual))
    assert found(target, sampled(target, lambda n: other if n == 5 else usual(n))) == ()
    another = other | {"pid": PID + 1}
    assert found(target, sampled(target, lambda n: another if n == 5 else {})), "that is another process"


@pytest.mark.parametrize("cause", [NO_ENTRY, FORBIDDEN])
def test_a_page_that_the_kernel_fetches_each_time(cause: int) -> None:
    target = paging(cause)
    (sure,) = found(target, sampled(target, but_in((8,), in_handler)))
    assert not sure.paging, "it is gone back to with the tables as they are now"
    for samples in (sampled(target, in_handler), sampled(target, but_in((2, 3), in_handler))):
        (one,) = found(target, samples)
        assert (one.paging, one.seen) == (True, 9)
    target.source.put(48 * MiB + 0xFC, SYSTEM_CALL)
    assert found(target) == (), "a system call may have given it back just now"


def test_the_kernels_own_pages_are_not_fetched() -> None:
    target = held_up(MISSING, NO_ENTRY)
    (one,) = found(target, sampled(target, in_handler))
    assert not one.paging


# -- segments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ea", [0xC010_0000_0000_0008, 0x4000_0000_0000_0008, 0x0010_0000_0000_0000])
@pytest.mark.parametrize("stale", [0, NO_ENTRY, NO_ENTRY | STORED])
@pytest.mark.parametrize("code", [LOAD, STORE])
def test_a_segment_interrupt_leaves_an_address_and_no_cause(ea: int, stale: int, code: bytes) -> None:
    target = held_up(ea, stale, code)
    for samples in (sampled(target), sampled(target, in_handler)):
        (one,) = found(target, samples)
        assert (one.answer.ea, one.answer.access) == (ea, "r" if code == LOAD else "w")
        assert one.answer.interrupt is not None
        assert one.answer.interrupt.name == "DSEG"


def test_code_that_went_astray() -> None:
    astray = 0xC010_0000_0000_1000
    target = held_up(0, 0, nip=astray, srr0=astray)
    (one,) = found(target)
    assert (one.nip, one.answer.ea, one.answer.access) == (astray, astray, "x")
    assert one.answer.cause == "ea-out-of-range"


def test_an_address_in_order_is_no_segment_interrupts() -> None:
    assert found(held_up(DATA_EA, 0)) == ()


# -- R and C, which QEMU sets by itself before 10.0: so what it then leaves is made up here ----------------------------


@pytest.mark.parametrize(
    ("code", "bits", "missing"), [(LOAD, 0, PTE_R), (STORE, STORED, PTE_R), (STORE, STORED, PTE_C)]
)
def test_r_or_c_that_nobody_sets(code: bytes, bits: int, missing: int) -> None:
    target = held_up(DATA_EA, NO_R_OR_C | bits, code)
    assert found(target) == (), "they are set"
    change(target, entry(target, DATA_EA, 1), missing)
    (one,) = found(target)
    assert (one.answer.ok, one.record.bits) == (True, NO_R_OR_C | bits)


def test_a_load_needs_no_c() -> None:
    target = held_up(DATA_EA, NO_R_OR_C)
    change(target, entry(target, DATA_EA, 1), PTE_C)
    assert found(target) == ()


# -- the second stage --------------------------------------------------------------------------------------------------


def under_hypervisor(**registers: int) -> FakeTarget:
    """A hypervisor that keeps LPIDR while it handles its guest's interrupts, as KVM does not."""
    target = kvm_host_target()
    del target.files[0]
    target.files = {0: replace(target.files[1], cpu=0)}
    target.source.put(guest_to_host(2 * MiB) + 0x100, LOAD)
    last = {"hsrr0": GUEST_TEXT_EA + 0x100, "hsrr1": USER_MSR, "hdar": GUEST_LOST_EA, "asdr": 4 * MiB}
    target.set(0, **{**last, "hdsisr": NO_ENTRY, "lpidr": LPID, "pid": GUEST_PID, "dar": 0, "dsisr": 0, **registers})
    return target


def in_hypervisor(number: int) -> dict[str, int]:
    return {"nip": HANDLER + 4 * number, "msr": HANDLERS_MSR | MSR_HV}


def test_what_only_the_hypervisor_sees() -> None:
    target = under_hypervisor()
    (one,) = found(target, sampled(target, in_hypervisor))
    assert (one.answer.ea, one.answer.lpid, one.answer.pid) == (GUEST_LOST_EA, LPID, GUEST_PID)
    assert (one.answer.stage, one.answer.gra, one.user, one.handling) == (2, 4 * MiB, True, True)


def test_kvms_guests_come_out_for_devices_all_the_time() -> None:
    target = under_hypervisor()
    samples = sampled(target, lambda n: in_hypervisor(n) | ({"hdsisr": HDSISR_CANARY} if n == 4 else {}))
    assert found(target, samples) == ()
    target = under_hypervisor(lpidr=0)
    assert found(target, sampled(target, in_hypervisor)) == ()
    target = under_hypervisor()
    target.vmcoreinfo = b"OSRELEASE=6.1.0-50-powerpc64le\n"
    assert found(target, sampled(target, in_hypervisor)) == (), "on a POWER10 KVM leaves no mark in HDSISR"


# -- a process without tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("access", ["r", "x"])
def test_a_process_whose_entry_is_gone(access: str) -> None:
    target = held_up(0, 0)
    nip = 0x1000_0100
    target.source.put(48 * MiB + 0x100, LOAD)
    user = {"nip": nip, "srr0": nip, "msr": USER_MSR, "srr1": USER_MSR, "r4": USER_DATA_EA}
    cause = {"dar": USER_DATA_EA, "dsisr": BAD_SHAPE} if access == "r" else {"srr1": USER_MSR | BAD_SHAPE}
    target.set(0, **user | cause)
    assert found(target) == ()
    target.source.put_word(entry(target, USER_DATA_EA, None, pid=PID).address, 0)
    for samples in (sampled(target), sampled(target, in_handler)):
        (one,) = found(target, samples)
        assert (one.answer.cause, one.answer.access, one.user) == ("process-entry-empty", access, True)


def test_msr_of_the_kernel_is_told_from_the_users() -> None:
    target = held_up(USER_DATA_EA, FORBIDDEN)
    (one,) = found(target)
    assert (one.user, KERNEL_MSR) == (False, target.files[0].need("msr"))
