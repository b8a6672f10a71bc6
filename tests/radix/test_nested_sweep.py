"""Sweeps of guests' own trees through a second stage, composed: held to the walk address by address, in worlds whole
and broken."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.mappings.behind import Behind
from inspector.mappings.composed import compose, holes
from inspector.mappings.ranges import coalesce, in_order
from inspector.mappings.runs import runs_of
from inspector.radix import walk
from inspector.radix.access import encoded_rights
from inspector.radix.address import Context
from inspector.radix.columns import Root, SweepOddity
from inspector.radix.stages import Fault, Walk
from inspector.radix.sweep import Sweep, sweep
from tests.radix.broken import DAMAGES, SHIFTS, build
from tests.radix.sweeping import Block
from tests.radix.trees import DR, HV, IR, LPID, PARTITIONS_AT, PR, SF, GuestSpace, World, partitioned

MOST = 1 << 12
"""Pages that are composed."""
REACH = {3: 52, 2: 39, 1: 30, 0: 21, -1: 12}
"""log2 of what a table of each level covers."""
PIDS = (0, 1, 5, 255)
ROOT_AT = 0x80_0000
"""Guest real: where a world with partitions has its root directory."""
UNREAD = ("cycle", "no-leaf", "table-")
"""Oddities of tables that a sweep does not go into; the walk may, by way of a cycle, or to a part of one."""


class Nested:
    """The processes of a guest, swept through its second stage and composed."""

    def __init__(self, world: World, windows: bool) -> None:
        self.world = world
        block = Block(world.memory)
        seen = block.windows() if windows else []
        second = Root(None, world.memory.words.get(PARTITIONS_AT + 16 * LPID, 0), lpid=LPID)
        self.host: Sweep = sweep(block.read_runs, [second], windows=seen)
        self.behind = Behind(in_order(coalesce(self.host.columns().in_order())))
        self.roots = list(self._roots())
        self.own: Sweep = sweep(block.read_runs, self.roots, windows=seen, through=self.behind)
        led = compose(self.own.columns().in_order(), self.behind, MOST)
        self.cut = led.cut is not None
        gra = led.columns.gra
        assert gra is not None
        columns = (led.columns.ea, led.columns.ra, gra, led.columns.shift, led.columns.entry)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        tree = led.columns.root.tolist()
        self.rows = [[row for row, at in zip(rows, tree, strict=True) if at == mine] for mine in range(len(self.roots))]
        own = self.own.columns().in_order()
        self.holes = [run for part in holes(own, self.behind) for run in runs_of(part)]

    def context(self, pid: int) -> Context:
        """A vCPU of the guest's in privileged state with open keys: its rights are those of the leaves."""
        msr = (self.world.context.msr or 0) & ~(PR | HV) | SF | IR | DR
        return replace(self.world.context, msr=msr, pid=pid, lpidr=LPID, amr=0, iamr=0)

    def _roots(self) -> Iterator[Root]:
        """The process-table entries that the walk itself reaches."""
        for pid in PIDS:
            steps = Walk(self.world.reader(), self.context(pid), None)
            try:
                partition = steps.partition(LPID)
                entry = steps.process_entry(partition, pid, steps.resolver(partition, LPID))
            except Fault:
                continue
            yield Root(pid, entry, 0 if pid else 3 << 62, LPID)

    def near(self, rng: Random) -> Iterator[tuple[int, int]]:
        """(tree, EA) worth asking about: about leaves, holes, oddities, and where pages were mapped."""
        for at, root in enumerate(self.roots):
            eas = [ea ^ flip for ea in self.world.eas for flip in (0, 1 << rng.randrange(52))]
            for ea, _, _, shift, _ in rng.sample(self.rows[at], min(20, len(self.rows[at]))):
                eas += [ea, ea + rng.randrange(1 << shift), ea + (1 << shift) - 1, ea + (1 << shift), ea - 1]
            eas += [hole.ea + rng.randrange(hole.size) for hole in self.holes if hole.pid == root.pid][:20]
            eas += [root.base | odd.offset + rng.randrange(1 << REACH[odd.level]) for odd in self.own.oddities][:20]
            yield from ((at, root.base | ea & (1 << 52) - 1) for ea in eas)

    def row(self, at: int, ea: int) -> tuple[int, int, int, int, int] | None:
        """The composed leaf of an address."""
        rows = self.rows[at]
        found = bisect_right(rows, ea, key=lambda row: row[0]) - 1
        return rows[found] if found >= 0 and ea - rows[found][0] < 1 << rows[found][3] else None

    def odd(self, at: int, ea: int) -> list[str]:
        """The causes of oddities of what covers an address."""
        mine = [odd for odd in self.own.oddities if odd.root == at]
        return [odd.cause for odd in mine if covers(odd, ea & (1 << 52) - 1)]


def covers(odd: SweepOddity, offset: int) -> bool:
    """Whether an oddity is of a table that covers this."""
    return 0 <= offset - odd.offset < 1 << REACH[odd.level]


def unread(causes: list[str]) -> bool:
    """Whether any of these tables were not gone into."""
    return any(cause.startswith(UNREAD) for cause in causes)


