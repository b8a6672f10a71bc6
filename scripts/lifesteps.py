"""What a KVM guest is asked so that its second-level tree goes through all that a tree may: its memory, a run of known
accesses and changes, and others at random."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from scripts.monitor import REAL, VIRTUAL
from scripts.scene import Slot

PAGE = 1 << 16
SMALL, LARGE, LOGGED, READ_ONLY, GOING = 0, 0x4000_0000, 0x7000_0000, 0x6800_0000, 0x5000_0000
TRANSPARENT, ASKEW, SHARED = 0x2000_0000, 0x5800_0000 + PAGE, 0x6000_0000
SLOTS = (
    Slot(SMALL, 0x80_0000),
    Slot(LARGE, 0x60_0000, huge=True),
    Slot(LOGGED, 0x40_0000, huge=True),
    Slot(READ_ONLY, 0x10_0000, options="readonly"),
    Slot(GOING, 0x10_0000),
    Slot(SHARED, 0x10_0000, options="shared /tmp/life"),
)
BY_THP = tuple(f"slot {gpa:x} {size:x} thp" for gpa, size in ((TRANSPARENT, 0x60_0000), (ASKEW, 0x40_0000)))
"""Memory that the host may make 2M pages of by itself. The second does not lie alike in both address spaces."""
DEVICE = 0xF000_0000
TABLE, TABLE_SIZE = 0x40_0000, 0x40_0000
NOWHERE_ROOT = 0x4000_0000_0000_00AD | 0xE000_0000
"""An entry of a process table whose root no slot holds."""


def store(gpa: int) -> str:
    """A store in real mode."""
    return f"store 0 {gpa:x} {gpa:x} {REAL:x}"


def load(gpa: int) -> str:
    """A load in real mode."""
    return f"load 0 {gpa:x} 0 {REAL:x}"


Step = tuple[str, ...]
"""Lines to the monitor that are told together. What the host has behind a page is looked up after them."""
SET_UP: Step = (*(slot.line for slot in SLOTS), *BY_THP)
STEPS: tuple[Step, ...] = (
    (
        store(SMALL + 0x10_0000),  # 64K, written first
        load(SMALL + 0x11_0000),  # read first: the host's page of zeros
        *(store(SMALL + 0x12_0000 + 3 * n * PAGE) for n in range(6)),
        load(LARGE + 0x12_3450),  # 2M, read first: a leaf that lacks write permission
        store(LARGE + 0x3F_0000),  # 2M, written first
        load(LARGE + 0x58_0000),
        store(LOGGED + 0x1_0000),  # 2M, since nothing is logged yet
        load(LOGGED + 0x21_0000),
        load(READ_ONLY + 0x2_0000),  # the host's page of zeros, which it must not write
        load(SHARED + 2 * PAGE),
        store(SHARED + 3 * PAGE),
        store(TRANSPARENT + 0x12_3450),  # 2M
        load(TRANSPARENT + 0x21_0000),
        store(TRANSPARENT + 0x41_0000),
        store(ASKEW + 3 * PAGE),  # 2M, which the guest can have by 64K only
        load(ASKEW + 0x20_0000),
        load(DEVICE),  # no memory
        store(DEVICE + 0x10),
    ),
    # Read first and written later: the host gives a page of its own, and the leaf of the other goes
    (store(SMALL + 0x11_0008), store(LARGE + 0x13_4560), store(SHARED + 2 * PAGE), store(TRANSPARENT + 0x21_0000)),
    (store(READ_ONLY + 0x3_0000),),  # EFAULT
    (store(READ_ONLY + 0x2_0000),),
    (f"log {LOGGED:x} 1",),  # which takes the leaves away
    # Single pages of a 2M page, one of them by a read that gains write permission, and so is dirty
    (*(store(LOGGED + n * PAGE) for n in (0, 5, 31, 32, 62)), load(LOGGED + 7 * PAGE)),
    (f"dirty {LOGGED:x}",),
    (load(LOGGED + 5 * PAGE),),
    (f"dirty {LOGGED:x}",),
    (store(LOGGED + 40 * PAGE),),
    (f"log {LOGGED:x} 0",),
    (store(LOGGED + 9 * PAGE), load(LOGGED + 40 * PAGE)),  # 2M again, where tables are
    (f"drop {SMALL + 0x12_0000:x} {4 * PAGE:x}",),  # the host takes away two pages that the guest has, and two more
    (load(SMALL + 0x12_0000),),
    (store(SMALL + 0x12_0000),),
    (f"drop {LARGE:x} 200000",),  # 2M
    (f"drop {TRANSPARENT + 5 * PAGE:x} {PAGE:x}",),  # within 2M, which the host then has by 64K
    (store(LARGE + 0x1_0000), load(TRANSPARENT + 4 * PAGE), load(TRANSPARENT + 5 * PAGE)),
    (store(TRANSPARENT + 5 * PAGE),),
    (f"drop {TRANSPARENT + 0x40_0000:x} 200000",),
    (store(GOING), load(GOING + 8 * PAGE)),
    (f"log {GOING:x} 1",),
    tuple(store(GOING + n * PAGE) for n in (1, 2, 9, 15)),
    (f"drop {GOING + 2 * PAGE:x} {PAGE:x}",),  # dirty, and gone before the log is read
    (f"dirty {GOING:x}",),
    (store(GOING + 3 * PAGE),),
    (f"log {GOING:x} 0",),
    (store(GOING),),
    (f"unslot {GOING:x}",),
    (load(GOING),),  # no memory any more
    (
        f"table {TABLE:x} {TABLE_SIZE:x}",
        f"map 5 0 0 10 {0x18D:x}",
        f"map 5 20000000 {LARGE + 0x20_0000:x} 15 {0x18E:x}",
        f"map 5 20200000 {LARGE + 0x40_0000:x} 15 {0x10C:x}",
        f"poke {TABLE + 16 * 7:x} {NOWHERE_ROOT:x}",
        f"store 5 20000100 1 {VIRTUAL:x}",  # faults of the guest's own tables as well
        f"load 5 20200000 1 {VIRTUAL:x}",
        f"load 7 0 1 {VIRTUAL:x}",  # a root that is in no slot: the guest is to see it
    ),
)


AT_RANDOM = (
    # where, how large, and what the host may take away at once
    (SMALL + 0x10_0000, 0x20_0000, PAGE),
    (LARGE, 0x60_0000, 0x20_0000),
    (LOGGED, 0x40_0000, 0x20_0000),
    (TRANSPARENT, 0x60_0000, PAGE),
    (ASKEW, 0x40_0000, PAGE),
    (SHARED, 0x10_0000, PAGE),
    (GOING, 0x10_0000, PAGE),
)
TO_LOG = (LARGE, LOGGED, TRANSPARENT, ASKEW, SHARED, GOING)


def at_random(rng: Random, count: int) -> Iterator[Step]:
    """So many steps after SET_UP. What is logged is read once and is no longer logged then: the MMU makes a leaf dirty
    again that a log has made clean, and no fault tells of that."""
    logged: int | None = None
    for _ in range(count):
        chance = rng.random()
        if chance < 0.6:
            # No two in the same 2M: the host may come to map them otherwise by the second
            places = {
                gpa >> 21: gpa
                for base, size, _ in rng.choices(AT_RANDOM, k=8)
                for gpa in [base + rng.randrange(size // 8) * 8]
            }
            yield tuple(rng.choice((load, store))(gpa) for gpa in places.values())
        elif chance < 0.8:
            base, size, grain = rng.choice(AT_RANDOM)
            first = rng.randrange(size // grain)
            pages = rng.randrange(1, min(4, size // grain - first) + 1)
            yield (f"drop {base + first * grain:x} {pages * grain:x}",)
        elif logged is None:
            logged = rng.choice(TO_LOG)
            yield (f"log {logged:x} 1",)
        else:
            yield (f"dirty {logged:x}",)
            yield (f"log {logged:x} 0",)
            logged = None
