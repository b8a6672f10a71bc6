"""A real hang by KVM's own software walk: that KVM goes round in it, and what of it is left in the registers."""

from __future__ import annotations

import errno
import re
import time
from collections import Counter
from collections.abc import Iterator

import pytest

import inspector
from scripts.faultprobes import PROBES as FAULTS
from scripts.faultprobes import place_of_asdr
from scripts.guests import Machine
from scripts.hang import CANARY, ELSEWHERE, LAST_FAULT, NIP, OTHER_PID, PID, Hung, hang
from scripts.incontext import HV, special, state
from scripts.kprobes import PROBES as WALKS
from scripts.kprobes import Probes, walks
from scripts.monitor import VIRTUAL
from scripts.qmp import PATIENCE
from scripts.scene import DEVICE, DEVICE_EA

pytestmark = pytest.mark.live

EVENT = re.compile(r": (fault|walk|read|walked): ")
FAULT = re.compile(r": fault: .* ea=(\S+) dsisr=(\S+) asdr=(\S+)$")
NO_TRANSLATION = 1 << 30
"""HDSISR: nothing is behind the guest real address."""
SAMPLES = 40


@pytest.fixture(scope="module")
def hung() -> Iterator[Hung]:
    with hang() as hung:
        yield hung


class Loop(Probes):
    """What KVM does round the loop: storage faults, and its own walks."""

    def __init__(self, machine: Machine) -> None:
        assert machine.files is not None
        fault = FAULTS[0].format(asdr=place_of_asdr(machine.files.modules / "kvm-hv.ko"))
        super().__init__(machine, [fault, *WALKS], 64)

    def taken(self) -> list[str]:
        """Some hundred lines of the trace."""
        return self._tell("grep -v '^#' trace | head -n 400; echo > trace").splitlines()


def test_kvm_faults_and_walks_in_vain_again_and_again(hung: Hung) -> None:
    with Loop(hung.machine) as loop:
        loop.forget()  # the probes were set one after the other
        deadline = time.monotonic() + PATIENCE
        lines: list[str] = []
        while len(lines) <= 80 and time.monotonic() < deadline:
            hung.machine.spends(0.1)
            lines = loop.taken()
    names = [found[1] for line in lines if (found := EVENT.search(line))]
    first = names.index("fault")
    rounds = (names[first:].index("walked") + 1, names[first:].count("fault") - 1)
    once = ["fault", "walk", *["read"] * 5, "walked"]
    assert rounds[0] == len(once)
    assert rounds[1] > 5
    assert names[first : first + len(once) * rounds[1]] == once * rounds[1]
    faults = {tuple(int(part, 16) for part in found.groups()) for line in lines if (found := FAULT.search(line))}
    assert faults == {(DEVICE_EA, NO_TRANSLATION, DEVICE)}
    walked = list(walks("\n".join(lines)))
    assert {(each.ea, each.returned) for each in walked} == {(NIP, -errno.EINVAL)}
    with inspector.open_target(hung.machine.target, ram=str(hung.machine.ram_file)) as seen:
        ours = seen.translate(NIP, lpid=hung.guest.lpid, pid=PID, walker="kvm")
    assert [(step.address, 16 if step.table == "process-table" else 8) for step in ours.steps] == walked[0].reads


def test_most_stops_are_in_the_host_and_find_the_same_last_fault(hung: Hung) -> None:
    """It is nearly all, when nothing else keeps the machine busy; but that is chance."""
    machine, in_host, held = hung.machine, 0, 0
    kept: Counter[tuple[int, ...]] = Counter()
    for _ in range(SAMPLES):
        machine.pause()
        try:
            cpu = hung.holding()
            in_host += all(state(machine, each) & HV for each in range(machine.kind.cpus))
            if cpu is not None:
                held += 1
                kept[tuple(special(machine, name, cpu) for name in LAST_FAULT)] += 1
        finally:
            machine.cont()
        machine.spends(0.05)
    assert in_host > SAMPLES // 2
    assert held > SAMPLES // 2
    as_it_was = (NIP, VIRTUAL, DEVICE_EA, NO_TRANSLATION, DEVICE)
    assert set(kept) <= {as_it_was, (NIP, VIRTUAL, DEVICE_EA, CANARY, DEVICE)}  # KVM is about to enter it again
    assert as_it_was in kept


def test_the_gdbstub_shows_it_and_the_tables_say_whose_it_is(hung: Hung) -> None:
    cpu = hung.stopped()
    try:
        with inspector.open_target(hung.machine.target, ram=str(hung.machine.ram_file)) as seen:
            known = seen.registers(cpu, LAST_FAULT)
            where, msr, ea, causes, at = (known.need(name) for name in LAST_FAULT)
            assert (where, msr, ea, at) == (NIP, VIRTUAL, DEVICE_EA, DEVICE)
            assert causes in (NO_TRANSLATION, CANARY)
            asked = {
                (lpid, pid): seen.translate(DEVICE_EA, lpid=lpid, pid=pid)
                for lpid, pids in ((hung.guest.lpid, (PID, OTHER_PID)), (hung.healthy.lpid, (PID,)))
                for pid in pids
            }
            assert {who: answer.gra for who, answer in asked.items()} == {
                (hung.guest.lpid, PID): DEVICE,
                (hung.guest.lpid, OTHER_PID): ELSEWHERE,
                (hung.healthy.lpid, PID): ELSEWHERE,
            }
            fetch = seen.translate(NIP, lpid=hung.guest.lpid, pid=PID)
            walk = seen.translate(NIP, lpid=hung.guest.lpid, pid=PID, walker="kvm")
            assert fetch.ok
            assert (walk.errno, walk.cause) == ("EINVAL", "stray-page-bits")
    finally:
        hung.machine.cont()


def test_the_guest_comes_no_further(hung: Hung) -> None:
    assert hung.guest.monitor.stop() == [f"stopped nip {NIP:x} r5 0"]
