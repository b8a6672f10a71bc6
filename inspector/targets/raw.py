"""Flat images of physical memory, and the registers from a file, as a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inspector.memory.physical import Clock, RamMap
from inspector.memory.plainfile import placed
from inspector.memory.raw import RawMemory
from inspector.targets.base import KnownRoots, Registers, RunState
from inspector.targets.recorded import registers_of
from inspector.targets.regfile import read_register_file

PREFIX = "raw:"


def parse_image(word: str) -> tuple[str, int]:
    """(path, address) of ``raw:FILE[@ADDRESS]``, with or without its prefix. Raises UsageError."""
    return placed(word.removeprefix(PREFIX), PREFIX)


class RawTarget:
    """A Target (see :mod:`inspector.targets.base`): RAM is what the images are, and nothing else."""

    control = None
    state = RunState.RECORDED
    vmcoreinfo: bytes | None = None

    def __init__(self, memory: RawMemory, registers: Mapping[int, Registers], roots: KnownRoots, name: str) -> None:
        self.name = name
        self.source = memory
        self.ram = RamMap(memory.ranges)
        self.clock = Clock()
        self.known_roots = roots
        self._registers = dict(registers) or {0: Registers(0, {})}
        self.cpus: Sequence[int] = tuple(sorted(self._registers))

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        """All registers that are known of ``cpu``. Raises UsageError for a vCPU that is not there."""
        return registers_of(self._registers, cpu)

    @property
    def machine(self) -> Mapping[str, Any]:
        """Where it comes from: ``kind`` 'raw' and the images."""
        return {"kind": "raw", "images": [f"{r.name}@{r.start:#x}" for r in self.ram]}

    def close(self) -> None:
        """Let the files go. Safe to call twice."""
        self.source.close()


def open_raw(images: Sequence[tuple[str, int]], regs: str | None = None) -> RawTarget:
    """Open flat images, each (path, real address), with the registers of the file ``regs``.

    Without ``regs`` there is one vCPU of which nothing is known. Raises FormatError for a file that
    cannot be read or is wrong, UsageError for images that overlap."""
    file = read_register_file(regs) if regs is not None else None
    memory = RawMemory(images)
    name = " ".join(f"{PREFIX}{path}@{address:#x}" for path, address in images)
    return RawTarget(memory, file.cpus if file else {}, file.roots if file else KnownRoots(), name)
