"""A guest of a KVM guest (L2), for a host that runs KVM guests: made by hand, for its hypervisor (L1) is a few lines.

    with closing(Nested.start(machine, lpid)) as l2:
        l2.ptcr, l2.lpid                 # what the L1 registered, and which entry of it the L2 is
        l2.store(((6, 0x2000_0000),))
        l2.stored

The L1 is a guest of the monitor's. Its CPU writes a partition table, a tree that says where it keeps the L2's memory,
and in that memory the L2's own process table and trees; then it calls H_SET_PARTITION_TABLE and, for each thing that
the L2 is to do, H_ENTER_NESTED (Linux 6.1, arch/powerpc/kvm/book3s_hv_nested.c). KVM runs the L2 by
a tree that it makes of both stages as it faults, in the L1's debugfs file under "Nested LPID".

The L2 must touch nothing that its L1 maps to where the monitor has no memory: that would be a device's, and under
QEMU 7.2 KVM was seen to come back to such a load for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from inspector.errors import ProtocolError
from scripts.guests import Machine
from scripts.monitor import REAL, VIRTUAL, Monitor, outcome
from scripts.scene import CODE, DATA, KERNEL, KvmGuest, Layout, Leaf, Slot, Stored

H_SET_PARTITION_TABLE, H_ENTER_NESTED = 0xF800, 0xF804
"""Hypercalls (Linux 6.1, arch/powerpc/include/asm/hvcall.h)."""
STATE_VERSION, LPCR_ILE = 1, 1 << 25
NEVER = 0x3FFF_FFFF_FFFF_FFFF
"""A time base that is not reached: when the L2 is to be left at the latest."""
ENTER, LOAD, STORE = 0x2000, 0x2100, 0x2200
"""Where guest.S has these operations."""
SYSTEM_CALL, DSI, HDSI = 0xC00, 0x300, 0xE00
"""Interrupts: an operation that went through; no page by the L2's own tables; none by the L1's."""
VECTOR = 0x7FFF_0000
"""What guest.S adds to the number of an interrupt, to tell the hypervisor of it."""
VALID, LEAF, RADIX = 1 << 63, 1 << 62, 1 << 63
TREE = 0x4000_0000_0000_00AD
"""The descriptor of a tree of 52 bits, less its root."""
HOST_LEAF = 0x187
"""A partition-scoped leaf that lets all be done, with R and C."""

L1 = Layout(
    "outer",
    (Slot(0, 0x200_0000), Slot(0x4000_0000, 0x40_0000, huge=True)),
    0x40_0000,
    (Leaf(0, KERNEL, 0, 21, CODE | 2),),
)
PARTITION_TABLE, STATE, REGISTERS, L1_TABLES = 0x80_0000, 0x81_0000, 0x82_0000, 0x83_0000
"""L1 real."""
L2_LPID = 3
L2_MEMORY: tuple[tuple[int, int, int], ...] = (
    (0, 0, 16),  # its code is the L1's own
    (0x20_0000, 0x4020_0000, 21),  # where its tables go, of 2M
    *((0x40_0000 + n * 0x1_0000, 0x110_0000 - n * 0x1_0000, 16) for n in range(4)),  # backwards
    (0x60_0000, 0x120_0000, 21),  # 2M over the host's 64K
    (0x80_0000, 0x4000_0000, 21),
    (0xA0_0000, 0x4001_0000, 16),  # 64K of the host's 2M
    (0xC0_0000, 0x1F0_0000, 16),  # not touched yet, so that the host has nothing behind it
)
"""L2 real, L1 real and log2 of the page's size."""
PROCESS_TABLE, TABLES = 0x20_0000, 0x21_0000
"""L2 real."""
NOT_MAPPED_EA, UNTOUCHED_EA, LOST_EA = 0x5000_0000, 0x2003_0000, 0x2004_0000
"""Of PID 6: what its own tree has nothing for, what the host has nothing behind until it is touched, and what the L1's
tree has nothing for."""
L2 = Layout(
    "inner",
    (),
    PROCESS_TABLE,
    (
        Leaf(6, 0, 0, 16, CODE),
        Leaf(6, 0x2000_0000, 0x40_0000, 16, DATA),
        Leaf(6, 0x2001_0000, 0x41_0000, 16, DATA),
        Leaf(6, 0x3000_0000, 0x42_3000, 12, DATA),  # 4K of 64K
        Leaf(6, 0x4000_0000, 0x60_0000, 21, DATA),
        Leaf(6, 0x4020_0000, 0x80_0000, 21, DATA),
        Leaf(6, 0x2002_0000, 0xA0_0000, 16, DATA),
        Leaf(6, UNTOUCHED_EA, 0xC0_0000, 16, DATA),
        Leaf(6, LOST_EA, 0xD0_0000, 16, DATA),
        Leaf(0, KERNEL, 0, 16, CODE),
        Leaf(0, KERNEL | 0x20_0000, 0x60_0000, 21, DATA),
    ),
)


