"""``explain``: each kernel leaves its own marks in the tree, and 6.1 leaves none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.commands.explain import Explained, Judged, Listed
from inspector.commands.registry import Result
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.kvm.history import BY_SLUG, CHANGES, VERSIONS
from tests.commands.asking import ask, lines, objects
from tests.fakes import PARTITION_TABLE_AT, SparseMemory, guest, kvm_host_target, linux_target

FIXTURE = Path(__file__).parents[2] / "fixtures" / "powernv9-kvm.core.gz"
HVA, RA = 0x7F00_0000_0000, 1 << 32
PAGE, LARGE = 1 << 16, 1 << 21
LPID = 7
STORE, LOAD, RC_STORE = "0x42000000", "0x40000000", "0x02040000"


def slot(base: int, size: int, flags: int = 0) -> dict[str, Any]:
    """A slot that lies in the VMM as in the guest."""
    return {"op": "slot", "lpid": LPID, "base": base, "size": size, "flags": flags, "hva": HVA + base}


def fault(gpa: int, dsisr: str = STORE, shift: int = 16, **host: Any) -> dict[str, Any]:
    """A fault on what the host has in pages of 2**``shift``."""
    where = {"hva": HVA + gpa, "base": (RA + gpa) >> shift << shift, "shift": shift, "writable": True, "dirty": True}
    return {"op": "fault", "lpid": LPID, "ea": gpa, "gpa": gpa, "dsisr": dsisr, "host": {**where, "io": False, **host}}


def unmap(gpa: int) -> dict[str, Any]:
    """The host takes a page."""
    return {"op": "unmap", "lpid": LPID, "gpa": gpa}


MEMORY = slot(0, 1 << 30)
SCENES: dict[str, list[dict[str, Any]]] = {
    "unmap-keeps-entry": [MEMORY, fault(PAGE), fault(2 * PAGE), unmap(PAGE)],
    "rc-asks-host": [MEMORY, fault(PAGE, LOAD, writable=False), fault(PAGE, RC_STORE)],
    "io-by-vma": [MEMORY, fault(PAGE, io=True)],
    "read-only-ignored": [slot(0, 1 << 30, 2), fault(PAGE)],
    "large-while-logging": [slot(0, 1 << 30, 1), fault(LARGE, shift=21)],
    "logging-does-not-flush": [MEMORY, fault(LARGE, shift=21), slot(0, 1 << 30, 1)],
    "hugetlb-only": [MEMORY, *(fault(LARGE + n * PAGE, shift=21, transparent=True) for n in range(32))],
    "whole-address-compared": [MEMORY, *(fault(LARGE + n * PAGE, shift=21) for n in range(32))],
    "table-blocks-large": [
        MEMORY,
        fault(LARGE),
        *(fault(LARGE + n * PAGE, shift=21) for n in range(32)),
    ],
    "no-1g": [MEMORY, *(fault(n * LARGE, shift=30) for n in range(512))],
}
"""What leads to each mark in the kernels that leave it."""
ALSO: dict[str, Sequence[str]] = {"no-1g": ("4.16",), "large-while-logging": ("4.16", "4.18", "4.19")}
"""Where other old ways keep a kernel from leaving the mark: the seed makes no large leaf but where guest real and host
virtual address are in one 2M frame."""


def made(scene: Sequence[dict[str, Any]], version: str) -> Guest:
    """A guest whose tree a kernel of this version made."""
    at = guest(linux_target())
    ask(f"replay - --as {version}", at, "".join(f"{json.dumps(each)}\n" for each in scene))
    return at


def found(results: Sequence[Result]) -> dict[str, Explained]:
    """The findings by the first of their slugs."""
    return {each.finding.mark.slugs[0]: each for each in results if isinstance(each, Explained)}


def said(results: Sequence[Result]) -> str:
    """What a person reads, as one line."""
    return " ".join(" ".join(lines(list(results))).split())


def judged(results: Sequence[Result]) -> Judged:
    """How it ended."""
    (end,) = (each for each in results if isinstance(each, Judged))
    return end


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("slug", SCENES)
def test_a_kernel_leaves_its_mark_and_a_mended_one_does_not(slug: str, version: str) -> None:
    results = ask(f"explain --lpid {LPID}", made(SCENES[slug], version))
    named = {each for one in found(results).values() for each in one.finding.mark.slugs}
    leaves = ALSO.get(slug, BY_SLUG[slug].old_in)
    if slug == "logging-does-not-flush":
        leaves = [each for each in leaves if each != "SEED"]  # which makes no large leaf here
    assert (slug in named) == (version in leaves)
    if slug in named:
        assert version in judged(results).versions
    if version == "6.1":
        assert all(each.ok for each in results)


def test_what_is_told_of_a_mark() -> None:
    results = ask(f"explain --lpid {LPID}", made(SCENES["unmap-keeps-entry"], "SEED"))
    finding = found(results)["unmap-keeps-entry"].finding
    assert (finding.count, finding.first, finding.large) == (1, (PAGE,), 0)
    assert not found(results)["unmap-keeps-entry"].ok
    shown = said(results)
    assert "defect LPID 7: unmap-keeps-entry" in shown
    assert 'Linux 4.18: 7e3d9a1d0f2c "Make radix clear pte when unmapping" (lacking in SEED, 4.16)' in shown
    assert "kernels that leave all of this: SEED, 4.16" in shown
    assert "look like large leaves" not in shown
    (told, end) = objects(results)
    assert (told["kind"], told["count"], told["first"], told["look_large"]) == ("defect", 1, ["0x10000"], 0)
    assert told["changes"][0]["commit"] == "7e3d9a1d0f2c"
    assert end["versions"] == ["SEED", "4.16"]


def test_what_is_left_of_a_large_leaf() -> None:
    at = made([MEMORY, fault(LARGE, shift=21), unmap(LARGE)], "4.16")
    results = ask(f"explain --lpid {LPID}", at)
    assert found(results)["unmap-keeps-entry"].finding.large == 1
    assert "of these look like large leaves: 1" in said(results)


def test_the_addresses_of_many_are_few() -> None:
    scene = [MEMORY, *(each for n in range(9) for each in (fault(n * PAGE), unmap(n * PAGE)))]
    finding = found(ask(f"explain --lpid {LPID}", made(scene, "SEED")))["unmap-keeps-entry"].finding
    assert (finding.count, finding.first) == (9, (0, PAGE, 2 * PAGE, 3 * PAGE))


def test_marks_of_two_kernels_are_of_none() -> None:
    at = made(SCENES["unmap-keeps-entry"], "SEED")
    entry = 0xC000_0000_0000_0387 | RA
    assert at.whatif is not None
    tree = at.whatif.machine.vms[LPID].tree
    place = tree.find(2 * PAGE)
    assert place is not None
    at.whatif.overlay.write_u64(place.address, entry)
    results = ask(f"explain --lpid {LPID}", at)
    assert found(results)["compound-size"].finding.mark.kind == "fixed"
    assert judged(results).versions == ()
    assert "none that is known here" in said(results)


def test_small_leaves_of_logged_slots_are_as_they_should_be() -> None:
    scene = [slot(0, 1 << 30, 1), *(fault(LARGE + n * PAGE, shift=21) for n in range(32))]
    assert not found(ask(f"explain --lpid {LPID}", made(scene, "6.1")))


def test_small_leaves_that_lie_otherwise_are_right() -> None:
    shifted = [fault(LARGE + n * PAGE, base=RA + PAGE + n * PAGE) for n in range(32)]
    assert not found(ask(f"explain --lpid {LPID}", made([MEMORY, *shifted], "6.1")))
    some = [fault(LARGE + n * PAGE) for n in range(31)]
    assert not found(ask(f"explain --lpid {LPID}", made([MEMORY, *some], "6.1")))


def test_a_hint_is_no_finding_of_a_defect() -> None:
    results = ask(f"explain --lpid {LPID}", made([MEMORY, *(fault(LARGE + n * PAGE) for n in range(32))], "6.1"))
    assert found(results)["hugetlb-only"].finding.mark.slugs == (
        "hugetlb-only",
        "whole-address-compared",
        "table-blocks-large",
    )
    assert all(each.ok for each in results)
    shown = said(results)
    assert "one of these may be missing:" in shown
    assert "nothing in the tree tells for certain of a missing fix" in shown


# -- with the VMM ------------------------------------------------------------------------------------------------------


def with_host(scene: Sequence[dict[str, Any]], version: str) -> Guest:
    """The same in the recorded host, whose VMM has LPID 1's memory in small and large pages."""
    at: Guest = inspector.open_target(str(FIXTURE))
    ask(f"replay - --as {version} --empty", at, "".join(f"{json.dumps(each)}\n" for each in scene))
    return at


