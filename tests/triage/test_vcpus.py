"""What is said of vCPUs: halted, idle or spinning, and in whose code; and where what they access leads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from inspector.gdbmi.monitor import Ticks
from inspector.triage.leading import Leads
from inspector.triage.samples import Sample, Sampling
from inspector.triage.vcpus import MOST_LOOKS, MOST_NEAR, Mode, Vcpu, seen
from tests.commands.asking import shown, told
from tests.commands.test_examples import too_long
from tests.fakes import (
    IO,
    KERNEL,
    KERNEL_MSR,
    LPID,
    NIP,
    TIMA,
    USER_DATA_EA,
    USER_MSR,
    USER_TEXT_EA,
    FakeControl,
    FakeTarget,
    firmware_target,
    guest,
    kvm_host_target,
    linux_target,
)

FLAT = """\
FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
  0000000000000000-0000000003ffffff (prio 0, ram): ppc_spapr.ram
  00060302031a0000-00060302031bffff (prio 0, i/o): xive.tima
"""
LOAD = bytes.fromhex("0000a4e8")
"""``ld r5,0(r4)``, little-endian."""


def sampled(target: FakeTarget, *changes: Mapping[str, int], halted: bool | None = None, went: int = 1) -> Sampling:
    """vCPU 0 as it was in so many samples, the last as it is now; ``went`` is what its time base went on by."""
    samples = []
    for number, change in enumerate(changes):
        target.set(0, **change)
        halts = {} if halted is None else {0: halted}
        ticks = {0: Ticks(1000 + (went if number else 0), 7)} if number in (0, len(changes) - 1) else {}
        samples.append(Sample(number / 4, {0: dict(target.files[0].values)}, halts, (), ticks))
    return Sampling(2.0, samples)


def first(target: FakeTarget, sampling: Sampling, **options: Any) -> Vcpu:
    at = guest(target, **options)
    return seen(at, sampling, Leads(at), (), False)[0]


def doing(*nips: int, halted: bool | None = False, went: int = 1) -> str:
    target = linux_target()
    return first(target, sampled(target, *({"nip": nip} for nip in nips), halted=halted, went=went)).doing


def test_spinning_is_said_only_where_nothing_speaks_against_it() -> None:
    assert doing(NIP, NIP + 8, NIP + 4) == "spinning"
    assert doing(NIP, NIP + 8) == "running", "twice is chance"
    assert doing(NIP, NIP + 0x100, NIP) == "running"
    assert doing(NIP, NIP, NIP, halted=True) == "halted"
    assert doing(NIP, NIP, NIP, went=0) == "running", "no time passed for it"
    assert doing(NIP) == "unknown"
    assert doing(NIP, halted=True) == "halted", "one sample tells that"


class Named:
    """Symbols of which one function is known."""

    def name_of(self, address: int) -> tuple[str, int] | None:
        return ("snooze_loop", address - NIP) if address >= NIP else None


def test_an_idle_loop_is_called_so_where_symbols_tell() -> None:
    target = linux_target()
    sampling = sampled(target, {"nip": NIP}, {"nip": NIP + 8}, {"nip": NIP + 4}, halted=False)
    found = first(target, sampling, symbols=Named())
    assert (found.doing, found.name) == ("idle", "snooze_loop+0x4")


def mode(target: FakeTarget) -> Mode:
    return first(target, sampled(target, {})).mode


def test_in_whose_code() -> None:
    target = linux_target()
    assert mode(target) == "kernel"
    target.set(0, msr=KERNEL_MSR & ~0x30, nip=NIP - KERNEL)
    assert mode(target) == "kernel", "its handlers begin with relocation off"
    target.set(0, nip=40 << 20)
    assert mode(target) == "firmware", "nothing is executed there by the kernel"
    target.set(0, msr=USER_MSR, nip=USER_TEXT_EA)
    assert mode(target) == "user"
    assert mode(firmware_target()) == "firmware"


def test_a_guests_code_is_told_from_its_hosts() -> None:
    target = kvm_host_target()
    at = guest(target)
    sample = Sample(0.0, {cpu: dict(target.files[cpu].values) for cpu in target.cpus})
    host, of_guest = seen(at, Sampling(0.0, [sample]), Leads(at), (), False)
    assert (host.lpid, host.mode, host.exits) == (None, "kernel", 0)
    assert (of_guest.lpid, of_guest.mode, of_guest.exits) == (LPID, "user", None)


def test_what_changed_between_samples_is_counted() -> None:
    target = linux_target()
    changes = [{"nip": NIP + n, "srr0": NIP + (n & 8)} for n in (0, 4, 8, 12)]
    found = first(target, sampled(target, *changes, halted=False, went=512))
    assert (found.places, found.span, found.interrupts, found.halted) == (4, 12, 1, 0)
    assert (found.ticks, found.decrementer) == (512, 7)


def test_where_its_access_leads() -> None:
    target = linux_target()
    target.source.put(NIP - KERNEL, LOAD)
    control = FakeControl(target)
    control.monitor_says["info mtree -f"] = FLAT
    target.set(0, r4=IO + 0x20)
    look = first(target, sampled(target, {})).look
    assert look is not None
    assert look.fetch is not None
    assert look.fetch.software is not None
    assert (look.fetch.hardware.ok, look.fetch.software.ok, look.fetch.leads) == (True, True, "RAM")
    assert look.data is not None
    assert (look.data.access, look.data.hardware.ra) == ("r", TIMA + 0x20)
    assert look.data.leads == "no RAM: QEMU has xive.tima there, 0x20 in"
    target.set(0, r4=USER_DATA_EA)
    look = first(target, sampled(target, {})).look
    assert look is not None
    assert look.data is not None
    assert (look.data.hardware.cause, look.data.leads) == ("key", ""), "KUAP is closed"
    assert [each.record.registers for each in look.recorded] == [("DAR", "DSISR")]


def test_only_so_many_are_looked_at_closely() -> None:
    target = linux_target()
    for cpu in range(2, 20):
        target.files[cpu] = target.files[0]
    sample = Sample(0.0, {cpu: dict(target.files[cpu].values) for cpu in target.cpus})
    at = guest(target)

    def looked(near: set[int], every: bool) -> list[int]:
        return [each.cpu for each in seen(at, Sampling(0.0, [sample]), Leads(at), near, every) if each.look]

    assert looked(set(), False) == list(range(MOST_LOOKS))
    assert looked({17}, False) == [*range(MOST_LOOKS - 1), 17]
    assert len(looked(set(), True)) == 20
    for cpu in range(20, 80):
        target.files[cpu] = target.files[0]
    every = Sample(0.0, {cpu: dict(target.files[cpu].values) for cpu in target.files})
    spinning = Sampling(
        1.0, [replace(every, at=n / 2, ticks={cpu: Ticks(n, 0) for cpu in every.cpus}) for n in range(3)]
    )
    named = [each.cpu for each in seen(guest(target), spinning, Leads(at), {79}, False) if each.look]
    assert named == [*range(MOST_NEAR - 1), 79]


@pytest.mark.parametrize("make", [linux_target, kvm_host_target, firmware_target])
def test_a_person_reads_them_in_eighty_columns(make: Any) -> None:
    target = make()
    if make is linux_target:
        target.source.put(NIP - KERNEL, LOAD)
    text = shown("triage --vcpus", target)
    assert too_long(text.splitlines()) == []
    assert "vCPU 0 " in text
    assert "how it came there" in text


def test_the_first_finding_carries_them() -> None:
    (found,) = told("triage")
    assert [each["cpu"] for each in found["vcpus"]] == [0, 1]
    assert found["vcpus"][1]["mode"] == "user"
    assert found["vcpus"][0]["trace"][0] == {
        "address": f"{NIP:#x}", "how": "nip", "user": False, "stack": None, "trap": None, "name": "linear map",
    }  # fmt: skip
