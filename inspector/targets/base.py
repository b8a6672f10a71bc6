"""What a target is to everything right of it: RAM, registers, and perhaps a running guest.

A *register file* maps the canonical names below to values; a name that is absent is unknown, never
zero. Canonical names are lower case and those of the ISA, as users write them after ``$``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from inspector.errors import UnknownRegister
from inspector.memory.physical import Clock, MemorySource, RamMap

GENERAL = tuple(f"r{n}" for n in range(32))
CORE = ("nip", "msr", "cr", "lr", "ctr", "xer")
MMU = ("pid", "lpidr", "lpcr", "ptcr", "amr", "iamr", "uamor", "amor", "hrmor", "pvr")
FAULT = ("dar", "dsisr", "srr0", "srr1", "hdar", "hdsisr", "asdr", "hsrr0", "hsrr1")
REGISTERS: tuple[str, ...] = (*GENERAL, *CORE, *MMU, *FAULT)

TRANSLATION: tuple[str, ...] = ("msr", "lpcr", "pid", "lpidr", "ptcr", "amr", "iamr", "hrmor")
"""The registers that decide where an address goes."""

ALIASES: Mapping[str, str] = {"pidr": "pid", "pc": "nip", "lpid": "lpidr", "sp": "r1", "ptbr": "ptcr", "link": "lr"}


def canonical(name: str) -> str:
    """The canonical name of what a user, gdb or a register file calls ``name`` (a leading ``$`` is dropped)."""
    plain = name.removeprefix("$").lower()
    return ALIASES.get(plain, plain)


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of one vCPU. ``values`` holds the known ones, unsigned, by canonical name."""

    cpu: int
    values: Mapping[str, int]

    def get(self, name: str) -> int | None:
        """The value, or None where it is unknown."""
        return self.values.get(canonical(name))

    def need(self, name: str) -> int:
        """The value. Raises UnknownRegister."""
        plain = canonical(name)
        value = self.values.get(plain)
        if value is None:
            raise UnknownRegister(plain, self.cpu, plain in REGISTERS)
        return value

    def with_values(self, values: Mapping[str, int]) -> Registers:
        """The same with some values replaced."""
        return Registers(self.cpu, {**self.values, **values})


class RunState(Enum):
    """What the guest is doing."""

    STOPPED = "stopped"
    RUNNING = "running"
    RECORDED = "recorded"
    LOST = "lost"


class RunControl(Protocol):
    """Making a live guest go and stop; only ever called because the user asked by name."""

    def resume(self) -> None:
        """Let every vCPU run, and return at once."""

    def interrupt(self, *, glance: bool = False) -> None:
        """Stop the guest and wait until it has stopped. A ``glance`` is quicker: for registers, and for RAM that can be
        read while it runs too, whose map is as it was found before. Without it afterwards, all of it is ready."""

    def step(self, cpu: int) -> None:
        """Run one instruction on ``cpu`` and stop again."""

    def wait(self, seconds: float | None) -> bool:
        """Wait until a running guest stops by itself. False when ``seconds`` passed first."""

    def halted(self) -> Mapping[int, bool]:
        """Which vCPUs wait for an interrupt, by number, as far as that is known. Raises NotSupported while the guest
        runs."""

    def console(self, command: str) -> str:
        """What gdb prints for a command that only looks. Raises UsageError for one that would write."""

    def monitor(self, commands: Sequence[str]) -> list[str]:
        """What QEMU's monitor prints for commands of this program's own that only look, asked in one go; empty where
        it was refused. Raises NotSupported while the guest runs."""


@dataclass(frozen=True, slots=True)
class KnownRoots:
    """What a target itself knows of the roots: a snapshot's manifest, --process-table.

    ``process_table`` is the registered value with its size field, as KVM keeps it in
    ``arch.process_table``; ``how`` says who said so, and ``sure`` how sure that was."""

    process_table: int | None = None
    how: str = ""
    sure: str = ""


class Target(Protocol):
    """An opened target. Closing it leaves a live guest as it was found."""

    @property
    def name(self) -> str:
        """As the user wrote it."""

    @property
    def source(self) -> MemorySource:
        """Where the bytes of RAM come from."""

    @property
    def ram(self) -> RamMap:
        """What is RAM."""

    @property
    def clock(self) -> Clock:
        """Ticks whenever the guest has run."""

    @property
    def state(self) -> RunState:
        """What the guest is doing now."""

    @property
    def cpus(self) -> Sequence[int]:
        """Numbers of the vCPUs, from 0 as QEMU numbers them."""

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        """Registers of one vCPU, at least ``names`` where they are known (None: all of REGISTERS).

        Costs nothing the second time in one epoch. Raises UsageError for a vCPU that is not there."""

    @property
    def control(self) -> RunControl | None:
        """How to run it, or None for what cannot run."""

    @property
    def known_roots(self) -> KnownRoots:
        """What the target itself knows of the roots."""

    @property
    def vmcoreinfo(self) -> bytes | None:
        """The guest kernel's VMCOREINFO text, where the target itself holds it."""

    @property
    def machine(self) -> Mapping[str, Any]:
        """What is known of where it comes from: QEMU's and gdb's versions, machine, when recorded …"""

    def close(self) -> None:
        """Leave the guest as it was found. Safe to call twice."""


@dataclass
class KeptRegisters:
    """Register files already read, for one epoch."""

    clock: Clock
    epoch: int = -1
    kept: dict[int, dict[str, int]] = field(default_factory=dict)

    def of(self, cpu: int) -> dict[str, int]:
        """The kept values of ``cpu``, emptied when the guest has run since."""
        if self.epoch != self.clock.epoch or self.clock.running:
            self.kept.clear()
            self.epoch = self.clock.epoch
        return self.kept.setdefault(cpu, {})
