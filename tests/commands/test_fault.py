"""``fault``, as a user meets it: what KVM decides, where the slot and the host's page are from, and what comes next."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from inspector import open_target
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.radix.bits import DSISR_ISSTORE, DSISR_PROTFAULT, PTE_C, PTE_WRITE
from tests.commands.asking import ask, newest, objects, session, shown
from tests.fakes import (
    GUEST_DATA_EA,
    GUEST_LOST_EA,
    GUEST_PID,
    GUEST_READ_ONLY,
    GUEST_TEXT_EA,
    GiB,
    MiB,
    guest,
    kvm_host_target,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
HOST = FIXTURES / "powernv9-kvm.core.gz"
ORACLE: dict[str, Any] = json.loads(gzip.decompress((FIXTURES / "powernv9-kvm.oracle.gz").read_bytes()))
FLAGS = {"0x68000000": ",readonly", "0x70000000": ",log"}
"""Of the recorded monitor's slots (scripts/scene.py)."""
LOST = f"{GUEST_LOST_EA:#x} --lpid 1 --pid {GUEST_PID}"
BASE = "--host base=0x4000000"


def told(words: str, at: Guest | None = None) -> dict[str, Any]:
    """The one answer among asides."""
    answers = [each for each in objects(ask(newest(words), at or guest(kvm_host_target()))) if "note" not in each]
    assert len(answers) == 1
    return answers[0]


@pytest.fixture
def host() -> Guest:
    at: Guest = open_target(str(HOST))
    return at


# -- where the guest real address is from ------------------------------------------------------------------------------


def test_the_guest_real_address_is_what_the_guests_own_tables_say() -> None:
    answer = told(f"fault {LOST} --dsisr nopte {BASE}")
    assert answer["gpa"] == hex(4 * MiB)
    assert answer["gpa_from"] == f"the guest's own tables of PID {GUEST_PID}"


def test_the_vcpu_that_runs_the_guest_says_which_process_it_is() -> None:
    at = guest(kvm_host_target(), cpu=1)
    assert told(f"fault {GUEST_LOST_EA:#x} --dsisr nopte {BASE}", at)["gpa"] == hex(4 * MiB)


def test_where_the_tables_do_not_tell_asdr_of_the_vcpu_with_that_hdar_does(host: Guest) -> None:
    answer = told("fault 0x29008030 --lpid 2 --dsisr nopte --mmio --pid 77", host)
    assert answer["gpa"] == "0x90008030"
    assert answer["gpa_from"].startswith("ASDR of vCPU 1")


def test_a_guest_without_tables_calls_real_what_it_uses(host: Guest) -> None:
    assert told("fault 0x800010 --lpid 3 --dsisr nopte --mmio", host)["gpa"] == "0x800010"


def test_the_address_of_a_table_is_not_made_of_the_ea() -> None:
    with pytest.raises(UsageError, match="--gpa"):
        ask(f"fault {LOST} --dsisr 'prtable|nopte' {BASE}", guest(kvm_host_target()))
    answer = told(f"fault {LOST} --dsisr 'prtable|nopte' --gpa 0x401008 {BASE}")
    assert answer["path"][0] == "guest-real-of-table"
    assert answer["gpa"] == "0x401000"


def test_an_ea_that_no_table_knows_is_asked_about() -> None:
    with pytest.raises(UsageError, match="--gpa"):
        ask(f"fault 0x7777000 --lpid 1 --pid {GUEST_PID} --dsisr nopte {BASE}", guest(kvm_host_target()))


