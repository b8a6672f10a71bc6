"""What processes map at one moment: whole or in part, kept for as long as the guest stands still."""

from __future__ import annotations

from itertools import pairwise

import pytest

import inspector
from inspector import spaces as spaces_module
from inspector.errors import TargetLost, UsageError
from inspector.guest import Guest
from inspector.mappings import composed as composed_module
from inspector.mappings.ranges import coalesce
from inspector.radix.columns import Findings, Limits
from inspector.roots import Progress
from inspector.spaces import READING, Spaces
from tests.fakes import (
    BROKEN_PID,
    GUEST_LOST_EA,
    LPID,
    PID,
    PROCESS_TABLE_AT,
    TABLES_AT,
    FakeTarget,
    MiB,
    SparseMemory,
    broken_target,
    guest,
    kvm_host_target,
    linux_target,
)
from tests.mappings.test_ranges import rows


class Cut(SparseMemory):
    """A memory whose tables may be read so many times, until ``error`` comes of it."""

    left = 0
    error: BaseException = KeyboardInterrupt()

    def read(self, address: int, length: int) -> bytes:
        if length > 8 and TABLES_AT <= address < TABLES_AT + MiB:
            self.left -= 1
            if self.left < 0:
                raise self.error
        return super().read(address, length)


def cut_target(left: int, error: BaseException | None = None) -> FakeTarget:
    target = linux_target()
    memory = Cut(chunks=target.source.chunks)
    memory.left, memory.error = left, error or KeyboardInterrupt()
    target.source = memory
    return target


def little_room(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    monkeypatch.setattr(spaces_module, "affordable", lambda: limits)


def test_the_rows_of_processes_and_trees_belong_together() -> None:
    found = guest(broken_target()).spaces()
    assert [each.pid for each in found.processes] == [each.pid for each in found.roots] == [0, PID, BROKEN_PID]
    assert [each.base for each in found.roots] == [3 << 62, 0, 0]
    assert found.table == (PROCESS_TABLE_AT, 16 * MiB)
    assert rows(found.ranges) == rows(coalesce(found.columns))
    assert found.index.lookup(0).tolist() == [0]
    assert [found.interrupted, found.changing, found.too_large] == [False] * 3
    assert found.absent == ()


def test_processes_as_they_were_asked_for_each_once() -> None:
    found = guest().spaces([PID, 0, PID])
    assert [each.pid for each in found.processes] == [PID, 0]
    assert set(found.columns.pid.tolist()) == {0, PID}
    assert len(guest().spaces([]).ranges) == 0


def test_those_that_are_not_there_are_told_apart() -> None:
    target = linux_target()
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (TABLES_AT, MiB)]
    found = guest(target).spaces([3, 0x1000, 0])
    assert [(each.pid, each.cause) for each in found.absent] == [(3, "no-process"), (0x1000, "table-not-captured")]
    assert [each.pid for each in found.processes] == [0]
    with pytest.raises(UsageError, match="1048576 entries"):
        guest().spaces([1 << 20])


# -- kept, and not -----------------------------------------------------------------------------------------------------


def test_they_are_kept_while_the_guest_stands_still() -> None:
    target = linux_target()
    at = guest(target)
    first = at.spaces()
    reads = len(target.source.asked)
    assert at.spaces() is first
    assert len(target.source.asked) == reads
    assert at.spaces([0]) is not first
    again = at.spaces()
    target.clock.tick()
    assert at.spaces() is not again


def test_while_the_guest_runs_nothing_is_kept_and_that_is_said() -> None:
    target = linux_target()
    at = guest(target)
    _ = at.roots
    target.clock.running = True
    first = at.spaces([0])
    assert first.changing
    assert at.spaces([0]) is not first


# -- cut short ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", range(1, 8))
def test_ctrl_c_gives_what_there_is_so_far_and_that_is_not_kept(left: int) -> None:
    whole = guest().spaces()
    target = cut_target(left)
    at = guest(target)
    part = at.spaces(keep_partial=True)
    assert part.interrupted
    assert set(rows(part.ranges)) < set(rows(whole.ranges))
    target.source = SparseMemory(chunks=target.source.chunks)
    at = guest(target)
    assert rows(at.spaces().ranges) == rows(whole.ranges)


def test_ctrl_c_is_raised_where_a_part_is_not_wanted() -> None:
    with pytest.raises(KeyboardInterrupt):
        guest(cut_target(3)).spaces()
    with pytest.raises(TargetLost):
        guest(cut_target(3, TargetLost("it is gone; attach again"))).spaces(keep_partial=True)


def test_ctrl_c_while_ranges_are_put_together() -> None:
    at = guest(progress=_interrupting("putting ranges together"))
    found = at.spaces()
    some = found.gathered(keep_partial=True)
    assert some.interrupted
    assert 0 < len(some.ranges) < 12
    with pytest.raises(KeyboardInterrupt):
        _ = found.ranges


def _interrupting(word: str) -> Progress:
    def tell(what: str, _done: int, _total: int) -> None:
        if what == word:
            raise KeyboardInterrupt

    return tell


