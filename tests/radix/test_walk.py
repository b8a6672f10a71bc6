"""The hardware's walk against QEMU's, told again independently, over random and often broken trees."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given, settings

from inspector.radix.translation import Access, Translation
from inspector.radix.walk import translate
from tests.radix.against_qemu import answer, cpu_of, outcome
from tests.radix.broken import random_world, worlds
from tests.radix.qemu_model import AS_IS, AS_PROMISED, Quirks
from tests.radix.trees import World

ACCESSES: tuple[Access, ...] = ("r", "w", "x")


def agree(world: World, ea: int, access: Access, quirks: Quirks) -> Translation:
    """Assert that walker and model say the same of one access, after the same reads."""
    cpu, reader = cpu_of(world.memory, world.context, quirks), world.reader()
    expected = outcome(cpu, ea, access)
    translation = translate(reader, world.context, ea, access)
    if translation.cause == "table-not-ram":
        # QEMU reads zeros there, and with them comes to the same interrupt.
        assert answer(translation) == expected
        assert reader.asked == cpu.reads[: len(reader.asked)]
        assert len(cpu.reads) <= len(reader.asked) + 1  # the second half of a partition-table entry
        assert not world.memory.holds(reader.asked[-1])
        assert translation.steps[-1].value is None
        assert f"{reader.asked[-1]:#x}" in translation.reason
        return translation
    assert answer(translation) == expected, translation
    assert reader.asked == cpu.reads
    return translation


@settings(max_examples=1000)
@given(worlds(kinds=("flat",)))
def test_a_pseries_guest_is_walked_as_qemu_walks_it_to_the_last_read(world: World) -> None:
    for ea in world.eas:
        for access in ACCESSES:
            agree(world, ea, access, AS_IS)


@settings(max_examples=1000)
@given(worlds(kinds=("bare", "guest", "reach")))
def test_two_stages_are_walked_as_qemu_walks_them_but_for_its_known_quirks(world: World) -> None:
    for ea in world.eas:
        for access in ACCESSES:
            agree(world, ea, access, AS_PROMISED)


@settings(max_examples=300)
@given(worlds())
def test_without_an_access_the_rights_are_just_those_that_qemu_grants(world: World) -> None:
    for ea in world.eas:
        if world.context.relocation("x") != world.context.relocation("r"):
            continue
        mapping = translate(world.reader(), world.context, ea)
        for access in ACCESSES:
            permitted = outcome(cpu_of(world.memory, world.context, AS_PROMISED), ea, access)[0] == "ok"
            assert permitted == (mapping.ok and mapping.rights.allows(access)), mapping
        if not mapping.ok:
            assert all(not translate(world.reader(), world.context, ea, access).ok for access in ACCESSES)


@settings(max_examples=300)
@given(worlds())
def test_the_steps_tell_every_read_with_its_raw_value(world: World) -> None:
    for ea in world.eas:
        reader = world.reader()
        translation = translate(reader, world.context, ea, "r")
        told: list[int] = []
        for step in translation.steps:
            told += [step.address] if step.table != "partition-table" or step.value is None else [step.address] * 2
            if step.value is None:
                assert step.kind == "unreadable"
                continue
            assert step.value == world.memory.word(step.address)
            if step.table == "partition-table":
                told[-1] += 8
                assert step.second == world.memory.word(step.address + 8)
            if step.level is not None and step.value >> 63:
                assert step.kind == ("leaf" if step.value >> 62 & 1 else "directory")
            assert step.depth == (step.stage == 2 and step.table == "radix")
        assert told == reader.asked


def test_the_random_worlds_reach_every_end_of_a_walk() -> None:
    """The comparison above proves little if the trees are all whole, or all broken at once."""
    seen: Counter[str] = Counter()

    for seed in range(600):
        world = random_world(Random(seed))
        for ea in world.eas:
            for access in ACCESSES:
                seen[translate(world.reader(), world.context, ea, access).cause or "ok"] += 1
    assert set(seen) >= {
        "ok",
        "ea-out-of-range",
        "quadrant",
        "partition-not-radix",
        "lpid-beyond-table",
        "lpid-zero",
        "pid-beyond-table",
        "process-table-misaligned",
        "partition-table-misaligned",
        "process-entry-empty",
        "tree-size",
        "table-size",
        "table-not-ram",
        "not-present",
        "no-leaf",
        "protection",
        "privilege",
        "key",
        "guarded",
    }, seen
