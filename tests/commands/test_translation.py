"""xlate and compare: what they add to a walk's answer, the word on whether the other walks agree."""

from __future__ import annotations

import pytest

from tests.commands.asking import ask, shown, told
from tests.fakes import KERNEL, NIP, PID, USER_DATA_EA, firmware_target, guest

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


def test_walkers_that_all_find_nothing_agree() -> None:
    (answer,) = told(f"compare {UNMAPPED:#x}")
    assert {each["status"] for each in answer["walkers"]} == {"fault"}
    assert answer["verdict"] == "all walkers agree"


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
