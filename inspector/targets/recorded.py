"""A snapshot or an ELF core as a target: a guest that stands still for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inspector.errors import UsageError
from inspector.memory.core import CoreMemory
from inspector.memory.physical import Clock, RamMap
from inspector.snapshot.manifest import Content
from inspector.snapshot.read import OpenedCore, open_core
from inspector.targets.base import KnownRoots, Registers, RunState, canonical


class RecordedTarget:
    """A Target (see :mod:`inspector.targets.base`) out of a file.

    A core that is not ours knows no PID, LPCR and so on: these are unknown, not zero."""

    control = None
    state = RunState.RECORDED

    def __init__(self, name: str, opened: OpenedCore) -> None:
        self.name = name
        self.ram: RamMap = opened.ram
        self.source: CoreMemory = opened.memory
        self.clock = Clock()
        self.byte_order: str = opened.byte_order
        self.vmcoreinfo: bytes | None = opened.vmcoreinfo
        self._opened = opened
        self._registers = {
            cpu.cpu: Registers(cpu.cpu, {canonical(name): value for name, value in cpu.registers.items()})
            for cpu in opened.cpus
        } or {0: Registers(0, {})}
        self.cpus: Sequence[int] = tuple(self._registers)

    @property
    def captured(self) -> Sequence[tuple[int, int]]:
        """(address, size) of every run that the file holds, sorted."""
        return self.source.captured

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        """All registers that are known of ``cpu``. Raises UsageError for a vCPU that is not there."""
        return registers_of(self._registers, cpu)

    @property
    def known_roots(self) -> KnownRoots:
        """What the manifest says of the process table."""
        roots = self._opened.manifest.roots if self._opened.manifest else None
        if roots is None or roots.process_table is None:
            return KnownRoots()
        how = f"the snapshot, recorded from {roots.how}" if roots.how else "the snapshot"
        return KnownRoots(roots.process_table, how, roots.sure)

    @property
    def machine(self) -> Mapping[str, Any]:
        """Where it comes from: ``kind`` 'snapshot' or 'core', ``byte_order``, and what the manifest tells."""
        manifest = self._opened.manifest
        facts: dict[str, Any] = dict(manifest.machine) if manifest else {}
        facts["kind"] = "snapshot" if manifest else "core"
        if manifest and manifest.recorded_at:
            facts["recorded_at"] = manifest.recorded_at
        if manifest:
            facts["byte_order"] = self.byte_order
            facts["checksums"] = "held to as it is read" if self._opened.checked else "none recorded"
        else:
            facts["header_byte_order"] = self.byte_order
        facts["vmcoreinfo"] = self.vmcoreinfo is not None
        return facts

    @property
    def contents(self) -> Sequence[Content]:
        """What is in the file, as whoever recorded it says; empty where that is not told."""
        return self._opened.manifest.contents if self._opened.manifest else ()

    @property
    def virtio(self) -> Mapping[str, Any] | None:
        """The virtio devices as they were recorded, as JSON that nobody has checked; None where they were not."""
        return self._opened.manifest.virtio if self._opened.manifest else None

    @property
    def triage(self) -> Mapping[str, Any] | None:
        """What was sampled for triage, as JSON that nobody has checked; None where nothing was."""
        return self._opened.manifest.triage if self._opened.manifest else None

    def byte_order_of(self, cpu: int) -> str | None:
        """'little' or 'big' where the manifest says in which ``cpu`` ran when recorded, else None."""
        return next((c.byte_order for c in self._opened.cpus if c.cpu == cpu), None)

    def close(self) -> None:
        """Let the file go. Safe to call twice."""
        self.source.close()


def registers_of(known: Mapping[int, Registers], cpu: int) -> Registers:
    """The registers of ``cpu``. Raises UsageError for a vCPU that is not there."""
    found = known.get(cpu)
    if found is None:
        there = ", ".join(str(n) for n in list(known)[:8]) + (", …" if len(known) > 8 else "")
        raise UsageError(f"there is no vCPU {cpu}; choose one of these with --cpu: {there}")
    return found


def open_recorded(path: str, name: str | None = None) -> RecordedTarget:
    """Open the snapshot or ELF core ``path``, plain, .gz or .zst, told apart by content; ``name`` is what it is called.

    Raises FormatError for what is neither, is cut short or garbled, and WrongArchitecture for another machine's."""
    return RecordedTarget(name or path, open_core(path))
