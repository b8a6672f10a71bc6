"""A file that is there whole or not at all."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from inspector.errors import RecordError
from inspector.snapshot.recording import Run
from inspector.snapshot.write import write_snapshot
from tests.snapshot.samples import recording

SIZES = ["x.core", "x.core.gz", "x.core.zst"]


def noisy(address: int, length: int) -> bytes:
    """Bytes that do not pack."""
    return os.urandom(length)


@pytest.mark.parametrize("name", SIZES)
def test_a_disk_that_fills_is_one_sentence_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    # RLIMIT_FSIZE makes write() fail as a full disk does (EFBIG for ENOSPC), whoever runs the tests. In a child, for
    # the limit cannot be raised again by everyone.
    code = (
        "import os, resource, sys\n"
        "from inspector.errors import RecordError\n"
        "from inspector.snapshot.recording import Run\n"
        "from inspector.snapshot.write import write_snapshot\n"
        "from tests.snapshot.samples import recording\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "run = Run(0, 8 << 20, lambda a, n: os.urandom(n))\n"
        "try:\n"
        "    write_snapshot(sys.argv[1], recording(runs=[run], unreadable=[]))\n"
        "except RecordError as e:\n"
        "    print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "was not written: File too large" in done.stdout
    assert "nothing was left behind" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.core"
    path.write_bytes(b"the one before")
    left = [100_000]

    def filling(fd: int, data: memoryview, write=os.write) -> int:  # type: ignore[no-untyped-def]
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        written = write(fd, data[: left[0]])
        left[0] -= written
        return int(written)

    monkeypatch.setattr("inspector.snapshot.output.os.write", filling)
    with pytest.raises(RecordError, match="No space left on device"):
        write_snapshot(str(path), recording(runs=[Run(0, 1 << 20, noisy)], unreadable=[]), force=True)
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_real_full_file_system(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)], timeout=60, check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(RecordError, match="No space left on device"):
            write_snapshot(str(tmp_path / "x.core"), recording(runs=[Run(0, 8 << 20, noisy)], unreadable=[]))
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], timeout=60, check=True)


def test_a_file_that_is_there_is_left_alone_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "x.core"
    path.write_bytes(b"mine")
    with pytest.raises(RecordError, match="--force"):
        write_snapshot(str(path), recording())
    assert path.read_bytes() == b"mine"
    write_snapshot(str(path), recording(), force=True)
    assert path.read_bytes().startswith(b"\x7fELF")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_wins(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def meanwhile(address: int, length: int) -> bytes:
        path.write_bytes(b"someone else's")
        return bytes(length)

    with pytest.raises(RecordError, match="already there"):
        write_snapshot(str(path), recording(runs=[Run(0, 64, meanwhile)]))
    assert path.read_bytes() == b"someone else's"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_place_for_a_file_is_refused(tmp_path: Path) -> None:
    for path, words in (
        (str(tmp_path), "not a regular file"),
        (f"{tmp_path}/", "no file name"),
        ("", "no file name"),
        ("/dev/null", "not a regular file"),
        (str(tmp_path / "no" / "such" / "x"), "No such file or directory"),
        (str(tmp_path / "nul\0"), "null"),
    ):
        with pytest.raises(RecordError, match=words):
            write_snapshot(path, recording(), force=True)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(address: int, length: int) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return bytes(length)

    with pytest.raises(KeyboardInterrupt):
        write_snapshot(str(tmp_path / "x.core"), recording(runs=[Run(0, 64, interrupted)]))
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_hard_links_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("inspector.snapshot.output.os.link", no_links)
    path = tmp_path / "x.core"
    write_snapshot(str(path), recording())
    assert list(tmp_path.iterdir()) == [path]
