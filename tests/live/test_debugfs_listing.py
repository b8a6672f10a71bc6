"""``maps --partition --format debugfs`` as a user has it: its output and KVM's own file, given to plain ``diff``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.scene import Scene

pytestmark = pytest.mark.live
LIMIT = 120


def test_diff_finds_nothing_between_the_listing_and_kvm_s(scene: Scene, tmp_path: Path) -> None:
    machine = scene.machine
    for guest in scene.guests:
        theirs, ours = tmp_path / f"{guest.lpid}.kvm", tmp_path / f"{guest.lpid}.ours"
        assert guest.monitor.debugfs is not None
        theirs.write_text(machine.shell(f"cat {guest.monitor.debugfs}/radix").strip("\r\n").replace("\r", "") + "\n")
        words = ["--ram", str(machine.ram_file), "maps", "--lpid", str(guest.lpid), "--partition"]
        with ours.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "inspector", machine.target, *words, "--format", "debugfs"],
                stdout=output,
                stderr=subprocess.PIPE,
                check=False,
                timeout=LIMIT,
            )
        assert (done.returncode, done.stderr) == (0, b"")
        assert theirs.read_text().startswith("pgdir: c000")
        compared = subprocess.run(
            ["diff", str(theirs), str(ours)], capture_output=True, text=True, check=False, timeout=LIMIT
        )
        assert (compared.returncode, compared.stdout) == (0, "")
