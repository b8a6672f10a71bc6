"""A machine with one guest whose tree is laid in an overlay, and a reader of that tree that shares nothing with what
makes it."""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack

from inspector.errors import Unreadable
from inspector.kvm.create import create_pte
from inspector.kvm.fault import Fault, page_fault
from inspector.kvm.host import HostPage
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.pool import Pool
from inspector.kvm.shape import HostPages
from inspector.kvm.slots import MemorySlot
from inspector.kvm.trace import Trace
from inspector.memory.overlay import Overlay
from inspector.memory.physical import PhysicalMemory, RamMap, Range

RAM = 1 << 20
POOL = 1 << 40
POOL_SIZE = 64 << 20
PAGE, LARGE, HUGE = 0x10000, 0x20_0000, 0x4000_0000
HVA = 0x7FFF_0000_0000
"""A host virtual address that lies like guest real 0 in 1G."""
STORE, NOPTE, PROT, SET_RC, BADACCESS, UNSUPP, PGDIR = (
    0x0200_0000,
    0x4000_0000,
    0x0800_0000,
    0x0004_0000,
    0x0400_0000,
    0x0008_0000,
    0x0002_0000,
)
PRESENT, PTE = 1 << 63, 1 << 62
RWX, RX = 0xC000_0000_0000_0187, 0xC000_0000_0000_0105
"""Leaves of the seed: of a page that may be written to, and of one that may only be read."""
RPN = 0x01FF_FFFF_FFFF_F000
NEXT = 0x0FFF_FFFF_FFFF_FF00
BITS = {3: 13, 2: 9, 1: 9}
SHIFTS = {3: 39, 2: 30, 1: 21}


class Immutable:
    """RAM that nobody can write to, with a pattern; what is among ``holes`` cannot be read."""

    description = "RAM"
    cheap = True

    def __init__(self, size: int = RAM) -> None:
        self.data = bytes(size)
        self.holes: list[range] = []

    def read(self, address: int, length: int) -> bytes:
        for hole in self.holes:
            if address < hole.stop and hole.start < address + length:
                raise Unreadable(address, length, "there is a hole")
        return self.data[address : address + length]


@dataclass
class Scene:
    """One guest of LPID 5 on a machine."""

    machine: Machine
    vm: Vm
    overlay: Overlay
    base: Immutable

    def word(self, address: int) -> int:
        """The doubleword at ``address``."""
        return int.from_bytes(self.overlay.read(address, 8), "big")

    def words(self, address: int, count: int) -> tuple[int, ...]:
        """So many from there on."""
        return unpack(f">{count}Q", self.overlay.read(address, 8 * count))

    def put(self, address: int, value: int) -> None:
        """Another one there, as nobody's operation."""
        self.overlay.write_u64(address, value)

    def tree(self) -> dict[tuple[int, int], int]:
        """Every leaf word that is not 0, by (guest real address, shift)."""
        return self.read()[0]

    def tables(self) -> list[tuple[int, int]]:
        """(address, level) of every table that is reached, the root's too."""
        return self.read()[1]

    def read(self) -> tuple[dict[tuple[int, int], int], list[tuple[int, int]]]:
        """Both, and on the way that every entry that leads on is what the kernel writes."""
        leaves: dict[tuple[int, int], int] = {}
        tables: list[tuple[int, int]] = []
        last = self.machine.pages.shift

        def table(address: int, level: int, gpa: int) -> None:
            tables.append((address, level))
            bits, shift = BITS.get(level, 21 - last), SHIFTS.get(level, last)
            for index, value in enumerate(self.words(address, 1 << bits)):
                if not value:
                    continue
                here = gpa | index << shift
                if level == 0 or value & PTE:
                    leaves[here, shift] = value
                else:
                    below = BITS.get(level - 1, 21 - last)
                    assert value == PRESENT | value & NEXT | below, hex(value)
                    assert value & NEXT & (8 << below) - 1 == 0, "a table lies at a multiple of its size"
                    table(value & NEXT, level - 1, here)

        root = self.vm.tree.root
        tables.append((root, 3))
        for index, value in enumerate(self.words(root, 1 << 13)):
            if value:
                table(value & NEXT, 2, index << 39)
        return leaves, tables

    def begin(self) -> Trace:
        """A new operation's trace."""
        return self.machine.begin(self.vm)

    def create(self, leaf: int, gpa: int, level: int = 0, *, invalidated: bool = False) -> str | None:
        """``kvmppc_create_pte``, as an operation of its own."""
        self.begin()
        return create_pte(self.machine, self.vm, leaf, gpa, level, invalidated=invalidated)

    def fault(
        self,
        gpa: int,
        dsisr: int = NOPTE,
        host: HostPage | None = None,
        *,
        ea: int | None = None,
        invalidated: bool = False,
        fetch: bool = False,
    ) -> str:
        """A fault at guest real ``gpa``."""
        self.begin()
        at = 0xC000_0000_0000_0000 | gpa if ea is None else ea
        return page_fault(self.machine, self.vm, Fault(at, gpa & ~0xFFF, dsisr, host, invalidated, fetch))

    @property
    def trace(self) -> Trace:
        return self.vm.tree.trace

    @property
    def rbs(self) -> list[int]:
        """RB of each tlbie."""
        return [each.rb for each in self.trace.tlbie]

    def slot(self, base: int = 0, size: int = 4 << 30, flags: int = 0) -> MemorySlot:
        """One more memory slot."""
        slot = MemorySlot(base, size, flags, page_shift=self.machine.pages.shift)
        self.vm.slots.add(slot)
        return slot


def scene(
    version: str = "6.1",
    *,
    page_shift: int = 16,
    dd1: bool = False,
    pool: int = POOL_SIZE,
    old: frozenset[str] | None = None,
) -> Scene:
    """An empty tree on a machine of this version; ``old`` names just what it does in the old way instead."""
    base = Immutable()
    overlay = Overlay(PhysicalMemory(base, RamMap([Range(0, RAM, "ram")])), [Range(POOL, pool, "pool")])
    machine = Machine(overlay, Pool(overlay, POOL, pool), HostPages(page_shift), version, dd1)
    if old is not None:
        machine.old = old
    return Scene(machine, machine.make(5), overlay, base)


def host(gpa: int, shift: int = 16, *, real: int = 0x1_0000_0000, **what: object) -> HostPage:
    """The host's page behind ``gpa``, of a mapping of 2**``shift`` bytes that lies like it."""
    hva = HVA + (gpa & -PAGE)
    base = real + (gpa & -PAGE & -(1 << shift))
    return HostPage(hva, base, shift, **what)  # type: ignore[arg-type]


def pages_of(bitmap: bytes | bytearray | None) -> set[int]:
    """The numbers of the bits that are set, low bits of each byte first."""
    return {8 * at + bit for at, byte in enumerate(bitmap or b"") for bit in range(8) if byte >> bit & 1}
