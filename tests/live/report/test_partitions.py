"""A page of what a host has behind its KVM guests, or of a guest's processes: whose trees, and of which stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.guest import Guest
from inspector.mappings.audit.run import audit
from inspector.reporting import contents, write
from tests.fakes import (
    GUEST_DATA_EA,
    GUEST_PID,
    GUEST_RAM_AT,
    GUEST_READ_ONLY,
    KVM_LEAF,
    LPID,
    PARTITION_TABLE_AT,
    MiB,
    guest,
    guest_to_host,
    kvm_host_target,
)
from tests.live.report.browser import Page
from tests.radix.trees import Bump, Tree

pytestmark = pytest.mark.live

OTHER, OUTSIDE = 2, 0x1_0000
"""A second guest, and where in its memory it has a page that is no RAM of the host's; the first maps RAM there."""


def two_guests() -> Guest:
    target = kvm_host_target()
    tree = Tree(target.source.put_word, Bump(62 * MiB))
    for gra, ra in ((0, GUEST_RAM_AT + 15 * MiB), (OUTSIDE, 1 << 40), (2 * OUTSIDE, GUEST_RAM_AT + 14 * MiB)):
        tree.map(gra, ra | KVM_LEAF, 16)
    target.source.put_word(PARTITION_TABLE_AT + 16 * OTHER, 1 << 63 | tree.descriptor)
    return guest(target)


def test_a_finding_leads_to_the_range_of_its_own_partition(opened: Page, folder: Path) -> None:
    path = folder / "partitions.html"
    at = two_guests()
    spaces = at.spaces(partition=True, guests=True)
    found = audit(spaces)
    (outside,) = [each for each in found.findings if each.ea == OUTSIDE]
    assert outside.lpid == OTHER
    write(str(path), contents(at, spaces, found), force=True)
    opened.open(path)
    opened.run(
        "Array.from(document.querySelectorAll('#findings button')).find((each) =>"
        " each.textContent === arguments[0]).click()",
        f"{OUTSIDE:#x}",
    )
    row = opened.report("selected()")
    owner = spaces.roots[int(spaces.ranges.root[row])]
    assert (owner.lpid, int(spaces.ranges.offset[row])) == (OTHER, OUTSIDE)
    assert f"LPID {OTHER}" in opened.text("#details")


def test_trees_are_named_by_lpid_and_their_addresses_guest_real(opened: Page, folder: Path) -> None:
    path = folder / "partitions.html"
    at = two_guests()
    write(str(path), contents(at, at.spaces(partition=True, guests=True)), force=True)
    opened.open(path)
    assert [each.text for each in opened.all("#process option")] == [f"LPID {LPID}", f"LPID {OTHER}"]
    assert [each.text for each in opened.all("#table .heads button")][:2] == ["LPID", "guest real"]
    assert "several guests" in opened.text("#ram-legend")
    opened.run("report.filter(arguments[0])", {"pid": str(OTHER)})
    assert len(opened.report("matching()")) == 3
    assert opened.complaints() == []


def test_a_process_of_a_guest_names_its_partition_and_what_it_calls_real(opened: Page, folder: Path) -> None:
    path = folder / "processes.html"
    at = two_guests()
    spaces = at.spaces(lpid=LPID)
    write(str(path), contents(at, spaces), force=True)
    opened.open(path)
    names = [each.text for each in opened.all("#process option")]
    assert names == [f"PID 0 of LPID {LPID} (kernel)", f"PID {GUEST_PID} of LPID {LPID}"]
    row = spaces.ranges.offset.tolist().index(GUEST_DATA_EA)
    opened.report(f"select({row})")
    told = opened.text("#details").split("\n")
    assert told[told.index("guest real") + 1] == f"{GUEST_READ_ONLY:#x}"
    assert told[told.index("real address") + 1] == f"{guest_to_host(GUEST_READ_ONLY):#x}"


def test_registers_lead_to_the_trees_of_the_partition_that_the_vcpu_runs(opened: Page, folder: Path) -> None:
    """vCPU 1 runs PID 5 of LPID 1; vCPU 0 runs the host's kernel, whose addresses the guest's kernel has too."""
    path = folder / "registers.html"
    at = two_guests()
    write(str(path), contents(at, at.spaces(lpid=LPID)), force=True)
    opened.open(path)
    host, of_guest = opened.run(
        "return Array.from(document.querySelectorAll('#registers details')).map((each) =>"
        " Array.from(each.querySelectorAll('button')).map((button) => button.textContent))"
    )
    assert host == []
    assert f"{GUEST_DATA_EA + 0x40:016x}" in of_guest
