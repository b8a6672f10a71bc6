"""Back traces: frames that were laid out by hand as compilers and Linux lay them."""

from __future__ import annotations

import pytest

from inspector.backtrace import MOST, BackTrace, back_trace
from tests.fakes import (
    KERNEL,
    KERNEL_MSR,
    NIP,
    PID,
    STACK_EA,
    USER_MSR,
    USER_PAGES_AT,
    USER_TEXT_EA,
    FakeTarget,
    MiB,
    guest,
    linux_target,
)

STACK = KERNEL + 40 * MiB
USER_STACK_AT = USER_PAGES_AT + 2 * MiB
KNOWN = {"nip": NIP, "lr": NIP + 0x100, "r1": STACK, "msr": KERNEL_MSR, "pid": PID}
REGS, EARLY = 0x5347_4552, 0x7265_6773_6865_7265


def put(target: FakeTarget, ea: int, value: int, order: str = "little") -> None:
    """A doubleword of the kernel's stack."""
    target.source.put(ea - KERNEL, value.to_bytes(8, order))  # type: ignore[arg-type]


def chain(target: FakeTarget, *frames: tuple[int, int], order: str = "little") -> None:
    """Frames of the kernel's stack: (at, what the function called from there returns to); the last ends the chain."""
    put(target, STACK, frames[0][0] if frames else 0, order)
    for number, (at, saved) in enumerate(frames):
        put(target, at, frames[number + 1][0] if number + 1 < len(frames) else 0, order)
        put(target, at + 16, saved, order)


def traced(target: FakeTarget, **registers: int) -> BackTrace:
    return back_trace(guest(target), 0, {**KNOWN, **registers})


def told(trace: BackTrace) -> list[tuple[str, int]]:
    return [(frame.how, frame.address) for frame in trace.frames]


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_chain_is_followed_to_its_end(order: str) -> None:
    target = linux_target()
    chain(target, (STACK + 64, NIP + 0x200), (STACK + 160, NIP + 0x300), order=order)
    trace = traced(target, msr=KERNEL_MSR if order == "little" else KERNEL_MSR & ~1)
    assert told(trace) == [
        ("nip", NIP), ("lr", NIP + 0x100), ("saved", NIP + 0x200), ("saved", NIP + 0x300),
    ]  # fmt: skip
    assert trace.ended == "the back chain ends"
    assert [frame.stack for frame in trace.frames[2:]] == [STACK + 64, STACK + 160]
    assert {frame.name for frame in trace.frames} == {"linear map"}


def test_what_lr_and_the_stack_both_say_is_told_once() -> None:
    target = linux_target()
    chain(target, (STACK + 64, NIP + 0x100))
    assert told(traced(target)) == [("nip", NIP), ("saved", NIP + 0x100)]


@pytest.mark.parametrize("at", [96, 32])
@pytest.mark.parametrize("marker", [REGS, EARLY])
def test_a_system_call_leads_on_to_the_users_stack(at: int, marker: int) -> None:
    target = linux_target()
    chain(target, (STACK + 64, NIP + 0x200))
    above = STACK + 64
    put(target, above + at, marker)
    regs = above + at + 16
    for offset, value in ((8, STACK_EA), (256, USER_TEXT_EA + 8), (264, USER_MSR), (288, USER_TEXT_EA), (320, 0xC00)):
        put(target, regs + offset, value)
    target.source.put(USER_STACK_AT, (STACK_EA + 0x40).to_bytes(8, "little"))
    target.source.put(USER_STACK_AT + 0x50, (USER_TEXT_EA + 0x40).to_bytes(8, "little"))
    trace = traced(target)
    assert told(trace)[2:] == [
        ("saved", NIP + 0x200), ("interrupted", USER_TEXT_EA + 8), ("lr", USER_TEXT_EA), ("saved", USER_TEXT_EA + 0x40),
    ]  # fmt: skip
    assert [frame.user for frame in trace.frames] == [False, False, False, True, True, True]
    assert [frame.trap for frame in trace.frames if frame.trap] == [0xC00]


def test_what_stops_it_is_said() -> None:
    target = linux_target()
    chain(target, (STACK + 64, NIP))
    put(target, STACK + 64, STACK)
    put(target, STACK + 16, NIP)
    assert "comes back" in traced(target).ended
    chain(target, (STACK + 60, NIP))
    assert "no place for a stack's frame" in traced(target).ended
    chain(target, (0xC00A_0000_9000_0000, NIP))
    trace = traced(target)
    assert "cannot be reached" in trace.ended
    assert told(trace) == [("nip", NIP), ("lr", NIP + 0x100)], "what the registers say is told all the same"
    chain(target, (STACK + 64, 0))
    assert "holds no return address" in traced(target).ended
    target.source.refused = [(STACK - KERNEL, 4096)]
    assert "the source refused it" in traced(target).ended
    assert back_trace(guest(target), 0, {"nip": NIP}).frames == ()
    assert "r1" in back_trace(guest(target), 0, {"nip": NIP, "lr": NIP, "msr": KERNEL_MSR}).ended


def test_a_users_chain_does_not_go_down() -> None:
    target = linux_target()
    target.source.put(USER_STACK_AT + 0x40, STACK_EA.to_bytes(8, "little"))
    target.source.put(USER_STACK_AT + 0x10, USER_TEXT_EA.to_bytes(8, "little"))
    trace = traced(target, msr=USER_MSR, nip=USER_TEXT_EA, r1=STACK_EA + 0x40)
    assert "goes down" in trace.ended


def test_it_is_bounded() -> None:
    target = linux_target()
    chain(target, *((STACK + 32 * n, NIP + 4 * n) for n in range(1, 99)))
    assert len(traced(target).frames) == MOST
    assert "enough" in traced(target).ended
