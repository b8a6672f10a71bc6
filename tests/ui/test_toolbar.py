"""The line at the bottom fits, says what is so, and costs no more than it may."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from inspector.errors import ReplyTimeout, TargetLost
from inspector.targets.base import Registers, RunState
from inspector.ui.toolbar import NO_TARGET, Status, gather, lines
from tests.fakes import KERNEL_MSR, NIP, PID, FakeControl, FakeTarget, firmware_target, guest, linux_target


@dataclass
class CountingTarget(FakeTarget):
    """Keeps what registers it is asked for, and fails as told."""

    asked_for: list[object] = field(default_factory=list)
    failure: Exception | None = None

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        self.asked_for.append(None if names is None else tuple(names))
        if self.failure:
            raise self.failure
        return super().registers(cpu, names)


def counting() -> CountingTarget:
    plain = linux_target()
    return CountingTarget(plain.source, plain.ram, plain.files, plain.known_roots)


def test_a_recorded_guest_in_a_wide_terminal() -> None:
    assert lines(gather(guest()), 200) == [
        f"fake  vCPU 0  recorded  PID {PID} LPID 0  NIP {NIP:#x}  kernel, translation on, little-endian"
    ]


def test_a_long_name_in_eighty_columns() -> None:
    target = linux_target()
    target.name = "gdb:unix:/run/user/1000/guests/a-very-long-name-of-a-guest/and-of-its-gdbstub.sock"
    FakeControl(target)
    first, second = lines(gather(guest(target)), 80)
    assert first.startswith("gdb:unix:/run/")
    assert first.endswith("gdbstub.sock  vCPU 0  stopped")
    assert second == f"PID {PID} LPID 0  NIP {NIP:#x}  kernel, translation on, little-endian"


def test_nip_by_name_where_there_is_room() -> None:
    status = Status("gdb:127.0.0.1:1234", 0, RunState.STOPPED, NIP, 4, 0, KERNEL_MSR, symbol="do_idle+0x10")
    assert lines(status, 80)[0] == "gdb:127.0.0.1:1234  vCPU 0  stopped at do_idle+0x10"
    assert lines(status, 50)[0] == "gdb:127.0.0.1:1234  vCPU 0  stopped"
    assert "stopped at do_idle+0x10  PID 4" in lines(status, 200)[0]


def test_a_vcpu_in_firmware() -> None:
    [line] = lines(gather(guest(firmware_target())), 200)
    assert line.endswith("PID 0 LPID 0  NIP 0xdbf0100  privileged, translation off, big-endian")


def test_what_is_unknown_is_not_zero() -> None:
    target = linux_target()
    target.set(0, nip=None, msr=None, pid=None, lpidr=None)
    assert lines(gather(guest(target)), 200) == [
        "fake  vCPU 0  recorded  PID unknown LPID unknown  NIP unknown  MSR unknown"
    ]


def test_a_standing_guest_is_asked_for_four_registers_and_drawing_asks_for_none() -> None:
    target = counting()
    status = gather(guest(target))
    assert target.asked_for == [("nip", "pid", "lpidr", "msr")]
    lines(status, 80)
    assert len(target.asked_for) == 1


def test_a_running_guest_is_asked_for_nothing() -> None:
    target = counting()
    control = FakeControl(target)
    control.resume()
    assert lines(gather(guest(target)), 80) == ["fake  vCPU 0  running"]
    assert target.asked_for == []
    assert control.calls == ["resume", "wait 0"]


def test_a_guest_that_stopped_by_itself_is_noticed() -> None:
    target = counting()
    FakeControl(target, stops_after=0).resume()
    status = gather(guest(target))
    assert status.state is RunState.STOPPED
    assert status.nip == NIP + 0x100


def test_a_target_that_is_lost_while_asked() -> None:
    target = counting()
    FakeControl(target)
    target.failure = TargetLost("QEMU has ended; start it again")
    assert lines(gather(guest(target)), 80) == ["fake  vCPU 0  lost: 'reattach' opens it again"]


def test_a_target_that_does_not_answer_in_time_is_not_taken_for_lost() -> None:
    target = counting()
    FakeControl(target)
    target.failure = ReplyTimeout("no answer within 5 s; try again")
    status = gather(guest(target))
    assert (status.state, status.nip) == (RunState.STOPPED, None)


def test_no_target_at_all() -> None:
    assert gather(None) == NO_TARGET
    assert lines(NO_TARGET, 80) == ["no target  'reattach' opens it again"]


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    [line] = lines(Status("a\x1b[2Jb", 0, RunState.RUNNING), 80)
    assert line == "a\\x1b[2Jb  vCPU 0  running"


U64 = st.integers(0, 2**64 - 1) | st.none()


@given(
    st.builds(Status, st.text(max_size=150), st.integers(0, 2047), st.sampled_from(RunState), U64, U64, U64, U64),
    st.integers(20, 200),
)
def test_it_fits(status: Status, width: int) -> None:
    found = lines(status, width)
    assert len(found) in (1, 2)
    for line in found:
        assert get_cwidth(line) <= width
        assert line.isprintable()


@given(st.builds(Status, st.text(max_size=150), st.integers(0, 7), st.just(RunState.STOPPED), U64, U64, U64, U64))
def test_in_eighty_columns_the_state_is_never_cut(status: Status) -> None:
    assert f"vCPU {status.cpu}  stopped" in lines(status, 80)[0]


@pytest.mark.parametrize("width", [0, 1, 2, 5])
def test_a_terminal_too_narrow_for_anything(width: int) -> None:
    for line in lines(Status("fake", 0, RunState.STOPPED), width):
        assert get_cwidth(line) <= width
