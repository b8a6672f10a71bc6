"""xlate and compare: what they add to a walk's answer, the word on whether the other walks agree."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from tests.commands.asking import ask, shown, told
from tests.fakes import (
    GUEST_DATA_EA,
    GUEST_LOST_EA,
    GUEST_PID,
    GUEST_READ_ONLY,
    KERNEL,
    LPID,
    NIP,
    PARTITION_TABLE_AT,
    PID,
    USER_DATA_EA,
    USER_TEXT_EA,
    FakeControl,
    MiB,
    firmware_target,
    guest,
    kvm_host_target,
    linux_target,
)

DATA = KERNEL + (40 << 20)
"""The kernel's data: read and write, no execute."""
UNMAPPED = KERNEL + (1 << 40)


def verdict(words: str) -> str:
    (answer,) = told(words)
    return str(answer["verdict"])


def test_an_access_that_the_hardware_refuses_is_no_disagreement_of_the_walkers() -> None:
    plain = verdict(f"compare {DATA:#x}")
    assert plain == "4 of 6 software walks differ"
    (refused,) = told(f"compare {DATA:#x} --access x")
    assert refused["walkers"][0]["status"] == "fault"
    assert refused["verdict"] == plain
    (answer,) = told(f"xlate {DATA:#x} --access x")
    assert answer["status"] == "fault"
    assert answer["disagreement"] is None


def test_that_no_walker_finds_anything_is_said_once_a_reason() -> None:
    (answer,) = told(f"compare {UNMAPPED:#x}")
    assert {each["status"] for each in answer["walkers"]} == {"fault"}
    assert answer["verdict"] == "no walker finds a page"
    target = firmware_target()
    target.set(0, msr=0x8000_0000_0000_0033)  # translation on, and LPCR[HR] clear: the hash MMU
    text = " ".join(shown("compare 0x100", target).split())
    assert "no walker finds a page" in text
    assert text.count("LPCR[HR] is 0") == 1
    assert "every walker: " in text


def test_the_bits_of_an_interrupt_are_written_in_full() -> None:
    assert "raises DSI with DSISR 0x0a000000" in shown(f"xlate {NIP:#x} --access w")


def test_a_pid_that_is_needed_and_not_known_is_asked_for_with_every_way_to_give_it() -> None:
    target = linux_target()
    target.set(0, pid=None)
    with pytest.raises(UsageError, match=r"--set pid=VALUE, or name a process with --pid N"):
        ask(f"xlate {USER_DATA_EA:#x}", target)
    FakeControl(target).resume()
    with pytest.raises(UsageError, match=r"the guest is running, so pid of vCPU 0 is not known; name a process with"):
        ask(f"xlate {USER_DATA_EA:#x}", target)
    assert ask(f"xlate {USER_DATA_EA:#x} --pid {PID}", target)[0].ok


def test_rights_that_the_leaf_grants_and_the_vcpu_has_not_are_accounted_for() -> None:
    target = linux_target()
    target.set(0, msr=0x8000_0000_0000_0033, amr=3 << 62, iamr=1 << 62)
    text = " ".join(shown(f"xlate {USER_DATA_EA:#x}", target).split())
    assert (
        "the leaf grants rw-; to the kernel, which this vCPU runs now, key 0 of AMR (Linux's KUAP) leaves ---" in text
    )
    text = " ".join(shown(f"xlate {USER_TEXT_EA:#x}", target).split())
    assert "key 0 of AMR (Linux's KUAP) and IAMR (Linux's KUEP) leaves ---" in text
    target.set(0, msr=0x8000_0000_0000_4033)
    assert "the leaf grants" not in shown(f"xlate {USER_DATA_EA:#x}", target)
    assert "to privileged code only" in shown(f"xlate {NIP:#x}", target)


@pytest.mark.parametrize("ea", [-1, 1 << 64])
def test_what_is_no_address_is_refused(ea: int) -> None:
    with guest() as opened, pytest.raises(UsageError, match="no effective address"):
        opened.translate(ea)


