"""What of a guest goes into a snapshot, and that what a table claims does not make it endless."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import inspector
from inspector.guest import Guest
from inspector.recording import PAGE, capture_tables, recording_of
from inspector.snapshot.write import write_snapshot
from inspector.targets.recorded import open_recorded
from tests.fakes import KERNEL, PID, PROCESS_TABLE_AT, REGISTERED, USER_DATA_EA, guest, linux_target


def test_what_the_tables_need_answers_as_the_guest_did(tmp_path: Path) -> None:
    path = str(tmp_path / "guest.core.gz")
    with guest(linux_target()) as live:
        write_snapshot(path, recording_of(live))
        with Guest(open_recorded(path)) as recorded:
            assert [each.pid for each in recorded.processes()] == [each.pid for each in live.processes()]
            for ea, pid in ((KERNEL, None), (USER_DATA_EA, PID)):
                assert recorded.translate(ea, pid=pid).steps == live.translate(ea, pid=pid).steps


def test_a_process_table_that_claims_more_than_ram_is_captured_as_far_as_there_is_ram() -> None:
    with guest(linux_target(), process_table=REGISTERED | 0x1F) as opened:
        taken = capture_tables(opened)
        assert PROCESS_TABLE_AT in taken.pages
        assert all(opened.memory.ram.covers(address, PAGE) for address in taken.pages)


def test_progress_goes_once_from_nothing_to_all_however_many_spans_there_are() -> None:
    told: list[tuple[int, int]] = []
    target = linux_target()
    with guest(target, progress=lambda what, done, total: told.append((done, total))) as opened:
        assert len(opened.memory.ram.spans()) == 2
        told.clear()
        recording = recording_of(opened, everything=True)
        told.clear()
        for run in recording.runs:
            run.read(run.address, run.size)
    assert told[-1] == (opened.memory.ram.total, opened.memory.ram.total)
    assert all(before[0] < after[0] for before, after in pairwise(told))


def test_a_snapshot_recorded_again_is_the_same_guest(tmp_path: Path) -> None:
    """Its kernel's own description too, which no search of the captured tables would find."""
    with inspector.open_target("demo") as demo:
        inspector.record(demo, str(tmp_path / "again.core.gz"))
        with inspector.open_target(str(tmp_path / "again.core.gz")) as again:
            assert again.target.vmcoreinfo == demo.target.vmcoreinfo
            assert again.target.vmcoreinfo is not None
            for cpu in demo.target.cpus:
                assert again.registers(cpu).values == demo.registers(cpu).values
            assert list(again.processes()) == list(demo.processes())
            assert (again.roots.process_table, again.roots.sure) == (demo.roots.process_table, demo.roots.sure)
