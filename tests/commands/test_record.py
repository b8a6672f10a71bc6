"""``record``: what the command itself says of the snapshot that it has written."""

from __future__ import annotations

from pathlib import Path

import pytest

import inspector
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.targets.recorded import open_recorded
from tests.commands.asking import objects, session, told
from tests.commands.test_overlay import GONE, do, shown
from tests.fakes import MiB, kvm_host_target, linux_target


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


@pytest.mark.parametrize(("pool", "size"), [("", 256 * MiB), ("--pool 0x200000000:1M", MiB)])
def test_a_snapshot_tells_the_pool_apart_from_ram(pool: str, size: int, tmp_path: Path) -> None:
    at, ram = session(kvm_host_target()), kvm_host_target().ram.total
    do(at, f"overlay on {pool}")
    do(at, GONE)
    said = shown(at, f"record {tmp_path}/all.core --everything")
    assert f"{ram >> 20}M of {ram >> 20}M RAM in" in said
    assert f"besides, {size >> 20}M of {size >> 20}M of the overlay's pool" in said
    recorded = objects(do(at, f"record {tmp_path}/some.core"))[0]
    assert (recorded["ram"], recorded["pool"], recorded["pool_captured"]) == (ram + size, size, size)
    again = session(Guest(open_recorded(str(tmp_path / "all.core"))))
    assert f" of {ram >> 20}M RAM in" in shown(again, f"record {tmp_path}/again.core")


def test_a_snapshot_of_the_guest_itself_tells_of_no_pool(tmp_path: Path) -> None:
    at = session(kvm_host_target())
    assert "pool" not in shown(at, f"record {tmp_path}/a.core")
    assert "pool" not in objects(do(at, f"record {tmp_path}/b.core"))[0]
    do(at, "overlay on --pool 0x800000:1M")  # in RAM: it is of it
    assert "pool" not in shown(at, f"record {tmp_path}/c.core")
