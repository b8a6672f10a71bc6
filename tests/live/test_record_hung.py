"""A snapshot of a guest that hangs, held to that guest: what is asked of both is answered alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.cli import main
from scripts.guests import Machine
from scripts.hang import NIP, PID, Hung, hang
from scripts.scene import DEVICE_EA

pytestmark = pytest.mark.live

PLACE = ("verdict", "confidence", "cpu", "lpid", "pid", "nip", "ea", "ra", "walker", "errno", "device")


@pytest.fixture(scope="module")
def hung() -> Iterator[Hung]:
    with hang() as hung:
        yield hung


Asked = tuple[int, list[dict[str, Any]]]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> Asked:
    """The exit status, and what is told but for notes."""
    status = main([*words, "--json"])
    told = capsys.readouterr()
    assert not told.err
    return status, [each for each in map(json.loads, told.out.splitlines()) if "note" not in each]


def live(machine: Machine) -> list[str]:
    return [machine.target, "--ram", str(machine.ram_file)]


def placed(asked: Asked) -> list[dict[str, Any]]:
    return [{name: each[name] for name in PLACE} for each in asked[1]]


def test_what_one_stop_shows_the_file_shows(hung: Hung, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hung.stopped()
    file = str(tmp_path / "hung.core.gz")
    try:
        target = live(hung.machine)
        status, (recorded,) = said(capsys, *target, "record", file, "--triage")
        assert status == 0
        assert recorded["findings"][0]["verdict"] == "software-walk-fails"
        before, after = (said(capsys, *where, "triage") for where in (target, [file]))
        assert placed(after) == placed(before)
        assert (after[0], after[1][0]["lpid"]) == (1, hung.guest.lpid)
        guest = ("--lpid", str(hung.guest.lpid), "--pid", str(PID))
        for words in ((f"{NIP:#x}", *guest), (f"{DEVICE_EA:#x}", *guest), ("$nip",), ("$hdar",), ("$lr",)):
            assert said(capsys, file, "why", *words) == said(capsys, *target, "why", *words)
    finally:
        hung.machine.cont()


def test_over_time_it_is_as_sure(hung: Hung, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "hung.core.gz")
    status, (recorded,) = said(capsys, *live(hung.machine), "record", file, "--triage", "--seconds", "2", "--no-code")
    assert (status, recorded["changing"]) == (0, False)
    assert hung.machine.running
    assert recorded["findings"] == [{"verdict": "software-walk-fails", "confidence": "high"}]
    _, (found,) = said(capsys, file, "triage")
    assert (found["verdict"], found["confidence"], found["pid"]) == ("software-walk-fails", "high", PID)


@pytest.mark.guests("pseries-p9")
def test_devices_are_told_of_as_they_were(guest: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "guest.core")
    guest.pause()
    try:
        said(capsys, *live(guest), "record", file, "--triage")
        before, after = (said(capsys, *where, "virtio") for where in (live(guest), [file]))
    finally:
        guest.cont()
    for each in (*before[1], *after[1]):
        each.pop("source", None)
        for queue in each.get("queues", ()):
            queue.pop("waited_s", None)
    assert after == before
    assert any(queue["rings"] for each in after[1] for queue in each["queues"])
