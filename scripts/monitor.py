"""The monitor of this project's own, which runs KVM guests inside a powernv machine: built, and talked to.

Its source is fixtures/guests/; what it takes and answers, line by line, is said at the top of vmm.c."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from inspector.doctor import guest_cache, install_line
from inspector.errors import ProtocolError, TargetError, ToolMissing
from scripts.guests import Machine

SOURCE = Path(__file__).resolve().parent.parent / "fixtures" / "guests"
COMPILER = "powerpc64le-linux-gnu-gcc"
PACKAGES = ("gcc-powerpc64le-linux-gnu", "libc6-dev-ppc64el-cross")
FLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Werror")
IN_GUEST = "bin/vmm"
REAL, VIRTUAL, USER = 0x8000_0000_0000_1003, 0x8000_0000_0000_1033, 0x8000_0000_0000_5033
"""MSR values for operations: relocation off, on, and on in problem state; all little-endian."""


def built() -> bytes:
    """The monitor as a static program for ppc64le, built once for each state of its source.

    Raises ToolMissing without the cross compiler, TargetError with the compiler's words where it refuses."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise ToolMissing(COMPILER, install_line(list(PACKAGES)))
    sources = sorted(path for path in SOURCE.iterdir() if path.suffix in (".c", ".S"))
    key = hashlib.sha256(b"".join(path.read_bytes() for path in sources) + " ".join(FLAGS).encode()).hexdigest()[:16]
    kept = guest_cache() / f"vmm-{key}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / "vmm"
            words = [compiler, *FLAGS, "-o", str(made), *map(str, sources)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                raise TargetError(f"{COMPILER} refused the monitor: {done.stderr.strip()}")
            made.rename(kept)
    return kept.read_bytes()


@dataclass
class Monitor:
    """One KVM guest: the monitor's process in the host (a task's pid), and its virtual machine's descriptor."""

    host: Machine
    name: str
    task: int = 0
    vm: int = 0

    @classmethod
    def start(cls, host: Machine, name: str) -> Monitor:
        """Start a monitor in the host, which must have it as /bin/vmm."""
        monitor = cls(host, name)
        host.shell(
            f"mkfifo /tmp/{name}.in; (vmm </tmp/{name}.in >/tmp/{name}.out 2>&1 &);"
            f" (sleep 1000000 >/tmp/{name}.in &)"  # holds it open
        )
        said = monitor._answers(1)[0].split()
        if said[:2] != ["ok", "pid"]:
            raise ProtocolError(f"the monitor said {' '.join(said)!r}; is kvm-hv loaded?")
        monitor.task, monitor.vm = int(said[2]), int(said[4])
        return monitor

    @property
    def debugfs(self) -> str:
        """KVM's folder of this guest under debugfs."""
        return f"/sys/kernel/debug/kvm/{self.task}-{self.vm}"

    def ask(self, *lines: str) -> list[str]:
        """The answers to these lines, in order; a device access is an answer of its own before its operation's.

        Raises ProtocolError where one begins with "error"."""
        before = self._count()
        text = "".join(f"{line}\\n" for line in lines)
        self.host.shell(f"printf {shlex.quote(text)} >/tmp/{self.name}.in")
        answers = self._answers(before + len(lines))[before:]
        for line in answers:
            if line.startswith("error"):
                raise ProtocolError(f"the monitor answered {line!r}")
        return answers

    def tell(self, line: str) -> None:
        """Say a line whose answer is not waited for."""
        self.host.shell(f"printf {shlex.quote(line + chr(92) + 'n')} >/tmp/{self.name}.in")

    def stop(self) -> None:
        """End an operation that spins."""
        self.host.shell(f"kill -USR1 {self.task}")

    def _count(self) -> int:
        return int(self.host.shell(f"grep -vc ^mmio /tmp/{self.name}.out || true").strip() or 0)

    def _answers(self, count: int) -> list[str]:
        """All that it has said, once that is ``count`` answers besides device accesses."""
        wait = f"n=0; while [ $(grep -vc ^mmio /tmp/{self.name}.out) -lt {count} ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done"
        return self.host.shell(f"{wait}; cat /tmp/{self.name}.out", timeout=60).splitlines()