def vmm_scene(at: Guest) -> tuple[int, int, int]:
    """(PID of the VMM, host virtual, real address) of a page of 64K that the VMM maps by itself."""
    from inspector.vmm import vmm_of

    vmm = vmm_of(at, 1)
    assert vmm is not None
    columns = at.spaces([vmm.pid]).columns
    row = next(n for n in range(len(columns)) if columns.shift[n] == 16 and int(columns.entry[n]) & 2)
    return vmm.pid, int(columns.ea[row]), int(columns.ra[row])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_leaf_where_the_vmm_maps_small_pages(version: str) -> None:
    with inspector.open_target(str(FIXTURE)) as at:
        pid, hva, ra = vmm_scene(at)
    frame = hva & -LARGE
    asked = [
        {"op": "slot", "lpid": 1, "base": 0, "size": 2 * LARGE, "hva": frame},
        {
            "op": "fault",
            "lpid": 1,
            "ea": 0,
            "gpa": hva - frame,
            "dsisr": STORE,
            "host": {"hva": hva, "base": ra, "shift": 16, "compound": 21, "transparent": True},
        },
    ]
    with with_host(asked, version) as at:
        results = ask(f"explain --lpid 1 --vmm {pid}", at)
    assert any(each.finding.mark.kind == "defect" for each in found(results).values()) == (version in ("4.16", "4.18"))
    assert "vmm" not in judged(results).lacking


