"""scripts/run and scripts/test before there is a .venv, and once there is nothing left to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inspector.doctor import install_line
from tests.scripts.fakes import Programs

ROOT = Path(__file__).resolve().parents[2]

NO_VENV = f"""\
case "$2" in
*ensurepip*) exit 1 ;;
*) exec {sys.executable} "$@" ;;
esac"""
"""A Python as Debian has it without python3-venv."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what the scripts are made of."""
    root = tmp_path / "a clone"
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "inspector", root / "inspector", ignore=shutil.ignore_patterns("__pycache__", "demo"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """What a bare system has, Python not included."""
    programs = Programs(tmp_path / "bin")
    programs.real("readlink", "cksum", "cat")
    programs.fake("id", "echo 1000")
    return programs


def run(
    script: Path, programs: Programs, *words: str, cwd: Path | None = None, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *words],
        env={"PATH": programs.path, "HOME": "/nonexistent", **more},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """inspector.doctor's lines, as a user who is not root gets them."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("script", ["run", "test"])
def test_without_venv_the_line_that_installs_it_is_told(clone: Path, programs: Programs, script: str) -> None:
    programs.fake("python3", NO_VENV)
    done = run(clone / "scripts" / script, programs)
    assert done.returncode == 3
    assert done.stdout == ""
    line = install_line(["python3-venv"])
    assert line.startswith("sudo ")
    assert done.stderr == f"{script}: python3 has no venv module; install it with: {line}\n"
    assert not (clone / ".venv").exists()


@pytest.mark.usefixtures("as_user")
def test_a_python_that_is_not_the_default_needs_a_package_of_its_own(clone: Path, programs: Programs) -> None:
    programs.fake("python3", "exit 1")  # too old
    programs.fake("python3.12", NO_VENV)
    done = run(clone / "scripts/run", programs)
    assert done.returncode == 3
    assert done.stderr.endswith(f"install it with: {install_line(['python3.12-venv'])}\n")


@pytest.mark.usefixtures("as_user")
def test_without_python_the_line_installs_both(clone: Path, programs: Programs) -> None:
    done = run(clone / "scripts/run", programs)
    assert done.returncode == 3
    line = install_line(["python3", "python3-venv"])
    assert done.stderr == f"run: Python 3.11 or newer is not installed; install it with: {line}\n"


def test_root_is_told_a_line_without_sudo(clone: Path, programs: Programs) -> None:
    programs.fake("id", "echo 0")
    done = run(clone / "scripts/run", programs)
    assert done.returncode == 3
    assert "sudo" not in done.stderr


def test_the_suite_installs_python_where_it_may(clone: Path, programs: Programs, tmp_path: Path) -> None:
    """An install that fails for want of lists is tried again after an update, which may fail in part."""
    programs.real("touch", "chmod")
    (tmp_path / "python3").write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@" ;; esac\necho "$@"; exit 9'
    )
    programs.fake(
        "apt-get",
        f'echo "$*" >>{tmp_path}/asked\n'
        f'case "$1" in\nupdate) touch {tmp_path}/updated; exit 100 ;;\n'
        f"*) [ -e {tmp_path}/updated ] || exit 100; chmod +x {tmp_path}/python3 ;;\nesac",
    )
    programs.fake("id", "echo 0")
    (programs.folder / "python3").symlink_to(tmp_path / "python3")
    done = run(clone / "scripts/test", programs)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["install", "update", "install"]
    assert asked[0].endswith("python3 python3-venv")
    assert done.returncode == 9, done.stderr
    assert "-m scripts.bootstrap" in done.stderr, "the Python that was installed is used at once"


def ready(clone: Path, programs: Programs) -> Path:
    """Make a .venv that looks finished; its inspector says its words."""
    venv = Programs(clone / ".venv/bin")
    venv.fake("python", 'echo "python $*"')
    venv.fake("inspector", 'echo "$# words"; for word; do echo "$word"; done; exit 4')
    words = subprocess.run(["cksum"], input=(clone / "pyproject.toml").read_bytes(), capture_output=True, check=True)
    (clone / ".venv/installed").write_text(f"{clone} {words.stdout.decode().strip()}\n")
    return clone / "scripts/run"


def test_when_all_is_there_nothing_is_done_and_the_words_are_handed_on(clone: Path, programs: Programs) -> None:
    """There is no Python on the PATH: whatever it tried to make or install would fail."""
    script = ready(clone, programs)
    done = run(script, programs, "demo", "xlate", "two words", "*", "")
    assert done.stdout == "5 words\ndemo\nxlate\ntwo words\n*\n\n"
    assert done.stderr == ""
    assert done.returncode == 4


def test_no_words_mean_the_recorded_guest(clone: Path, programs: Programs) -> None:
    assert run(ready(clone, programs), programs).stdout == "1 words\ndemo\n"


def test_it_works_from_elsewhere_and_through_a_link(clone: Path, programs: Programs, tmp_path: Path) -> None:
    link = tmp_path / "inspect"
    link.symlink_to(ready(clone, programs))
    assert run(link, programs, "info", cwd=Path("/")).stdout == "1 words\ninfo\n"


@pytest.mark.parametrize("scene", ["live", "hang"])
def test_live_runs_the_harness(clone: Path, programs: Programs, scene: str) -> None:
    assert run(ready(clone, programs), programs, scene, "maps").stdout == f"python -P -m scripts.{scene} maps\n"


def test_a_changed_pyproject_is_installed_again(clone: Path, programs: Programs) -> None:
    script = ready(clone, programs)
    with (clone / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    done = run(script, programs)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Python 3.11" in done.stderr, "it looked for a Python to install with"


def test_a_clone_that_was_moved_is_installed_again(clone: Path, programs: Programs) -> None:
    ready(clone, programs)
    moved = clone.rename(clone.with_name("moved"))
    assert run(moved / "scripts/run", programs).returncode == 3


def test_the_suite_wants_more_than_a_plain_installation(clone: Path, programs: Programs) -> None:
    ready(clone, programs)
    assert run(clone / "scripts/test", programs).returncode == 3
