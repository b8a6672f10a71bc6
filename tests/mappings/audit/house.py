"""A small guest that no rule finds anything in, to be broken one way at a time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from inspector.commands.audit import surroundings
from inspector.guest import Guest
from inspector.mappings.audit.finding import Report
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.run import audit
from inspector.memory.physical import RamMap, Range
from inspector.spaces import Spaces
from inspector.targets.base import KnownRoots, Registers
from tests.fakes import (
    GR,
    KERNEL,
    KERNEL_MSR,
    LINUX_LPCR,
    FakeTarget,
    GiB,
    KiB,
    MiB,
    SparseMemory,
)
from tests.radix.trees import LEAF, VALID, Bump, Tree

PAGE = 64 * KiB
RAM_BYTES, TEXT_BYTES = 64 * MiB, 32 * MiB
TABLE_AT, PRTS = 38 * MiB, 4
"""The process table: 64 KiB, 4096 PIDs."""
TABLES_AT = 34 * MiB
FREE = 40 * MiB
"""RAM that only the linear map maps."""
DIMM = GiB
"""RAM that the linear map does not reach: the users' pages."""
DEVICE_AT = 0x2100_0000_0000
PID, OTHER = 4, 9
VMALLOC, IO = 0xC008_0000_0001_0000, 0xC00A_0000_8000_0000
CODE, SPARE, STACK = 0x1000_0000, 0x5000_0000, 0x7FFF_E000_0000
L = VALID | LEAF
KTEXT, KDATA, KDEVICE = L | 0x10D, L | 0x18E, L | 0x1AE
UTEXT, UDATA, UREAD = L | 0x105, L | 0x386, L | 0x304


@dataclass
class House:
    """The guest: its memory, the kernel's tree and that of process PID, and what is known besides."""

    memory: SparseMemory = field(default_factory=SparseMemory)
    ram: tuple[tuple[int, int], ...] = ((0, RAM_BYTES), (DIMM, 3 * MiB))
    text: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.space = Bump(TABLES_AT)
        self.kernel, self.user = self.tree(0), self.tree(PID)
        for at in range(0, RAM_BYTES, 2 * MiB):
            self.linear = self.kernel.map(KERNEL + at, at | (KTEXT if at < TEXT_BYTES else KDATA), 21)
        self.kernel.map(VMALLOC - PAGE, DIMM | KTEXT, 16)
        self.kernel.map(IO, DEVICE_AT | KDEVICE, 16)
        self.path = self.user.map(CODE, DIMM + PAGE | UTEXT, 16)
        self.user.map(CODE + PAGE, DIMM + 2 * PAGE | UDATA, 16)
        self.user.map(STACK, DIMM + 3 * PAGE | UDATA, 16)

    def tree(self, pid: int) -> Tree:
        """A tree of its own for a PID."""
        tree = Tree(self.memory.put_word, self.space)
        self.enter(pid, tree.descriptor)
        return tree

    def enter(self, pid: int, first: int, second: int = 0) -> None:
        """Write an entry of the process table."""
        self.memory.put_word(TABLE_AT + 16 * pid, first)
        self.memory.put_word(TABLE_AT + 16 * pid + 8, second)

    def flip(self, address: int, bits: int) -> None:
        """Turn over bits of a word."""
        self.memory.put_word(address, self.memory.word(address) ^ bits)

    def write(self, words: dict[int, int]) -> None:
        """Write words by address."""
        for address, value in words.items():
            self.memory.put_word(address, value)

    def guest(self) -> Guest:
        values = {"msr": KERNEL_MSR, "lpcr": LINUX_LPCR, "pid": PID, "lpidr": 0, "ptcr": 0, "nip": KERNEL}
        return Guest(
            FakeTarget(
                self.memory,
                RamMap(Range(*each) for each in self.ram),
                {0: Registers(0, values)},
                KnownRoots(GR | TABLE_AT | PRTS, "given", "confirmed"),
            )
        )

    def audit(self, rules: tuple[str, ...] | None = tuple(RULES), spaces: Spaces | None = None) -> Report:
        """What these rules find (all of them), all of it told."""
        guest = self.guest()
        around = replace(surroundings(guest), text=self.text)
        return audit(spaces or guest.spaces(), rules, around=around, limit=None)