@pytest.mark.parametrize("option", ["--pid", "--lpid"])
def test_a_number_that_no_register_could_hold_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option} takes a number of at most 32 bits"):
        ask(f"xlate 0 {option} -1")


def test_a_walk_that_ends_elsewhere_is_told_in_one_line_whichever_was_asked() -> None:
    words = "kvm@pre-70cd4c10b2:rpdb-mask"
    assert told(f"xlate {NIP:#x}")[0]["disagreement"] is None
    (software,) = told(f"xlate {NIP:#x} --walker {words}")
    assert software["disagreement"].startswith(f"hardware and {words} disagree: it ends in EINVAL (")


def test_a_process_and_its_pid_are_asked_about_without_its_running() -> None:
    (answer,) = told(f"xlate {USER_DATA_EA:#x} --pid {PID}")
    assert (answer["status"], answer["pid"], answer["may_write"]) == ("ok", PID, True)


def test_where_nothing_is_translated_no_walker_is_held_against_another() -> None:
    (answer,) = told("compare 0x100", firmware_target())
    assert answer["verdict"].startswith("translation is off")
    assert told("xlate 0x100", firmware_target())[0]["disagreement"] is None


@pytest.mark.parametrize("command", ["xlate", "compare"])
def test_a_fault_is_not_ok_and_an_answer_is(command: str) -> None:
    with guest() as opened:
        assert [each.ok for each in ask(f"{command} {NIP:#x} {UNMAPPED:#x}", opened)] == [True, False]
        assert f"{UNMAPPED:#x}" in shown(f"{command} {UNMAPPED:#x}", opened)


def test_a_hole_behind_a_guests_page_is_no_disagreement() -> None:
    """KVM's walk is of the guest's own tables: it ends where the host's stage begins."""
    words = f"xlate --lpid {LPID} --pid {GUEST_PID} {GUEST_LOST_EA:#x}"
    (found,) = told(words, kvm_host_target())
    assert (found["status"], found["stage"], found["disagreement"]) == ("fault", 2, None)
    assert found["gra"] is not None
    _, *then = shown(words, kvm_host_target()).splitlines()
    assert " ".join(line.strip() for line in then).startswith(
        "the guest's own tables lead to guest real 0x400000, and the host's do not lead on"
    )


@pytest.mark.parametrize(
    ("words", "whose"),
    [
        (f"{UNMAPPED:#x}", "it ends in the guest's own tables; the host led on to them"),
        ("--pid 77 0", "it ends in the guest's own tables; the host led on to them"),
        (
            "--guest-real 0x400000",
            "in real mode no table of the guest's is asked, and the host's do not lead on at guest real 0x400000",
        ),
        (
            f"--guest-real --access w {GUEST_READ_ONLY:#x}",
            "in real mode no table of the guest's is asked, and the host's do not allow a store at guest real 0x170000",
        ),
        (
            f"--pid {GUEST_PID} --access w {GUEST_DATA_EA:#x}",
            "the guest's own tables lead to guest real 0x170000, and the host's do not allow a store",
        ),
    ],
)
def test_whose_tables_a_guests_walk_ended_in_is_said_before_the_trace(words: str, whose: str) -> None:
    _, *then = shown(f"xlate --lpid {LPID} {words}", kvm_host_target()).splitlines()
    assert " ".join(line.strip() for line in then).startswith(f"{whose} partition [{LPID}]")


def test_that_a_partition_or_a_guests_table_is_not_reached_is_the_hosts_doing() -> None:
    assert "it ends in the host's partition table, before any table of the guest's" in " ".join(
        shown("xlate --lpid 9 0", kvm_host_target()).split()
    )
    target = kvm_host_target()
    target.source.put_word(PARTITION_TABLE_AT + 16 * LPID + 8, 1 << 63 | 4 * MiB | 4)
    assert "it ends in the host's tables: they do not lead on to the guest's own process-table entry" in " ".join(
        shown(f"xlate --lpid {LPID} 0", target).split()
    )


