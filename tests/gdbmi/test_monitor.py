"""What QEMU's monitor prints. The first two trees were recorded with QEMU 7.2; the third is put together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.gdbmi.monitor import (
    Backend,
    Ticks,
    parse_host_address,
    parse_machine,
    parse_memdevs,
    parse_mtree,
    parse_status,
    parse_string,
    parse_ticks,
    parse_value,
    parse_version,
    version_words,
)
from inspector.memory.physical import Range

PSERIES = """\
FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-000000000000ffff (prio 0, i/o): io

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 AS "cpu-memory-1", root: system
 Root memory region: system
  0000000000000000-000000003fffffff (prio 0, ram): ram
  0006010000000000-000601003fffffff (prio 0, i/o): xive.esb-emulated
  0006030203180000-00060302031bffff (prio 0, i/o): xive.tima

FlatView #2
 AS "pci@800000020000000", root: pci@800000020000000.iommu-root
 Root memory region: pci@800000020000000.iommu-root
  0000000000000000-000000003fffffff (prio 0, i/o): tce-iommu-80000000
  0000040000000000-0000040000000fff (prio 0, i/o): msi

"""

POWERNV = """\
FlatView #0
 AS "phb4-0.0-iommu", root: phb4-0.0-iommu
 Root memory region: phb4-0.0-iommu
  0000000000000000-ffffffffffffffff (prio 0, i/o): phb4-0.0-iommu

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 AS "cpu-memory-1", root: system
 Root memory region: system
  0000000000000000-000000003fffffff (prio 0, ram): ram
  0000203ffd800000-0000203ffdbfffff (prio 0, i/o): homer-main-memory
  0000203fffd80000-0000203fffda57ff (prio 0, i/o): occ-common-area
  0006030000000000-00060300ffffffff (prio 0, i/o): lpcm
  0006030203000000-00060302030fffff (prio 0, i/o): psihb
  000603fc00000000-000603ffffffffff (prio 0, i/o): xscom-0

FlatView #2
 AS "xive-vc-ipi", root: xive-vc-ipi
 AS "virtio-rng-pci", root: bus master container
 Root memory region: (none)
  No rendered FlatView

FlatView #3
 AS "lpc-opb", root: lpc-opb
 Root memory region: lpc-opb
  00000000d0010071-00000000d0010071 (prio 0, i/o): rtc @0000000000000001
  00000000fc000000-00000000ffffffff (prio 0, i/o): pnv-pnor

"""

EVERY_TYPE = """\
FlatView #0
 AS "cpu-memory-0", root: system
 AS "memory", root: system, alias other
 Root memory region: system
  0000000000000000-000000000fffffff (prio 0, ram): node0 KVM
  0000000010000000-000000001fffffff (prio 0, ram): node0 @0000000010000000 KVM
  0000000020000000-000000002fffffff (prio 0, ram): node1: with (odd) name
  0000000030000000-000000003000ffff (prio 0, rom): firmware
  0000000030010000-000000003001ffff (prio 0, romd): flash
  0000000030020000-000000003002ffff (prio 0, ramd): 0000:01:00.0 BAR 0 mmaps[0]
  0000000030030000-000000003003ffff (prio -1000, i/o): ram
  0000000100000000-00000001ffffffff (prio 0, nv-ram): pmem
  0000000200000000-00000001ffffffff (prio 0, ram): upside down
  ffffffffffff0000-ffffffffffffffff (prio 1, ram): top