# -- larger than can be kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(leaves=40), Limits(tables=6), Limits(table_bytes=0x2_3000)])
def test_ranges_of_trees_too_large_to_keep_are_those_of_all_of_them(
    monkeypatch: pytest.MonkeyPatch, limits: Limits
) -> None:
    whole = guest().spaces()
    little_room(monkeypatch, limits)
    target = linux_target()
    found = guest(target).spaces()
    assert found.too_large
    assert 0 <= len(found.columns) < len(whole.columns)
    assert rows(found.ranges) == rows(whole.ranges)
    gathered = found.gathered()
    assert gathered.streamed
    assert gathered.findings.counts["too-large"] == 0
    reads = len(target.source.asked)
    assert found.gathered() is gathered
    assert len(target.source.asked) == reads, "once is enough"


def test_oddities_are_those_of_all_of_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(found: Spaces) -> list[tuple[str, int]]:
        return sorted((odd.cause, odd.offset) for odd in found.gathered().findings.told)

    whole = told(guest(broken_target()).spaces())
    little_room(monkeypatch, Limits(leaves=3))
    assert whole
    assert told(guest(broken_target()).spaces()) == whole


def test_what_was_kept_of_an_earlier_moment_is_not_read_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    little_room(monkeypatch, Limits(leaves=40))
    target = linux_target()
    found = guest(target).spaces()
    target.clock.tick()
    assert not found.gathered().streamed
    assert rows(found.ranges) == rows(coalesce(found.columns))
    assert found.gathered().findings.counts["too-large"]


def test_more_ranges_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    little_room(monkeypatch, Limits(leaves=40))
    monkeypatch.setattr(spaces_module, "most_ranges", lambda: 1)
    found = guest().spaces().gathered()
    assert found.cut
    assert 0 < len(found.ranges) < 12


def test_ctrl_c_in_the_second_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    little_room(monkeypatch, Limits(leaves=40))
    target = linux_target()
    found = guest(target).spaces()
    cut = cut_target(4)
    target.source.read = cut.source.read  # type: ignore[method-assign]
    some = found.gathered(keep_partial=True)
    assert (some.interrupted, some.streamed) == (True, True)
    target.source.read = linux_target().source.read  # type: ignore[method-assign]
    assert rows(found.ranges) == rows(guest().spaces().ranges), "what was cut short is not kept"


# -- both stages -------------------------------------------------------------------------------------------------------


def composed() -> Spaces:
    """The processes of a KVM guest, led on to the host's memory."""
    return guest(kvm_host_target()).spaces(lpid=LPID)


def test_ranges_are_the_same_before_the_leaves_are_made_and_after() -> None:
    before, after = composed(), composed()
    whole = after.columns
    assert not after.too_large
    assert whole.gra is not None
    assert len(whole) > len(after.sweep.columns()), "leaves over smaller pages of the host"
    assert rows(before.ranges) == rows(after.ranges) == rows(coalesce(whole))
    holes = before.holes
    assert holes is not None
    assert GUEST_LOST_EA in holes.offset.tolist()


def test_more_pages_of_both_stages_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = composed()
    leaves, ranges = whole.columns, rows(whole.ranges)
    monkeypatch.setattr(spaces_module, "most_pages", lambda: 5)
    found = composed()
    assert len(found.columns) == 5
    assert found.too_large
    (odd,) = [each for each in found.sweep.oddities if each.cause == "too-large"]
    assert odd.offset == int(whole.sweep.columns().in_order().offset[0]), "whose pages are left out"
    assert found.columns.offset.tolist() == leaves.offset[:5].tolist()
    # The ranges are whole, and nothing else is said of them.
    gathered = found.gathered()
    assert rows(gathered.ranges) == ranges
    assert (gathered.cut, gathered.findings.counts["too-large"]) == (False, 0)
    streamed = found.streamed(Findings(9))
    assert streamed is not None
    assert sum(len(piece) for piece in streamed) == len(leaves)


def test_more_ranges_and_holes_of_both_stages_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = len(composed().ranges)
    monkeypatch.setattr(composed_module, "AT_A_TIME", 2)
    monkeypatch.setattr(spaces_module, "most_ranges", lambda: 2)
    found = composed().gathered()
    assert found.cut
    assert 0 < len(found.ranges) < whole
    some = composed().gathered_holes
    assert some is not None
    assert some.cut == (len(some.ranges) > 2)


def test_trees_that_are_too_large_to_keep_are_led_on_as_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows(composed().ranges)
    little_room(monkeypatch, Limits(leaves=3))
    found = composed()
    assert found.too_large
    assert found.gathered().streamed
    assert rows(found.ranges) == whole


# -- how far ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fake", "demo"])
def test_progress_goes_forward_from_nothing_to_all(name: str) -> None:
    told: list[tuple[int, int]] = []

    def tell(what: str, done: int, total: int) -> None:
        if what == READING:
            told.append((done, total))

    at: Guest = guest(progress=tell) if name == "fake" else inspector.open_target("demo", progress=tell)
    with at:
        at.spaces()
    parts = [done / total for done, total in told]
    assert parts[0] == 0
    assert parts[-1] == 1
    assert all(one <= other for one, other in pairwise(parts))
    assert all(part < 1 for part in parts[:-1]), "only the end wipes the bar"
    assert len(set(parts)) > 4, "it is told within levels too"
