"""A partition's own memory, read wherever the host has put it, and why some of it is not to be read."""

from __future__ import annotations

import pytest

from inspector.errors import BehindUnread, MemoryReadError, NotBacked, NotRam
from inspector.memory.behind import GuestReal
from tests.commands.asking import shown, told
from tests.fakes import (
    GUEST_LOST_EA,
    GUEST_PID,
    GUEST_PROCESS_TABLE_AT,
    LPID,
    FakeTarget,
    GiB,
    KiB,
    MiB,
    guest,
    guest_to_host,
    kvm_host_target,
)

HOLE = 4 * MiB
UNREAD = 2 * MiB + 4 * KiB


def with_an_unread_table() -> FakeTarget:
    """The host's table of the guest's first MiB cannot be read: 64K pages are in it, and 2M pages are not."""
    target = kvm_host_target()
    steps = guest(target).translate(0, lpid=LPID, guest_real=True).steps
    (table,) = (step.address for step in steps if step.stage == 2 and step.level == 0)
    assert table is not None
    target.source.refused = [(table // 256 * 256, 256)]
    target.clock.tick()
    return target


def test_it_is_read_where_the_host_has_it_and_over_the_ends_of_pages() -> None:
    target = kvm_host_target()
    target.source.put(guest_to_host(64 * KiB), b"second")
    target.source.put(guest_to_host(64 * KiB - 5), b"first")
    memory = guest(target).partition(LPID).memory.source
    assert isinstance(memory, GuestReal)
    assert memory.read(64 * KiB - 5, 11) == b"firstsecond"
    found = memory.read_runs([(64 * KiB - 5, 11), (HOLE, 8), (64 * KiB, 6)])
    assert found[0] == b"firstsecond"
    assert isinstance(found[1], NotBacked)
    assert found[2] == b"second"


def test_what_is_not_there_is_told_from_what_could_not_be_seen() -> None:
    memory = guest(with_an_unread_table()).partition(LPID).memory.source
    assert isinstance(memory, GuestReal)
    for address, kind in ((HOLE, NotBacked), (0, BehindUnread), (0x1_0000, BehindUnread)):
        with pytest.raises(kind) as told_of:
            memory.read(address, 8)
        assert told_of.value.address == address
        (error,) = memory.read_runs([(address, 8)])
        assert type(error) is kind
    assert memory.read(UNREAD, 8) == bytes(8)


def test_a_host_that_leads_out_of_its_ram_is_not_said_to_have_nothing() -> None:
    target = kvm_host_target()
    steps = guest(target).translate(2 * MiB, lpid=LPID, guest_real=True).steps
    leaf = steps[-1].address
    assert leaf is not None
    target.source.put_word(leaf, 0xC006_0000_0000_0387)
    target.clock.tick()
    memory = guest(target).partition(LPID).memory.source
    assert isinstance(memory, GuestReal)
    with pytest.raises(NotRam):
        memory.read(2 * MiB, 8)
    (error,) = memory.read_runs([(2 * MiB, 8)])
    assert isinstance(error, MemoryReadError)
    assert not isinstance(error, NotBacked)


@pytest.mark.parametrize(("root", "cause"), [(GiB, "table-unreadable"), (HOLE, "table-not-backed")])
def test_a_guests_table_there_is_unread_and_not_without_backing(root: int, cause: str) -> None:
    target = kvm_host_target()
    steps = guest(target).translate(GiB, lpid=LPID, guest_real=True).steps
    table = steps[-1].address
    assert table is not None
    target.source.refused = [(table // 256 * 256, 256)]
    entry = guest_to_host(GUEST_PROCESS_TABLE_AT)
    target.source.put_word(entry + 16 * 9, target.source.word(entry) & ~0x0FFF_FFFF_FFFF_FF00 | root)
    (odd,) = (each for each in told(f"maps --lpid {LPID} --pid 9", target) if "oddity" in each)
    assert odd["oddity"] == cause
    assert ("is not known" in odd["reason"]) == (cause == "table-unreadable")


def test_maps_says_that_some_of_the_holes_may_be_none() -> None:
    target = kvm_host_target()
    at = guest(target)
    (lost,) = (
        step.address
        for step in at.translate(GUEST_LOST_EA, lpid=LPID, pid=GUEST_PID).steps
        if step.stage == 1 and step.level == 1
    )
    assert lost is not None
    words = f"maps --lpid {LPID} --pid {GUEST_PID}"
    says = "some of what seems to have nothing behind it"
    steps = at.translate(GiB, lpid=LPID, guest_real=True).steps
    table = steps[-1].address
    assert table is not None
    target.source.refused = [(table // 256 * 256, 256)]
    assert says not in " ".join(shown(words, target).split()), "no hole is there"
    target.source.put_word(lost, target.source.word(lost) - 4 * MiB + GiB)
    assert says in " ".join(shown(words, target).split())
    target.source.refused = []
    assert says not in " ".join(shown(words, target).split())
