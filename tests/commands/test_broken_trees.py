"""Commands over trees that are broken in many ways: nothing raises, nothing loops, every oddity is a finding."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.commands.audit import Found
from inspector.commands.registry import Result
from inspector.commands.roots import RootsFound
from inspector.commands.scope import Odd
from inspector.commands.tables import Shared
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.mappings.audit.trees import OF_CAUSE, ROOT_SIZE
from inspector.memory.physical import RamMap, Range
from inspector.radix.address import Context
from inspector.spaces import Spaces
from inspector.targets.base import KnownRoots, Registers
from tests.commands.asking import ask, lines, objects
from tests.fakes import FakeTarget, SparseMemory, guest
from tests.radix.broken import SHIFTS, THINGS_WRONG, build, worlds
from tests.radix.trees import DR, GR, IR, LEAF, LPCR_RADIX, RTS_52, SF, VALID, Memory, World

REGISTERS = ("msr", "lpcr", "pid", "lpidr", "ptcr", "amr", "iamr", "hrmor")
ALL_TOLD = 1 << 20
SWEPT = ("flat", "bare")
"""Kinds of worlds whose trees a sweep of all processes sees."""
WHOLE = (
    "maps --all",
    "maps --all --leaves --sort size --limit 9",
    "maps --all --sort ra --rights w",
    "tables",
    "tables --by pid --where --list --limit 20",
    f"audit --severity info --limit {ALL_TOLD}",
    "dirty --all",
    "age --all",
    "pids",
    "roots",
)


def opened(world: World) -> Guest:
    """A world as a guest with one vCPU."""
    memory = SparseMemory()
    for at, value in world.memory.words.items():
        memory.put_word(at, value)
    ram = RamMap([Range(start, end - start, "ram") for start, end in world.memory.ram])
    context = world.context
    known = {name: value for name in REGISTERS if (value := getattr(context, name)) is not None}
    roots = KnownRoots(context.process_table, "given", "confirmed") if context.flat else KnownRoots()
    return guest(FakeTarget(memory, ram, {0: Registers(0, {"nip": 0, **known})}, roots))


def asked(words: str, at: Guest) -> list[Result] | None:
    """What a command answers, shown both ways; None where it says that there is nothing to look at."""
    try:
        results = ask(words, at)
    except UsageError:
        return None
    assert all(isinstance(line, str) for line in lines(results))
    for each in objects(results):
        json.dumps(each, allow_nan=False)
    return results


def swept(at: Guest) -> Spaces | None:
    """All address spaces, None where no process table is known or it cannot be found again."""
    try:
        return at.spaces()
    except UsageError:
        return None


def every_oddity_is_told(at: Guest) -> Counter[str]:
    """Ask all commands of a guest: how many oddities there are of each cause."""
    spaces = swept(at)
    answers = {words: asked(words, at) for words in WHOLE}
    if spaces is None:
        for words in WHOLE[:-1]:
            found = answers[words]
            assert found is None or any(isinstance(each, RootsFound) for each in found), words
        return Counter()
    counts = spaces.sweep.findings.counts
    trees = {cause: count for cause, count in counts.items() if not cause.startswith("shared")}
    for words in WHOLE[:8]:
        found = answers[words]
        assert found is not None, words
        if words.startswith("audit"):
            continue
        odd = Counter[str]()
        for each in found:
            if isinstance(each, Odd):
                odd[each.cause] += 1 + each.more
        assert odd == trees, words
        assert not trees or not all(each.ok for each in found), words
    tables = answers["tables"]
    assert tables is not None
    assert any(isinstance(each, Shared) for each in tables) == (len(trees) < len(counts))
    audited = answers[WHOLE[5]]
    assert audited is not None
    rules = Counter(each.finding.rule for each in audited if isinstance(each, Found))
    by_rule = Counter[str]()
    for cause, count in trees.items():
        by_rule[OF_CAUSE[cause]] += count
    rules["table-size"] += rules.pop(ROOT_SIZE, 0)
    assert {rule: rules[rule] for rule in by_rule} == by_rule
    assert not trees or not all(each.ok for each in audited)
    return Counter(counts)


@settings(max_examples=120)
@given(worlds(SWEPT))
def test_whatever_is_broken_every_command_answers_and_every_oddity_is_told(world: World) -> None:
    every_oddity_is_told(opened(world))


@settings(max_examples=60)
@given(worlds(), st.integers(0, 1 << 32))
def test_looking_backwards_and_at_one_process_answers_too(world: World, seed: int) -> None:
    at, rng = opened(world), Random(seed)
    spaces = swept(at)
    ras = [0x1000, rng.getrandbits(57)]
    pids = [rng.getrandbits(8)]
    if spaces is not None and len(spaces.columns):
        ras += spaces.columns.ra[:3].tolist()
        pids += [each.pid for each in spaces.processes]
    backwards = (f"rmap {' '.join(map(hex, ras))}", f"rmap {min(ras):#x}..{max(ras) + 1:#x} --rights w")
    for words in backwards:
        assert (asked(words, at) is None) == (spaces is None), words
    for pid in pids:
        for words in ("maps --pid", "audit --pid", "tables --pid", "dirty --pid"):
            told = asked(f"{words} {pid}", at)
            assert told is not None or spaces is None or pid == pids[0], words


@settings(max_examples=25)
@given(worlds(SWEPT))
def test_a_picture_of_it_is_drawn_and_every_oddity_is_in_it(world: World) -> None:
    at = opened(world)
    spaces = swept(at)
    with TemporaryDirectory() as folder:
        page = Path(folder) / "guest.html"
        found = asked(f"report {page}", at)
        assert (found is None) == (spaces is None)
        if spaces is None or found is None:
            return
        drawn = page.read_text()
    trees = {cause for cause in spaces.sweep.findings.counts if not cause.startswith("shared")}
    assert {each.cause for each in found if isinstance(each, Odd)} == trees
    for cause in trees:
        assert f'"{OF_CAUSE[cause]}"' in drawn or (cause == "table-size" and f'"{ROOT_SIZE}"' in drawn), cause


def test_the_worlds_have_oddities_of_every_kind_in_them() -> None:
    rng = Random(20)
    seen: Counter[str] = Counter()
    for _ in range(200):
        wrong = [rng.choice(THINGS_WRONG) for _ in range(rng.randrange(4))]
        seen += every_oddity_is_told(opened(build(rng, rng.choice(SWEPT), rng.choices(SHIFTS, k=2), True, wrong)))
    assert {"tree-size", "table-size", "misaligned-base", "no-leaf", "table-not-ram", "cycle"} <= set(seen), seen


def test_a_tree_that_multiplies_ends_and_says_that_there_is_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.limits._free_bytes", lambda: 1 << 22)
    memory = Memory()
    table, root, second, first, last = 0x10_0000, 0x1_0000, 0x3_0000, 0x4_0000, 0x5_0000
    for base, bits, value in ((root, 13, second | 9), (second, 9, first | 9), (first, 9, last | 5)):
        for index in range(1 << bits):
            memory.put(base + 8 * index, VALID | value)
    memory.put(last, VALID | LEAF | 0x18E)
    memory.put(table, RTS_52 | root | 13)
    context = Context(msr=SF | IR | DR, lpcr=LPCR_RADIX, pid=0, lpidr=0, ptcr=0, flat=True, process_table=GR | table)
    assert every_oddity_is_told(opened(World(memory, context)))["too-large"]