def test_the_recorded_guests_of_a_mended_kernel() -> None:
    with inspector.open_target(str(FIXTURE)) as at:
        pid, _, _ = vmm_scene(at)
        for words in ("explain", "explain --lpid 1 --lpid 2", f"explain --lpid 1 --vmm {pid}"):
            results = ask(words, at)
            assert all(each.ok for each in results)
            ends = [each for each in results if isinstance(each, Judged)]
            assert all(each.leaves and not each.defects for each in ends)
            assert {each.versions for each in ends} == {("4.19", "6.1")}
        with pytest.raises(UsageError, match="PID 2 maps nothing of what this guest has"):
            ask("explain --lpid 1 --vmm 2", at)
        with pytest.raises(UsageError, match="--vmm is the process of one guest"):
            ask(f"explain --vmm {pid}", at)


# -- whom, and what is not there ---------------------------------------------------------------------------------------


def test_all_guests_where_none_is_named() -> None:
    results = ask("explain", guest(kvm_host_target()))
    assert [each.lpid for each in results if isinstance(each, Judged)] == [1]


def test_a_table_that_cannot_be_read_is_said() -> None:
    target = kvm_host_target()
    at = guest(target)
    spaces = at.spaces(lpid=1, partition=True)
    tables = spaces.sweep.tables()
    low = int(tables.address[tables.level == 0][0])
    target.source.refused = [(low, 256)]
    at.target.clock.tick()
    results = ask("explain --lpid 1", at)
    assert judged(results).leaves < len(spaces.columns)
    assert "1 tables could not be read" in said(results)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("explain --lpid 0", "LPID 0 is the host itself"),
        ("explain --lpid 5", "LPID 5"),
        ("explain --list --lpid 1", "leave --lpid"),
        ("explain --lpid nobody", "--lpid"),
    ],
)
def test_words_that_mean_nothing(words: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        ask(words, guest(kvm_host_target()))


def test_a_machine_whose_hypervisor_is_out_of_sight() -> None:
    with pytest.raises(UsageError, match="out of sight"):
        ask("explain")


def test_a_host_without_guests() -> None:
    target = kvm_host_target()
    memory: SparseMemory = target.source
    memory.put(PARTITION_TABLE_AT + 16, bytes(16))
    assert "no KVM guest" in lines(ask("explain", guest(target)))[0]


def test_the_list_of_changes() -> None:
    results = ask("explain --list")
    assert [each.change for each in results if isinstance(each, Listed)] == list(CHANGES)
    told = {each["slug"]: each["told_by"] for each in objects(results)}
    assert (told["unmap-keeps-entry"], told["read-only-ignored"], told["compound-size"]) == ("tree", "slots", "vmm")
    assert told["tlbie-not-rounded"] is None