def check(nested: Nested, rng: Random) -> Counter[str]:
    """Hold composed leaves, holes and oddities to the walk's answers: how often each came about."""
    seen: Counter[str] = Counter()
    for at, ea in nested.near(rng):
        root = nested.roots[at]
        assert root.pid is not None
        answer = walk.translate(nested.world.reader(), nested.context(root.pid), ea)
        row, causes = nested.row(at, ea), nested.odd(at, ea)
        where = f"{ea:#x} of PID {root.pid}: {answer.reason}, {causes}"
        if row is not None:
            begin, ra, gra, shift, entry = row
            told = (answer.ok, answer.ra, answer.gra, answer.page_shift, answer.rights)
            assert told == (True, ra + ea - begin, gra + ea - begin, shift, encoded_rights(entry)), where
            seen["ok"] += 1
        elif answer.ok:
            assert nested.cut or unread(causes) or unread([odd.cause for odd in nested.host.oddities]), where
            seen["beyond the sweep"] += 1
        elif answer.stage == 2 and answer.gra is not None:
            gone = [hole for hole in nested.holes if hole.pid == root.pid and 0 <= ea - hole.ea < hole.size]
            assert [hole.ra + ea - hole.ea for hole in gone] == [answer.gra] or unread(causes), where
            seen["hole"] += 1
        elif answer.stage == 2:
            assert "table-not-backed" in causes or unread(causes), where
            seen["table not backed" if "table-not-backed" in causes else "unread"] += 1
        else:
            seen["first stage"] += 1
    return seen


KINDS_OF_LEAVES = st.lists(st.sampled_from(SHIFTS), min_size=1, max_size=3)


@given(st.integers(0, 1 << 32), KINDS_OF_LEAVES, st.booleans())
def test_whole_worlds(seed: int, shifts: list[int], windows: bool) -> None:
    rng = Random(seed)
    world = build(rng, "guest", shifts, True, [])
    nested = Nested(world, windows)
    seen = check(nested, rng)
    assert not {odd.cause for odd in nested.own.oddities + nested.host.oddities} - {"table-not-backed"}
    assert seen["unread"] == 0


@given(
    st.integers(0, 1 << 32),
    KINDS_OF_LEAVES,
    st.booleans(),
    st.lists(st.sampled_from(sorted(DAMAGES)), min_size=1, max_size=3),
)
def test_broken_worlds(seed: int, shifts: list[int], windows: bool, wrong: list[str]) -> None:
    rng = Random(seed)
    check(Nested(build(rng, "guest", shifts, True, wrong), windows), rng)


def test_the_worlds_have_all_of_it_in_them() -> None:
    rng = Random(11)
    whole, broken = Counter[str](), Counter[str]()
    for _ in range(120):
        whole += check(Nested(build(rng, "guest", rng.choices(SHIFTS, k=2), True, []), False), rng)
        wrong = rng.choices(sorted(DAMAGES), k=2)
        broken += check(Nested(build(rng, "guest", rng.choices(SHIFTS, k=2), True, wrong), True), rng)
    assert whole.keys() >= {"ok", "hole", "first stage"}
    assert broken.keys() >= {"ok", "hole", "first stage", "table not backed"}
    assert whole["ok"] > 1000
    assert broken["ok"] > 300
    assert broken["beyond the sweep"] < broken["ok"] // 10


def with_small_pages() -> tuple[World, GuestSpace]:
    """A world whose host has pages of 4K, and all of those that the guest's root lies in."""
    world, space = partitioned(host_shift=12)
    root = next(page << 12 for page in space.pages if page << 12 >= ROOT_AT)
    for at in range(ROOT_AT, ROOT_AT + (1 << 16), 1 << 12):
        space.at(at)
    assert root < ROOT_AT + (1 << 16)
    return world, space


def drop(world: World, space: GuestSpace, page: int) -> None:
    """Take away what the host has behind a page of the guest's."""
    world.memory.put(space.paths[page][0], 0)


@pytest.mark.parametrize("level", [3, 2, 1, 0])
@pytest.mark.parametrize("windows", [False, True])
def test_a_table_that_the_host_has_nothing_behind_is_told(level: int, windows: bool) -> None:
    world, space = with_small_pages()
    host = world.path[level] >> 12 << 12
    page = next(page for page, at in space.pages.items() if at == host)
    drop(world, space, page)
    nested = Nested(world, windows)
    assert [(odd.cause, odd.level) for odd in nested.own.oddities] == [("table-not-backed", level)]
    assert not any(nested.rows)


@pytest.mark.parametrize("windows", [False, True])
def test_of_a_table_that_the_host_has_in_part_that_part_is_read(windows: bool) -> None:
    world, space = with_small_pages()
    space.at(0x1F_5000)
    assert len(Nested(world, windows).rows[0]) == 1
    drop(world, space, (ROOT_AT >> 12) + 9)
    nested = Nested(world, windows)
    assert [(odd.cause, odd.level) for odd in nested.own.oddities] == [("table-not-backed", 3)]
    assert len(nested.rows[0]) == 1
    check(nested, Random(1))
