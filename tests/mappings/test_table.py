"""Mappings as columns, against the objects that 'maps --json' tells one by one."""

from __future__ import annotations

import numpy as np
import pytest

import inspector
from inspector.linux.regions import REGIONS
from inspector.mappings.ranges import coalesce
from inspector.mappings.runs import runs_of
from inspector.mappings.table import FIELDS, LEAF_FIELDS, Batch, fields_of, in_batches, tabulate
from inspector.memory.physical import RamMap, Range
from inspector.radix.columns import Columns, Places, Root
from inspector.render import runs
from inspector.render.style import hexadecimal
from tests.commands.asking import told
from tests.fakes import broken_target, guest, linux_target
from tests.test_fixtures import FIXTURES

ROOTS = (Root(0, 0, 3 << 62), Root(7, 0), Root(None, 0, lpid=5))


def some_leaves() -> Columns:
    """Leaves of every attribute, size and tree, with bits that should be zero."""
    rng = np.random.default_rng(7)
    rows = 600
    shift = np.array([12, 16, 21, 30, 39], np.uint8)[rng.integers(0, 5, rows)]
    at = np.arange(rows, dtype=np.uint64) << np.uint64(40)
    entry = rng.integers(0, 1 << 62, rows).astype(np.uint64) | np.uint64(3 << 62)
    places = Places(
        np.array([0, 1, 2], np.uint32), np.zeros(3, np.uint64), np.array([0x10000, 0x20000, 1 << 50], np.uint64)
    )
    return Columns(ROOTS, places, rng.integers(0, 3, rows).astype(np.uint32), at, entry, shift)


def objects(batch: Batch) -> list[dict[str, object]]:
    """What JSON would say of each row."""
    kinds = {field.name: field.kind for field in batch.fields}
    rows = [dict(zip(kinds, row, strict=True)) for row in batch.rows()]
    return [{n: hexadecimal(v) if kinds[n] == "address" else v for n, v in row.items()} for row in rows]


def test_columns_say_what_runs_say() -> None:
    columns = some_leaves()
    ram = RamMap([Range(0, 1 << 45), Range(1 << 50, 1 << 51)])
    ranges = coalesce(columns)
    found = objects(tabulate(ranges, ram.spans(), REGIONS))
    wanted = [runs.obj(run, ram.covers(run.ra, run.size)) for run in runs_of(ranges)]
    # A partition's guest real addresses lie in none of the kernel's regions.
    wanted = [{**each, "region": each["region"] if each["pid"] is not None else None} for each in wanted]
    assert found == wanted
    assert {each["ra_is_ram"] for each in found} == {True, False}


@pytest.mark.parametrize("kind", ["pseries-p9", "powernv9", "demo"])
def test_a_recorded_guest(kind: str) -> None:
    with inspector.open_target(kind if kind == "demo" else str(FIXTURES / f"{kind}.core.gz")) as at:
        spaces = at.spaces()
        ranges = tabulate(spaces.ranges, spaces.ram.spans(), REGIONS)
        leaves = tabulate(spaces.columns, spaces.ram.spans(), REGIONS)
        assert objects(ranges) == [each for each in told("maps --all", at) if "ra" in each]
        by_leaf = objects(leaves)
        assert [each.pop("entry_address") for each in by_leaf] == [f"{at:#x}" for at in spaces.columns.address.tolist()]
        assert by_leaf == [each for each in told("maps --all --leaves", at) if "ra" in each]
        assert any(int(str(each["ea"]), 16) >> 63 for each in by_leaf)


def test_the_address_of_an_entry_is_where_it_lies() -> None:
    target = linux_target()
    at = guest(target)
    found = tabulate(at.spaces().columns, at.memory.ram.spans(), REGIONS)
    for entry, ra in zip(found.column("entry_address").values, found.column("ra").values, strict=True):
        assert target.source.word(int(entry)) & 0x01FF_FFFF_FFFF_F000 == ra


def test_batches_are_the_whole_in_pieces() -> None:
    spaces = guest(broken_target()).spaces()
    for mapped, fields in ((spaces.ranges, FIELDS), (spaces.columns, LEAF_FIELDS)):
        assert fields_of(mapped) == fields
        whole = list(tabulate(mapped, spaces.ram.spans(), REGIONS).rows())
        pieces = list(in_batches(mapped, spaces.ram.spans(), REGIONS, rows=5))
        assert [len(piece) for piece in pieces[:-1]] == [5] * (len(pieces) - 1)
        assert [row for piece in pieces for row in piece.rows()] == whole
        assert all(piece.fields == fields for piece in pieces)


def test_nothing_mapped_is_columns_without_rows() -> None:
    columns = some_leaves().take(slice(0, 0))
    for mapped in (columns, coalesce(columns)):
        batch = tabulate(mapped, [], REGIONS)
        assert len(batch) == 0
        assert batch.fields == fields_of(mapped)
        assert list(in_batches(mapped, [], REGIONS)) == []
