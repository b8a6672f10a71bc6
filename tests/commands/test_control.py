"""``continue``, ``interrupt``, ``stepi`` and ``gdb``: only what was asked for by name, and what it led to."""

from __future__ import annotations

import pytest

from inspector.errors import NotSupported, UsageError
from tests.commands.asking import ask, shown, told
from tests.fakes import NIP, FakeControl, linux_target


def test_a_recorded_guest_cannot_run() -> None:
    for words in ("continue", "continue --for 1", "interrupt", "stepi", "gdb info threads"):
        with pytest.raises(NotSupported, match="recorded and cannot run"):
            ask(words)


def test_continue_returns_at_once_and_leaves_it_running() -> None:
    target = linux_target()
    control = FakeControl(target)
    (answer,) = told("continue", target)
    assert control.calls == ["resume"]
    assert (answer["state"], answer["nip"], answer["msr"]) == ("running", None, None)
    assert told("c", target)[0]["state"] == "running"
    assert control.calls == ["resume"], "it runs already"


def test_continue_for_a_while_stops_it_again() -> None:
    target = linux_target()
    control = FakeControl(target)
    (answer,) = told("continue --for 0.5", target)
    assert control.calls == ["resume", "wait 0.5", "interrupt"]
    assert (answer["state"], answer["nip"], answer["epoch"]) == ("stopped", f"{NIP + 0x100:#x}", 1)
    assert "0.5 s" in answer["happened"]


def test_a_guest_that_stops_by_itself_is_not_stopped_again() -> None:
    target = linux_target()
    control = FakeControl(target, stops_after=0.1)
    assert "by itself" in told("continue --for 5", target)[0]["happened"]
    assert control.calls.count("interrupt") == 1, "its own"


def test_ctrl_c_while_it_runs_stops_the_guest() -> None:
    target = linux_target()
    control = FakeControl(target)

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    control.on_wait = ctrl_c
    with pytest.raises(KeyboardInterrupt):
        ask("continue --for 10", target)
    assert control.calls == ["resume", "wait 10.0", "interrupt"]


def test_interrupt() -> None:
    target = linux_target()
    control = FakeControl(target)
    assert told("interrupt", target)[0]["happened"] == "it was stopped already"
    target.machine = {"found_running": True}
    assert told("interrupt", target)[0]["happened"].endswith("and it runs on when the inspector leaves")
    assert max(map(len, shown("interrupt", target).splitlines())) <= 80
    assert control.calls == []
    ask("continue", target)
    assert told("interrupt", target)[0]["state"] == "stopped"
    assert control.calls == ["resume", "interrupt"]


def test_stepping_shows_where_it_is_then() -> None:
    target = linux_target()
    control = FakeControl(target)
    (answer,) = told("stepi", target)
    assert (answer["nip"], answer["epoch"]) == (f"{NIP + 4:#x}", 1)
    (answer,) = told("si 0x10", target)
    assert answer["nip"] == f"{NIP + 4 + 64:#x}"
    assert control.calls == ["step 0"] * 17
    assert f"{NIP + 4 + 64 + 4:016x}" in shown("stepi", target)


def test_a_running_guest_does_not_step() -> None:
    target = linux_target()
    control = FakeControl(target)
    ask("continue", target)
    with pytest.raises(UsageError, match="'interrupt' stops it"):
        ask("stepi", target)
    assert control.calls == ["resume"]


def test_a_command_of_gdbs_is_handed_on_as_it_is() -> None:
    target = linux_target()
    control = FakeControl(target)
    (answer,) = told("gdb x/4i --all $pc -x", target)
    assert control.calls == ["console x/4i --all $pc -x"]
    assert answer == {"command": "x/4i --all $pc -x", "output": "answer to x/4i --all $pc -x\n"}
    assert shown("gdb info threads", target) == "answer to info threads"


def test_one_that_would_write_is_refused_by_the_control() -> None:
    target = linux_target()
    FakeControl(target)
    with pytest.raises(UsageError, match="only looks"):
        ask("gdb set $r3=1", target)


@pytest.mark.parametrize(
    "words",
    [
        *("continue --for 0", "continue --for x", "continue --for -1", "continue --for nan", "continue --for 1e9"),
        *("stepi 0", "stepi 0x100000000", "gdb", "interrupt now"),
    ],
)
def test_wrong_words_touch_nothing(words: str) -> None:
    target = linux_target()
    control = FakeControl(target)
    with pytest.raises(UsageError):
        ask(words, target)
    assert control.calls == []


def test_what_gdb_prints_cannot_move_the_terminals_cursor() -> None:
    target = linux_target()
    FakeControl(target)
    text = shown("gdb echo '\x1b[2J\x07'", target)
    assert "\x1b" not in text
    assert "\\x1b[2J\\x07" in text
