"""System packages: installed where we may, named in one line where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from inspector.doctor import Tool
from inspector.errors import TargetError, ToolMissing
from scripts import system
from tests.scripts.fakes import Programs

ONE = Tool("one-tool", ("one-package",), "this", r"(\d+)")
TWO = Tool("two-tool", ("two-package", "two-more"), "that", r"(\d+)", least=(2,))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path / "bin")
    programs.real("env", "touch", "cat", "chmod", "echo")
    monkeypatch.setenv("PATH", programs.path)
    monkeypatch.setattr(system, "apt_has_lists", lambda: True)
    monkeypatch.setattr("inspector.doctor.apt_has_lists", lambda: True)
    return programs


def become(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)


def test_nothing_missing_asks_for_nothing(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, 1000)
    programs.fake("one-tool", "echo 1")
    programs.fake("two-tool", "echo 2")
    system.ensure([ONE, TWO])


def test_where_we_may_not_one_line_names_all(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, 1000)
    programs.fake("apt-get", "exit 1")
    programs.fake("two-tool", "echo 1")  # too old
    with pytest.raises(ToolMissing) as caught:
        system.ensure([ONE, TWO])
    line = "sudo apt-get install -y --no-install-recommends one-package two-package two-more"
    assert caught.value.install == line
    assert str(caught.value).endswith(f": {line}")
    assert caught.value.exit_status == 3


def test_sudo_that_would_ask_is_not_used(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, 1000)
    programs.fake("apt-get", "exit 1")
    programs.fake("sudo", '[ "$1" = -n ] && exit 1; exec "$@"')
    with pytest.raises(ToolMissing):
        system.ensure([ONE])


def test_root_without_apt_is_told_the_line_too(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, 0)
    with pytest.raises(ToolMissing) as caught:
        system.ensure([ONE])
    assert caught.value.install == "apt-get install -y --no-install-recommends one-package"


@pytest.mark.parametrize("user", [0, 1000])
def test_a_failed_install_is_tried_again_after_an_update_that_may_fail(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int
) -> None:
    become(monkeypatch, user)
    programs.fake("sudo", '[ "$1" = -n ] || exit 1; shift; touch "$0.used"; exec "$@"')
    programs.fake("true", "exit 0")
    program = programs.folder / "one-tool"
    programs.fake(
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >>{tmp_path}/asked\n'
        f'case "$1" in\nupdate) touch {tmp_path}/updated; exit 100 ;;\nesac\n'
        f"[ -e {tmp_path}/updated ] || exit 100\necho '#!/bin/sh\necho 1' >{program}; chmod +x {program}",
    )
    said: list[str] = []
    system.ensure([ONE], said.append)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [
        ["noninteractive", word] for word in ("install", "update", "install")
    ]
    assert "--no-install-recommends" in asked[0]
    assert said == ["installing one-package"]
    assert (programs.folder / "sudo.used").exists() == (user != 0)


def test_without_lists_the_update_comes_first(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become(monkeypatch, 0)
    monkeypatch.setattr(system, "apt_has_lists", lambda: False)
    programs.fake("apt-get", f'echo "$1" >>{tmp_path}/asked; exit 100')
    with pytest.raises(TargetError, match="could not install"):
        system.ensure([ONE])
    assert (tmp_path / "asked").read_text().split() == ["update", "install"]


def test_apts_last_words_are_told(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, 0)
    programs.fake("apt-get", "echo 'E: no space left'; exit 100")
    with pytest.raises(TargetError, match="E: no space left"):
        system.ensure([ONE])


def test_a_package_that_does_not_bring_its_tool(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, 0)
    programs.fake("apt-get", "exit 0")
    with pytest.raises(TargetError, match="does not do"):
        system.ensure([ONE])


def test_the_suite_builds_its_own_monitor_and_a_guest_to_look_into_does_not() -> None:
    suite, live = ({each.program for each in tools} for tools in (system.suite_tools(), system.live_tools()))
    assert live == {"gdb-multiarch", "qemu-system-ppc64"}
    assert suite == live | {"powerpc64le-linux-gnu-gcc", "fdtput"}