"""


@pytest.mark.parametrize("text", [PSERIES, POWERNV, PSERIES.replace("\n", "\r\n")])
def test_a_machine_of_one_gibibyte(text: str) -> None:
    assert list(parse_mtree(text)) == [Range(0, 1 << 30, "ram")]


def test_only_ram_is_ram() -> None:
    ram = parse_mtree(EVERY_TYPE)
    assert list(ram) == [
        Range(0, 0x2000_0000, "node0"),
        Range(0x2000_0000, 0x1000_0000, "node1: with (odd) name"),
        Range(0x1_0000_0000, 0x1_0000_0000, "pmem"),
        Range(0xFFFF_FFFF_FFFF_0000, 0x1_0000, "top"),
    ]
    assert ram.spans()[0] == (0, 0x3000_0000)
    for device in (0x3000_0000, 0x3001_0000, 0x3002_0000, 0x3003_0000):
        assert not ram.covers(device, 1)


def test_the_view_that_the_stub_reads_is_chosen() -> None:
    other = 'FlatView #7\n AS "cpu-memory-0", root: x\n  0000000000000000-0000000000000fff (prio 0, ram): private\n'
    assert list(parse_mtree(other + PSERIES)) == [Range(0, 1 << 30, "ram")]
    assert list(parse_mtree(other)) == [Range(0, 4096, "private")]


@pytest.mark.parametrize("text", ["", "unknown command: 'info mtree'", "FlatView #0\n", PSERIES[200:]])
def test_no_view_no_ram(text: str) -> None:
    assert parse_mtree(text).total == 0


@given(st.lists(st.sampled_from((PSERIES + EVERY_TYPE).splitlines()) | st.text(max_size=30)))
def test_any_text_is_read_without_harm(lines: list[str]) -> None:
    for start, end in parse_mtree("\n".join(lines)).spans():
        assert 0 <= start < end <= 1 << 64


def test_status_version_machine_and_values() -> None:
    assert parse_status("VM status: paused (prelaunch)\r\n") == "paused (prelaunch)"
    assert parse_status("nonsense") == ""
    assert parse_version("7.2.22Debian 1:7.2") == (7, 2)
    assert parse_version("10.0.13") == (10, 0)
    assert parse_version("v") is None
    assert version_words(" 7.2.22Debian 1\r\n") == "7.2.22 Debian 1"
    assert parse_machine('"pseries-7.2-machine"\r\n') == "pseries-7.2"
    assert parse_machine("Error: not found") == ""
    assert parse_value("0x3d3f408\r\n") == 0x3D3F408
    assert parse_value("0\r\n") == 0
    assert parse_value("unknown register\r\n") is None
    assert parse_value("") is None


def test_where_qemu_keeps_a_byte() -> None:
    said = "Host virtual address for 0x3fffffff (ram) is 0x7f26efffefff\r\n"
    assert parse_host_address(said) == 0x7F26EFFFEFFF
    assert parse_host_address("No memory is mapped at address 0x40000000\r\n") is None
    assert parse_host_address("") is None


def test_memory_backends() -> None:
    said = (
        "memory backend: ram\r\n  size:  1073741824\r\n  merge: true\r\n  share: true\r\n  policy: default\r\n"
        "  host nodes: \r\n\r\nmemory backend: dimm-1\r\n  size:  4096\r\n  share: false\r\n  host nodes: 0 1\r\n\r\n"
        "memory backend: two words\r\n  size:  4096\r\n  share: true\r\n"
    )
    assert parse_memdevs(said) == [Backend("ram", 1 << 30, True), Backend("dimm-1", 4096, False)]
    assert parse_memdevs("unknown command: 'info memdev'\r\n") == []


def test_strings_as_the_monitor_prints_them() -> None:
    assert parse_string('"/dev/shm/a \\"b\\""\r\n') == '/dev/shm/a "b"'
    for said in ("Error: Property not found\r\n", "true\r\n", "", "17"):
        assert parse_string(said) is None


REGISTERS = """\
CPU#0
NIP c0000000000e1130   LR c000000000a6dea8 CTR c000000000a6dd80 XER 000000000000005a CPU#0
MSR 800000000280b033 HID0 0000000000000000  HF 2680203d iidx 1 didx 1
TB 00000001 7100425756 DECR 94761850
GPR00 0000000044000888 c0000000026afca0 c000000001148100 0000000000000000

CPU#1
NIP c0000000000e1130   LR c000000000a6dea8 CTR c000000000a6dd80 XER 000000000000005a CPU#1
MSR 800000000280b033 HID0 0000000000000000  HF 2680203d iidx 1 didx 1
TB 00000001 2805458475 DECR 4294967295
GPR00 0000000044000888 c0000000026afca0 c000000001148100 0000000000000000
"""


def test_clocks_of_every_vcpu() -> None:
    for text in (REGISTERS, REGISTERS.replace("\n", "\r\n")):
        assert parse_ticks(text) == {0: Ticks(7100425756, 94761850), 1: Ticks(7100425771, 4294967295)}
    assert parse_ticks("unknown command: 'info registers'\r\n") == {}
    assert parse_ticks(REGISTERS.replace("DECR", "")) == {}
