"""What of a guest goes into a snapshot, and that what a table claims does not make it endless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import inspector
from inspector.capture import PAGE
from inspector.errors import NotCaptured
from inspector.guest import Guest
from inspector.recording import More, Share, capture_tables, recording_of
from inspector.snapshot.write import write_snapshot
from inspector.targets.recorded import open_recorded
from tests.commands.asking import told as asked
from tests.fakes import (
    GR,
    GUEST_DATA_EA,
    GUEST_LOST_EA,
    GUEST_PAGES,
    GUEST_PID,
    GUEST_PROCESS_TABLE_AT,
    GUEST_SMALL_EA,
    GUEST_TEXT_EA,
    HR,
    KERNEL,
    KVM_LEAF,
    LPID,
    PARTITION_TABLE_AT,
    PID,
    PROCESS_TABLE_AT,
    REGISTERED,
    USER_DATA_EA,
    FakeTarget,
    MiB,
    SparseMemory,
    guest,
    guest_to_host,
    kvm_host_target,
    linux_target,
)


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


def test_stretches_are_kept_alone_and_counted_once(tmp_path: Path) -> None:
    """Of what lies beside them in their pages nothing is kept."""
    target = linux_target()
    end = target.ram.spans()[0][1]
    target.source.put(40 * MiB, bytes(range(1, 65)))
    stretches = ((40 * MiB + 8, 8), (40 * MiB + 16, 4), (PROCESS_TABLE_AT, 32), (end - 4, 8))
    shares = (Share("rings", "rings", stretches), Share("code", "code", ((44 * MiB + 100, 4),), whole=True))
    path = str(tmp_path / "a.core")
    with guest(target) as live:
        plain = recording_of(live)
        recording = recording_of(live, more=More(shares, {"version": 1}, {"version": 1}, "at 3 moments"))
        write_snapshot(path, recording)
    sizes = {each.kind: each.size for each in recording.contents}
    assert sizes == {"tables": plain.contents[0].size, "rings": 16, "code": PAGE, "registers": 0, "virtio": 0}
    assert [each.kind for each in plain.contents] == ["tables", "registers"]
    with Guest(open_recorded(path)) as recorded:
        assert recorded.memory.read(40 * MiB + 8, 12) == bytes(range(9, 21))
        assert recorded.memory.read(end - 4, 4) == bytes(4)
        assert recorded.memory.read(44 * MiB, PAGE) == bytes(PAGE)
        for address in (40 * MiB + 7, 40 * MiB + 20):
            with pytest.raises(NotCaptured):
                recorded.memory.read(address, 1)
        assert list(recorded.target.contents) == list(recording.contents)  # type: ignore[attr-defined]
        again = recording_of(recorded, more=More(shares))
    assert {each.kind: each.size for each in again.contents}["rings"] == 16
    assert [run.size for run in again.runs] == [run.size for run in recording.runs]


# -- a hypervisor's guests ---------------------------------------------------------------------------------------------


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Guest, Guest]]:
    """A bare machine with a KVM guest, and a snapshot of it."""
    path = str(tmp_path / "host.core.gz")
    with guest(kvm_host_target(hashed=True)) as live:
        write_snapshot(path, recording_of(live))
        with Guest(open_recorded(path)) as recorded:
            yield live, recorded


@pytest.mark.parametrize(
    "words",
    [
        *("lpids", f"pids --lpid {LPID}", f"tables --lpid {LPID} --list", f"audit --lpid {LPID} --severity info"),
        *(f"maps --lpid {LPID} --all --leaves", f"maps --lpid {LPID} --pid {GUEST_PID}", f"dirty --lpid {LPID}"),
        *(f"maps --lpid {LPID} --partition --leaves", f"tables --lpid {LPID} --partition --list"),
    ],
)
def test_commands_that_look_at_a_kvm_guest_answer_as_they_did(both: tuple[Guest, Guest], words: str) -> None:
    live, recorded = both
    found = asked(words, recorded)
    assert found == asked(words, live)
    assert found


def test_both_stages_are_walked_as_they_were(both: tuple[Guest, Guest]) -> None:
    live, recorded = both
    ended = set()
    for pid in (0, GUEST_PID, 6):
        for ea in (GUEST_TEXT_EA, GUEST_DATA_EA + 8, GUEST_SMALL_EA + 0x1FFF, GUEST_LOST_EA, KERNEL, KERNEL + 9 * MiB):
            answers = recorded.compare(ea, lpid=LPID, pid=pid)
            assert answers == live.compare(ea, lpid=LPID, pid=pid)
            ended |= {(each.walker, each.stage, each.cause) for each in answers}
    for gra in (*GUEST_PAGES, 5 * MiB, 1 << 41):
        answer = recorded.translate(gra, lpid=LPID, guest_real=True)
        assert answer == live.translate(gra, lpid=LPID, guest_real=True)
        assert answer.ok == (gra in GUEST_PAGES)
    assert {("hardware", None, None), ("hardware", 1, "not-present"), ("hardware", 2, "not-present")} <= ended
    assert ("kvm", None, None) in ended
    assert recorded.context(1) == live.context(1)
    assert recorded.translate(GUEST_TEXT_EA, cpu=1).steps == live.translate(GUEST_TEXT_EA, cpu=1).steps


def test_tables_of_a_guest_are_captured_where_the_host_has_them_and_its_memory_is_not() -> None:
    with guest(kvm_host_target()) as live:
        taken = capture_tables(live)
        partition = live.partition(LPID)
        tables = live.spaces(lpid=LPID, composed=False).sweep.tables()
        assert len(tables) > 5
        for address in (*partition.process_table[:1], *tables.address.tolist()):
            assert taken.pages[guest_to_host(address) // PAGE * PAGE] is not None
        for gra in (2 * MiB, 6 * MiB):
            assert guest_to_host(gra) not in taken.pages


def test_a_snapshot_of_a_kvm_host_recorded_again_is_the_same(both: tuple[Guest, Guest]) -> None:
    live, recorded = both
    first, again = capture_tables(live), capture_tables(recorded)
    assert again.pages == first.pages
    assert again.unreadable == first.unreadable == {}


PATE = PARTITION_TABLE_AT + 16 * LPID


def _put(address: int, value: int) -> Callable[[SparseMemory], None]:
    return lambda memory: memory.put_word(address, value)


def _of_guest(gra: int, value: int) -> Callable[[SparseMemory], None]:
    return _put(guest_to_host(gra), value)


BROKEN = {
    "its process table lies in a hole": _put(PATE + 8, GR | 4 * MiB | 4),
    "its process table ends in a hole": _put(PATE + 8, GR | GUEST_PROCESS_TABLE_AT | 12),
    "its process table claims all there is": _put(PATE + 8, GR | 0x1F),
    "its own tree is no tree": _put(PATE, HR | 0x2000_0000_0000_0000 | 13),
    "its own tree is not RAM": _put(PATE, HR | 0x4006_0000_0000_00AD),
    "an entry of a process is noise": _of_guest(GUEST_PROCESS_TABLE_AT + 16 * 9, 0x6B6B_6B6B_6B6B_6B6B),
    "a tree is a tree's own table": _of_guest(0x2_0000, 1 << 63 | 0x2_0000 | 9),
    "a tree lies in a hole": _of_guest(GUEST_PROCESS_TABLE_AT + 16 * 9, 0x4000_0000_0000_00AD | 4 * MiB),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_guest_whose_tables_are_broken_breaks_no_recording(name: str) -> None:
    target = kvm_host_target()
    with guest(target) as sound:
        whole = capture_tables(sound)
    BROKEN[name](target.source)
    with guest(target) as opened:
        taken = capture_tables(opened)
        assert all(opened.memory.ram.covers(address, PAGE) for address in taken.pages)
        of_host = {at for at in whole.pages if at < 60 * MiB}  # the host's own are all there
        assert of_host <= set(taken.pages)
        assert taken.unreadable == {}


def test_what_the_source_refuses_of_a_guest_is_told() -> None:
    target = kvm_host_target()
    table = guest_to_host(GUEST_PROCESS_TABLE_AT)
    target.source.refused = [(table, 16)]
    with guest(target) as opened:
        taken = capture_tables(opened)
        assert taken.unreadable == {table: PAGE}
        assert table + PAGE in taken.pages


def _one_page_everywhere() -> FakeTarget:
    """The guest has 4 TiB of memory, all of it one GiB of the host's over and over, and a process table in it all."""
    target = kvm_host_target()
    memory = target.source
    root, middle = 62 * MiB, 63 * MiB
    memory.put_word(PATE, HR | 0x4000_0000_0000_00A0 | root | 13)
    for n in range(8):
        memory.put_word(root + 8 * n, 1 << 63 | middle | 9)
    for n in range(512):
        memory.put_word(middle + 8 * n, KVM_LEAF)
    memory.put_word(PATE + 8, GR | 0x1F)
    return target


def test_a_guest_with_more_memory_than_there_is_does_not_make_it_endless() -> None:
    target = _one_page_everywhere()
    with guest(target) as opened:
        taken = capture_tables(opened)
        assert all(opened.memory.ram.covers(address, PAGE) for address in taken.pages)
        assert sum(length for _, length in target.source.asked) < 4 * opened.memory.ram.total


def test_guests_whose_tables_are_not_all_kept_are_told_by_name(tmp_path: Path) -> None:
    with guest(kvm_host_target()) as sound:
        assert capture_tables(sound).cut == []
    target = _one_page_everywhere()
    target.source.put_word(PATE + 16, target.source.word(PATE))  # another, LPID 2, that comes after it
    with guest(target) as opened:
        recording = recording_of(opened)
        assert recording.machine["guests_cut"] == [LPID, LPID + 1]
        found = asked(f"record {tmp_path}/a.core.gz", opened)
    (note,) = (each["note"] for each in found if "not all in it" in each.get("note", ""))
    assert f"LPID {LPID}, {LPID + 1}:" in note
