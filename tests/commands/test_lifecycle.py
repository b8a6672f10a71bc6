"""Unmapping, ageing, dirty logs, slots and the end of a guest, as they are asked for and told."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import inspector
from inspector.commands.lifecycle import release_of
from inspector.commands.registry import Session
from inspector.errors import RecordError, UsageError
from inspector.radix.bits import PTE_C, PTE_R
from inspector.render.lifecycle import MOST, set_runs
from inspector.vmm import vmm_of
from tests.commands.asking import lines, session
from tests.commands.test_overlay import do, shown, told
from tests.fakes import (
    GUEST_PAGES,
    LPID,
    FakeTarget,
    KiB,
    MiB,
    bare_target,
    firmware_target,
    guest,
    kvm_host_target,
    linux_target,
)

LARGE = 2 * MiB
FIXTURE = Path(__file__).parents[2] / "fixtures" / "powernv9-kvm.core.gz"


def answers(at: Session, words: str) -> list[dict[str, object]]:
    return [each for each in told(at, words) if "note" not in each]


def test_an_unmapped_page_is_told_with_its_tlbie() -> None:
    at = session(kvm_host_target())
    (found,) = answers(at, "unmap 0x10000 --lpid 1 --as 6.1")
    assert (found["op"], found["result"], found["path"]) == ("unmap", 0, ["unmapped", "dirty-nowhere"])
    assert found["tlbie"] == [
        {"rb": hex(0x10000 | 5 << 5), "lpid": LPID, "ric": 0, "address": "0x10000", "page_shift": 16}
    ]
    assert "is 0x0 now" in str(found["says"])
    assert answers(at, "unmap 0x10000 --lpid 1 --as 6.1")[0]["tlbie"] == []


def test_a_large_page_is_flushed_as_one_and_fills_the_log() -> None:
    at = session(kvm_host_target())
    do(at, "slot 0:8M --lpid 1 --flags log --as 4.19")
    (found,) = answers(at, f"unmap {LARGE + 0x1234:#x} --lpid 1 --as 6.1")
    assert found["tlbie"] == [
        {"rb": hex(LARGE | 1 << 5), "lpid": LPID, "ric": 0, "address": hex(LARGE), "page_shift": 21}
    ]
    (slot,) = answers(at, "slot")
    assert slot["logged"] == 32
    assert "AP 1 (2M)" in shown(at, f"unmap {6 * MiB:#x} --lpid 1")


def test_as_an_earlier_kernel_half_of_the_entry_stays() -> None:
    at = session(kvm_host_target())
    (found,) = answers(at, f"unmap {LARGE:#x} --lpid 1 --as SEED")
    assert "looks-large" in str(found["path"])
    (found,) = answers(at, f"unmap {LARGE:#x} --lpid 1 --as 6.1")
    assert found["path"] == ["not-present"]


def test_age_clears_what_test_age_only_asks_for() -> None:
    at = session(kvm_host_target())
    assert [each["result"] for each in answers(at, "test-age 0 0 --lpid 1")] == [1, 1]
    assert [each["result"] for each in answers(at, "age 0 0 --lpid 1")] == [1, 0]
    assert [each["result"] for each in answers(at, "test-age 0 0x100000 --lpid 1")] == [0, 0]
    assert "-C" in shown(at, "maps --partition --lpid 1 --ea 0 --leaves")


def test_on_a_dd1_ageing_flushes() -> None:
    at = session(kvm_host_target())
    assert len(answers(at, "age 0 --lpid 1 --as SEED --dd1")[0]["tlbie"]) == 1  # type: ignore[arg-type]
    assert answers(at, "age 0x10000 --lpid 1 --as SEED")[0]["tlbie"] == []
    assert "as SEED on a DD1" in shown(at, "test-age 0 --lpid 1 --as SEED --dd1")


def test_age_without_an_address_is_the_listing_that_it_was() -> None:
    at = session(kvm_host_target())
    assert {each["counted"] for each in told(at, "age --counts --lpid 1 --partition")} == {"referenced"}
    assert at.at.whatif is None
    with pytest.raises(UsageError, match="not --counts"):
        do(at, "age 0 --lpid 1 --counts")
    with pytest.raises(UsageError, match="not --idle"):
        do(at, "age 0 --lpid 1 --idle")
    with pytest.raises(UsageError, match="name guest real addresses"):
        do(at, "age --as 6.1")


def test_addresses_may_come_from_standard_input() -> None:
    at = session(kvm_host_target(), "0\n0x10000\n")
    assert [each["gpa"] for each in answers(at, "unmap - --lpid 1")] == ["0x0", "0x10000"]


# -- whose -------------------------------------------------------------------------------------------------------------


def test_that_it_is_an_overlay_is_said_once() -> None:
    at = session(kvm_host_target())
    assert lines(do(at, "unmap 0 --lpid 1"))[0] == "note: on an overlay: nothing is written to the guest"
    assert len(do(at, "unmap 0 --lpid 1")) == 1


def test_the_guest_that_the_vcpu_runs_needs_no_name() -> None:
    at = session(kvm_host_target())
    with pytest.raises(UsageError, match="say which with --lpid N"):
        do(at, "unmap 0")
    assert at.at.whatif is None
    at.at.choose_cpu(1)
    assert answers(at, "unmap 0")[0]["lpid"] == LPID


@pytest.mark.parametrize("make", [linux_target, bare_target, kvm_host_target, firmware_target])
def test_a_guest_that_is_not_there_is_made_and_that_is_said(make: object) -> None:
    assert callable(make)
    target = make()
    assert isinstance(target, FakeTarget)
    at = session(target)
    said = do(at, "unmap 0 --lpid 6")
    assert "LPID 6 is made on the overlay, with an empty tree" in " ".join(" ".join(lines(said)).split())
    assert answers(at, "unmap 0 --lpid 6")[0]["path"] == ["nothing-there"]


def test_where_one_was_made_on_a_pseries_guest_it_is_meant() -> None:
    at = session(linux_target())
    do(at, "unmap 0 --lpid 6")
    assert answers(at, "unmap 0")[0]["lpid"] == 6


def test_one_that_was_made_before_a_snapshot_was_recorded_is_meant_as_well(tmp_path: Path) -> None:
    at = session(linux_target())
    do(at, "unmap 0 --lpid 6")
    do(at, f"record {tmp_path / 'made.core'}")
    with inspector.open_target(str(tmp_path / "made.core")) as opened:
        assert answers(Session(opened, stdin=io.StringIO()), "unmap 0")[0]["lpid"] == 6


@pytest.mark.parametrize("words", ["unmap 0 --lpid 0", "unmap 1<<52 --lpid 1", "unmap 0 --lpid 1 --as 5.0"])
def test_what_is_no_guest_no_address_and_no_kernel(words: str) -> None:
    with pytest.raises(UsageError):
        do(session(kvm_host_target()), words)


@pytest.mark.parametrize("words", ["unmap 0 --lpid 3", "fault 0 --gpa 0 --dsisr nopte --mmio --lpid 3"])
def test_no_tree_is_laid_over_a_hash_guest(words: str) -> None:
    at = session(kvm_host_target(hashed=True))
    with pytest.raises(UsageError, match="LPID 3 is a hash guest"):
        do(at, words)
    assert at.at.whatif is not None
    assert not list(at.at.whatif.overlay.changes())


def test_that_a_kernel_has_no_code_for_a_dd1_is_said_once() -> None:
    at = session(kvm_host_target())
    assert "6.1 has no code for a DD1" in " ".join(lines(do(at, "age 0 --lpid 1 --as 6.1 --dd1")))
    assert "no code for a DD1" not in " ".join(lines(do(at, "age 0 --lpid 1 --as 6.1 --dd1")))
    assert "4.19 has no code for a DD1" in " ".join(lines(do(at, "age 0 --lpid 1 --as 4.19 --dd1")))
    assert "DD1 any" not in " ".join(lines(do(at, "age 0 --lpid 1 --as 4.18 --dd1")))


@pytest.mark.parametrize("words", ["age 0 --lpid 1", "dsisr 0", "replay -", "free --lpid 1"])
def test_a_kernel_that_is_none_of_the_known_is_told_the_nearest(words: str) -> None:
    at = session(kvm_host_target())
    with pytest.raises(UsageError, match=r"'5\.10' is no .*; 6\.1 does the same, and there are: SEED, .* its words"):
        do(at, f"{words} --as 5.10")
    with pytest.raises(UsageError, match=r"4\.18 does most as it does, and there are"):
        do(at, f"{words} --as=4.17")
    assert at.at.whatif is None


def test_what_the_hosts_own_kernel_does_is_said_once_where_no_kernel_is_named() -> None:
    with inspector.open_target(str(FIXTURE)) as opened:
        at = Session(opened, stdin=io.StringIO())
        assert "kernel is" not in " ".join(lines(do(at, "age 0 --lpid 1 --as 4.16")))
        said = " ".join(" ".join(lines(do(at, "age 0 --lpid 1"))).split())
        assert "this host's kernel is 6.1.0-50-powerpc64le: --as 6.1 does as that kernel does" in said
        assert "kernel is" not in " ".join(lines(do(at, "age 0 --lpid 1")))


@pytest.mark.parametrize(
    ("text", "release"),
    [
        (b"OSRELEASE=4.18.0-80.el8\nPAGESIZE=65536\n", "4.18.0-80.el8"),
        (b"PAGESIZE=65536\nOSRELEASE=5.10.1\n", "5.10.1"),
        (b"\xff\xfe", None),
        (None, None),
    ],
)
def test_the_release_is_read_from_what_a_host_noted(text: bytes | None, release: str | None) -> None:
    target = kvm_host_target()
    target.vmcoreinfo = text
    assert release_of(guest(target).lay_over()) == release


def test_the_release_of_a_guest_is_not_that_of_its_host() -> None:
    target = linux_target()
    target.vmcoreinfo = b"OSRELEASE=6.1.0\n"
    assert release_of(guest(target).lay_over()) is None


# -- slots -------------------------------------------------------------------------------------------------------------


def test_a_slot_comes_changes_and_goes() -> None:
    at = session(kvm_host_target())
    assert "no memory slot is known" in shown(at, "slot")
    assert at.at.whatif is None
    assert answers(at, "slot 0:1M@0x7fff80000000 --lpid 1 --vmm 4")[0]["result"] == 0
    assert answers(at, "slot") == [
        {
            "lpid": LPID,
            "slot": "0x0",
            "size": MiB,
            "flags": [],
            "hva": "0x7fff80000000",
            "vmm": 4,
            "logged": None,
        }
    ]
    (found,) = answers(at, "slot 0:1M --lpid 1 --flags log --as 6.1")
    assert str(found["path"]).count("unmapped") == 16
    assert answers(at, "slot --lpid 1")[0]["logged"] == 0  # the log is there only when they are gone
    assert answers(at, "slot 0:2M --lpid 1")[0]["result"] == "EEXIST"
    assert not do(at, "slot 0:2M --lpid 1")[-1].ok
    assert answers(at, "slot 0:0 --lpid 1 --as 6.1")[0]["path"] == ["flushed", "slot-gone"]
    assert answers(at, "slot") == []
    assert not do(at, "slot 0:0 --lpid 1")[-1].ok


@pytest.mark.parametrize("words", ["slot 0", "slot :1G", "slot 0:1G@", "slot 0:1G --flags dirty", "slot --flags log"])
def test_slots_that_are_written_wrong(words: str) -> None:
    at = session(kvm_host_target())
    with pytest.raises(UsageError):
        do(at, f"{words} --lpid 1")
    assert at.at.whatif is None


def test_where_the_vmm_has_it_is_not_made_up() -> None:
    with pytest.raises(UsageError, match="say it yourself"):
        do(session(kvm_host_target()), "slot 0:1M --lpid 1 --vmm 4")


def test_where_the_vmm_has_it_is_inferred_from_what_both_map() -> None:
    with inspector.open_target(FIXTURE) as host:
        at = session(host)
        found = vmm_of(host, LPID)
        assert found is not None
        base, hva = found.slots[1].base, found.slots[1].hva
        do(at, f"slot {base:#x}:2M --lpid 1 --vmm {found.pid}")
        assert [(each["slot"], each["hva"], each["vmm"]) for each in answers(at, "slot")] == [
            (hex(base), hex(hva), found.pid)
        ]


# -- the dirty log -----------------------------------------------------------------------------------------------------

DIRTY = sum(1 << (shift - 16) for at, (_, shift) in GUEST_PAGES.items() if at < 8 * MiB) - 1
"""Pages of the first 8M that are dirty: all, but for the read-only one."""


def test_get_looks_and_clear_empties() -> None:
    at = session(kvm_host_target())
    got = answers(at, "dirty-log get 0:8M --lpid 1")[0]
    assert (got["pages"], got["tlbie"], got["overrun"]) == (DIRTY, [], 0)
    assert told(at, "overlay diff --words")[-1]["words"] == 0
    cleared = answers(at, "dirty-log clear 0:8M --lpid 1")[0]
    assert cleared["bitmap"] == got["bitmap"]
    assert isinstance(cleared["tlbie"], list)
    assert len(cleared["tlbie"]) == sum(at < 8 * MiB for at in GUEST_PAGES) - 1
    assert answers(at, "dirty-log get 0:8M --lpid 1")[0]["pages"] == 0


def test_the_bitmap_is_that_of_the_command_dirty(tmp_path: Path) -> None:
    at = session(kvm_host_target())
    one, other = tmp_path / "one.bin", tmp_path / "other.bin"
    do(at, f"dirty --slot 0:8M --lpid 1 --partition --bitmap {one}")
    do(at, f"dirty-log get 0:8M --lpid 1 --bitmap {other}")
    assert one.read_bytes() == other.read_bytes()
    assert other.read_bytes().hex() == answers(at, "dirty-log get 0:8M --lpid 1")[0]["bitmap"]
    with pytest.raises(RecordError):
        do(at, f"dirty-log get 0:8M --lpid 1 --bitmap {other}")
    assert str(other) in shown(at, f"dirty-log get 0:8M --lpid 1 --bitmap {other} --force").replace("\n", "")


def test_the_bitmap_goes_into_a_pipe() -> None:
    out = io.BytesIO()
    at = session(kvm_host_target())
    at.stdout = lambda: out
    do(at, "dirty-log get 0:8M --lpid 1 --bitmap -")
    assert len(out.getvalue()) == 16


def test_what_is_asked_of_a_slot_that_is_not_known_is_said() -> None:
    at = session(kvm_host_target())
    assert "taken for one whose dirty pages are logged" in " ".join(shown(at, "dirty-log get 0:1M --lpid 1").split())
    do(at, "slot 0:1M --lpid 1")
    assert answers(at, "dirty-log get 0:1M --lpid 1")[0]["result"] == "ENOENT"
    assert not do(at, "dirty-log get 0:1M --lpid 1")[-1].ok
    assert "'slot 0x0:0x100000 --flags log --lpid 1' has" in " ".join(lines(do(at, "dirty-log get 0:1M --lpid 1")))
    do(at, "slot 0x0:0x100000 --flags log --lpid 1")
    assert answers(at, "dirty-log get 0:1M --lpid 1")[0]["result"] == 0
    with pytest.raises(UsageError, match="ask for that one"):
        do(at, "dirty-log get 0:2M --lpid 1")
    with pytest.raises(UsageError, match="whole pages"):
        do(at, "dirty-log get 0x80001000:4K --lpid 1")


# -- the end, and how much is told -------------------------------------------------------------------------------------


def test_a_guest_that_is_freed_is_gone() -> None:
    at = session(kvm_host_target())
    (found,) = answers(at, "free --lpid 1")
    assert isinstance(found["freed"], list)
    assert found["freed"][-1]["level"] == 3
    assert found["tlbie"] == []
    with pytest.raises(UsageError, match="is empty"):
        do(at, "maps --partition --lpid 1")


def test_a_person_is_told_the_first_and_a_program_all() -> None:
    at = session(kvm_host_target())
    do(at, "slot 0:1G --lpid 1 --flags log --as 4.19")
    text = shown(at, "slot 0:0 --lpid 1 --as 6.1").splitlines()
    assert all(len(line) <= 80 for line in text)
    assert any("told here; JSON holds all" in line for line in text)
    do(at, "overlay reset")
    do(at, "slot 0:1G --lpid 1 --flags log --as 4.19")
    (found,) = answers(at, "slot 0:0 --lpid 1 --as 6.1")
    assert isinstance(found["path"], list)
    assert len(found["path"]) > MOST


def test_runs_of_set_bits() -> None:
    assert list(set_runs(bytes([0b1110_0001, 0b0000_0001, 0]))) == [(0, 1), (5, 9)]
    assert list(set_runs(b"")) == []
    assert list(set_runs(b"\xff")) == [(0, 8)]


def test_what_the_entry_holds_afterwards() -> None:
    at = session(kvm_host_target())
    do(at, "age 0 --lpid 1")
    do(at, f"dirty-log clear 0:{64 * KiB:#x} --lpid 1")
    (word,) = [each for each in told(at, "overlay diff --words") if "word" in each]
    assert int(str(word["before"]), 16) & ~int(str(word["after"]), 16) == PTE_R | PTE_C


def test_a_tree_that_was_made_is_seen_where_no_table_of_the_guests_own_is() -> None:
    at = session(firmware_target())
    assert at.at.roots.state != "radix"
    do(at, "slot 0:1G --lpid 1")
    do(at, "fault 0 --gpa 0x10000 --lpid 1 --dsisr nopte --host base=0x100000")
    with pytest.raises(UsageError, match="made by a what-if, and is in no partition table"):
        do(at, "xlate --lpid 1 --guest-real 0x10000")
    for words in ("maps --partition", "maps --lpid 1 --partition"):
        assert [each["ea"] for each in told(at, words) if "ea" in each] == ["0x10000"]
    assert [each["ea"] for each in told(at, "overlay diff") if "change" in each] == ["0x10000"]
    assert [each["lpid"] for each in told(at, "lpids") if "entry" in each] == [1]
    assert any(each.get("leaves") == 1 for each in told(at, "explain"))
    assert not [each for each in told(at, "audit --partition --lpid 1") if "process-table" in str(each.get("rule"))]