@dataclass
class Tree:
    """A radix tree under construction: ``put`` stores a doubleword where its tables are, which begin at ``at``. The
    memory is zero before."""

    put: Callable[[int, int], None]
    at: int
    _below: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The table that each directory entry leads to, and log2 of its entries."""

    def __post_init__(self) -> None:
        self.root = self.table(13)

    def table(self, bits: int) -> int:
        """Room for a table of 2**``bits`` entries."""
        size = max(8 << bits, 0x1000)
        at = (self.at + size - 1) & -size
        self.at = at + size
        return at

    @property
    def descriptor(self) -> int:
        """What says where the tree is."""
        return TREE | self.root

    def map(self, ea: int, leaf: int, shift: int) -> None:
        """Put a leaf there; the tables above it are made where there are none."""
        at, bits, low = self.root, 13, 52
        for below in (9, 9, 5 if shift == 16 else 9, 0):
            low -= bits
            place = at + 8 * (ea >> low & ((1 << bits) - 1))
            if low == shift:
                self.put(place, VALID | LEAF | leaf)
                return
            if place not in self._below:
                self._below[place] = (self.table(below), below)
                self.put(place, VALID | self._below[place][0] | below)
            at, bits = self._below[place]
        raise AssertionError(f"no page has 2**{shift} bytes")


def to_l1(real: int) -> tuple[int, int] | None:
    """The L1 real address behind an L2 real one, and log2 of the L1's page; None where its tree has nothing."""
    for at, gpa, shift in L2_MEMORY:
        if 0 <= real - at < 1 << shift:
            return gpa + real - at, shift
    return None


def host_shift(real: int) -> int | None:
    """log2 of the page that the host can map an L2 real address with: the smaller of the L1's and its own. None where
    there is none."""
    found = to_l1(real)
    slot = found and L1.slot(found[0])
    return min(found[1], slot.shift) if found and slot else None


def swapped(value: int) -> int:
    """A little-endian doubleword as the monitor's "poke" and "peek" have it."""
    return int.from_bytes(value.to_bytes(8, "little"), "big")


