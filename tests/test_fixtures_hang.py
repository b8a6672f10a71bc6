"""The host whose guest hangs, as it was recorded: what is left of the guest, and what its tables say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import inspector
from inspector import partitions
from inspector.guest import Guest
from inspector.radix.bits import MSR_HV
from tests.commands.asking import told

FIXTURES = Path(__file__).parent.parent / "fixtures"
KIND = "powernv9-hang"
NIP, EA, GPA = 0x2100, 0x5000_0000, 0xF000_0000
MSR = 0x8000_0000_0000_1033
LOAD = 0xE8A4_0000
"""``ld r5,0(r4)``"""


@pytest.fixture(scope="module")
def host() -> Iterator[Guest]:
    with inspector.open_target(str(FIXTURES / f"{KIND}.core.gz")) as guest:
        yield guest


def holder(host: Guest) -> int:
    """The vCPU that HSRR0 and HSRR1 of a guest are in."""
    (cpu,) = (cpu for cpu in host.target.cpus if not host.registers(cpu).need("hsrr1") & MSR_HV)
    return cpu


def test_every_vcpu_is_in_the_host(host: Guest) -> None:
    for cpu in host.target.cpus:
        known = host.registers(cpu)
        assert known.need("msr") & MSR_HV
        assert known.need("lpidr") == 0


def test_the_guests_last_storage_interrupt_is_in_the_registers(host: Guest) -> None:
    known = host.registers(holder(host))
    last = [known.need(name) for name in ("hsrr0", "hsrr1", "hdar", "hdsisr", "asdr")]
    assert last == [NIP, MSR, EA, 1 << 30, GPA]


def test_one_process_of_one_guest_leads_that_address_there(host: Guest) -> None:
    leads = [
        (tree.lpid, process.pid)
        for tree in partitions.of_guests(host)
        for process in host.partition(tree.lpid).processes()
        if host.translate(EA, lpid=tree.lpid, pid=process.pid).gra == GPA
    ]
    assert [tree.lpid for tree in partitions.of_guests(host)] == [1, 2]
    assert leads == [(2, 5)]


def test_the_hardware_fetches_the_load_and_kvm_cannot_find_it(host: Guest) -> None:
    hardware = host.translate(NIP, lpid=2, pid=5)
    assert hardware.ra is not None
    assert int.from_bytes(host.memory.read(hardware.ra, 4), "little") == LOAD
    kvm = host.translate(NIP, lpid=2, pid=5, walker="kvm")
    assert (kvm.errno, kvm.cause, len(kvm.steps)) == ("EINVAL", "stray-page-bits", 5)
    healthy = host.translate(NIP, lpid=1, pid=5, walker="kvm")
    assert healthy.ok


def test_triage_is_as_sure_of_it_as_it_was_of_the_guest(host: Guest) -> None:
    first = next(each for each in told("triage", host) if "verdict" in each)
    assert (first["verdict"], first["confidence"]) == ("software-walk-fails", "high")
    assert (first["lpid"], first["pid"], first["nip"], first["ea"], first["ra"]) == (
        *(2, 5),
        *(f"{value:#x}" for value in (NIP, EA, GPA)),
    )
    assert first["errno"] == "EINVAL"


def test_what_is_in_it_is_told(host: Guest) -> None:
    contents = {each["kind"]: each for each in told("info", host)[0]["contents"]}
    assert set(contents) <= {"tables", "code", "registers", "virtio", "vmcoreinfo", "rings"}
    assert "9 moments" in contents["registers"]["text"]
    assert "LPID 2" in contents["code"]["text"]


def test_no_code_of_the_host_is_in_it(host: Guest) -> None:
    for cpu in host.target.cpus:
        answer = host.translate(host.registers(cpu).need("nip"), cpu=cpu)
        assert answer.ra is not None
        with pytest.raises(inspector.MemoryReadError):
            host.memory.read(answer.ra & ~3, 4)


def test_it_is_small_and_its_note_names_no_folder() -> None:
    assert sum((FIXTURES / f"{KIND}.{end}").stat().st_size for end in ("core.gz", "txt")) < 200 << 10
    note = (FIXTURES / f"{KIND}.txt").read_text()
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|usr)/", note)
    assert f"scripts/record-fixtures {KIND}" in note
