"""scripts/run live: what it hands to the inspector, and that nothing stays behind however it ends.

The inspector is a stand-in that says its words and waits, because this is about what is around it."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from inspector.doctor import guest_cache
from scripts.workfolder import sweep

pytestmark = pytest.mark.live

LIMIT = 120.0
ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """\
#!{python}
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"interrupted\\n"))  # print may be what was interrupted
print(*sys.argv[1:], flush=True)
if "wait" in sys.argv:
    for _ in range(6000):
        time.sleep(0.1)
sys.exit(5)
"""


class Live:
    """One run of it, in a folder for temporary files of its own."""

    def __init__(self, place: Path, *words: str) -> None:
        # Not below ``place``, whose name may be longer than a unix socket's can be: the guest would then lie elsewhere.
        self.temporary = Path(tempfile.mkdtemp(dir="/tmp"))
        programs = place / "bin"
        programs.mkdir()
        (programs / "python").symlink_to(Path(sys.executable).resolve())
        (programs / "inspector").write_text(STAND_IN.format(python=Path(sys.executable).resolve()))
        (programs / "inspector").chmod(0o755)
        self.process = subprocess.Popen(
            [str(programs / "python"), "-P", "-m", "scripts.live", "--guest", "pseries-reset", *words],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(self.temporary),
                "PPC64_INSPECTOR_CACHE": str(guest_cache()),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def line(self, limit: float = LIMIT) -> str:
        """The next line of standard output."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        assert ready, "nothing was said in time"
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.process.stderr.read() if self.process.stderr else None}"
        return line.strip()

    def end(self) -> int:
        """The exit status."""
        return self.process.wait(timeout=LIMIT)

    def left(self) -> list[str]:
        """Folders and processes that are still there: none are, after a moment."""
        deadline = time.monotonic() + LIMIT
        while True:
            found = [str(path) for path in self.temporary.iterdir()] + processes(str(self.temporary))
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)


def processes(word: str) -> list[str]:
    """The command lines that hold ``word``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue  # it has just ended
        if word in line:
            found.append(line)
    return found


def start(stack: ExitStack, place: Path, *words: str) -> Live:
    live = Live(place, *words)

    def stop() -> None:
        if live.process.poll() is None:
            live.process.kill()
            live.process.wait(timeout=LIMIT)
        assert live.process.stdout is not None
        assert live.process.stderr is not None
        live.process.stdout.close()
        live.process.stderr.close()
        shutil.rmtree(live.temporary, ignore_errors=True)

    stack.callback(stop)
    return live


def test_the_inspector_gets_the_guest_and_the_words(tmp_path: Path) -> None:
    with ExitStack() as stack:
        live = start(stack, tmp_path, "xlate", "0xc000000000000000", "--json")
        target, ram, *rest = live.line().split()
        assert target.startswith("gdb:127.0.0.1:")
        assert ram == "--ram"
        assert rest[0].startswith(str(live.temporary))
        assert rest[-3:] == ["xlate", "0xc000000000000000", "--json"]
        assert live.end() == 5, "the inspector's own status"
        assert live.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_told_to_end_it_stops_all_and_removes_all(tmp_path: Path, number: signal.Signals) -> None:
    with ExitStack() as stack:
        live = start(stack, tmp_path, "help", "wait")
        live.line()
        assert len(list(live.temporary.iterdir())) == 1
        live.process.send_signal(number)
        assert live.end() == 128 + number
        assert live.left() == []


def test_ctrl_c_is_the_inspectors(tmp_path: Path) -> None:
    with ExitStack() as stack:
        live = start(stack, tmp_path, "help", "wait")
        live.line()
        os.killpg(live.process.pid, signal.SIGINT)  # as a terminal does
        assert live.line() == "interrupted"
        assert live.process.poll() is None
        assert len(processes(str(live.temporary))) >= 2, "QEMU is still there"
        live.process.terminate()
        live.end()
        assert live.left() == []


def test_killed_it_takes_qemu_with_it_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    with ExitStack() as stack:
        live = start(stack, tmp_path, "help", "wait")
        live.line()
        os.killpg(live.process.pid, signal.SIGKILL)
        live.end()
        deadline = time.monotonic() + LIMIT
        while processes(str(live.temporary)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes(str(live.temporary)) == []
        assert len(list(live.temporary.iterdir())) == 1
        sweep(live.temporary)
        assert live.left() == []
