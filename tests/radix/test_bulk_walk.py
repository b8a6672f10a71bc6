"""Many addresses at once, held to the walk of one."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import NotRam
from inspector.radix.address import Context
from inspector.radix.bulk_walk import BLOCK, Status, Translator, translate_many
from inspector.radix.columns import Root
from inspector.radix.sweep import sweep
from inspector.radix.walk import translate
from tests.radix.broken import worlds
from tests.radix.sweeping import Block, roots_of
from tests.radix.test_sweep import MANY, grown
from tests.radix.trees import DR, GR, HOLE, IR, LPCR_RADIX, RTS_52, SF, VALID, Memory, World

SAME = {
    Status.NOT_PRESENT: "not-present",
    Status.TREE_SIZE: "tree-size",
    Status.TABLE_SIZE: "table-size",
    Status.NO_LEAF: "no-leaf",
    Status.UNREADABLE: "table-not-ram",
    Status.EA_OUT_OF_RANGE: "ea-out-of-range",
}
"""The causes that the walk of one address gives. NOT_SWEPT is that of a sweep alone."""


def one(memory: Memory, descriptor: int, ea: int) -> tuple[str, int, int, int]:
    """(cause, real address, page shift, leaf) of an address, by the walk of one in a tree with this root.

    A process table of one entry is put where there is none, beside the memory."""

    def read(address: int) -> int:
        if address >= 1 << 56:
            return descriptor if address == 1 << 56 else 0
        if not memory.holds(address):
            raise NotRam(address, 8)
        return memory.word(address)

    context = Context(
        msr=SF | IR | DR, lpcr=LPCR_RADIX, pid=0, lpidr=0, process_table=GR | 1 << 56, flat=True, amr=0, iamr=0, hrmor=0
    )
    found = translate(read, context, ea)
    if found.ok:
        assert found.ra is not None
        assert found.page_shift is not None
        return "ok", found.ra, found.page_shift, found.leaf or 0
    return found.cause or "", 0, 0, 0


def agree(memory: Memory, roots: list[Root], eas: list[int]) -> set[str]:
    """Hold every answer of these addresses in these trees to the walk of one; the causes seen."""
    block = Block(memory)
    found = sweep(block.read_runs, roots)
    seen: set[str] = set()
    for index, root in enumerate(roots):
        if root.descriptor == 0:
            continue
        answers = translate_many(found, index, eas)
        assert len(answers) == len(eas)
        for at, ea in enumerate(eas):
            status = Status(int(answers.status[at]))
            cause, ra, shift, leaf = one(memory, root.descriptor, ea)
            seen.add(status.slug)
            if status is Status.NOT_SWEPT or (status is Status.UNREADABLE and cause != "table-not-ram"):
                continue  # a table that lies in RAM in part is one that a sweep cannot read
            if status is Status.OK:
                assert (cause, ra, shift, leaf) == (
                    "ok",
                    int(answers.ra[at]),
                    int(answers.shift[at]),
                    int(answers.entry[at]),
                )
            else:
                assert cause == SAME[status]
                assert int(answers.ra[at]) == 0
    return seen


@settings(max_examples=150)
@given(worlds(), st.integers(0, 1 << 32))
def test_each_answer_is_that_of_the_walk_of_one(world: World, seed: int) -> None:
    rng = Random(seed)
    eas = [ea & ((1 << 62) - 1) for ea in world.eas]
    eas += [ea ^ 1 << rng.randrange(52) for ea in eas] + [rng.getrandbits(52) for _ in range(8)]
    roots = roots_of(world)
    found = sweep(Block(world.memory).read_runs, roots).columns()
    eas += [offset + rng.randrange(1 << 12) for offset in found.offset[:40].tolist()]
    agree(world.memory, roots, eas)


def test_every_leaf_its_last_byte_and_what_lies_beside_it() -> None:
    memory, tree = grown(MANY)
    eas = [offset + inside for offset, shift in MANY for inside in (0, (1 << shift) - 1, 1 << shift)]
    assert agree(memory, [Root(1, tree.descriptor)], eas) == {"ok", "not-present"}


def test_each_way_to_end() -> None:
    memory, tree = grown(MANY)
    first = tree.tables[1, 0][0]
    memory.put(first + 8 * 500, VALID | 0x20_0000 | 7)
    memory.put(first + 8 * 501, VALID | HOLE & ~0xFFF | 9)
    memory.put(first + 8 * 502, VALID | first | 9)
    memory.put(tree.tables[0, 0][0] + 8 * 31, VALID | 0x20_0000 | 9)
    eas = [at << 21 for at in (500, 501, 502)] + [31 << 16, 1 << 52, 0, 1 << 50]
    seen = agree(memory, [Root(1, tree.descriptor)], eas)
    assert seen == {"table-size", "unreadable", "not-swept", "no-leaf", "ea-out-of-range", "ok", "not-present"}


def test_trees_that_have_no_root_table_say_why() -> None:
    roots = [Root(1, RTS_52 | 0x1_0000 | 12), Root(2, 0x1_0000 | 13), Root(3, RTS_52 | HOLE & ~0xFFFF | 13)]
    found = sweep(Block(Memory()).read_runs, roots)
    slugs = [Status(int(translate_many(found, index, [0]).status[0])).slug for index in range(3)]
    assert slugs == ["table-size", "tree-size", "unreadable"]
    with pytest.raises(IndexError):
        Translator(found, 3)


def test_trees_do_not_see_each_other() -> None:
    memory, one_tree = grown([(0, 16), (1 << 40, 12)])
    _, other = grown([(1 << 16, 16)], memory, 16 << 20)
    found = sweep(Block(memory).read_runs, [Root(1, one_tree.descriptor), Root(2, other.descriptor)])
    eas = [0, 1 << 16, 1 << 40]
    assert (translate_many(found, 0, eas).status == Status.OK).tolist() == [True, False, True]
    assert (translate_many(found, 1, eas).status == Status.OK).tolist() == [False, True, False]


def test_more_than_a_block_in_the_order_asked() -> None:
    memory, tree = grown(MANY)
    found = sweep(Block(memory).read_runs, [Root(1, tree.descriptor)])
    rng = Random(3)
    eas = [rng.choice(MANY)[0] + rng.randrange(1 << 12) for _ in range(2 * BLOCK + 5)]
    answers = translate_many(found, 0, np.array(eas, np.uint64))
    assert answers.ra.tolist() == [ea & 0x01FF_FFFF_FFFF_FFFF for ea in eas]
    assert not answers.status.any()
