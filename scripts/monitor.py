"""The monitor of this project's own, which runs KVM guests inside a powernv machine: built, and talked to.

Its source is fixtures/guests/; what it takes and answers, line by line, is said at the top of vmm.c."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an operation: ``word`` is "ok", "interrupt", "stopped", "exit" or "mmio"; ``value`` what was loaded
    or the interrupt's vector; ``fields`` what else was told, by name (dar, dsisr, srr0, srr1, nip)."""

    word: str
    value: int | None
    fields: Mapping[str, int]


def outcome(line: str) -> Outcome:
    """One line of the monitor's, taken apart."""
    word, *rest = line.split()
    if word == "mmio":  # mmio read GPA LENGTH nip NIP
        way, gpa, length, *rest = rest
        fields = {way: int(gpa, 16), "length": int(length)}
        return Outcome(word, int(gpa, 16), fields | _pairs(rest))
    value = int(rest.pop(0), 16) if len(rest) % 2 else None
    return Outcome(word, value, _pairs(rest))


def _pairs(words: Sequence[str]) -> dict[str, int]:
    return {name: int(value, 16) for name, value in zip(words[::2], words[1::2], strict=True)}


@dataclass
class Monitor:
    """One KVM guest: the monitor's process in the host (a task's pid), and its virtual machine's descriptor."""

    host: Machine
    name: str
    task: int = 0
    vm: int = 0
    _heard: int = 0

    @classmethod
    def start(cls, host: Machine, name: str) -> Monitor:
        """Start a monitor in the host, which must have it as /bin/vmm. Raises ProtocolError where it makes no guest."""
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
        for some in _batches(lines):
            self.tell(*some)
        answers = self._answers(len(lines))
        for line in answers:
            if line.startswith("error"):
                raise ProtocolError(f"the monitor of guest {self.name} answered {line!r}; mend what it was told")
        return answers

    def tell(self, *lines: str) -> None:
        """Say lines whose answers are not waited for."""
        text = "".join(f"{line}\\n" for line in lines)
        self.host.shell(f"printf {shlex.quote(text)} >/tmp/{self.name}.in")

    def computes(self) -> None:
        """Wait until what it was told to do last has gone on for a while."""
        self.host.computes(self.task)

    def accesses(self, count: int) -> None:
        """Wait until it has told of so many device accesses that were not listened to yet."""
        self.host.shell(f"until [ $({self._news} | grep -c ^mmio) -ge {count} ]; do sleep 0.1; done")

    def stop(self) -> list[str]:
        """End the operation that was told last; what it said, the last line being "stopped …" or what it ended by
        itself with. Raises ProtocolError where it does not end."""
        return self._answers(1, f"kill -USR1 {self.task}")

    def end(self) -> None:
        """End the monitor, and its guest with it."""
        # KVM removes its folder first, and the guest's partition and LPID later, before the process is a zombie.
        there = (
            f"[ -e {self.debugfs} ] || {{ [ -e /proc/{self.task} ] && ! grep -q 'State:.Z' /proc/{self.task}/status; }}"
        )
        self.host.shell(f"kill -9 {self.task}; while {there}; do sleep 0.1; done")

    @property
    def _news(self) -> str:
        """In the host's shell, what it has said since it was last listened to."""
        return f"tail -n +{self._heard + 1} /tmp/{self.name}.out"

    def _answers(self, count: int, meanwhile: str = ":") -> list[str]:
        """What it has said since it was last listened to, once that is ``count`` answers besides device accesses;
        ``meanwhile`` is run in the host now and then until it is."""
        news = self._news
        wait = (
            f"n=0; while [ $({news} | grep -vc ^mmio) -lt {count} ] && [ $n -lt 1000 ];"
            f" do {meanwhile}; sleep 0.1; n=$((n+1)); done"
        )
        said = self.host.shell(f"{wait}; {news}", timeout=300).splitlines()
        self._heard += len(said)
        if sum(not line.startswith("mmio") for line in said) < count:
            raise ProtocolError(f"the monitor of guest {self.name} ended or hangs; its last words were {said[-1:]}")
        return said


def _batches(lines: Sequence[str], most: int = 3000) -> Iterator[list[str]]:
    """The lines in groups that a terminal takes as one line (Linux, N_TTY: 4096 bytes)."""
    some: list[str] = []
    size = 0
    for line in lines:
        if some and size + len(line) > most:
            yield some
            some, size = [], 0
        some.append(line)
        size += len(line) + 2
    if some:
        yield some