def test_of_the_host_itself_and_of_pseries_no_stage_is_told_apart() -> None:
    for target in (linux_target(), kvm_host_target()):
        assert "guest's own" not in shown(f"xlate {UNMAPPED:#x}", target)


def test_rights_that_the_hosts_leaf_or_user_state_withholds_are_accounted_for() -> None:
    """vCPU 1 runs the guest in user state; the page of GUEST_DATA_EA is one that the host lets it only read."""
    with guest(kvm_host_target()) as host:
        host.choose_cpu(1)
        led = " ".join(shown(f"xlate {GUEST_DATA_EA:#x}", host).split())
        assert f"r-- LPID {LPID} PID {GUEST_PID} gra {GUEST_READ_ONLY:#x}" in led
        assert led.endswith("the guest's leaf grants rw-, and the host's r-x")
        privileged = " ".join(shown(f"xlate {KERNEL:#x}", host).split())
        assert "--- LPID" in privileged
        assert "to privileged code only, and this vCPU is in user state (MSR[PR])" in privileged


def test_where_kvms_walk_of_a_guest_ends_is_guest_real() -> None:
    words = f"--lpid {LPID} --pid {GUEST_PID} {GUEST_LOST_EA:#x}"
    assert f"{GUEST_LOST_EA:#x} -> guest real 0x400000  2M" in shown(f"xlate --walker kvm {words}", kvm_host_target())
    assert "guest real 0x400000 2M" in shown(f"compare {words}", kvm_host_target())
    assert "guest real" not in shown(f"xlate --walker kvm {DATA:#x}")


def test_a_page_that_the_host_has_nothing_behind_is_one_that_kvms_walk_finds() -> None:
    words = f"--lpid {LPID} --pid {GUEST_PID} {GUEST_LOST_EA:#x}"
    (answer,) = told(f"compare {words}", kvm_host_target())
    assert answer["verdict"] == "the guest's tables lead to guest real 0x400000; the host has nothing there"
    assert told(f"compare --access w {words}", kvm_host_target())[0]["verdict"] == answer["verdict"]


def test_in_real_mode_no_software_walk_is_asked() -> None:
    (off,) = ask("compare 0x100", firmware_target())
    assert ([each.walker for each in off.answers], off.ok) == (["hardware"], True)  # type: ignore[attr-defined]
    (answer,) = told(f"compare --lpid {LPID} --guest-real 0x1000", kvm_host_target())
    assert [each["walker"] for each in answer["walkers"]] == ["hardware"]
    assert answer["verdict"] == "translation is off: the address is real, and only the host's tree is walked"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("xlate --guest-real --pid 5 0", "leave --pid out, or --guest-real"),
        ("compare --guest-real --pid 5 0", "leave --pid out, or --guest-real"),
        ("xlate --guest-real --walker kvm 0", "leave --walker out, or --guest-real"),
    ],
)
def test_words_that_a_real_address_makes_no_use_of_are_refused(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ask(f"{words} --lpid {LPID}", kvm_host_target())


def test_a_guest_real_address_is_not_held_against_the_hosts_ram() -> None:
    words = f"--lpid {LPID} --pid {GUEST_PID} {GUEST_DATA_EA:#x}"
    assert told(f"xlate {words}", kvm_host_target())[0]["ra_is_ram"] is True
    assert told(f"xlate --walker kvm {words}", kvm_host_target())[0]["ra_is_ram"] is None
    assert told(f"xlate --walker kvm {DATA:#x}")[0]["ra_is_ram"] is True


def test_of_an_empty_partition_table_entry_no_process_table_is_told() -> None:
    assert "it is empty; try 'lpids'" in " ".join(shown("xlate --lpid 9 0", kvm_host_target()).split())
    assert "process table at" not in shown("xlate --lpid 9 0", kvm_host_target())
    assert "process table at" in shown(f"xlate --lpid {LPID} 0", kvm_host_target())
