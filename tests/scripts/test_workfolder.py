"""Folders of machines: ours while we live, removed by whoever comes after."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.workfolder import PREFIX, WorkFolder, sweep

ROOT = Path(__file__).resolve().parents[2]


def test_it_is_there_until_it_is_removed(short_path: Path) -> None:
    folder = WorkFolder(short_path)
    (folder.path / "ram").write_text("much")
    sweep(short_path)
    WorkFolder(short_path).remove()
    assert folder.path.exists(), "one that is in use is not swept"
    folder.remove()
    assert list(short_path.iterdir()) == []


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose name is short wherever the tests run: a longer one is passed over for /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_next_one_removes_what_a_killed_process_left(short_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from scripts.workfolder import WorkFolder\n"
        "folder = WorkFolder(pathlib.Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(short_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60, check=False)
    assert done.returncode == -9
    assert len(list(short_path.iterdir())) == 1
    folder = WorkFolder(short_path)
    assert list(short_path.iterdir()) == [folder.path]
    folder.remove()


def test_what_is_not_known_to_be_abandoned_stays(tmp_path: Path) -> None:
    strange = tmp_path / f"{PREFIX}being-made"
    strange.mkdir()
    other = tmp_path / "something-else"
    other.mkdir()
    sweep(tmp_path)
    assert strange.exists()
    assert other.exists()


def test_a_place_whose_name_sockets_or_qemu_cannot_take_is_not_used(tmp_path: Path) -> None:
    for name in ("long" * 20, "with,comma"):
        place = tmp_path / name
        place.mkdir()
        folder = WorkFolder(place)
        try:
            assert folder.path.parent == Path("/tmp")
        finally:
            folder.remove()
