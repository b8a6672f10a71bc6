"""The bridge, its gdb, the stub or QEMU killed, cut short, late or busy: what is left, and what is said."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from inspector.errors import ConnectError, TargetLost
from inspector.targets.base import RunState
from inspector.targets.live import open_live
from scripts.guests import Machine
from tests.live.proxy import Proxy
from tests.live.stub import LIMIT, eventually, opened, physical_mode

pytestmark = pytest.mark.live


CHILD = """
import os, signal, sys, time
for number in (signal.SIGHUP, signal.SIGTERM):  # whoever started the tests may have had them ignored, as nohup does
    signal.signal(number, signal.SIG_DFL)
from inspector.targets.live import open_live
target = open_live(sys.argv[1], source="gdb")
way = sys.argv[2]
if way == "running":
    target.control.resume()
print("ready", flush=True)
if way == "bulk":
    while True:
        target.source.read(0, 16 << 20)
try:
    time.sleep(600)
except KeyboardInterrupt:
    target.close()
"""


@pytest.mark.parametrize("found", ["running", "stopped"])
@pytest.mark.parametrize(
    ("number", "way"),
    [
        (signal.SIGKILL, "stopped"),
        (signal.SIGKILL, "bulk"),
        (signal.SIGKILL, "running"),
        (signal.SIGTERM, "stopped"),
        (signal.SIGINT, "stopped"),
        (signal.SIGHUP, "stopped"),
    ],
    ids=["killed", "killed as it reads", "killed while it runs", "told to end", "interrupted", "hung up on"],
)
def test_a_killed_inspector_leaves_the_guest_as_it_was(guest: Machine, number: int, way: str, found: str) -> None:
    if found == "stopped":
        guest.pause()
    child = subprocess.Popen([sys.executable, "-c", CHILD, guest.target, way], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert select.select([child.stdout], [], [], LIMIT)[0]
        assert child.stdout.readline() == b"ready\n"
        if way == "bulk":
            time.sleep(0.1)
        child.send_signal(number)
        child.wait(LIMIT)
    finally:
        child.kill()
        child.wait(LIMIT)
    runs = found == "running" or way == "running"
    assert eventually(lambda: guest.running == runs)
    time.sleep(0.3)  # gdb may still be leaving; the state must hold
    assert guest.running == runs
    assert physical_mode(guest) == b"0"


def test_busy_is_said_and_does_no_harm_later(guest: Machine) -> None:
    with opened(guest.target), pytest.raises(ConnectError, match="busy"):
        open_live(guest.target, timeout=1.0)
    assert eventually(lambda: guest.running)
    time.sleep(0.5)  # the refused connection is accepted now; it must not stop the guest for ever
    assert eventually(lambda: guest.running)
    with opened(guest.target) as target:
        assert target.found_running is True
    assert guest.running


def test_late_replies_are_waited_for(guest: Machine) -> None:
    with Proxy(guest.gdb_address) as proxy, opened(f"gdb:{proxy.address}") as target:
        expected = target.source.read(0x100000, 64)
        proxy.delay = 1.0
        assert target.source.read(0x100000, 64) == expected
        proxy.delay = 0.0
        assert target.source.read(0x100000, 64) == expected


def test_a_reply_cut_short_loses_the_target_and_it_can_be_opened_again(guest: Machine) -> None:
    with Proxy(guest.gdb_address) as proxy:
        target = open_live(f"gdb:{proxy.address}")
        proxy.cut_next_read = True
        with pytest.raises(TargetLost) as lost:
            target.source.read(0x100000, 64)
        assert len(str(lost.value).splitlines()) == 1
        assert target.state is RunState.LOST
        with pytest.raises(TargetLost):
            target.source.read(0x100000, 64)
        target.close()
        with opened(f"gdb:{proxy.address}") as again:
            assert len(again.source.read(0x100000, 64)) == 64


def test_gdb_killed_in_the_middle(guest: Machine) -> None:
    target = open_live(guest.target)
    os.kill(target._session.transport.pid, signal.SIGKILL)
    with pytest.raises(TargetLost, match="signal 9"):
        target.source.read(0, 8)
    assert target.state is RunState.LOST
    target.close()
    target.close()
    assert eventually(lambda: guest.running)
    assert physical_mode(guest) == b"0"
    with opened(guest.target) as again:
        assert again.found_running is True


@pytest.mark.parametrize("running", [False, True])
def test_qemu_killed_in_the_middle(boot: Callable[..., Machine], running: bool) -> None:
    machine = boot("pseries-reset")
    target = open_live(machine.target)
    if running:
        target.control.resume()
    machine.kill()
    if running:
        with pytest.raises(TargetLost):
            target.control.wait(LIMIT)
    else:
        with pytest.raises(TargetLost, match="QEMU"):
            target.source.read(0, 8)
    assert target.state is RunState.LOST
    target.close()
    with pytest.raises(ConnectError, match="no stub answers"):
        open_live(machine.target)
