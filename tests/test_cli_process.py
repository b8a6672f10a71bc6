"""The command line as a process of its own: what a pipe, a disk, a signal and a terminal do to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import pytest

from inspector.cli import INTERRUPTED
from tests.fakes import NIP, MiB
from tests.flatimage import flat_image

LIMIT = 60.0
"""Seconds that a process may take."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return flat_image(tmp_path_factory.mktemp("image"))


def process(
    *arguments: str, stdout: int | IO[str] = subprocess.PIPE, env: Mapping[str, str] = os.environ
) -> subprocess.Popen[str]:
    """Runs the command line in a process of its own, its output buffered as usual."""
    return subprocess.Popen(
        [sys.executable, "-m", "inspector", *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in env.items() if name != "PYTHONUNBUFFERED"},
    )


def test_the_demo_guest_answers_at_once() -> None:
    with process("demo", "xlate", "0xc000000000000000", "--json") as running:
        out, err = running.communicate(timeout=LIMIT)
    assert (running.returncode, err) == (0, "")
    assert json.loads(out)["ra"] == "0x0"


def test_a_reader_that_goes_away_is_no_error(image: list[str]) -> None:
    with process(*image, "read", "0", str(16 * MiB), "--real") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("0000000000000000:")
        running.stdout.close()
        assert running.wait(LIMIT) == 0
        assert running.stderr.read() == ""


def test_a_full_disk_is_told(image: list[str]) -> None:
    with (
        open("/dev/full", "w") as full,
        process(*image, "read", "0", str(MiB), "--real", stdout=full) as running,
    ):
        _, err = running.communicate(timeout=LIMIT)
    assert running.returncode == 3
    assert "No space left on device" in err
    assert "Traceback" not in err


def test_ctrl_c_ends_it_with_a_word(image: list[str]) -> None:
    with process(*image, "xlate", "-", "--json") as running:
        assert running.stdin is not None
        assert running.stderr is not None
        assert running.stdout is not None
        running.stdin.write("$nip\n")
        running.stdin.flush()
        assert json.loads(running.stdout.readline())["ea"] == f"{NIP:#x}", "each answer comes before the next operand"
        running.send_signal(signal.SIGINT)
        assert running.wait(LIMIT) == INTERRUPTED
        assert running.stderr.read() == "inspector: interrupted\n"


def test_a_terminal_without_the_characters_is_no_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    with process("--help", env=environment) as running:
        out, err = running.communicate(timeout=LIMIT)
    assert (running.returncode, err) == (0, "")
    assert "usage:" in out


@pytest.mark.parametrize(
    "asked",
    [
        ["xlate", "$nip"],
        ["dsisr", "nopte|store"],
        ["overlay", "on"],
        ["slot", "0:1G", "--lpid", "1"],
        ["fault", "0x1000", "--dsisr", "nopte", "--lpid", "1", "--gpa", "0x10000", "--host", "base=0x200000"],
        ["replay", os.devnull],
    ],
    ids=lambda asked: str(asked[0]),
)
def test_numpy_is_not_imported_for_one_address(image: list[str], asked: list[str]) -> None:
    words = [*image, *asked]
    program = (
        "import sys; from inspector.cli import main; "
        f"status = main({words!r}); "
        "heavy = {'numpy', 'prompt_toolkit', 'pygdbmi', 'elftools', 'zstandard', 'subprocess', 'tempfile', 'shutil', "
        "'difflib', 'shlex'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy or status else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
