"""``record``: what the command itself says of the snapshot that it has written."""

from __future__ import annotations

from pathlib import Path

import pytest

import inspector
from inspector.errors import UsageError
from tests.commands.asking import told
from tests.fakes import linux_target


def test_what_was_written_and_what_is_not_in_it(tmp_path: Path) -> None:
    recorded, note = told(f"record {tmp_path}/a.core.gz")
    assert (recorded["cpus"], recorded["ram"], recorded["changing"]) == (2, linux_target().ram.total, False)
    assert "no VMCOREINFO" in note["note"]
    with inspector.open_target(tmp_path / "a.core.gz") as guest:
        assert guest.memory.ram.total == recorded["ram"]


def test_a_part_that_is_no_ram_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of this is RAM"):
        told(f"record {tmp_path}/a.core --also 0x7fffffff0000:64K")
    assert not list(tmp_path.iterdir())


def test_a_part_that_goes_on_past_ram_is_told(tmp_path: Path) -> None:
    end = linux_target().ram.spans()[-1][1]
    _, note, _ = told(f"record {tmp_path}/a.core --also {end - 4096:#x}:8K")
    assert "only 0x1000 bytes are RAM" in note["note"]