def test_the_head_names_the_effective_address_and_the_guest_real_one() -> None:
    head = shown(newest(f"fault 0x1234 --gpa 0x10000 --lpid 1 --dsisr nopte {BASE}"), guest(kvm_host_target()))
    assert "fault 0x1234 (guest real 0x10234) of LPID 1, as 6.1: RESUME_GUEST" in head
    head = shown(newest("fault 0x1234 --lpid 1 --dsisr badconfig"), guest(kvm_host_target()))
    assert "fault 0x1234 of LPID 1, as 6.1: EFAULT" in head


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--slot 0:1G --host ''", "--host says nothing; write none, or base=ADDR"),
        ("--slot 0:1G --host base=0x10000,base=0x20000", "two of base=; leave one out"),
        ("--slot 0:1G --host base=0x200000,size=2M,compound=64K", "compound= is .* not less than its size="),
        ("--slot 1:64K --host base=0x10000", "EINVAL; give whole pages"),
        ("--slot 0:1G@0x7fff00000001 --host base=0x10000", "EINVAL; give whole pages"),
        ("--slot 0:1G --slot 0x10000:64K --host base=0x10000", "EEXIST; give another"),
    ],
)
def test_words_that_cannot_be_meant_are_refused_with_a_way_out(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ask(f"fault 0 --gpa 0 --lpid 1 --dsisr nopte {words}", guest(kvm_host_target()))


# -- how it ends -------------------------------------------------------------------------------------------------------


def test_a_page_that_was_lost_is_mapped_and_the_guest_goes_on() -> None:
    at = guest(kvm_host_target())
    assert not at.translate(GUEST_LOST_EA, pid=GUEST_PID, lpid=1).ok
    answer = told(f"fault {LOST} --dsisr 'nopte|store' --slot 0:1G {BASE},size=2M", at)
    assert answer["result"] == "RESUME_GUEST"
    assert (answer["installed"]["gpa"], answer["installed"]["shift"]) == (hex(4 * MiB), 21)
    assert answer["next"] == "the guest runs the instruction again, and the leaf allows it"
    assert at.translate(GUEST_LOST_EA, pid=GUEST_PID, lpid=1).ra == 0x4000000


def test_the_bits_alone_may_decide_without_any_address() -> None:
    (answer,) = (each for each in ask("fault 0 --lpid 1 --dsisr badconfig", guest(kvm_host_target())) if not each.ok)
    assert not answer.ok
    assert told("fault 0 --lpid 1 --dsisr badconfig")["result"] == "EFAULT"
    assert told("fault 0x40 --lpid 1 --dsisr 'badaccess|store'")["guest_dsisr"] == "0x6000000"


def test_a_store_to_a_read_only_slot_is_the_guests_own_affair() -> None:
    words = f"fault {LOST} --dsisr 'nopte|store' --slot 0:1G,readonly {BASE}"
    answer = told(words)
    assert answer["result"] == "DSI"
    assert int(answer["guest_dsisr"], 0) == DSISR_ISSTORE | DSISR_PROTFAULT
    assert "DAR 0x40000000 and DSISR 0xa000000" in answer["next"]
    assert told(f"{words} --as SEED")["result"] == "RESUME_GUEST"


def test_a_large_leaf_without_write_is_met_for_ever_by_the_first_kernels() -> None:
    """The read-only 2M leaf that the seed never replaces."""
    first = f"fault {LOST} --dsisr nopte --slot 0:1G {BASE},size=2M,clean,hva=0x400000 --as SEED"
    again = first.replace("--dsisr nopte", "--dsisr 'prot|store'").replace("clean,", "")
    at = guest(kvm_host_target())
    assert "the leaf allows it" in told(first, at)["next"]
    answer = told(again, at)
    assert answer["installed"] is None
    assert answer["next"].startswith("the same fault comes again, for ever")
    assert answer["next"].endswith("the leaf does not allow stores")
    assert "the leaf allows it" in told(again.replace("SEED", "6.1"), at)["next"]


def test_a_fault_during_which_the_host_takes_pages_comes_again() -> None:
    answer = told(f"fault {LOST} --dsisr nopte --slot 0:1G {BASE} --invalidated")
    assert answer["next"] == "the same fault comes again: no leaf is there"


def test_c_alone_is_set_without_asking_the_host() -> None:
    """No --host, no VMM that could be looked at: KVM does not ask for it either."""
    at = guest(kvm_host_target())
    answer = told(f"fault {GUEST_TEXT_EA:#x} --lpid 1 --pid {GUEST_PID} --dsisr 'rc|store' --slot 0:1G", at)
    assert answer["path"][-1] == "set-rc-done"
    assert answer["host"] is None


def test_a_read_only_leaf_whose_c_is_missing_is_looked_up() -> None:
    with pytest.raises(UsageError, match="--host"):
        ask(
            f"fault {GUEST_DATA_EA:#x} --lpid 1 --pid {GUEST_PID} --dsisr 'rc|store' --slot 0:1G",
            guest(kvm_host_target()),
        )


def test_a_host_without_a_page_ends_the_run() -> None:
    assert told(f"fault {LOST} --dsisr nopte --slot 0:1G --host none")["result"] == "EFAULT"


# -- slots and the host's page -----------------------------------------------------------------------------------------


def test_nothing_known_is_an_error_with_a_way_out() -> None:
    with pytest.raises(UsageError, match=r"--slot .* --host .*--mmio"):
        ask(f"fault {LOST} --dsisr nopte", guest(kvm_host_target()))


def test_a_slot_is_assumed_around_what_host_says_and_that_is_said() -> None:
    at = guest(kvm_host_target())
    results = ask(f"fault {LOST} --dsisr nopte {BASE},size=2M", at)
    assert any("a memory slot is assumed at 0x400000 (+0x200000)" in str(each) for each in results)
    assert at.whatif is not None
    assert at.whatif.vm(1).slots.each == []  # for this fault only


def test_a_slot_that_was_named_stays() -> None:
    at = guest(kvm_host_target())
    told(f"fault {LOST} --dsisr nopte --slot 0:1G {BASE}", at)
    assert told(f"fault {LOST} --dsisr nopte --slot 0:1G {BASE}", at)["path"][-1] == "same-leaf"
    with pytest.raises(UsageError, match="in the way"):
        ask(f"fault {LOST} --dsisr nopte --slot 0x200000:64M {BASE}", at)


@pytest.mark.parametrize(
    "words",
    [
        "--mmio --host none",
        "--host writable",
        "--host base=0x4000000,size=3M",
        "--host base=0x4010000,size=2M",
        "--host base=0x4000000,dirty,clean",
        "--host base=0x4000000,what",
        "--slot 0:1G,what",
        "--slot 5",
        "--mmio --walker nosuch",
        "--slot 0:100 --host base=0",
    ],
)
def test_words_that_say_nothing_are_refused(words: str) -> None:
    with pytest.raises(UsageError):
        ask(f"fault {LOST} --dsisr nopte {words}", guest(kvm_host_target()))


@pytest.mark.parametrize("of", ORACLE["guests"], ids=lambda of: f"LPID {of['lpid']}")
def test_each_leaf_that_kvm_made_is_made_again(host: Guest, of: dict[str, Any]) -> None:
    """All are taken away, and a fault for each puts back the very entry that KVM itself listed when it was recorded:
    what the host has is looked up in the monitor that is inferred, and the slots are those that it made."""
    slots = " ".join(f"--slot {base}:{size}{FLAGS.get(base, '')}" for base, size, _ in of["slots"])
    listed = [line.split() for line in of["radix"]]
    for gra, *_ in listed:
        list(ask(newest(f"unmap 0x{gra.rstrip(':')} --lpid {of['lpid']}"), host))
    assert not len(host.partition(of["lpid"]).spaces.columns)
    for gra, leaf, shift in listed:
        access = "nopte|store" if int(leaf, 16) & PTE_WRITE and int(leaf, 16) & PTE_C else "nopte"
        answer = told(f"fault 0 --dsisr '{access}' --lpid {of['lpid']} --gpa 0x{gra.rstrip(':')} {slots}", host)
        assert answer["host_from"].startswith("the page tables of PID")
        assert (int(answer["installed"]["raw"], 0), answer["installed"]["shift"]) == (int(leaf, 16), int(shift))


def test_a_store_to_a_page_that_the_host_would_copy_first_is_asked_about(host: Guest) -> None:
    with pytest.raises(UsageError, match="allows no stores"):
        ask("fault 0 --gpa 0 --dsisr 'nopte|store' --lpid 1 --slot 0:64K@0x7fffa06c0000 --vmm 8", host)


def test_a_page_that_the_monitor_has_and_the_guest_has_not_is_mapped_from_it(host: Guest) -> None:
    """Unmap what is there, and the fault puts it back, of the same size and with the same real address."""
    of = ORACLE["guests"][1]
    before = host.partition(2).spaces.columns
    list(ask(newest("unmap 0x80000000 --lpid 2"), host))
    answer = told("fault 0 --dsisr 'nopte|store' --lpid 2 --gpa 0x80000000 --slot 0x80000000:4M", host)
    assert of["lpid"] == 2
    assert answer["installed"]["shift"] == 21
    after = host.partition(2).spaces.columns
    assert (before.ra == after.ra).all()
    assert (before.ea == after.ea).all()


def test_a_page_that_no_table_tells_of_is_asked_about(host: Guest) -> None:
    with pytest.raises(UsageError, match="maps nothing at 0x7fff9cc00000 yet"):
        ask("fault 0x44200000 --pid 5 --dsisr nopte --lpid 1 --slot 0x50000000:16M", host)


def test_another_process_may_be_named(host: Guest) -> None:
    answer = told("fault 0 --gpa 0 --dsisr nopte --lpid 1 --slot 0:32M@0x7fffb6200000 --vmm 14", host)
    assert answer["host"]["base"] == "0x6350000"


# -- the instruction of an emulated access -----------------------------------------------------------------------------


def test_a_device_whose_instruction_is_found_is_emulated(host: Guest) -> None:
    answer = told("fault 0x50000123 --dsisr nopte --mmio", host)
    assert answer["result"] == "MMIO"
    assert answer["instruction"]["found"]
    assert answer["instruction"]["gpa"] == "0x2300"


def test_the_founding_bug_is_seen(host: Guest) -> None:
    words = "fault 0x50000123 --dsisr nopte --mmio --walker kvm@pre-70cd4c10b2"
    answer = told(words, host)
    assert answer["instruction"]["found"] is False
    assert answer["instruction"]["errno"] == "EFAULT"
    assert answer["next"].startswith("the guest would retry for ever")
    assert not all(each.ok for each in ask(words, host))


def test_an_instruction_that_must_not_be_fetched_is_not_found() -> None:
    words = f"fault {LOST} --dsisr nopte --mmio --nip"
    answer = told(f"{words} {GUEST_DATA_EA:#x}")
    assert answer["instruction"]["errno"] == "ENOEXEC"
    assert told(f"{words} {GUEST_TEXT_EA:#x}")["instruction"]["found"]
    assert told(f"{words} 0x66660000")["instruction"]["errno"] == "ENOENT"


def test_what_kvm_put_into_hdsisr_itself_is_said_to_be_no_cause() -> None:
    results = ask(f"fault {LOST} --dsisr 0x7fff --slot 0:1G {BASE}", guest(kvm_host_target()))
    assert any("before it enters a guest" in str(each) for each in results)


def test_without_a_nip_nothing_is_claimed() -> None:
    target = kvm_host_target()
    del target.files[1]
    answer = told(f"fault {LOST} --dsisr nopte --mmio", guest(target))
    assert answer["instruction"]["found"] is None
    assert "--nip" in answer["instruction"]["reason"]


def test_what_a_person_sees_fits_the_terminal() -> None:
    said = shown(f"fault {LOST} --dsisr nopte --mmio", guest(kvm_host_target()))
    assert max(map(len, said.splitlines())) <= 80
    assert "next: " in said


def test_guest_real_addresses_of_the_fakes_are_as_these_tests_take_them() -> None:
    assert GUEST_READ_ONLY < 2 * MiB < GiB
    assert session(kvm_host_target()).at.partition(1).registered
