"""Accesses for the bring-up guest, each with tables of its own: mappings, and all the ways in which they are spoilt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from scripts.bringup import LOAD_AT, PAGES, PAGES_END, STORE_AT, TABLES, TABLES_END
from scripts.bringup import Access as Made
from tests.radix.trees import (
    DR,
    EXEC,
    GR,
    GUARDED,
    HR,
    HV,
    IR,
    LEAF,
    PR,
    PRIV,
    READ,
    SAO,
    SF,
    TOLERANT,
    VALID,
    WRITE,
    Bump,
    C,
    R,
    Tree,
)

ME, EE = 0x1000, 0x8000
KERNEL = 3 << 62
CODE = KERNEL
"""Where the guest's own code is mapped for those that run it relocated."""
AWAY = 1 << 40
"""Guest real addresses from here on are the test's pages; below they are what they are."""
PID, LPID = 5, 3
PRTS = 0
"""256 processes."""
NOWHERE = 0x7000_0000_0000
"""No RAM, and no device."""
SHIFTS = (12, 16, 16, 16, 21, 30)
ROOM = 3 << 17
"""Bytes of tables that one case may take."""

WAYS = (
    *("invalid", "table size", "table size", "tree size", "root size", "misaligned table", "page number"),
    *("empty entry", "beyond the table", "misaligned process table", "EA bits", "quadrant"),
    "leaf at the root",
)
SECOND_WAYS = (
    *("second invalid", "second invalid", "second table size", "second tree size", "second leaf", "second page number"),
    "table unreachable",
)
TREE_WAYS = ("not a leaf", "no RAM")
SECOND_TREE_WAYS = ("tree unreachable", "entry unreachable")
"""Not of the hypervisor's quadrants 1 and 2, for which QEMU 7.2 reads directories untranslated."""
PARTITION_WAYS = ("HR", "PTCR misaligned", "LPID beyond")

Put = Callable[[int, int], None]


@dataclass
class Case:
    """One access, and what its tables were made into; ``spoilt`` says how."""

    made: Made
    spoilt: str


