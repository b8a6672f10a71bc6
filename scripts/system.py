"""The system packages that the guests and the suite need: installed where we may, named where not.

We may as root, or where sudo asks for nothing. The table of tools is inspector/doctor.py's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable

from inspector.doctor import TOOLS, Finding, Tool, apt_has_lists, install_line, tool
from inspector.errors import TargetError, ToolMissing

Say = Callable[[str], None]

INSTALL_LIMIT = 1200.0
"""Seconds for one run of apt: some hundred megabytes over a slow line."""


def suite_tools() -> list[Tool]:
    """The programs that the whole suite cannot do without."""
    return [each for each in TOOLS if each.suite]


def live_tools() -> list[Tool]:
    """The programs that a guest to look into cannot do without."""
    return [each for each in TOOLS if each.live]


def ensure(tools: Iterable[Tool], say: Say = lambda _: None) -> None:
    """See to it that ``tools`` are there, installing their packages where we may.

    Raises ToolMissing with the one line that installs all that is missing where we may not,
    TargetError with apt's last words where it fails."""
    missing = absent(tools)
    if not missing:
        return
    names = " and ".join(finding.name for _, finding in missing)
    packages = [package for wanted, _ in missing for package in wanted.packages]
    prefix = root_prefix()
    if prefix is None or shutil.which("apt-get") is None:
        raise ToolMissing(f"what provides {names}", install_line(packages))
    say(f"installing {' '.join(packages)}")
    install(packages, prefix)
    if still := absent(tools):
        notes = "; ".join(f"{finding.name}: {finding.note or 'not found'}" for _, finding in still)
        raise TargetError(f"{' '.join(packages)} was installed and yet does not do ({notes}); see 'inspector doctor'")


def absent(tools: Iterable[Tool]) -> list[tuple[Tool, Finding]]:
    """Those of ``tools`` that are not there, do not run or are too old."""
    found = [(wanted, tool(wanted)) for wanted in tools]
    return [(wanted, finding) for wanted, finding in found if not finding.present]


def root_prefix() -> list[str] | None:
    """What goes before a command to run it as root without being asked anything; None if nothing does."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    done = subprocess.run(
        [sudo, "-n", "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return [sudo, "-n"] if done.returncode == 0 else None


def install(packages: list[str], prefix: list[str]) -> None:
    """Install Debian ``packages``; apt's lists are brought up to date only if that is needed.

    An update may fail in part, for a source that has nothing to do with us: only the install counts."""

    def apt(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=INSTALL_LIMIT,
            check=False,
        )

    words = ("install", "-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", *packages)
    if apt_has_lists() and apt(*words).returncode == 0:
        return
    apt("update", "-q")
    done = apt(*words)
    if done.returncode:
        last = (done.stdout.strip() or "nothing").splitlines()[-1]
        raise TargetError(
            f"apt-get could not install {' '.join(packages)}, saying {last!r}; run: {install_line(packages)}"
        )
