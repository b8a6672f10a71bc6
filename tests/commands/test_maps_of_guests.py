"""``maps`` of KVM guests: what the host has behind them, what they map to it, and what to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import inspector
from inspector import cli
from inspector.errors import UsageError
from inspector.guest import Guest
from scripts.recordscene import read
from tests.commands.asking import ask, shown, told
from tests.fakes import (
    GUEST_DATA_EA,
    GUEST_LOST_EA,
    GUEST_PAGES,
    GUEST_PID,
    GUEST_RAM_AT,
    GUEST_READ_ONLY,
    GUEST_SMALL_EA,
    GUEST_TEXT_EA,
    HR,
    KERNEL,
    KVM_LEAF,
    LPID,
    PARTITION_TABLE_AT,
    FakeTarget,
    KiB,
    MiB,
    bare_target,
    guest,
    guest_to_host,
    kvm_host_target,
    linux_target,
)
from tests.test_fixtures import FIXTURES

HOST = str(FIXTURES / "powernv9-kvm.core.gz")
ORACLE: dict[str, Any] = read(FIXTURES / "powernv9-kvm.oracle.gz")
"""What the kernel and others said of a recorded host with KVM guests."""
HOLES = {
    (0, KERNEL + MiB, 256 * KiB, MiB),
    (0, KERNEL + 0x18_0000, 512 * KiB, 0x18_0000),
    (0, KERNEL + 4 * MiB, 2 * MiB, 4 * MiB),
    (GUEST_PID, GUEST_LOST_EA, 2 * MiB, 4 * MiB),
}
"""PID, effective address, size, guest real address: as GUEST_PAGES leaves them out."""


def raw_leaves(target: FakeTarget) -> dict[int, tuple[int, int]]:
    """The partition-scoped leaves that were put, by guest real address: raw entry and shift."""
    return {
        gra: (ra | (KVM_LEAF & ~0x82 if gra == GUEST_READ_ONLY else KVM_LEAF), shift)
        for gra, (ra, shift) in GUEST_PAGES.items()
    }


def two_guests() -> FakeTarget:
    """LPID 2 has the same tree as LPID 1."""
    target = kvm_host_target(hashed=True)
    at = PARTITION_TABLE_AT + 16
    for word in (0, 8):
        target.source.put_word(at + 16 + word, target.source.word(at + word))
    return target


# -- debugfs -----------------------------------------------------------------------------------------------------------


def test_the_listing_is_kvm_s_to_the_letter() -> None:
    target = kvm_host_target()
    root = target.source.word(PARTITION_TABLE_AT + 16 * LPID) & 0x0FFF_FFFF_FFFF_FF00
    wanted = [f"pgdir: {KERNEL | root:x}"]
    wanted += [f" {gra:x}: {entry:x} {shift}" for gra, (entry, shift) in sorted(raw_leaves(target).items())]
    assert shown(f"maps --lpid {LPID} --partition --format debugfs", target).splitlines() == wanted


def test_the_listing_goes_on_over_many_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.mappings.runs.AT_A_TIME", 2)
    words = f"maps --lpid {LPID} --partition --format debugfs"
    lines = shown(words, kvm_host_target()).splitlines()
    assert len(lines) == 1 + len(GUEST_PAGES)
    assert len(set(lines)) == len(lines)


def test_leaves_of_the_listing_can_be_chosen() -> None:
    words = f"maps --lpid {LPID} --partition --format debugfs --page 2M --limit 1"
    assert shown(words, kvm_host_target()).splitlines()[1:] == [f" 200000: {GUEST_PAGES[2 * MiB][0] | KVM_LEAF:x} 21"]


def test_the_listing_in_json() -> None:
    head, *leaves = told(f"maps --lpid {LPID} --partition --format debugfs", kvm_host_target())
    assert head == {"lpid": LPID, "pgdir": f"{KERNEL | 61 * MiB:#x}"}
    assert {int(each["ea"], 16): (int(each["entry"], 16), each["page_shift"]) for each in leaves} == raw_leaves(
        kvm_host_target()
    )


def test_what_is_wrong_is_said_beside_the_listing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = kvm_host_target()
    root = 61 * MiB
    target.source.put_word(root + 8, HR | 1 << 50 | 9)
    monkeypatch.setattr(cli, "_open", lambda _words: guest(target))
    status = cli.main(["demo", "maps", "--lpid", "1", "--partition", "--format", "debugfs"])
    out, err = capsys.readouterr()
    assert status == 1
    assert len(out.splitlines()) == 1 + len(GUEST_PAGES)
    assert all(line.startswith((" ", "pgdir: ")) for line in out.splitlines())
    assert "LPID 1" in err


# -- partitions --------------------------------------------------------------------------------------------------------


def test_what_is_behind_a_guest() -> None:
    objects = told(f"maps --lpid {LPID} --partition --leaves", kvm_host_target())
    assert {int(each["ea"], 16): (int(each["ra"], 16), each["page_shift"]) for each in objects} == GUEST_PAGES
    assert {(each["lpid"], each["pid"], each["gra"], each["region"]) for each in objects} == {(LPID, None, None, None)}
    assert all(each["ra_is_ram"] for each in objects)
    seen = shown(f"maps --lpid {LPID} --partition", kvm_host_target())
    assert "guest real" in seen.splitlines()[0]
    assert "---[" not in seen
    assert "21 ranges of 1 LPID" in seen
    assert "PID" not in seen.replace("LPID", "")


def test_all_guests_are_meant_where_none_is_named() -> None:
    objects = told("maps --partition", two_guests())
    assert [each["lpid"] for each in objects] == [1] * 21 + [2] * 21
    seen = shown("maps --partition", two_guests())
    assert "42 ranges of 2 LPIDs" in seen
    ordered = shown("maps --partition --sort size --limit 3", two_guests()).splitlines()
    assert ordered[0].split()[:3] == ["LPID", "guest", "real"]
    assert told("maps --partition --sort size --limit 1", two_guests())[0]["size"] == 2 * MiB


def test_a_machine_without_guests_says_so() -> None:
    (answer,) = ask("maps --partition", bare_target())
    assert answer.ok
    assert "lpids" in shown("maps --partition", bare_target())


def test_a_partition_table_that_cannot_be_read_is_told_of() -> None:
    target = kvm_host_target()
    target.source.refused = [(PARTITION_TABLE_AT + 0x8000, 0x1000)]
    *_, missing = told("maps --partition", target)
    assert missing["oddity"] == "table-unreadable"
    assert "LPIDs may be missing" in " ".join(shown("maps --partition", target).split())


def test_the_host_s_own_tree_is_partition_0() -> None:
    assert {each["lpid"] for each in told("maps --partition --lpid 0", kvm_host_target())} == {0}


# -- both stages -------------------------------------------------------------------------------------------------------


def runs(words: str, target: FakeTarget | None = None) -> list[dict[str, Any]]:
    return [each for each in told(words, target or kvm_host_target()) if "ea" in each]


def test_a_guest_s_maps_lead_on_to_the_host() -> None:
    objects = runs(f"maps --lpid {LPID} --pid {GUEST_PID}")
    found = [(int(e["ea"], 16), int(e["gra"], 16), int(e["ra"], 16), e["size"], e["page_shift"]) for e in objects]
    assert found == [
        (GUEST_TEXT_EA, 2 * MiB, guest_to_host(2 * MiB), 64 * KiB, 16),
        (GUEST_DATA_EA, GUEST_READ_ONLY, guest_to_host(GUEST_READ_ONLY), 64 * KiB, 16),
        (GUEST_SMALL_EA, 6 * MiB, guest_to_host(6 * MiB), 16 * KiB, 12),
    ]
    assert [each["write"] for each in objects] == [False, False, True]


def test_every_page_is_where_the_walk_ends() -> None:
    at: Guest = guest(kvm_host_target())
    for each in runs(f"maps --lpid {LPID} --leaves"):
        answer = at.translate(int(each["ea"], 16), lpid=LPID, pid=each["pid"])
        assert (answer.ra, answer.gra) == (int(each["ra"], 16), int(each["gra"], 16))


def test_both_real_addresses_are_shown() -> None:
    seen = shown(f"maps --lpid {LPID} --pid {GUEST_PID}", kvm_host_target()).splitlines()
    assert seen[1] == f"{GUEST_TEXT_EA:#018x}    64K -> 0x200000   -> {GUEST_RAM_AT + 6 * MiB:#x} 1x64K    r-x- R-"
    seen = shown(f"maps --lpid {LPID} --pid {GUEST_PID} --sort ra", kvm_host_target()).splitlines()
    assert seen[0].split() == ["PID", "EA", "size", "guest", "real", "real", "address", "page", "rights"]
    assert "0x600000     0x40200000" in seen[1]


def test_what_lacks_is_noted_and_told() -> None:
    (note,) = [each["note"] for each in told(f"maps --lpid {LPID}", kvm_host_target()) if "note" in each]
    assert note == "4 ranges (4864 KiB) that the guest maps have nothing behind them in the host; --holes tells them"
    (note,) = [e["note"] for e in told(f"maps --lpid {LPID} --pid {GUEST_PID}", kvm_host_target()) if "note" in e]
    assert note == "1 range (2 MiB) that the guest maps has nothing behind it in the host; --holes tells it"
    objects = runs(f"maps --lpid {LPID} --holes")
    assert {(e["pid"], int(e["ea"], 16), e["size"], int(e["gra"], 16)) for e in objects} == HOLES
    assert {(each["ra"], each["page_shift"], each["count"], each["ra_is_ram"]) for each in objects} == {
        (None, None, None, False)
    }
    seen = shown(f"maps --lpid {LPID} --holes", kvm_host_target())
    assert f"{GUEST_LOST_EA:#018x}     2M -> guest real 0x400000        rw-- RC" in seen
    ordered = shown(f"maps --lpid {LPID} --holes --sort size --limit 2", kvm_host_target())
    assert "guest real" in ordered.splitlines()[0]
    assert "2 of 4 holes told here" in ordered


def test_no_hole_is_reached_by_a_walk() -> None:
    at = guest(kvm_host_target())
    for each in runs(f"maps --lpid {LPID} --holes"):
        first = int(each["ea"], 16)
        for inside in (0, each["size"] - 1):
            answer = at.translate(first + inside, lpid=LPID, pid=each["pid"])
            assert (answer.status, answer.ra, answer.stage) == ("fault", None, 2)
            assert answer.gra == int(each["gra"], 16) + inside


def test_holes_are_chosen_as_ranges_are() -> None:
    objects = runs(f"maps --lpid {LPID} --holes --user")
    assert [int(each["ea"], 16) for each in objects] == [GUEST_LOST_EA]
    seen = shown(f"maps --lpid {LPID} --pid {GUEST_PID} --user --page 64K", kvm_host_target())
    assert "--holes" not in seen


def test_a_guest_that_lacks_nothing() -> None:
    target = kvm_host_target()
    target.source.put_word(guest_to_host(0x1_0000) + 16 * GUEST_PID, 0)
    target.source.put_word(guest_to_host(0x1_0000), 0)
    answers = told(f"maps --lpid {LPID} --holes", target)
    assert [each for each in answers if "ea" in each] == []


def test_an_answer_too_wide_takes_a_second_line() -> None:
    from inspector.commands.listing import RangeBlock
    from inspector.mappings.ranges import Ranges
    from inspector.radix.columns import Root
    from inspector.render import maps
    from inspector.render.style import Style

    far = np.array([0x6_0302_031A_0000], np.uint64)
    one = np.ones(1, np.uint64)
    flags = np.array([3 << 62 | 0x1BF], np.uint64)
    wide = Ranges((Root(5, 0, 0, 1),), np.zeros(1, np.uint32), far, far, np.array([16], np.uint8), flags, one, far)
    seen = list(maps.text(RangeBlock(wide, np.zeros(1, np.bool_)), Style()))
    assert len(seen) == 2
    assert seen[0].endswith("-> 0x60302031a0000")
    assert seen[1].split()[:2] == ["->", "0x60302031a0000"]
    assert len(list(maps.text(RangeBlock(wide, np.zeros(1, np.bool_)), Style(width=120)))) == 1


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("maps --partition --pid 4", "leave --pid and --all out"),
        ("maps --partition --all --lpid 1", "leave --pid and --all out"),
        ("maps --partition --region vmalloc", "guest real"),
        ("maps --holes", "give its --lpid N"),
        ("maps --holes --lpid 1 --partition", "without --partition"),
        ("maps --holes --lpid 0", "LPID 0 is the host itself"),
        ("maps --holes --lpid 1 --leaves", "leave --leaves out"),
        ("maps --format debugfs", "give --partition and --lpid N"),
        ("maps --format debugfs --partition", "give --partition and --lpid N"),
        ("maps --format debugfs --partition --lpid 1 --sort ra", "leave --sort out"),
        ("maps --format debugfs --partition --lpid 3", "hash guest"),
        ("maps --format json", "invalid choice"),
        ("tables --partition --pid 4", "leave --pid and --all out"),
    ],
)
def test_words_that_do_not_go_together(words: str, why: str) -> None:
    target = kvm_host_target(hashed=True)
    with pytest.raises(UsageError, match=why):
        ask(words, target)


@pytest.mark.parametrize("words", ["maps --partition", "maps --lpid 1", "maps --partition --lpid 1 --format debugfs"])
def test_a_pseries_guest_s_hypervisor_is_out_of_sight(words: str) -> None:
    with pytest.raises(UsageError, match="out of sight"):
        ask(words, linux_target())


# -- a real host -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guest_of", ORACLE["guests"], ids=lambda each: f"LPID {each['lpid']}")
def test_a_recorded_host_s_listing_is_the_file_that_its_kernel_had(guest_of: dict[str, Any]) -> None:
    with inspector.open_target(HOST) as host:
        lines = shown(f"maps --lpid {guest_of['lpid']} --partition --format debugfs", host).splitlines()
    assert lines == [f"pgdir: {KERNEL | int(guest_of['root'], 16):x}", *guest_of["radix"]]


def test_a_recorded_host_s_partitions() -> None:
    with inspector.open_target(HOST) as host:
        entries = {each["lpid"]: each for each in told("lpids", host)}
        pids = {lpid: [each["pid"] for each in told(f"pids --lpid {lpid}", host)] for lpid in (1, 2)}
    roots = {each["lpid"]: int(each["root"], 16) for each in ORACLE["guests"]}
    assert {lpid: int(each["root"], 16) for lpid, each in entries.items() if lpid} == roots
    assert entries[1]["current_on"] == [0]
    for each in ORACLE["guests"]:
        if each["lpid"] in pids:
            assert {pid for pid, *_ in each["leaves"]} <= set(pids[each["lpid"]])


def test_more_holes_than_can_be_kept_are_not_taken_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.spaces.most_ranges", lambda: 1)
    results = ask(f"maps --lpid {LPID} --holes", kvm_host_target())
    assert not all(each.ok for each in results)
    assert any("unfinished" in each for each in told(f"maps --lpid {LPID} --holes", kvm_host_target()))


def test_the_note_of_holes_says_where_there_are_more_than_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"maps --lpid {LPID} --all"
    assert "more than can be kept" not in shown(words, kvm_host_target())
    monkeypatch.setattr("inspector.spaces.most_ranges", lambda: 1)
    (note,) = (each["note"] for each in told(words, kvm_host_target()) if "nothing behind" in each.get("note", ""))
    assert note.startswith("at least ")
    assert "more than can be kept here" in note


def test_the_tree_of_lpid_0_is_the_hosts_own_and_no_guests() -> None:
    head, *_ = shown("maps --lpid 0 --partition", kvm_host_target()).splitlines()
    assert head.startswith("LPID 0  partition-table entry")
    assert head.endswith(", the host kernel's own")
