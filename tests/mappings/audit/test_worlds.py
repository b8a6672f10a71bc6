"""Audits of broken trees: nothing raises, nothing is left out, and leaf by leaf they say what a plain look says."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.audit.finding import Report
from inspector.mappings.audit.judging import OF_PARTITIONS_ALONE
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.run import audit
from inspector.mappings.audit.subject import Surroundings
from inspector.mappings.audit.trees import OF_CAUSE
from inspector.mappings.select import Selection
from inspector.memory.physical import RamMap, Range
from inspector.processes import Missed
from inspector.radix.bits import PRTB_MASK, PRTS_MASK, table_bytes
from inspector.radix.columns import Limits
from inspector.radix.sweep import sweep
from inspector.spaces import Spaces
from inspector.trees import Tree
from tests.mappings.audit.house import FREE, OTHER, PAGE, SPARE, VMALLOC, House, L
from tests.radix.broken import random_world, worlds
from tests.radix.sweeping import Block, roots_of
from tests.radix.trees import RAM, World

LEAF_RULES = (
    *("wx-mapping", "wx-user", "kernel-user", "kernel-text-user", "normal-outside-ram", "stray-rpn", "leaf-512g"),
    *("wx-alias", "wx-alias-linear", "io-on-ram", "executable-io", "reserved-leaf", "changed-unreferenced", "aged"),
    *("privileged-in-user-half", "changed-read-only", "unreferenced", "no-rights"),
)
OF_RAM = {"normal-outside-ram", "io-on-ram"}
"""Rules that ask where RAM is; the house's is elsewhere."""
SHARING = {"same-root", "shared-table", "shared-within"}


def spaces_of(world: World, limits: Limits | None = None) -> tuple[Spaces, Block]:
    """All that the processes of a flat world map."""
    block, roots = Block(world.memory), roots_of(world)
    value = world.context.process_table
    assert value is not None
    base = value & PRTB_MASK
    trees = tuple(
        Tree(0, each.pid, base + 16 * (each.pid or 0), each.descriptor, each.descriptor & 1) for each in roots
    )
    ram = RamMap(Range(start, end - start) for start, end in RAM)
    table = (base, table_bytes(value & PRTS_MASK))
    return Spaces("", trees, sweep(block.read_runs, roots, limits), ram, table, Missed()), block


def everything(spaces: Spaces, block: Block, limit: int | None = None) -> Report:
    return audit(spaces, RULES, around=Surroundings(read_runs=block.read_runs), limit=limit)


@given(worlds(("flat",)), st.sampled_from([None, 0, 2, 7]))
def test_every_oddity_of_a_sweep_is_a_finding(world: World, tables: int | None) -> None:
    spaces, block = spaces_of(world, None if tables is None else Limits(tables=tables, oddities=3))
    report = everything(spaces, block)
    wanted: Counter[str] = Counter()
    for cause, count in spaces.sweep.findings.counts.items():
        if cause == "shared-table":
            assert SHARING & set(report.counts)
        else:
            wanted[OF_CAUSE[cause]] += count
    found = Counter(report.counts)
    found["table-size"] += found.pop("root-size", 0)
    assert {rule: found[rule] for rule in set(OF_CAUSE.values()) if found[rule]} == wanted
    assert report.fails("error") == any(RULES[rule].severity == "error" for rule in report.counts)
    for each in report:
        if each.entry is not None and each.rule != "process-entry-reserved":
            assert each.entry_address is not None
            assert world.memory.word(each.entry_address) == each.entry


def plainly(spaces: Spaces) -> dict[str, set[tuple[int, int]]]:
    """(tree, offset) of the leaves that each rule about leaves finds, leaf by leaf and pair by pair."""
    columns = spaces.columns
    rows = list(zip(*(c.tolist() for c in (columns.root, columns.offset, columns.entry, columns.shift)), strict=True))
    leaves = []
    for root, offset, entry, shift in rows:
        ra = (entry & 0x01FF_FFFF_FFFF_F000) >> shift << shift
        leaves.append((root, offset, entry, shift, ra, ra + (1 << shift)))
    found: dict[str, set[tuple[int, int]]] = {rule: set() for rule in LEAF_RULES}

    def kind(leaf: tuple[int, int, int, int, int, int]) -> tuple[bool, bool, bool, bool, bool]:
        root, offset, entry, _, ra, _ = leaf
        kernel = spaces.roots[root].pid == 0
        executed = bool(entry & 1) and entry & 0x30 != 0x20
        return bool(entry & 2), executed, bool(entry & 8), kernel, kernel and offset == ra

    for leaf in leaves:
        root, offset, entry, shift, ra, end = leaf
        w, x, p, kernel, _ = kind(leaf)
        io, rights = entry & 0x20, entry & 7
        inside = any(start <= ra and end <= stop for start, stop in RAM)
        touches = any(ra < stop and start < end for start, stop in RAM)
        others = [(other, kind(other)) for other in leaves if other[4] < end and ra < other[5]]
        says = {
            "wx-mapping": w and x and p,
            "wx-user": w and x and not p,
            "kernel-user": kernel and rights and not p,
            "kernel-text-user": not kernel and rights and not p and any(k[1] and k[2] for _, k in others),
            "normal-outside-ram": not io and not inside,
            "io-on-ram": io and touches,
            "stray-rpn": entry & 0x01FF_FFFF_FFFF_F000 & ((1 << shift) - 1),
            "leaf-512g": shift == 39,
            "executable-io": io and entry & 1,
            "reserved-leaf": entry & 0x1E00_0000_0000_0040,
            "changed-unreferenced": kernel and entry & 0x180 == 0x80,
            "aged": not kernel and entry & 0x180 == 0x80,
            "privileged-in-user-half": not kernel and p and rights,
            "changed-read-only": entry & 0x80 and not w,
            "unreferenced": entry & 0x180 == 0,
            "no-rights": not rights,
            "wx-alias": x and not w and any(k[0] and not k[4] and (k[2] or not p) for _, k in others),
            "wx-alias-linear": x and not w and any(k[0] and k[4] for _, k in others),
        }
        for rule, hit in says.items():
            if hit:
                found[rule].add((root, offset))
    return found


