"""Builds radix trees in a sparse memory, whole ones and broken ones.

Written from the formats' masks alone, with no help from the walkers. Addresses are bytes; an entry is the 64-bit
integer that its eight big-endian bytes make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from inspector.errors import NotRam
from inspector.radix.address import Context

VALID = 1 << 63
LEAF = 1 << 62
R, C = 0x100, 0x080
SAO, GUARDED, TOLERANT = 0x10, 0x20, 0x30
PRIV, READ, WRITE, EXEC = 8, 4, 2, 1
RTS_52 = 0x4000_0000_0000_00A0
"""RTS 21, which is a tree of 52 bits."""
GR = HR = 1 << 63
SF, HV, PR, IR, DR = 1 << 63, 1 << 60, 1 << 14, 1 << 5, 1 << 4
RELOCATED = SF | IR | DR
LPCR_RADIX = 0x50_0000
"""LPCR with UPRT and HR."""
MASK64 = (1 << 64) - 1

MiB, GiB = 1 << 20, 1 << 30
RAM = ((0, 64 * MiB), (GiB, GiB + 64 * MiB))
HOLE = 0x6_0302_031A_0000
"""No RAM: where a pseries guest has the XIVE TIMA, the read of which kills QEMU 7.2."""
LEVEL_SHIFT = {3: 39, 2: 30, 1: 21}


@dataclass
class Memory:
    """RAM whose bytes are zero but for ``words``, which are kept by their address, a multiple of 8."""

    ram: tuple[tuple[int, int], ...] = RAM
    words: dict[int, int] = field(default_factory=dict)

    def holds(self, address: int, length: int = 8) -> bool:
        return any(start <= address and address + length <= end for start, end in self.ram)

    def put(self, address: int, value: int) -> None:
        assert address % 8 == 0, hex(address)
        assert self.holds(address), hex(address)
        self.words[address] = value & MASK64

    def word(self, address: int) -> int:
        """The doubleword at any address of RAM, aligned or not."""
        first, inside = address & ~7, 8 * (address & 7)
        both = self.words.get(first, 0) << 64 | self.words.get(first + 8, 0)
        return both >> (64 - inside) & MASK64


@dataclass
class Reader:
    """What a walker reads with. ``asked`` is every address, refused ones too, in order."""

    memory: Memory
    asked: list[int] = field(default_factory=list)

    def __call__(self, address: int) -> int:
        self.asked.append(address)
        if not self.memory.holds(address):
            raise NotRam(address, 8)
        return self.memory.word(address)


Put = Callable[[int, int], None]


@dataclass
class Bump:
    """Hands out aligned space, never the same twice."""

    next: int

    def take(self, size: int) -> int:
        at = (self.next + size - 1) // size * size
        self.next = at + size
        return at


@dataclass
class Tree:
    """One tree of 52 bits, grown as it is mapped. ``put`` writes a word of the space that the tree lives in."""

    put: Put
    space: Bump
    root: int = 0
    tables: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(level, address bits above the table's reach) -> (base, index bits)."""

    def __post_init__(self) -> None:
        self.root = self.space.take(8 << 13)
        self.tables[3, 0] = (self.root, 13)

    @property
    def descriptor(self) -> int:
        """What a process-table or partition-table entry holds to root this tree."""
        return RTS_52 | self.root | 13

    def map(self, target: int, entry: int, shift: int) -> dict[int, int]:
        """Put the leaf ``entry`` where it translates 2**shift bytes at ``target``; the entries' addresses by level."""
        target &= (1 << 52) - 1
        last = {39: 3, 30: 2, 21: 1, 16: 0, 12: 0}[shift]
        path: dict[int, int] = {}
        for level in (3, 2, 1, 0):
            reach = 52 if level == 3 else LEVEL_SHIFT[level + 1]
            key = (level, target >> reach)
            if key not in self.tables:
                bits = 9 if level else 21 - shift
                base = self.tables[key] = (self.space.take(8 << bits), bits)
                self.put(path[level + 1], VALID | base[0] | bits)
            base_address, bits = self.tables[key]
            path[level] = base_address + 8 * (target >> (reach - bits) & ((1 << bits) - 1))
            if level == last:
                break
        self.put(path[last], entry)
        return path


@dataclass
class World:
    """A memory, the registers to walk it by, and addresses worth asking about.

    ``path`` is where the entries of the first mapping are (in host real addresses), by level; ``entry`` is where its
    process-table entry is, and ``pate`` its partition-table entry."""

    memory: Memory
    context: Context
    eas: list[int] = field(default_factory=list)
    path: dict[int, int] = field(default_factory=dict)
    entry: int = 0
    pate: int = 0

    def reader(self) -> Reader:
        return Reader(self.memory)

    def poke(self, level: int, value: int) -> World:
        """Overwrite the entry of this level on the first mapping's path."""
        self.memory.put(self.path[level], value)
        return self

    def flip(self, level: int, mask: int) -> World:
        """Turn over bits of the entry of this level on the first mapping's path."""
        return self.poke(level, self.memory.word(self.path[level]) ^ mask)


