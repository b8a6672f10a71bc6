"""Guests that hang, as they were recorded (scripts/recordhangs.py): ``triage`` names the cause of each, and
nothing else, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import inspector
import inspector.cli
from inspector.errors import MemoryReadError
from inspector.walkers import hardware
from tests.commands.asking import told

FOLDER = Path(__file__).parent.parent / "fixtures" / "hangs"
HANGS: dict[str, Any] = json.loads((FOLDER / "hangs.json").read_text())
MOST_BYTES = 20 << 10
PROJECTS_OWN = "bringup-"
"""How those begin that hold code, which is this project's own."""


def test_every_file_is_in_the_index() -> None:
    assert {path.name.removesuffix(".core.gz") for path in FOLDER.glob("*.core.gz")} == set(HANGS)
    assert len(HANGS) > 30


@pytest.mark.parametrize("name", HANGS)
def test_triage_names_the_cause(name: str) -> None:
    with inspector.open_target(FOLDER / f"{name}.core.gz") as guest:
        first, *more = told("triage", guest)
    assert (first["verdict"], first["confidence"]) == (HANGS[name]["verdict"], HANGS[name]["confidence"]), first
    assert {each["verdict"] for each in more} <= set(HANGS[name]["beside"]), more


def test_an_interrupt_that_recurs_is_not_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Each leaves the same registers, so that nothing tells how many there were; that there are some is the finding."""
    assert inspector.cli.main([str(FOLDER / "bringup-key-closed.core.gz"), "triage"]) == 1
    told_in_words = " ".join(capsys.readouterr().out.split())
    assert "SRR0 says that its last interrupt came from" in told_in_words
    assert "SRR0, SRR1, HSRR0 and HSRR1 stayed as they were" in told_in_words


@pytest.mark.parametrize("name", HANGS)
def test_there_is_no_code_of_others_in_it_and_it_is_small(name: str) -> None:
    path = FOLDER / f"{name}.core.gz"
    assert path.stat().st_size < MOST_BYTES
    with inspector.open_target(path) as guest:
        kinds = {each["kind"] for each in told("info", guest)[0]["contents"]}
        if name.startswith(PROJECTS_OWN):
            assert "code" in kinds
            return
        assert kinds <= {"tables", "registers", "virtio", "rings", "vmcoreinfo"}
        for cpu in guest.target.cpus:
            context, known = guest.context(cpu), guest.registers(cpu)
            for register in ("nip", "lr"):
                way = hardware(guest, context, known.need(register), "x", None)
                if way.ra is not None:
                    with pytest.raises(MemoryReadError):
                        guest.memory.read(way.ra & ~3, 4)
