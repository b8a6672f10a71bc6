"""What a guest is asked besides translations: its processes, however large its table claims to be."""

from __future__ import annotations

import pytest

from inspector.memory.physical import RamMap, Range
from tests.fakes import PROCESS_TABLE_AT, REGISTERED, FakeTarget, GiB, MiB, guest, linux_target

LARGEST = REGISTERED | 0x1F
"""The same table with the largest size field there is: 8 TiB."""


def pids(target: FakeTarget, table: int = REGISTERED) -> list[int]:
    with guest(target, process_table=table) as opened:
        return [process.pid for process in opened.processes()]


def test_a_table_that_claims_more_than_ram_is_scanned_only_as_far_as_there_is_ram() -> None:
    target = linux_target()
    known = pids(target)
    assert known, "no process was alive"
    target.source.asked.clear()
    found = pids(target, LARGEST)
    assert found[: len(known)] == known
    assert sum(length for _, length in target.source.asked) <= 2 * target.ram.total


def test_a_table_and_ram_that_claim_more_than_was_captured_are_scanned_only_where_there_are_bytes() -> None:
    target = linux_target()
    known = pids(target)
    target.ram = RamMap([Range(0, 1 << 62)])
    target.source.captured = [(PROCESS_TABLE_AT, 1 * MiB)]
    target.source.asked.clear()
    assert pids(target, LARGEST) == known
    assert len(target.source.asked) < 100


def test_a_search_looks_only_where_there_are_bytes() -> None:
    target = linux_target(registered=None)
    with guest(target) as opened:
        first = opened.roots
    target.ram = RamMap([Range(0, 1 << 62)])
    target.source.captured = [(0, 1 * GiB)]
    with guest(target) as opened:
        assert opened.roots.process_table == first.process_table


@pytest.mark.parametrize("cut", [0, 8, 24])
def test_an_entry_is_read_whole_where_what_was_captured_begins_or_ends_inside_one(cut: int) -> None:
    target = linux_target()
    known = pids(target)
    target.source.captured = [(PROCESS_TABLE_AT, 4096 + cut), (PROCESS_TABLE_AT + 4096 + cut, 1 * MiB)]
    assert pids(target) == known