@dataclass
class Nested:
    """The L2, its L1, and what the L2 has stored. ``lpid`` is the L1's own number for it, ``outer.lpid`` the host's for
    the L1."""

    outer: KvmGuest
    ptcr: int
    lpid: int
    stored: list[Stored] = field(default_factory=list)

    @classmethod
    def start(cls, machine: Machine, lpid: int) -> Self:
        """Make both; ``lpid`` is the next that the host gives. The L2 has stored a value in each page of its own."""
        outer = KvmGuest(Monitor.start(machine, L1.name), lpid, L1)
        try:
            outer.monitor.ask("nested")
            outer.set_up()
            made = cls(outer, PARTITION_TABLE, L2_LPID)
            made._write(made._tables())
            made._call(H_SET_PARTITION_TABLE, made.ptcr, 0)
            leaves = [leaf for leaf in L2.leaves if leaf.flags & 2 and leaf.ea not in (UNTOUCHED_EA, LOST_EA)]
            made.store([(leaf.pid, leaf.ea + (1 << leaf.shift) // 2 + 8 * n) for n, leaf in enumerate(leaves)])
        except BaseException:
            outer.monitor.end()
            raise
        return made

    def close(self) -> None:
        """End the L1, and the L2 with it."""
        self.outer.monitor.end()

    def store(self, places: Sequence[tuple[int, int]]) -> None:
        """Have the L2's CPU store a value of its own at each of these (PID, EA). Raises AssertionError where it could
        not."""
        for pid, ea in places:
            value = self.lpid << 60 | len(self.stored) << 40 | ea & 0xFF_FFFF_FFFF
            vector = self.run(STORE, pid, ea, value)
            assert vector == SYSTEM_CALL, f"the L2's store at {ea:#x} of PID {pid} came to {vector:#x}"
            leaf = L2.leaf(pid, ea)
            assert leaf is not None
            shift = host_shift(leaf.gpa)
            assert shift is not None
            self.stored.append(Stored(pid, ea, value, VIRTUAL, leaf.gpa + ea - leaf.ea, min(shift, leaf.shift)))

    def run(self, code: int, pid: int, ea: int, value: int) -> int:
        """Have the L2's CPU run the operation at ``code``, with relocation on: the vector of the interrupt that ended
        it, its own (0xc00 where it went through), or its hypervisor's (0xe00: the L1's tree has nothing there)."""
        registers = {4: ea, 5: value, 6: VIRTUAL, 7: pid, 8: code, 32: ENTER, 33: REAL}  # 32 is NIP, 33 MSR
        state = {0: STATE_VERSION, 8: self.lpid, 16: LPCR_ILE, 88: NEVER}
        words = {REGISTERS + 8 * n: word for n, word in registers.items()}
        words |= {STATE + at: word for at, word in state.items()}
        self.outer.monitor.ask(*(f"poke {at:x} {swapped(word):x}" for at, word in words.items()))
        left = self._call(H_ENTER_NESTED, STATE, REGISTERS)
        if left != SYSTEM_CALL:
            return left
        said = outcome(self.outer.monitor.ask(f"peek {REGISTERS + 24:x}")[0]).value
        assert said is not None
        return swapped(said) - VECTOR

    def _write(self, words: Sequence[tuple[int, int]]) -> None:
        """Have the L1's own CPU write these words: what the monitor wrote for it the host would have no page for."""
        lines = [f"store 0 {at:x} {swapped(value):x} {REAL:x}" for at, value in words]
        for line, answer in zip(lines, self.outer.monitor.ask(*lines), strict=True):
            assert answer.startswith("ok"), f"the L1's {line!r} came to {answer!r}"

    def _call(self, number: int, first: int, second: int) -> int:
        """What a hypercall of the L1's returned. Raises ProtocolError where it is an error."""
        line = f"call {number:x} {first:x} {second:x}"
        came = outcome(self.outer.monitor.ask(line)[-1])
        if came.word != "ok" or came.value is None or came.value >> 63:
            raise ProtocolError(f"the L1's {line!r} came to {came}; was kvm-hv loaded with nested=1?")
        return came.value

    def _tables(self) -> list[tuple[int, int]]:
        """All words that the L1 writes, by their L1 real addresses."""
        words: list[tuple[int, int]] = []

        def put(at: int, value: int) -> None:
            words.append((at, value))

        def put_in_l2(at: int, value: int) -> None:
            found = to_l1(at)
            assert found is not None
            put(found[0], value)

        behind = Tree(put, L1_TABLES)
        for at, gpa, shift in L2_MEMORY:
            behind.map(at, gpa | HOST_LEAF, shift)
        put(PARTITION_TABLE + 16 * L2_LPID, RADIX | behind.descriptor)
        put(PARTITION_TABLE + 16 * L2_LPID + 8, RADIX | PROCESS_TABLE)
        at = TABLES
        for pid in sorted({leaf.pid for leaf in L2.leaves}):
            tree = Tree(put_in_l2, at)
            for leaf in L2.leaves:
                if leaf.pid == pid:
                    tree.map(leaf.ea, leaf.gpa | leaf.flags, leaf.shift)
            put_in_l2(PROCESS_TABLE + 16 * pid, tree.descriptor)
            at = tree.at
        return words
