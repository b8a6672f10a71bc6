"""What SQL answers about recorded guests, against the same worked out from the columns."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import inspector
from inspector.database import TYPES, Database
from inspector.guest import Guest
from inspector.views import VIEWS, OfSpaces
from tests.commands.asking import told
from tests.fakes import BROKEN_PID, broken_target, guest
from tests.test_fixtures import FIXTURES

WRITE, EXECUTE = np.uint64(2), np.uint64(1)


@pytest.fixture(scope="module", params=["demo", "pseries-p9", "pseries-p10", "powernv9", "broken"])
def at(request: pytest.FixtureRequest) -> Iterator[Guest]:
    if request.param == "broken":
        yield guest(broken_target())
        return
    path = request.param if request.param == "demo" else str(FIXTURES / f"{request.param}.core.gz")
    with inspector.open_target(path) as opened:
        yield opened


def ask(at: Guest, query: str) -> list[tuple[Any, ...]]:
    """All rows, over every view."""
    spaces = at.spaces()
    tables = {n: each.build(spaces) if isinstance(each, OfSpaces) else each.build(at) for n, each in VIEWS.items()}
    with Database(tables) as made:
        _, pieces = made.ask(query)
        return [row for piece in pieces for row in piece.values]


def test_sums_by_process(at: Guest) -> None:
    columns = at.spaces().columns
    wanted: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for pid, size in zip(columns.pid.tolist(), columns.size.tolist(), strict=True):
        wanted[pid][0] += 1
        wanted[pid][1] += size
    found = ask(at, "SELECT pid, count(*), sum(size) FROM leaves GROUP BY pid")
    assert {pid: list(rest) for pid, *rest in found} == wanted
    assert dict(ask(at, "SELECT pid, sum(count) FROM maps GROUP BY pid")) == {n: c for n, (c, _) in wanted.items()}


def test_addresses_above_2_63(at: Guest) -> None:
    columns = at.spaces().columns
    high = columns.ea >= np.uint64(0xC00A << 48)
    assert high.any()
    wanted = list(zip(columns.ea[high].tolist(), columns.ra[high].tolist(), strict=True))
    assert ask(at, "SELECT ea, ra FROM leaves WHERE ea >= 0xc00a000000000000 ORDER BY pid, ea") == wanted


def test_rights_and_regions(at: Guest) -> None:
    flags = at.spaces().columns.flags
    both = int(np.count_nonzero((flags & WRITE != 0) & (flags & EXECUTE != 0)))
    assert ask(at, "SELECT count(*) FROM leaves WHERE write AND execute") == [(both,)]
    spread = ask(at, "SELECT m.region, count(*) FROM leaves m JOIN regions r ON m.region = r.name GROUP BY 1")
    inside = ask(at, "SELECT r.name, count(*) FROM leaves m JOIN regions r ON m.ea BETWEEN first AND last GROUP BY 1")
    assert sorted(spread) == sorted(inside)
    assert {name for name, _ in spread} >= {"user", "linear map"}


def test_aliases_by_a_join_are_those_of_the_index(at: Guest) -> None:
    spaces = at.spaces()
    ras = Counter(zip(spaces.columns.ra.tolist(), spaces.columns.shift.tolist(), strict=True))
    wanted = sum(times * (times - 1) for times in ras.values())
    query = (
        "SELECT count(*) FROM leaves a JOIN leaves b USING (ra, page_shift) WHERE a.entry_address <> b.entry_address"
    )
    shared = ask(at, "SELECT count(*) FROM tables WHERE places > 1") != [(0,)]
    assert shared or ask(at, query) == [(wanted,)]


def test_tables_add_up(at: Guest) -> None:
    tables = at.spaces().sweep.tables()
    assert ask(at, "SELECT count(*), sum(entries) * 8, sum(used), sum(leaves) FROM tables") == [
        (len(tables), int(tables.length.sum()), int(tables.fill.sum()), int(tables.leaves.sum()))
    ]
    root_pages = "SELECT pids.pid FROM pids JOIN tables ON root = tables.address AND level = 3 ORDER BY 1"
    assert [pid for (pid,) in ask(at, root_pages)] == [each.pid for each in at.spaces().processes]


def test_pids_are_those_that_are_listed(at: Guest) -> None:
    listed = [(e["pid"], int(e["address"], 16), int(e["entry"], 16), e["bits"]) for e in told("pids", at)]
    assert ask(at, "SELECT pid, address, entry, bits FROM pids ORDER BY pid") == listed


def test_ram_and_registers(at: Guest) -> None:
    assert ask(at, "SELECT start, size, name FROM ram ORDER BY start") == [
        (each.start, each.size, each.name) for each in at.memory.ram
    ]
    found = ask(at, "SELECT cpu, name, value FROM registers")
    assert {(cpu, name): value for cpu, name, value in found} == {
        (cpu, name): value for cpu in at.target.cpus for name, value in at.registers(cpu).values.items()
    }


def test_columns_are_of_the_types_that_are_told(at: Guest) -> None:
    for name, view in VIEWS.items():
        described = ask(at, f"DESCRIBE SELECT * FROM {name}")
        assert [(row[0], row[1]) for row in described] == [(each.name, TYPES[each.kind]) for each in view.fields]


def test_findings_are_what_the_maps_tell() -> None:
    broken = guest(broken_target())
    found = ask(broken, "SELECT pid, cause, hex(ea), reason FROM findings WHERE NOT starts_with(cause, 'shared')")
    odd = [each for each in told(f"maps --pid {BROKEN_PID}", broken) if "oddity" in each]
    assert sorted(found) == sorted((e["pid"], e["oddity"], e["ea"], e["reason"]) for e in odd)
    assert len(found) == 3