class Maker:
    """Makes cases for one machine, their tables in its RAM one after the other."""

    def __init__(self, put: Put, word: Callable[[int], int], rng: Random, *, powernv: bool) -> None:
        self.put, self.word, self.rng, self.powernv = put, word, rng, powernv
        self.space = Bump(TABLES)
        if powernv:
            self.plain = self._identity()

    def _identity(self) -> Tree:
        """A partition-scoped tree that leads low guest real addresses to themselves."""
        tree = Tree(self.put, self.space)
        for at in range(0, TABLES_END, 1 << 21):
            tree.map(at, VALID | LEAF | R | C | READ | WRITE | EXEC | at, 21)
        return tree

    def case(self) -> Case:
        """The next."""
        rng = self.rng
        assert self.space.next < TABLES_END - ROOM, "too many cases"
        space = Bump(self.space.take(0x1000))
        hypervisor = self.powernv and rng.random() < 0.3
        reaches = hypervisor and rng.random() < 0.4  # into a guest, through quadrants 1 and 2
        guest = reaches or (self.powernv and not hypervisor)
        kind = rng.choice(("load", "store") if reaches else ("load", "store", "fetch"))
        user = not reaches and rng.random() < 0.4
        kernel_side = rng.random() < 0.3
        msr = SF | ME | (HV if hypervisor else 0) | (IR if kind == "fetch" else DR)
        if user:
            msr |= PR | EE | IR | DR
        elif kind != "fetch" and not reaches and rng.random() < 0.2:
            msr |= IR
        # the page
        shift = rng.choice(SHIFTS)
        target = rng.randrange(PAGES, PAGES_END, 16)
        inside = target & ((1 << shift) - 1)
        offset = rng.randrange(1 << 40, 1 << 52) >> shift << shift
        quadrant = (2 if reaches else 3) << 62 if kernel_side else (1 if reaches else 0) << 62
        ea = quadrant | offset | inside
        rights = rng.choice((READ, READ | WRITE, WRITE, READ | EXEC, READ | WRITE | EXEC, EXEC, 0, 7, 7))
        attribute = rng.choice((0, 0, 0, 0, GUARDED, TOLERANT, SAO))
        marks = rng.choice((R | C, R | C, R, 0))
        privileged = PRIV if rng.random() < (0.2 if user else 0.5) else 0
        leaf = VALID | LEAF | rights | attribute | marks | privileged | (target - inside)
        # process-scoped
        tree, kernel = Tree(self.put, space), None
        if kernel_side:
            kernel = tree
        elif msr & IR and kind != "fetch":
            kernel = Tree(self.put, space)
        if kernel is not None:
            kernel.map(CODE, VALID | LEAF | READ | EXEC | R | C, 16)
        away = AWAY + (rng.randrange(1 << 10) << 30) if guest else 0
        path = tree.map(ea, leaf | away, shift)
        table = space.take(0x1000)
        pid = PID
        entry = table + 16 * (0 if kernel_side else pid)
        self.put(entry, tree.descriptor)
        if kernel is not None:
            self.put(table, kernel.descriptor)
        case = Case(Made(0, ea, msr, pid, rng.choice((0, 0, 1, 2, 3)) << 62, rng.choice((0, 0, 1)) << 62), "nothing")
        registered = GR | table | PRTS
        second: dict[int, int] = {}
        pate = partitions = 0
        if self.powernv:
            lpid = LPID if guest else 0
            host = self.plain
            if guest:
                host = Tree(self.put, space)
                self.put(host.root, self.word(self.plain.root))  # the identity, shared
                host.tables[2, 0] = self.plain.tables[2, 0]
                size = rng.choice((12, 16, 16))
                real = away + target
                allowed = rng.choice((READ | WRITE | EXEC,) * 4 + (READ, READ | WRITE, EXEC, 0, GUARDED | 7))
                page = target >> size << size
                second = host.map(real, VALID | LEAF | rng.choice((R | C, 0)) | allowed | page, size)
            partitions = space.take(0x1000)
            pate = partitions + 16 * lpid
            self.put(pate, HR | host.descriptor)
            self.put(pate + 8, registered)
            registered = partitions
            case.made = replace(case.made, lpidr=lpid)
        case.made = replace(case.made, table=registered)
        self._spoil(case, path, entry, table, second, pate)
        start = {"load": LOAD_AT, "store": STORE_AT, "fetch": case.made.ea}[kind]
        if kind != "fetch" and msr & IR:
            start |= CODE
        case.made = replace(case.made, start=start)
        self.space.next = (space.next + 0xFFFF) & ~0xFFFF
        return case

    def _spoil(
        self, case: Case, path: dict[int, int], entry: int, table: int, second: dict[int, int], pate: int
    ) -> None:
        rng, made = self.rng, case.made
        ways = ["nothing"] * 8 + list(WAYS)
        ways += SECOND_WAYS if second else ()
        ways += TREE_WAYS if not (second and made.msr & HV) else ()
        ways += SECOND_TREE_WAYS if second and not made.msr & HV else ()
        ways += PARTITION_WAYS if pate else ()
        case.spoilt = way = rng.choice(ways)
        where = rng.choice(sorted(path))
        directories = sorted(set(path) - {min(path)}) or [3]
        directory = rng.choice(directories)
        match way:
            case "invalid":
                self._flip(path[where], VALID)
            case "not a leaf":
                self._flip(path[min(path)], LEAF)
            case "table size":
                self.put(path[directory], self.word(path[directory]) & ~0x1F | rng.randrange(32))
            case "tree size":
                self._flip(entry, rng.choice((0x20, 0x40, 0x80, 1 << 61, 1 << 62)))
            case "root size":
                self.put(entry, self.word(entry) & ~0x1F | rng.choice((0, 5, 9, 12, 14, 31)))
            case "misaligned table":  # but the root, which QEMU takes as it stands in a guest of powernv's
                self._flip(path[directory], 0x100 if self.word(path[directory]) & 0x1F > 5 else 0)
            case "page number":
                self.put(path[min(path)], self.word(path[min(path)]) | rng.randrange(1 << 9) << 12 & 0x3F_F000)
            case "no RAM":
                self.put(path[directory], VALID | NOWHERE | self.word(path[directory]) & 0x1F)
            case "empty entry":
                self.put(entry, 0)
            case "beyond the table":
                case.made = replace(made, pid=rng.choice((256, 257, 4096, 0xFFFFF)))
            case "misaligned process table":
                prts = 4
                if self.powernv:
                    self.put(pate + 8, GR | (table | 0x1000) | prts)
                else:
                    case.made = replace(made, table=GR | (table | 0x1000) | prts)
            case "EA bits":
                case.made = replace(made, ea=made.ea | 1 << rng.randrange(52, 62))
            case "quadrant":
                if not made.msr & HV:
                    case.made = replace(made, ea=made.ea ^ rng.choice((1 << 62, 1 << 63)))
            case "leaf at the root":
                self.put(path[3], VALID | LEAF | READ | WRITE | EXEC | R | C)
                case.made = replace(made, ea=made.ea & ~((1 << 39) - 1) | PAGES)
            case "HR":
                self._flip(pate, HR)
            case "PTCR misaligned":
                case.made = replace(made, table=made.table | 0x1000 | 4)
            case "LPID beyond":
                case.made = replace(made, lpidr=300)
            case "second invalid":
                self._flip(second[rng.choice(sorted(set(second) - {3}))], VALID)
            case "second table size":
                self.put(second[2], self.word(second[2]) & ~0x1F | rng.randrange(32))
            case "second tree size":
                self._flip(pate, rng.choice((0x20, 0x40)))
            case "second leaf":
                self._flip(second[min(second)], LEAF)
            case "second page number":
                if min(second) == 0:
                    self.put(second[0], self.word(second[0]) | 0x3000)
            case "table unreachable":
                self.put(pate + 8, GR | AWAY << 1 | PRTS)
            case "tree unreachable":
                self.put(entry, self.word(entry) & ~0x0FFF_FFFF_FFFF_FF00 | AWAY << 1)
            case "entry unreachable":
                self.put(path[directory], VALID | AWAY << 1 | self.word(path[directory]) & 0x1F)

    def _flip(self, address: int, mask: int) -> None:
        self.put(address, self.word(address) ^ mask)
