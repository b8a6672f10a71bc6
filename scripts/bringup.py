"""The bring-up guest: a few KiB without an operating system, that makes accesses and writes down what they raise.

    with Bringup("pseries") as guest:
        outcomes = guest.run([Access(...), ...])    # trees and tables are put into guest.ram before that

Its source is fixtures/guests/bringup/: each machine loads it at 0 as its firmware, so that nothing else runs there.
Instead of :meth:`Bringup.run` there are :meth:`Bringup.begin` and :meth:`Bringup.hang_at`: it then makes one access for
ever, as under a kernel whose handlers mend nothing (scripts/bringuphangs.py). What lies where in its RAM is said here
and in cases.c. Errors are those of inspector/errors.py."""

from __future__ import annotations

import hashlib
import mmap
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from inspector.doctor import guest_cache, install_line
from inspector.errors import ReplyTimeout, TargetError, ToolMissing
from scripts.guests import Machine
from scripts.kinds import Kind
from scripts.qmp import PATIENCE

SOURCE = Path(__file__).resolve().parent.parent / "fixtures" / "guests" / "bringup"
COMPILER = "powerpc64le-linux-gnu-gcc"
PACKAGES = ("gcc-powerpc64le-linux-gnu",)
FLAGS = (
    *("-mbig-endian", "-mabi=elfv2", "-mcpu=power8", "-mno-altivec", "-mno-vsx", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-fno-pic", "-no-pie", "-fno-asynchronous-unwind-tables", "-fno-stack-protector"),
    *("-nostdlib", "-static", "-Wl,-m,elf64ppc", "-Wl,--oformat=binary", "-Wl,--build-id=none", "-Wl,-z,noexecstack"),
)

LOAD_AT, STORE_AT, LEFT_AT = 0x3000, 0x3010, 0x3020
"""Real addresses of the instructions that load, store, and leave ``ea`` and ``value`` in DAR and DSISR without any."""
BOARD, ACCESSES, OUTCOMES = 0x7000, 0x10_0000, 0x20_0000
DONE, RESULT, STAYS, TURNS, BEGUN = 8, 16, 24, 32, 40
"""In ``struct board``, behind how many accesses there are."""
ROUNDS = "r9"
"""Counts how often an access that is made for ever was sent back."""
IDLE_TURNS = 300
"""A handler runs for much longer than the one instruction that it goes back to, as a kernel's does."""
MOST = (OUTCOMES - ACCESSES) // 128
PAGES, PAGES_END = 0x40_0000, 0x80_0000
"""Real memory that is nothing but system calls: what may be fetched, loaded and stored to without harm."""
TABLES = 0x200_0000
"""From here on RAM is the caller's, up to ``TABLES_END``; powernv's device tree lies below, pseries' above."""
TABLES_END = 0x3000_0000
SYSTEM_CALL = 0x4400_0002
SYSTEM_CALL_VECTOR = 0xC00

MachineName = Literal["pseries", "powernv9"]


@dataclass(frozen=True, slots=True)
class Access:
    """One access: ``start`` is where it begins (LOAD_AT or STORE_AT by whatever address leads there under ``msr``, or
    ``ea`` itself for a fetch); ``table`` is PTCR, or on pseries the process table's address and size."""

    start: int
    ea: int
    msr: int
    pid: int = 0
    amr: int = 0
    iamr: int = 0
    lpidr: int = 0
    table: int = 0
    value: int = SYSTEM_CALL << 32 | SYSTEM_CALL


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an access raised; ``vector`` is 0xc00 where it went well. Registers that no interrupt set are 0."""

    vector: int
    dar: int
    dsisr: int
    srr0: int
    srr1: int
    hdar: int
    hdsisr: int
    hsrr0: int
    hsrr1: int
    asdr: int


def built() -> Path:
    """The image, built once for each state of its source.

    Raises ToolMissing without the cross compiler, TargetError with the compiler's words where it refuses."""
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise ToolMissing(COMPILER, install_line(list(PACKAGES)))
    sources = [SOURCE / "start.S", SOURCE / "cases.c"]
    layout = SOURCE / "image.ld"
    text = b"".join(path.read_bytes() for path in (*sources, layout)) + " ".join(FLAGS).encode()
    kept = guest_cache() / f"bringup-{hashlib.sha256(text).hexdigest()[:16]}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            made = Path(folder) / "image"
            words = [compiler, *FLAGS, f"-Wl,-T,{layout}", "-o", str(made), *map(str, sources)]
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                raise TargetError(f"{COMPILER} refused the bring-up guest: {done.stderr.strip()}")
            made.rename(kept)
    return kept


class Bringup:
    """A machine that stands before its first instruction, its RAM to be written; :meth:`run` or :meth:`begin` lets it
    go, once."""

    def __init__(self, machine: MachineName) -> None:
        image = str(built())
        kind = Kind(
            f"{machine}-bringup", "the bring-up guest", machine, "POWER9", linux=False, paused=True, cpus=1,
            devices=("-bios", image),
        )  # fmt: skip
        self.machine = Machine(kind)
        self.ram: mmap.mmap

    def __enter__(self) -> Self:
        self.machine.start()
        try:
            with self.machine.ram_file.open("r+b") as file:
                self.ram = mmap.mmap(file.fileno(), self.machine.ram_size)
        except BaseException:
            self.machine.close()
            raise
        self.ram[PAGES:PAGES_END] = SYSTEM_CALL.to_bytes(4, "big") * ((PAGES_END - PAGES) // 4)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ram.close()
        self.machine.close()

    def put(self, address: int, value: int) -> None:
        """Store a doubleword as tables have it."""
        self.ram[address : address + 8] = value.to_bytes(8, "big")

    def word(self, address: int) -> int:
        """The doubleword at a real address, as tables have it."""
        return int.from_bytes(self.ram[address : address + 8], "big")

    def run(self, accesses: Sequence[Access], timeout: float = PATIENCE) -> list[Outcome]:
        """Make these accesses in order, once for each machine. Raises ReplyTimeout where the guest does not end."""
        self.begin(accesses, stays=len(accesses))
        self._wait(lambda: self.word(BOARD + DONE) == len(accesses), timeout)
        self.machine.pause()
        assert self.word(BOARD + RESULT) == 0, "a hypercall failed"
        return [
            Outcome(*struct.unpack(">10Q", self.ram[OUTCOMES + 128 * n : OUTCOMES + 128 * n + 80]))
            for n in range(len(accesses))
        ]

    def begin(self, accesses: Sequence[Access], stays: int = 0) -> None:
        """Let it make these accesses in order, once for each machine; it does not come past number ``stays``, which
        every interrupt's handler goes back to."""
        assert len(accesses) <= MOST, "there is no room for more"
        for number, each in enumerate(accesses):
            at = ACCESSES + 128 * number
            self.ram[at : at + 72] = struct.pack(">9Q", *astuple(each))
        self.put(BOARD, len(accesses))
        self.put(BOARD + STAYS, stays)
        self.put(BOARD + TURNS, IDLE_TURNS)
        self.machine.cont()

    def hang_at(self, number: int, timeout: float = PATIENCE) -> None:
        """Let it go on to access ``number``, those before it having raised one interrupt each, and wait until it goes
        round there. It runs on. Raises ReplyTimeout where it does not get there."""
        self.put(BOARD + STAYS, number)
        self._wait(lambda: self.word(BOARD + BEGUN) == number + 1 and self.rounds() > 1, timeout)
        assert self.word(BOARD + RESULT) == 0, "a hypercall failed"

    def rounds(self) -> int:
        """How often the access that it hangs at has been sent back."""
        return self.registers((ROUNDS,))[ROUNDS]

    def registers(self, names: Iterable[str]) -> dict[str, int]:
        """These of the vCPU, as QEMU's monitor has them; it runs on."""
        return {name: int(self.machine.hmp(f"print/x ${name}"), 16) for name in names}

    def _wait(self, there: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not there():
            if time.monotonic() > deadline:
                registers = self.machine.hmp("info registers").splitlines()[:1]
                raise ReplyTimeout(f"the bring-up guest stays at access {self.word(BOARD + DONE)}: {registers}")
            time.sleep(0.01)