def covered(report: Report, spaces: Spaces) -> dict[str, set[tuple[int, int]]]:
    """The same as an audit told it."""
    found: dict[str, set[tuple[int, int]]] = {rule: set() for rule in LEAF_RULES}
    trees = {root.pid: at for at, root in enumerate(spaces.roots)}
    for each in report:
        if each.rule in found:
            assert each.ea is not None
            assert each.page_shift is not None
            start = each.ea & (1 << 62) - 1
            found[each.rule] |= {(trees[each.pid], start + (n << each.page_shift)) for n in range(each.count)}
    return found


@given(worlds(("flat",)))
def test_leaves_are_found_as_a_plain_look_finds_them(world: World) -> None:
    spaces, block = spaces_of(world)
    if len(spaces.columns) > 600:
        return
    assert covered(everything(spaces, block), spaces) == plainly(spaces)


FLAGS = st.sampled_from([0x105, 0x386, 0x384, 0x107, 0x18D, 0x18E, 0x18F, 0x108, 0x1AE, 0x12D])
MAPPED = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), FLAGS), max_size=8)


@given(MAPPED)
def test_aliases_are_found_as_a_plain_look_finds_them(mapped: list[tuple[int, int, int]]) -> None:
    """Pages of the kernel, of the process and of another one, over six pages of RAM."""
    house = House()
    trees = (house.kernel, house.user, house.tree(OTHER))
    for at, (tree, page, flags) in enumerate(mapped):
        ea = (SPARE if tree else VMALLOC) + at * PAGE
        trees[tree].map(ea, FREE + page * PAGE | L | flags, 16)
    spaces = house.guest().spaces()
    found = {rule: rows for rule, rows in covered(house.audit(), spaces).items() if rule not in OF_RAM}
    assert found == {rule: rows for rule, rows in plainly(spaces).items() if rule not in OF_RAM}


def test_the_worlds_that_were_looked_at_break_most_rules() -> None:
    rng, seen = Random(3), Counter[str]()
    for _ in range(600):
        world = random_world(rng)
        if world.context.flat and world.context.process_table is not None:
            spaces, block = spaces_of(world)
            seen.update(everything(spaces, block).counts)
    assert len(seen) >= 25, seen


@given(worlds(("flat",)), st.integers(0, 3))
def test_a_limit_changes_what_is_told_and_not_what_is_counted(world: World, limit: int) -> None:
    spaces, block = spaces_of(world)
    whole, some = everything(spaces, block), everything(spaces, block, limit)
    assert some.counts == whole.counts
    for rule, count in whole.counts.items():
        told = [each for each in some if each.rule == rule]
        assert len(told) == min(limit, count)
        assert sum(each.more for each in told) == (count - len(told) if told else 0)
        assert [each.ea for each in told] == [each.ea for each in whole if each.rule == rule][: len(told)]


@given(worlds(("flat",)), st.sampled_from(["w", "x", "!r", "p"]))
def test_a_selection_is_of_what_is_told(world: World, rights: str) -> None:
    spaces, _ = spaces_of(world)
    if len(spaces.columns) > 600:
        return
    selection = Selection(rights=rights)
    meant = selection.mask(spaces.columns)
    root, offset = spaces.columns.root[meant].tolist(), spaces.columns.offset[meant].tolist()
    kept = set(zip(root, offset, strict=True))
    report = audit(spaces, RULES, selection=selection, limit=None)
    assert covered(report, spaces) == {rule: rows & kept for rule, rows in plainly(spaces).items()}
    assert set(report.rules) == {*LEAF_RULES, "tables-user", "tables-alias", "kernel-text-writable"}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_alone_finds_what_it_finds_among_all(rule: str) -> None:
    rng = Random(11)
    for _ in range(60):
        world = random_world(rng)
        if world.context.flat and world.context.process_table is not None:
            spaces, block = spaces_of(world)
            around = Surroundings(read_runs=block.read_runs)
            alone = audit(spaces, [rule], around=around, limit=None)
            assert list(alone) == [each for each in everything(spaces, block) if each.rule == rule]
            assert alone.rules == (() if rule in OF_PARTITIONS_ALONE else (rule,))
