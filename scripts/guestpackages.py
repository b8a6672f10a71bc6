"""The guests' kernel and busybox: packages of Debian's ppc64el, unpacked into a cache.

apt fetches them with a private state of that architecture, so that neither root nor a change of this
machine's own package lists is needed; the machine's sources say from where. The cache is
``~/.cache/ppc64-inspector`` (under XDG_CACHE_HOME where that is set), or what PPC64_INSPECTOR_CACHE
names; every clone shares it. What is there is used as it is: delete the folder to fetch anew."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inspector.doctor import guest_cache
from inspector.errors import TargetError, ToolMissing
from scripts.initramfs import MODULES, module_order

ARCHITECTURE = "ppc64el"
KERNEL = "linux-image-powerpc64le"
"""Depends on the newest kernel of its flavour, whose package name holds the release."""
BUSYBOX = "busybox-static"
KVM_MODULES = ("kvm-hv",)
"""Kept beside those that every guest loads: a guest on powernv can run guests of its own."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class GuestFiles:
    """What a Linux guest boots from. ``packages`` holds the version of each package by its name."""

    folder: Path
    packages: dict[str, str]

    @property
    def vmlinux(self) -> Path:
        """The kernel, as ELF with its symbol table."""
        return self.folder / "vmlinux"

    @property
    def busybox(self) -> Path:
        """busybox, statically linked."""
        return self.folder / "busybox"

    @property
    def modules(self) -> Path:
        """A folder of kernel modules, those that are needed by others included."""
        return self.folder / "modules"


def cached(cache: Path | None = None) -> GuestFiles | None:
    """What the cache holds, or None. The manifest is written last and renamed in whole: there is no half."""
    folder = (cache or guest_cache()) / "guest"
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        return GuestFiles(folder, dict(manifest["packages"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def guest_files(say: Say = lambda _: None, cache: Path | None = None) -> GuestFiles:
    """The guests' files, fetched first if need be; ``say`` is told what takes time.

    Raises ToolMissing without apt and dpkg, TargetError where the machine's sources do not have them."""
    cache = cache or guest_cache()
    if found := cached(cache):
        return found
    for tool, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
        if shutil.which(tool) is None:
            raise ToolMissing(tool, f"a Debian system's package {package!r} (the guests' kernel comes as its packages)")
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock"):
        if found := cached(cache):  # another was quicker
            return found
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as name:
            work = Path(name)
            say(f"fetching the guests' kernel and busybox ({ARCHITECTURE}, about 50 MB) into {cache}")
            packages = download(work)
            pick(work, packages)
            shutil.rmtree(cache / "guest", ignore_errors=True)
            (work / "guest").rename(cache / "guest")
    found = cached(cache)
    assert found is not None
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``; the kernel lets go of it should this process die."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def apt_config(work: Path) -> str:
    """An apt configuration whose every state is private to ``work``.

    Read twice: by APT_CONFIG before the machine's own parts, for the architecture, and by -c after
    them, to clear the hooks that they may carry (those expect root)."""
    return f"""\
APT::Architecture "{ARCHITECTURE}";
APT::Architectures {{ "{ARCHITECTURE}"; }};
APT::Sandbox::User "root";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{work}/state";
Dir::State::status "{work}/status";
Dir::Cache "{work}/cache";
Dir::Etc::preferences "{work}/preferences";
Dir::Log "{work}";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


PREFERENCES = """\
Package: *
Pin: release o=Debian
Pin-Priority: 900
"""
"""Debian's own archive before any other that the machine uses."""


def download(work: Path) -> list[Path]:
    """The two packages, as .deb files in ``work``."""
    for folder in ("state/lists/partial", "cache/archives/partial", "debs"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    (work / "preferences").write_text(PREFERENCES)
    config = work / "apt.conf"
    config.write_text(apt_config(work))

    def apt(program: str, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            [program, "-c", str(config), "-q", *words],
            env={**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            cwd=work / "debs",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        if check and done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise TargetError(
                f"the guests' packages ({KERNEL} and {BUSYBOX} of {ARCHITECTURE}) could not be fetched, {program}"
                f" saying {last!r}; check this machine's apt sources and network"
            )
        return done.stdout

    # A source of someone else's, broken or without this architecture, fails here and does not matter.
    apt("apt-get", "update", check=False)
    depends = apt("apt-cache", "depends", "--important", KERNEL)
    kernels = [line.split()[1] for line in depends.splitlines() if line.strip().startswith("Depends: linux-image-")]
    if not kernels:
        raise TargetError(f"{KERNEL} names no kernel in this machine's apt sources; add Debian's main archive to them")
    apt("apt-get", "download", kernels[0], BUSYBOX)
    return sorted((work / "debs").glob("*.deb"))


def pick(work: Path, packages: list[Path]) -> None:
    """Unpack ``packages`` and keep what guests need, as folder ``guest`` of ``work``."""
    tree, kept, versions = work / "tree", work / "guest", {}
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", str(package), str(tree)], check=True, timeout=300)
        shown = subprocess.run(
            ["dpkg-deb", "-W", "--showformat=${Package}\t${Version}", str(package)],
            check=True,
            timeout=60,
            capture_output=True,
            text=True,
        ).stdout
        name, version = shown.split("\t")
        versions[name] = version
    (kept / "modules").mkdir(parents=True)
    kernel = next((tree / "boot").glob("vmlinu[xz]-*"))
    shutil.move(kernel, kept / "vmlinux")
    shutil.move(next(path for path in (tree / "bin/busybox", tree / "usr/bin/busybox") if path.exists()), kept)
    found = {path.stem: path for path in tree.glob("**/lib/modules/*/kernel/**/*.ko")}
    order = module_order((*MODULES, *KVM_MODULES), {name: path.read_bytes() for name, path in found.items()})
    for name in order:
        shutil.move(found[name], kept / "modules")
    manifest = {"format": 1, "architecture": ARCHITECTURE, "packages": versions}
    (kept / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
