"""What is there, what is missing, which version, and what each gives: data for 'doctor'.

Looks only: it runs each tool's ``--version`` with a limit and reads a few files. The tables below are
the one place that says which packages the project uses; the scripts that install them read it too.
Standard library only, because the set-up imports it before anything is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LEAST_PYTHON = (3, 11)
TOOL_LIMIT = 10.0
"""Seconds that a tool may take to say its version."""

YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
CAP_SYS_PTRACE = 19
"""Bit of CapEff (Linux, include/uapi/linux/capability.h)."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the system. ``version`` finds its version in what ``--version`` prints; ``packages``
    are Debian's; ``suite`` says whether the whole test suite needs it, ``guests`` whether demo guests
    do; ``least`` is the oldest that will do."""

    program: str
    packages: tuple[str, ...]
    gives: str
    version: str
    arguments: tuple[str, ...] = ("--version",)
    suite: bool = True
    guests: bool = True
    least: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Library:
    """A Python library that the inspector depends on, named as the package index has it."""

    name: str
    gives: str
    least: tuple[int, ...] = ()


TOOLS = (
    Tool(
        "gdb-multiarch",
        ("gdb-multiarch",),
        "live guests: every gdb: target",
        r"\) (\d+[\d.]*)",
        ("-nx", "--version"),
        least=(9,),
    ),
    Tool(
        "qemu-system-ppc64",
        ("qemu-system-ppc",),
        "guests to look into: scripts/run live, and the live tests",
        r"version (\d+[\d.]*)",
        least=(4, 1),
    ),
    Tool(
        "powerpc64le-linux-gnu-gcc",
        ("gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross"),
        "programs for guests to run: the tests' monitor of KVM guests",
        r"\) (\d+[\d.]*)",
        guests=False,
    ),
    Tool(
        "chromium",
        ("chromium",),
        "the tests of the page that 'report' writes; any browser shows it",
        r"Chromium (\d+[\d.]*)",
        guests=False,
        least=(111,),
    ),
    Tool(
        "chromedriver",
        ("chromium-driver",),
        "what drives chromium in these tests",
        r"ChromeDriver (\d+[\d.]*)",
        guests=False,
        least=(111,),
    ),
    Tool(
        "fdtput",
        ("device-tree-compiler",),
        "device trees edited: 2M and 1G pages in the bare machine that hosts KVM guests",
        r"[Vv]ersion:? (?:DTC )?v?(\d+[\d.]*)",
        guests=False,
    ),
)

LIBRARIES = (
    Library("capstone", "instructions in words: triage", (5,)),
    Library("numpy", "sweeps over whole trees", (1, 26)),
    Library("prompt_toolkit", "the REPL", (3, 0, 43)),
    Library("pyelftools", "a second reader of ELF files, for the tests", (0, 30)),
    Library("pygdbmi", "records of GDB/MI: live guests", (0, 11)),
    Library("zstandard", "snapshots compressed with zstd", (0, 22)),
)

EXTRAS = (
    Library("pyarrow", "Parquet files: 'export FILE.parquet'", (14,)),
    Library("duckdb", "SQL over the mappings: 'sql'", (1, 4)),
)
"""What some commands need, and the others do without."""

DEVELOPMENT = (
    "drgn",
    "duckdb",
    "hypothesis",
    "mypy",
    "pyarrow",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
    "ruff",
    "selenium",
)
"""What the 'dev' extra brings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for. ``version`` is None where it is absent or has none; ``gives`` is
    what it is good for; ``get`` is the exact line that gets it, or None where nothing is to be done;
    ``needed`` says whether the inspector itself cannot do without; ``note`` is what else there is to say."""

    name: str
    present: bool
    version: str | None
    gives: str
    get: str | None = None
    needed: bool = False
    note: str = ""


def examine() -> list[Finding]:
    """Everything, in the order in which a person would mend it."""
    return [
        python(),
        *(library(each) for each in LIBRARIES),
        *(library(each, needed=False) for each in EXTRAS),
        *(tool(each) for each in TOOLS),
        guest_packages(),
        development(),
        foreign_memory(),
    ]


def python() -> Finding:
    """The Python that runs this."""
    present = sys.version_info[:2] >= LEAST_PYTHON
    version = ".".join(str(part) for part in sys.version_info[:3])
    get = None if present else install_line(["python3", "python3-venv"])
    return Finding("python", present, version, "the inspector itself", get, needed=True, note=sys.executable)


def library(wanted: Library, needed: bool = True) -> Finding:
    """Whether ``wanted`` is installed and new enough; it is not imported."""
    version = library_version(wanted.name)
    least = dotted(wanted.least)
    line = f"{sys.executable} -m pip install '{wanted.name}>={least}'"
    if version is None:
        return Finding(wanted.name, False, None, wanted.gives, line, needed)
    if numbers(version) < wanted.least:
        return Finding(wanted.name, False, version, wanted.gives, line, needed, note=f"older than {least}")
    return Finding(wanted.name, True, version, wanted.gives, needed=needed)


def library_version(name: str) -> str | None:
    """The installed version of the library ``name``, or None."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def tool(wanted: Tool) -> Finding:
    """Whether ``wanted`` is installed, runs, and is new enough."""
    line = install_line(wanted.packages)
    path = shutil.which(wanted.program)
    if path is None:
        return Finding(wanted.program, False, None, wanted.gives, line)
    try:
        done = subprocess.run(
            [path, *wanted.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            timeout=TOOL_LIMIT,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return Finding(wanted.program, False, None, wanted.gives, line, note=f"{path} did not answer {TOOL_LIMIT:g} s")
    except (OSError, subprocess.CalledProcessError) as error:
        return Finding(wanted.program, False, None, wanted.gives, line, note=f"{path} does not run: {error}")
    found = re.search(wanted.version, done.stdout.decode("utf-8", "replace"))
    version = found[1].rstrip(".") if found else None
    if version is not None and numbers(version) < wanted.least:
        note = f"older than {dotted(wanted.least)}"
        return Finding(wanted.program, False, version, wanted.gives, line, note=note)
    return Finding(wanted.program, True, version, wanted.gives, note=path)


def guest_cache() -> Path:
    """Where the guests' kernel and busybox are kept between runs; it need not be there.

    PPC64_INSPECTOR_CACHE names it; else it is ppc64-inspector in the user's cache folder."""
    if own := os.environ.get("PPC64_INSPECTOR_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ppc64-inspector"


def guest_packages(cache: Path | None = None) -> Finding:
    """The guests' kernel and busybox, which scripts/run and scripts/test fetch when they need them."""
    folder = (cache or guest_cache()) / "guest"
    gives = "what demo guests boot: scripts/run live, and the live tests"
    try:
        packages = json.loads((folder / "manifest.json").read_bytes())["packages"]
        version = ", ".join(f"{name} {packages[name]}" for name in sorted(packages))
    except (OSError, ValueError, KeyError, TypeError):
        return Finding("guest packages", False, None, gives, "scripts/run live", note=f"not in {folder}")
    return Finding("guest packages", True, version, gives, note=str(folder))


def development() -> Finding:
    """The 'dev' extra, as one finding."""
    versions = {name: library_version(name) for name in DEVELOPMENT}
    absent = [name for name, version in versions.items() if version is None]
    gives = "the test suite"
    if absent:
        return Finding("dev extra", False, None, gives, "scripts/test --fast", note=f"without {', '.join(absent)}")
    return Finding("dev extra", True, ", ".join(f"{name} {version}" for name, version in versions.items()), gives)


def foreign_memory(yama: Path = YAMA, status: Path = Path("/proc/self/status")) -> Finding:
    """Whether this process may read the memory of another of the same user, such as QEMU (/proc/PID/mem).

    Yama's scope 0, or its absence, allows it, and so does CAP_SYS_PTRACE under any scope but 3
    (Linux, Documentation/admin-guide/LSM/Yama.rst)."""
    name, gives = "QEMU's memory", "bulk reads of a live guest whose RAM is not a shared file"
    try:
        scope = int(yama.read_text())
    except (OSError, ValueError):
        scope = 0
    try:
        found = re.search(r"^CapEff:\s*([0-9a-f]+)", status.read_text(), re.MULTILINE)
    except OSError:
        found = None
    capable = bool(found and int(found[1], 16) >> CAP_SYS_PTRACE & 1)
    note = f"kernel.yama.ptrace_scope is {scope}" + (", and this process may trace any" if capable else "")
    if scope == 0 or (capable and scope != 3):
        return Finding(name, True, None, gives, note=note)
    line = as_root("sysctl kernel.yama.ptrace_scope=0") if scope != 3 else "give QEMU a shared RAM file, and --ram FILE"
    return Finding(name, False, None, gives, line, note=note)


def install_line(packages: Iterable[str]) -> str:
    """The line that installs Debian ``packages`` here: with sudo where one is not root, and with an
    update first where apt has no lists yet (as in a fresh container)."""
    install = as_root("apt-get install -y --no-install-recommends " + " ".join(packages))
    return install if apt_has_lists() else f"{as_root('apt-get update')}; {install}"


def as_root(command: str) -> str:
    """``command``, as it is written to be run by root here."""
    return command if os.geteuid() == 0 else f"sudo {command}"


def apt_has_lists(folder: Path = Path("/var/lib/apt/lists")) -> bool:
    """Whether apt knows any packages to install."""
    return any(folder.glob("*Packages*"))


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, for comparison: (3, 0, 43) for '3.0.43rc1'."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def dotted(version: tuple[int, ...]) -> str:
    """``version`` as people write it."""
    return ".".join(str(part) for part in version)
