"""What a recorded KVM guest's second-level tree went through is replayed offline, and ends as KVM's own did: the checks
of tests/live/test_life_cycle.py without a machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

import inspector
from scripts.recordlife import KIND
from scripts.recordscene import read
from tests.commands.asking import ask, objects
from tests.playing import EFAULT, covered, differences, empty, played, tree
from tests.test_fixtures import FIXTURES, KVM_HOST

LINES = FIXTURES / f"{KIND}.jsonl"
TOLD: list[dict[str, Any]] = [json.loads(line) for line in LINES.read_text().splitlines()]
ORACLE: dict[str, Any] = read(FIXTURES / f"{KIND}.oracle.gz")
LPID: int = TOLD[0]["lpid"]
ON = ("demo", str(FIXTURES / f"{KVM_HOST}.core.gz"))
"""Guests that know nothing of what was recorded: without a partition table in sight, and with one."""


def test_the_kernel_is_said_to_have_done_something_of_everything() -> None:
    covered(list(zip(TOLD, ORACLE["kernel"], strict=True)))


@pytest.mark.parametrize("on", ON, ids=["demo", "host"])
def test_every_operation_comes_out_as_in_the_kernel_and_so_does_the_tree(on: str) -> None:
    with inspector.open_target(on) as guest:
        whatif = empty(guest, LPID)
        wrong = []
        for line, kernel in zip(TOLD, ORACLE["kernel"], strict=True):
            wrong += [f"{line}: {one}" for one in differences(played(whatif, line), kernel)]
        assert wrong == []
        assert tree(guest, LPID) == ORACLE["radix"]


def test_another_kernel_s_ways_end_in_another_tree() -> None:
    with inspector.open_target("demo") as guest:
        whatif = empty(guest, LPID)
        whatif.machine.behave_as("SEED")
        wrong = []
        for line, kernel in zip(TOLD, ORACLE["kernel"], strict=True):
            wrong += differences(played(whatif, line), kernel)
        assert len(wrong) > 10
        assert tree(guest, LPID) != ORACLE["radix"]


def test_replay_answers_what_the_kernel_did() -> None:
    with inspector.open_target(ON[1]) as guest:
        answers = [each for each in objects(ask(f"replay {LINES} --empty --as 6.1", guest)) if "op" in each]
        assert len(answers) == len(TOLD)
        for line, answer, kernel in zip(TOLD, answers, ORACLE["kernel"], strict=True):
            assert answer["op"] == line["op"]
            assert answer["tlbie"] == kernel["tlbie"], line
            assert answer.get("bitmap") == kernel.get("bitmap"), line
            assert (answer["result"] == "EFAULT") == (kernel["result"] == EFAULT), line
            if answer["installed"] is not None:
                made = kernel["create"]
                shift = answer["installed"]["shift"]
                assert answer["installed"]["raw"] == made["pte"]
                assert int(answer["installed"]["gpa"], 16) == int(made["gpa"], 16) >> shift << shift
                assert shift == (16, 21)[made["level"]]
        assert tree(guest, LPID) == ORACLE["radix"]


def test_the_note_says_how_it_was_made() -> None:
    note = (FIXTURES / f"{KIND}.txt").read_text()
    assert f"scripts/record-fixtures {KIND}" in note
    assert f"{len(TOLD)} operations" in note
    assert sum(path.stat().st_size for path in FIXTURES.glob(f"{KIND}.*")) < 100 << 10
