"""What is there and what is missing, with stand-ins for the tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from inspector import database, doctor
from inspector.doctor import Library, Tool
from inspector.exporting import parquet
from tests.scripts.fakes import Programs

ROOT = Path(__file__).resolve().parents[1]
TOOL = Tool("a-tool", ("a-package",), "something", r"version (\d+[\d.]*)", least=(2, 1))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path / "bin")
    programs.real("sleep")
    monkeypatch.setenv("PATH", programs.path)
    return programs


def test_examine_names_everything_once() -> None:
    names = [finding.name for finding in doctor.examine()]
    assert len(names) == len(set(names))
    assert {"python", "numpy", "gdb-multiarch", "qemu-system-ppc64", "guest packages"} <= set(names)


def test_what_is_absent_says_how_to_get_it() -> None:
    assert [finding for finding in doctor.examine() if finding.present == (finding.get is not None)] == []


def test_the_tables_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {library.name: doctor.dotted(library.least) for library in doctor.LIBRARIES}
    assert ours == dict(line.split(">=") for line in project["dependencies"])
    assert list(doctor.DEVELOPMENT) == sorted(
        re.split("[>=]", line)[0] for line in project["optional-dependencies"]["dev"]
    )
    assert project["requires-python"] == f">={doctor.dotted(doctor.LEAST_PYTHON)}"


def test_the_extras_are_those_of_the_project_file_and_the_errors_name_the_same() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {re.split("[>=]", line)[0] for name in ("parquet", "sql") for line in extras[name]}
    assert {library.name for library in doctor.EXTRAS} == brought
    named = [f"{library.name}>={doctor.dotted(library.least)}" for library in doctor.EXTRAS]
    assert named == [parquet.LEAST, database.LEAST]


def test_an_extra_that_is_missing_is_not_needed() -> None:
    found = doctor.library(Library("no-such-library", "nothing", (1, 2)), needed=False)
    assert (found.present, found.needed) == (False, False)
    assert found.get == f"{sys.executable} -m pip install 'no-such-library>=1.2'"


def test_a_tool_and_its_version(programs: Programs) -> None:
    programs.fake("a-tool", "echo 'A Tool, version 2.10.3 (of some system)' >&2")
    found = doctor.tool(TOOL)
    assert (found.present, found.version, found.get) == (True, "2.10.3", None)
    assert found.note == str(programs.folder / "a-tool")


@pytest.mark.parametrize(
    ("tool", "line", "version"),
    [
        ("gdb-multiarch", "GNU gdb (Debian 13.1-3) 13.1", "13.1"),
        ("qemu-system-ppc64", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22"),
        ("powerpc64le-linux-gnu-gcc", "powerpc64le-linux-gnu-gcc (Debian 12.2.0-14) 12.2.0", "12.2.0"),
        ("chromium", "Chromium 156.0.8078.79 built on Debian GNU/Linux 12 (bookworm)", "156.0.8078.79"),
        ("chromedriver", "ChromeDriver 156.0.8078.79 (a21ce95c24ce-refs/branch-heads/8078@{#1704})", "156.0.8078.79"),
        ("fdtput", "Version: DTC 1.6.1", "1.6.1"),
    ],
)
def test_versions_as_the_tools_say_them(programs: Programs, tool: str, line: str, version: str) -> None:
    programs.fake(tool, f"echo '{line}'")
    found = doctor.tool(next(each for each in doctor.TOOLS if each.program == tool))
    assert (found.present, found.version) == (True, version)


@pytest.mark.parametrize(
    ("script", "note"),
    [("echo 'version 2.0'", "older than 2.1"), ("echo broken; exit 1", "does not run"), ("sleep 60", "did not answer")],
)
def test_a_tool_that_will_not_do(programs: Programs, monkeypatch: pytest.MonkeyPatch, script: str, note: str) -> None:
    monkeypatch.setattr(doctor, "TOOL_LIMIT", 0.2)
    programs.fake("a-tool", f"exec {script}" if script.startswith("sleep") else script)
    found = doctor.tool(TOOL)
    assert not found.present
    assert note in found.note
    assert found.get is not None
    assert "a-package" in found.get


@pytest.mark.usefixtures("programs")
def test_a_tool_that_is_not_there() -> None:
    found = doctor.tool(TOOL)
    assert (found.present, found.version) == (False, None)


def test_libraries() -> None:
    assert doctor.library(Library("pytest", "tests", (1,))).present
    old = doctor.library(Library("pytest", "tests", (999,)))
    assert not old.present
    assert old.version is not None
    none = doctor.library(Library("no-such-library", "nothing", (1, 2)))
    assert none.get == f"{sys.executable} -m pip install 'no-such-library>=1.2'"


def test_the_install_line_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "apt_has_lists", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert doctor.install_line(["a", "b"]) == "apt-get install -y --no-install-recommends a b"
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(doctor, "apt_has_lists", lambda: False)
    line = "sudo apt-get update; sudo apt-get install -y --no-install-recommends a"
    assert doctor.install_line(["a"]) == line


def test_apts_lists(tmp_path: Path) -> None:
    assert not doctor.apt_has_lists(tmp_path)
    (tmp_path / "somewhere_main_binary-amd64_Packages.lz4").touch()
    assert doctor.apt_has_lists(tmp_path)


def test_where_the_guests_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PPC64_INSPECTOR_CACHE", raising=False)
    assert doctor.guest_cache() == tmp_path / "ppc64-inspector"
    monkeypatch.setenv("PPC64_INSPECTOR_CACHE", "/elsewhere")
    assert doctor.guest_cache() == Path("/elsewhere")
    found = doctor.guest_packages(tmp_path)
    assert (found.present, found.get) == (False, "scripts/run live")
    (tmp_path / "guest").mkdir()
    (tmp_path / "guest/manifest.json").write_text('{"packages": {"linux": "6.1", "busybox": "1"}}')
    assert doctor.guest_packages(tmp_path).version == "busybox 1, linux 6.1"


@pytest.mark.parametrize(
    ("scope", "capabilities", "present"),
    [
        ("0", 0, True),
        (None, 0, True),
        ("1", 0, False),
        ("1", 1 << 19, True),
        ("2", 1 << 19, True),
        ("3", 1 << 19, False),
    ],
)
def test_reading_another_processs_memory(tmp_path: Path, scope: str | None, capabilities: int, present: bool) -> None:
    yama, status = tmp_path / "yama", tmp_path / "status"
    if scope is not None:
        yama.write_text(scope + "\n")
    status.write_text(f"Name:\tx\nCapEff:\t{capabilities:016x}\n")
    assert doctor.foreign_memory(yama, status).present == present


def test_it_is_imported_without_what_it_looks_for() -> None:
    code = "import sys, inspector.doctor; print([name for name in sys.modules if name in ('numpy', 'prompt_toolkit')])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
