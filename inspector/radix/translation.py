"""What a walk answers: the steps it took, and where it ended.

The hardware's walk and KVM's software walk give the same shape, so that they can stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Table = Literal["partition-table", "process-table", "radix"]
Access = Literal["r", "w", "x"]
ReadWord = Callable[[int], int]
"""Reads the big-endian doubleword at a real address; raises MemoryReadError."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry read.

    ``stage`` is 1 for process-scoped and 2 for partition-scoped; of a guest's guest (L2) 2 is its hypervisor's
    partition-scoped tree (L1), and 3 the host's behind that. ``level`` counts down from 3 (root) to 0 and is None
    for the entry of a partition or process table. ``address`` is the real address that was read; ``guest_address`` is
    the guest real address it came from where a partition-scoped tree lay between. ``value`` is the raw entry, its first
    doubleword where it has two (``second`` is then the other, if it was read), and None where it could not be read.
    ``shift`` is log2 of the bytes that the entry covers. ``purpose`` says what this step serves in a nested walk.
    """

    table: Table
    stage: int
    level: int | None
    index: int
    address: int
    value: int | None
    kind: str
    second: int | None = None
    guest_address: int | None = None
    shift: int | None = None
    depth: int = 0
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Rights:
    """What may be done through a mapping."""

    read: bool
    write: bool
    execute: bool

    def allows(self, access: Access) -> bool:
        """Whether an access of this kind may proceed."""
        return {"r": self.read, "w": self.write, "x": self.execute}[access]

    def __and__(self, other: Rights) -> Rights:
        return Rights(self.read and other.read, self.write and other.write, self.execute and other.execute)

    def __str__(self) -> str:
        return ("r" if self.read else "-") + ("w" if self.write else "-") + ("x" if self.execute else "-")


NO_RIGHTS = Rights(False, False, False)
ALL_RIGHTS = Rights(True, True, True)


@dataclass(frozen=True, slots=True)
class Interrupt:
    """The interrupt that an access raises. ``bits`` go to DSISR or HDSISR for data and to SRR1 or HSRR1 for fetches."""

    name: str
    bits: int


@dataclass(frozen=True, slots=True)
class Translation:
    """Where an effective address goes.

    ``status`` is "ok" where a leaf was reached (and, if an access was asked about, it may proceed). ``ra`` is then the
    real address, ``gra`` the guest real one where there are two stages (it is told too where the first stage reached it
    and the second failed), and ``page_shift`` log2 of the smallest page on the way. ``errno`` is set for software walks
    only. ``cause`` is a slug and ``reason`` its sentence; ``stage`` is the stage that failed, numbered as :class:`Step`
    has it. Of a guest's guest ``lpid`` and ``gra`` are its own, and ``outer_lpid`` and ``outer_gra`` its hypervisor's:
    the LPID that the host gave that, and what that calls real (told too where only the host's stage failed).
    ``table_gra`` is the guest real address of an entry that the second stage did not lead on to. ``leaf`` is the raw
    process-scoped leaf (the partition-scoped one where there is no other). ``notes`` are what should be known besides:
    assumptions made, and oddities that the hardware passes over.
    """

    ea: int
    walker: str
    status: Literal["ok", "fault"]
    access: Access | None = None
    errno: str | None = None
    cause: str | None = None
    reason: str = ""
    lpid: int | None = None
    pid: int | None = None
    ra: int | None = None
    gra: int | None = None
    outer_lpid: int | None = None
    outer_gra: int | None = None
    page_shift: int | None = None
    page_size_index: int | None = None
    rights: Rights = NO_RIGHTS
    leaf: int | None = None
    stage: int | None = None
    table_gra: int | None = None
    interrupt: Interrupt | None = None
    relocation: bool = True
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it was answered without a fault."""
        return self.status == "ok"
