"""Hypothesis strategies for worlds of tables, whole and broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from types import MappingProxyType

from hypothesis import strategies as st

from inspector.radix.address import Context
from tests.radix.trees import (
    DR,
    GR,
    HOLE,
    HV,
    IR,
    LEAF,
    LPCR_RADIX,
    LPID,
    MASK64,
    PR,
    RTS_52,
    SF,
    VALID,
    Bump,
    GiB,
    GuestSpace,
    Memory,
    MiB,
    Tree,
    World,
)

SHIFTS = (12, 16, 21, 30, 39)
KINDS = ("flat", "bare", "guest", "reach")
"""A pseries guest; a bare machine; a guest's vCPU on it (HV=0); and its hypervisor reaching in (quadrants 1 and 2)."""

Damage = Callable[[Random, int, Mapping[int, int]], int]


def _flip(rng: Random, value: int, _words: Mapping[int, int]) -> int:
    for _ in range(rng.choice((1, 1, 2, 5))):
        value ^= 1 << rng.randrange(64)
    return value


def _size(rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value & ~0x1F | rng.choice((0, 4, 5, 9, 13, rng.randrange(32)))


def _misalign(rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value | rng.randrange(1, 1 << 9) << 8


def _elsewhere(rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value & ~0x0FFF_FFFF_FFFF_FF00 | rng.choice((HOLE, rng.getrandbits(52) << 8, GiB + 64 * MiB)) & ~0xFF


def _cycle(rng: Random, value: int, words: Mapping[int, int]) -> int:
    return value & ~0x0FFF_FFFF_FFFF_FF00 | rng.choice(list(words)) & ~0xFFF


def _zero(_rng: Random, _value: int, _words: Mapping[int, int]) -> int:
    return 0


def _other_kind(_rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value ^ LEAF


def _invalid(_rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value & ~VALID


def _stray(rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value | rng.getrandbits(27) << 12


def _tree_size(rng: Random, value: int, _words: Mapping[int, int]) -> int:
    return value & ~0x6000_0000_0000_00E0 | rng.choice((0, 0x6000_0000_0000_0000, rng.getrandbits(3) << 5))


def _anything(rng: Random, _value: int, _words: Mapping[int, int]) -> int:
    return rng.getrandbits(64)


DAMAGES: Mapping[str, Damage] = MappingProxyType(
    {
        "flip": _flip,
        "size": _size,
        "misalign": _misalign,
        "elsewhere": _elsewhere,
        "cycle": _cycle,
        "zero": _zero,
        "other-kind": _other_kind,
        "invalid": _invalid,
        "stray": _stray,
        "tree-size": _tree_size,
        "anything": _anything,
    }
)


def _leaf(rng: Random, shift: int) -> int:
    number = rng.getrandbits(rng.choice((25, 40, 57))) >> shift << shift
    return VALID | LEAF | number & 0x01FF_FFFF_FFFF_F000 | rng.getrandbits(9) | rng.choice((0, 2, 4, 6, 7))


def _first_stage(rng: Random, tree: Tree, top: int, shifts: list[int]) -> tuple[list[int], list[int]]:
    """Map a few pages of quadrant ``top``: addresses in and near them, and the real addresses that they give."""
    eas: list[int] = []
    given: list[int] = []
    for shift in shifts:
        ea = top << 62 | rng.getrandbits(rng.choice((31, 40, 52)))
        leaf = _leaf(rng, shift)
        tree.map(ea, leaf, shift)
        eas.append(ea)
        inside = (1 << shift) - 1
        given.append(leaf & 0x01FF_FFFF_FFFF_F000 & ~inside | ea & inside)
    near = rng.choice(eas)
    return [
        *eas,
        near ^ 1 << rng.randrange(52),
        rng.choice((near ^ 1 << rng.randrange(64), rng.getrandbits(64))),
    ], given


def _context(rng: Random, relocation: bool) -> Context:
    msr = SF | rng.choice((0, PR)) | (IR | DR if relocation else rng.choice((0, IR, DR)))
    return Context(
        msr=msr,
        lpcr=LPCR_RADIX,
        pid=rng.choice((0, 1, 5, 255)),
        lpidr=0,
        ptcr=0,
        amr=rng.choice((0, 0xFCFF_FFFF_FFFF_FFFF, rng.getrandbits(64))),
        iamr=rng.choice((0, 0x5455_5555_5555_5555, rng.getrandbits(64))),
        hrmor=rng.choice((0, 0x800_0000)),
    )


def _flat(rng: Random, shifts: list[int], context: Context) -> World:
    memory = Memory()
    prts = rng.choice((0, 1, 4))
    table = 0x10_0000
    tree = Tree(memory.put, Bump(2 * MiB))
    assert context.pid is not None
    owner, top = rng.choice(((context.pid, 0), (0, 3)))
    eas, _ = _first_stage(rng, tree, top, shifts)
    memory.put(table + 16 * owner, tree.descriptor)
    context = replace(context, flat=True, process_table=GR | table | prts)
    return World(memory, context, eas)


def _partitioned(rng: Random, kind: str, shifts: list[int], context: Context) -> World:
    memory = Memory()
    partitions, pats = 0x2_0000, rng.choice((0, 4))
    lpid = 0 if kind == "bare" else LPID
    second = Tree(memory.put, Bump(2 * MiB))
    space = GuestSpace(memory, second, rng.choice((12, 16, 21, 30)), Bump(GiB))
    assert context.pid is not None
    owner, quadrant = rng.choice(((context.pid, 0), (0, 3)))
    table, prts = 0x40_0000, rng.choice((0, 1, 4))
    if kind == "bare":
        second.map(table, VALID | LEAF | 0x186 | table, 16)
        first = Tree(memory.put, Bump(0x80_0000))
        memory.put(table + 16 * owner, first.descriptor)
    else:
        first = Tree(space.put, Bump(0x80_0000))
        space.put(table + 16 * owner, first.descriptor)
    top = {0: 1, 3: 2}[quadrant] if kind == "reach" else quadrant
    eas, given = _first_stage(rng, first, top, shifts)
    if kind != "bare":
        for guest_real in given:
            if rng.randrange(8):
                space.rights = rng.choice((7, 7, 5, 4, 2, 1, 0x27))
                space.at(guest_real)
        memory.put(partitions, 1 << 63 | RTS_52 | second.root | 13)
        memory.put(partitions + 8, GR | table | prts)
    memory.put(partitions + 16 * lpid, 1 << 63 | RTS_52 | second.root | 13)
    memory.put(partitions + 16 * lpid + 8, GR | table | prts)
    msr = (context.msr or 0) | (0 if kind == "guest" else HV)
    return World(memory, replace(context, msr=msr, lpidr=lpid, ptcr=partitions | pats), eas)


THINGS_WRONG = (*DAMAGES, "register", "register", "register")


def build(rng: Random, kind: str, shifts: list[int], relocation: bool, wrong: list[str]) -> World:
    """A world of this kind with pages of these sizes in it, and these things wrong with it."""
    context = _context(rng, relocation)
    world = _flat(rng, shifts, context) if kind == "flat" else _partitioned(rng, kind, shifts, context)
    for name in wrong:
        if name == "register":
            world.context = _wrong_register(rng, world.context)
            continue
        words = world.memory.words
        at = rng.choice(list(words))
        words[at] = DAMAGES[name](rng, words[at], words) & MASK64
    return world


@st.composite
def worlds(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> World:
    """A world with one to three pages in it, and up to three things wrong with it."""
    return build(
        Random(draw(st.integers(0, 1 << 32))),
        draw(st.sampled_from(kinds)),
        draw(st.lists(st.sampled_from(SHIFTS), min_size=1, max_size=3)),
        draw(st.integers(0, 7)) != 7,
        draw(st.lists(st.sampled_from(THINGS_WRONG), max_size=3)),
    )


def random_world(rng: Random) -> World:
    """The same without hypothesis: what a census of them is taken from."""
    wrong = [rng.choice(THINGS_WRONG) for _ in range(rng.randrange(4))]
    return build(rng, rng.choice(KINDS), rng.choices(SHIFTS, k=rng.randrange(1, 4)), bool(rng.randrange(8)), wrong)


def _wrong_register(rng: Random, context: Context) -> Context:
    which = rng.choice(("pid", "lpidr", "table", "table"))
    if which == "pid":
        return replace(context, pid=rng.choice((256, 4096, rng.getrandbits(32))))
    if which == "lpidr" and not context.flat:
        return replace(context, lpidr=rng.choice((0, 1, 4096, 4096)))
    if context.flat:
        assert context.process_table is not None
        return replace(context, process_table=context.process_table ^ 1 << rng.choice((0, 2, 4, 12, 14, 20, 40, 63)))
    assert context.ptcr is not None
    return replace(context, ptcr=context.ptcr ^ 1 << rng.choice((1, 1, 12, 12, 15, 16, 40)))
