"""A machine whose QEMU does not do as it should, played by a few lines of shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from inspector.errors import TargetLost
from scripts.guests import Machine
from scripts.kinds import Kind


@pytest.mark.parametrize("first", ["", "sleep 0.2; "], ids=["at once", "once it was connected to"])
def test_an_emulator_that_ends_says_why(tmp_path: Path, first: str) -> None:
    emulator = tmp_path / "qemu"
    emulator.write_text(f"#!/bin/sh\n{first}echo no such luck; exit 3\n")
    emulator.chmod(0o755)
    machine = Machine(Kind("odd", "ends", "pseries", "POWER9", linux=False, paused=True, emulator=str(emulator)))
    with pytest.raises(TargetLost, match=r"\(status 3\) and said 'no such luck'"):
        machine.start()
    assert not machine.alive
    assert not machine.directory.exists()