TABLE_AT = 0x1_0000
"""Where the process table of a flat world is: 64 KiB, so PRTS 4 and 4096 PIDs."""
PRTS = 4
PID = 5
EA = 0x0000_7FFF_8765_4321
KERNEL_EA = 0xC00A_0000_8765_4321


def flat(
    leaf: int = VALID | LEAF | READ | WRITE | 0x1234_5000_0000,
    shift: int = 12,
    *,
    ea: int = EA,
    msr: int = RELOCATED | PR,
    pid: int = PID,
    amr: int | None = 0,
    iamr: int | None = 0,
) -> World:
    """A pseries guest with one page: ``leaf`` at ``ea``, of the process ``pid`` or of the kernel by its quadrant."""
    memory = Memory()
    tree = Tree(memory.put, Bump(MiB))
    path = tree.map(ea, leaf, shift)
    owner = pid if ea >> 62 == 0 else 0
    entry = TABLE_AT + 16 * owner
    memory.put(entry, tree.descriptor)
    context = Context(
        msr=msr,
        lpcr=LPCR_RADIX,
        pid=pid,
        lpidr=0,
        ptcr=0,
        amr=amr,
        iamr=iamr,
        hrmor=0,
        process_table=GR | TABLE_AT | PRTS,
        flat=True,
    )
    return World(memory, context, [ea], path, entry)


PARTITIONS_AT = 0x2_0000
PTCR = PARTITIONS_AT | 4
LPID = 3
GUEST_TABLE_AT = 0x40_0000
"""Guest real, or real on the bare machine: where the process table of a world with partitions is."""


@dataclass
class GuestSpace:
    """Guest real memory: each page that is touched gets a page of the host's, through a partition-scoped tree."""

    memory: Memory
    tree: Tree
    shift: int
    host: Bump
    rights: int = READ | WRITE | EXEC
    pages: dict[int, int] = field(default_factory=dict)
    paths: dict[int, dict[int, int]] = field(default_factory=dict)

    def at(self, guest_real: int) -> int:
        """The host's real address of it; maps its page if it was not."""
        page = guest_real >> self.shift
        if page not in self.pages:
            self.pages[page] = GiB if self.shift == 30 else self.host.take(1 << self.shift)
            leaf = VALID | LEAF | R | C | self.rights | self.pages[page]
            self.paths[page] = self.tree.map(page << self.shift, leaf, self.shift)
        return self.pages[page] + (guest_real & ((1 << self.shift) - 1))

    def put(self, guest_real: int, value: int) -> None:
        self.memory.put(self.at(guest_real), value)


def partitioned(
    leaf: int = VALID | LEAF | READ | WRITE | 0x1F_5000,
    shift: int = 12,
    *,
    lpid: int = LPID,
    ea: int = EA,
    msr: int = RELOCATED | PR,
    pid: int = PID,
    host_shift: int = 16,
    amr: int | None = 0,
    iamr: int | None = 0,
) -> tuple[World, GuestSpace]:
    """A machine with a partition table: one page of one process of the partition ``lpid``.

    For LPID 0 it is the bare machine's own: its directories are real, and only the process table is reached through
    the partition-scoped tree, which maps it one to one. Else all tables of the process are guest real."""
    memory = Memory()
    second = Tree(memory.put, Bump(MiB))
    space = GuestSpace(memory, second, host_shift, Bump(GiB))
    pate = PARTITIONS_AT + 16 * lpid
    if lpid == 0:
        for page in range(GUEST_TABLE_AT >> 16, (GUEST_TABLE_AT >> 16) + 1):
            space.paths[page] = second.map(page << 16, VALID | LEAF | R | C | READ | WRITE | page << 16, 16)
        first = Tree(memory.put, Bump(0x80_0000))
        path = first.map(ea, leaf, shift)
        put: Put = memory.put
    else:
        put = space.put
        first = Tree(put, Bump(0x80_0000))
        path = {level: space.at(at) for level, at in first.map(ea, leaf, shift).items()}
    memory.put(pate, HR | second.descriptor)
    memory.put(pate + 8, GR | GUEST_TABLE_AT | PRTS)
    owner = pid if ea >> 62 in (0, 1) else 0
    put(GUEST_TABLE_AT + 16 * owner, first.descriptor)
    entry = GUEST_TABLE_AT + 16 * owner if lpid == 0 else space.at(GUEST_TABLE_AT + 16 * owner)
    context = Context(
        msr=msr, lpcr=LPCR_RADIX, pid=pid, lpidr=lpid, ptcr=PTCR, amr=amr, iamr=iamr, hrmor=0, process_table=None
    )
    return World(memory, context, [ea], path, entry, pate), space
