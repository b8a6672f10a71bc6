"""The guests' kernel and busybox, fetched by stand-ins for apt and dpkg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inspector.errors import TargetError, ToolMissing
from scripts.guestpackages import cached, guest_files, locked
from tests.scripts.fakes import Programs

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "9.9.9-powerpc64le"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """An apt that has both packages, one source of it broken, and a dpkg-deb that unpacks them."""
    programs = Programs(tmp_path / "bin")
    programs.real("mkdir", "touch", "cat", "grep", "sleep")
    programs.fake(
        "apt-get",
        'grep -q ppc64el "$APT_CONFIG" || exit 99\n'
        f'echo "$*" >>{tmp_path}/asked\n'
        'case "$*" in\n'
        "*update) echo 'E: some other source is broken' >&2; exit 100 ;;\n"
        f"*) touch linux-image-{RELEASE}.deb busybox-static.deb ;;\nesac",
    )
    programs.fake("apt-cache", f"echo linux-image-powerpc64le; echo '  Depends: linux-image-{RELEASE}'")
    programs.fake(
        "dpkg-deb",
        'case "$1 $*" in\n'
        '-W*busybox*) printf "busybox-static\\t1.2" ;;\n'
        f'-W*) printf "linux-image-{RELEASE}\\t9.9.9-1" ;;\n'
        '*busybox*) mkdir -p "$3/bin"; echo B >"$3/bin/busybox" ;;\n'
        f'*) m="$3/lib/modules/{RELEASE}/kernel/drivers"; mkdir -p "$3/boot" "$m"\n'
        f'   echo K >"$3/boot/vmlinux-{RELEASE}"\n'
        '   echo "" >"$m/virtio_pci.ko"; echo "" >"$m/not_wanted.ko" ;;\nesac',
    )
    monkeypatch.setenv("PATH", programs.path)
    return programs


@pytest.mark.usefixtures("programs")
def test_fetched_once_with_a_broken_source_beside(cache: Path, tmp_path: Path) -> None:
    assert cached(cache) is None
    said: list[str] = []
    files = guest_files(said.append, cache)
    assert files.vmlinux.read_text() == "K\n"
    assert files.busybox.read_text() == "B\n"
    assert [path.name for path in files.modules.iterdir()] == ["virtio_pci.ko"]
    assert files.packages == {"busybox-static": "1.2", f"linux-image-{RELEASE}": "9.9.9-1"}
    assert sorted(path.name for path in cache.iterdir()) == ["guest", "lock"], "nothing is left of the fetching"
    assert guest_files(said.append, cache) == files
    assert len(said) == 1
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_two_at_once_fetch_once(cache: Path, programs: Programs, tmp_path: Path) -> None:
    ask = (
        f"from scripts.guestpackages import guest_files; guest_files(cache=__import__('pathlib').Path({str(cache)!r}))"
    )
    with locked(cache / "lock"):
        both = [
            subprocess.Popen([sys.executable, "-c", ask], env={"PATH": programs.path, "PYTHONPATH": str(ROOT)})
            for _ in range(2)
        ]
    assert [each.wait(timeout=60) for each in both] == [0, 0]
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_what_could_not_be_fetched_leaves_nothing_and_says_why(cache: Path, programs: Programs) -> None:
    programs.fake("apt-get", "echo 'E: Unable to locate package' >&2; exit 100")
    with pytest.raises(TargetError, match="Unable to locate package"):
        guest_files(cache=cache)
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_sources_without_the_architecture(cache: Path, programs: Programs) -> None:
    programs.fake("apt-cache", "echo 'N: no such package' >&2")
    with pytest.raises(TargetError, match="names no kernel"):
        guest_files(cache=cache)


def test_a_machine_without_apt(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="apt-get"):
        guest_files(cache=cache)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"packages": 1}', "\xff"])
def test_a_manifest_that_says_nothing_is_no_cache(cache: Path, manifest: str) -> None:
    (cache / "guest").mkdir(parents=True)
    (cache / "guest/manifest.json").write_text(manifest)
    assert cached(cache) is None
