"""Ranges gathered piece by piece, held to those of all leaves at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.mappings.gather import gather
from inspector.mappings.ranges import Ranges, coalesce
from inspector.radix import sweep as sweep_module
from inspector.radix.columns import Columns, Findings, Root
from inspector.radix.sweep import stream, sweep
from tests.mappings.test_ranges import rows
from tests.radix.broken import worlds
from tests.radix.sweeping import Block, roots_of
from tests.radix.test_sweep import MANY, grown
from tests.radix.trees import World


def by_sweep(block: Block, roots: list[Root]) -> Ranges:
    return coalesce(sweep(block.read_runs, roots).columns().in_order())


@settings(max_examples=80)
@given(worlds(), st.integers(1, 3))
def test_streamed_ranges_are_the_swept_ones(world: World, tables: int) -> None:
    block, roots = Block(world.memory), roots_of(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep_module, "STREAM_TABLES", tables)
        findings = Findings(1 << 12)
        found = gather(stream(block.read_runs, roots, findings=findings), tuple(roots), findings, streamed=True)
    assert rows(found.ranges) == rows(by_sweep(block, roots))
    assert (found.interrupted, found.cut, found.streamed) == (False, False, True)


@pytest.mark.parametrize("tables", [1, 2, 1 << 16])
def test_shared_tables_too(monkeypatch: pytest.MonkeyPatch, tables: int) -> None:
    """Their pieces come by real address, not by effective address."""
    monkeypatch.setattr(sweep_module, "STREAM_TABLES", tables)
    memory, tree = grown(MANY)
    second = tree.tables[1, 0][0]
    entries = [memory.word(second + 8 * at) for at in range(7)]
    for at, entry in enumerate(reversed(entries)):  # the very tables once more, the other way round
        memory.put(second + 8 * (100 + at), entry)
    block, roots = Block(memory), [Root(1, tree.descriptor), Root(2, tree.descriptor)]
    findings = Findings(8)
    found = gather(stream(block.read_runs, roots, findings=findings), tuple(roots), findings, streamed=True)
    assert rows(found.ranges) == rows(by_sweep(block, roots))


def test_more_ranges_than_are_wanted_are_cut_and_that_is_said() -> None:
    memory, tree = grown([(at << 12, 12) for at in range(0, 512, 2)])
    second = tree.tables[1, 0][0]
    for at in range(1, 512):
        memory.put(second + 8 * at, memory.word(second))
    root, findings = Root(1, tree.descriptor), Findings(8)
    found = gather(stream(Block(memory).read_runs, [root]), (root,), findings, most=1000)
    assert found.cut
    assert 1000 <= len(found.ranges) < 512 * 256, "those of the piece that was one too many are kept"


def test_ctrl_c_gives_those_so_far_where_that_is_asked_for() -> None:
    memory, tree = grown(MANY)
    block, roots = Block(memory), (Root(1, tree.descriptor),)
    found = sweep(block.read_runs, roots)

    def pieces() -> Iterator[Columns]:
        yield next(found.pieces())
        raise KeyboardInterrupt

    some = gather(pieces(), roots, found.findings, keep_partial=True)
    assert some.interrupted
    assert rows(some.ranges) == rows(coalesce(next(found.pieces())))
    with pytest.raises(KeyboardInterrupt):
        gather(pieces(), roots, found.findings)


def test_a_stream_that_is_interrupted_gives_what_was_read_first() -> None:
    memory, tree = grown(MANY)
    block, left = Block(memory), 4

    def read_runs(runs: object) -> list[object]:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return block.read_runs(runs)  # type: ignore[arg-type, return-value]

    findings = Findings(8)
    roots = (Root(1, tree.descriptor),)
    pieces = stream(read_runs, roots, findings=findings, keep_partial=True)  # type: ignore[arg-type]
    found = gather(pieces, roots, findings, keep_partial=True)
    assert found.interrupted
    assert {1 << 30, 1 << 39} <= set(found.ranges.size.tolist()), "what stands above the last level"
    assert len(found.ranges) < len(by_sweep(block, list(roots)))


def test_nothing_is_no_ranges() -> None:
    found = gather([], (Root(1, 0),), Findings(1))
    assert len(found.ranges) == 0
    assert found.ranges.ea.tolist() == found.ranges.size.tolist() == []
