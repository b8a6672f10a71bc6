"""Making .venv: done again where it was interrupted or moved, once where two ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import bootstrap


class Commands:
    """Stands in for the programs that are run: says what was asked, and makes what a venv is known by."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.fail = ""
        monkeypatch.setattr(subprocess, "run", self)

    def __call__(self, words: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        assert options["timeout"] > 0
        kind = next(each for each in ("venv", "pip", "-c") if each in words)
        self.asked.append(kind)
        if kind == "venv":
            python = Path(words[-1]) / "bin/python"
            python.parent.mkdir(parents=True)
            python.symlink_to(sys.executable)
        return subprocess.CompletedProcess(words, int(kind == self.fail))


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(monkeypatch)


def test_it_is_made_and_installed_once(tmp_path: Path, commands: Commands) -> None:
    words = [str(tmp_path), f"{tmp_path} 1 2", ""]
    assert bootstrap.main(words) == 0
    assert (tmp_path / ".venv/installed").read_text() == f"{tmp_path} 1 2\n"
    assert commands.asked == ["venv", "pip"]
    assert bootstrap.main(words) == 0
    assert commands.asked == ["venv", "pip"]


def test_an_extra_is_installed_into_the_same_venv(tmp_path: Path, commands: Commands) -> None:
    bootstrap.main([str(tmp_path), f"{tmp_path} 1 2", ""])
    bootstrap.main([str(tmp_path), f"{tmp_path} 1 2", "dev"])
    assert commands.asked == ["venv", "pip", "-c", "pip"]
    assert (tmp_path / ".venv/installed-dev").exists()


def test_changed_words_are_installed_into_the_same_venv(tmp_path: Path, commands: Commands) -> None:
    bootstrap.main([str(tmp_path), f"{tmp_path} 1 2", ""])
    bootstrap.main([str(tmp_path), f"{tmp_path} 3 4", ""])
    assert commands.asked == ["venv", "pip", "-c", "pip"]


def test_a_venv_from_elsewhere_is_made_anew(tmp_path: Path, commands: Commands) -> None:
    bootstrap.main([str(tmp_path), "/some/where else 1 2", ""])
    bootstrap.main([str(tmp_path), f"{tmp_path} 1 2", ""])
    assert commands.asked == ["venv", "pip", "venv", "pip"]


def test_a_venv_whose_python_no_longer_runs_is_made_anew(tmp_path: Path, commands: Commands) -> None:
    bootstrap.main([str(tmp_path), f"{tmp_path} 1 2", ""])
    commands.fail = "-c"
    bootstrap.main([str(tmp_path), f"{tmp_path} 3 4", ""])
    assert commands.asked == ["venv", "pip", "-c", "venv", "pip"]


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_what_failed_is_said_and_done_again(
    tmp_path: Path, commands: Commands, step: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.fail = step
    words = [str(tmp_path), f"{tmp_path} 1 2", ""]
    assert bootstrap.main(words) == 3
    assert capsys.readouterr().out == "", "standard output is the inspector's"
    assert not (tmp_path / ".venv/installed").exists()
    commands.fail = ""
    assert bootstrap.main(words) == 0


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "file"
    root.write_text("")
    assert bootstrap.main([str(root), f"{root} 1 2", ""]) == 3
    assert "writable" in capsys.readouterr().err
    assert commands.asked == []
