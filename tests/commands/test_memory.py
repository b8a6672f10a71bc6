"""``read`` and ``ram``: bytes behind addresses, and never one that is not RAM."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.commands.memory import LINE, LONGEST, Missing, Shown
from inspector.errors import UsageError
from tests.commands.asking import ask, objects, shown, told
from tests.fakes import (
    BANNER,
    BANNER_AT,
    CODE,
    IO,
    KERNEL,
    PID,
    RAM_BYTES,
    SMALL_PAGES_EA,
    TIMA,
    USER_DATA_EA,
    USER_PAGES_AT,
    FakeTarget,
    GiB,
    KiB,
    MiB,
    bare_target,
    firmware_target,
    guest,
    linux_target,
)


def test_bytes_at_an_effective_address() -> None:
    (answer,) = told(f"read {BANNER_AT:#x} {len(BANNER)}")
    assert bytes.fromhex(answer["data"]) == BANNER
    assert answer["ra"] == f"{BANNER_AT - KERNEL:#x}"
    assert (answer["status"], answer["space"], answer["length"]) == ("ok", "effective", len(BANNER))


def test_bytes_at_a_real_address() -> None:
    (answer,) = told(f"read {BANNER_AT - KERNEL:#x} 0x10 --real")
    assert bytes.fromhex(answer["data"]) == BANNER[:16]
    assert answer["space"] == "real"


def test_what_a_process_has_there_whatever_the_vcpu_may_read() -> None:
    (answer,) = told(f"read {USER_DATA_EA:#x} 24 --pid {PID}")
    assert bytes.fromhex(answer["data"]) == b"hello from process four\0"


def test_a_dump_shows_sixteen_bytes_and_their_text() -> None:
    assert shown(f"read {BANNER_AT:#x} 20") == (
        "c000000000400000: 4c69 6e75 7820 7665 7273 696f 6e20 362e  Linux version 6.\n"
        "c000000000400010: 312e 302d                                1.0-"
    )


@pytest.mark.parametrize(
    ("words", "order", "expected"),
    [
        ("--words 4", "little", ["0x7d7b42a6", "0xe8a20000", "0x60000000", "0x4e800020"]),
        ("--words 4 --big", "big", ["0xa6427b7d", "0xa2e8", "0x60", "0x2000804e"]),
        ("--words 8 --little", "little", ["0xe8a200007d7b42a6", "0x4e80002060000000"]),
        ("--words 2", "little", ["0x42a6", "0x7d7b", "0x0", "0xe8a2", "0x0", "0x6000", "0x20", "0x4e80"]),
    ],
)
def test_words_in_the_vcpus_order_unless_told(words: str, order: str, expected: list[str]) -> None:
    (answer,) = told(f"read $nip {len(CODE)} {words}")
    assert (answer["order"], answer["words"]) == (order, expected)


def test_a_big_endian_vcpu_has_big_endian_words() -> None:
    target = linux_target()
    target.set(0, msr=target.files[0].need("msr") & ~1)
    (answer,) = told("read $nip 4 --words 4", target)
    assert answer["words"] == ["0xa6427b7d"]


def test_an_order_that_is_not_known_is_asked_for() -> None:
    target = linux_target()
    target.set(0, msr=None)
    with pytest.raises(UsageError, match="--little or --big"):
        ask("read 0x8000 8 --real --words 4", target)
    assert told("read 0x8000 4 --real --words 4 --big", target)[0]["words"] == ["0xa6427b7d"]
    assert told("read 0x8000 2 --real --words 1", target)[0]["words"] == ["0xa6", "0x42"]


def test_a_device_is_told_and_never_touched() -> None:
    target = linux_target()
    (answer,) = told(f"read {IO:#x} 8", target)
    assert (answer["status"], answer["cause"]) == ("fault", "not-ram")
    assert f"{TIMA:#x}" in answer["reason"]
    assert not ask(f"read {TIMA:#x} 8 --real", target)[0].ok
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_a_page_that_is_not_there_is_told_and_the_next_goes_on() -> None:
    results = ask(f"read {USER_DATA_EA - 0x10:#x} 0x20 --pid {PID}")
    assert [each.ok for each in results] == [False, True]
    hole, bytes_after = objects(results)
    assert (hole["cause"], hole["length"]) == ("not-present", 0x10)
    assert hole["address"] == f"{USER_DATA_EA - 0x10:#x}"
    assert bytes.fromhex(bytes_after["data"]) == b"hello from proce"


def test_one_hole_is_told_for_all_the_entries_that_say_the_same() -> None:
    target = linux_target()
    results = ask(f"read {SMALL_PAGES_EA:#x} {LONGEST:#x} --pid {PID}", target)
    (first, rest) = (each for each in objects(results) if each["status"] == "fault")
    assert first["length"] == 2 * MiB - 16 * KiB, "the rest of the table of 4K pages"
    assert first["entries"] == 512 - 4
    assert (rest["address"], rest["entries"]) == (f"{SMALL_PAGES_EA + 2 * MiB:#x}", 31)
    assert sum(each["length"] for each in objects(results)) == LONGEST


def test_the_edge_of_ram_ends_the_bytes() -> None:
    inside, outside = told(f"read {RAM_BYTES - 8:#x} 0x10 --real")
    assert (inside["status"], inside["length"]) == ("ok", 8)
    assert (outside["cause"], outside["length"]) == ("not-ram", 8)


def test_ram_beyond_a_hole_is_found_again() -> None:
    target = linux_target()
    target.source.put(GiB, b"another bank")
    hole, found = told(f"read {GiB - 0x10:#x} 0x1c --real", target)
    assert (hole["address"], hole["length"]) == (f"{GiB - 16:#x}", 16)
    assert bytes.fromhex(found["data"]) == b"another bank"


def test_what_a_snapshot_holds_in_pieces_smaller_than_a_page_is_shown() -> None:
    target = linux_target()
    target.source.captured = [(0x8000, 0x10), (0x8100, 0x20)]
    results = told("read 0x8000 0x200 --real", target)
    assert [(each["address"], each["length"], each.get("cause")) for each in results] == [
        ("0x8000", 0x10, None),
        ("0x8010", 0xF0, "not-captured"),
        ("0x8100", 0x20, None),
        ("0x8120", 0xE0, "not-captured"),
    ]


def test_a_page_that_the_source_refuses_is_told_apart_from_its_neighbours() -> None:
    target = linux_target()
    target.source.refused = [(0x9000, 0x1000)]
    target.source.put(0xA000, b"after")
    before, hole, after = told("read 0x8ff0 0x1020 --real", target)
    assert (before["status"], before["length"]) == ("ok", 0x10)
    assert (hole["address"], hole["length"], hole["cause"]) == ("0x9000", 0x1000, "unreadable")
    assert bytes.fromhex(after["data"]).startswith(b"after")


def test_a_word_that_runs_into_a_hole_is_not_made_up() -> None:
    first, _ = told(f"read {RAM_BYTES - 12:#x} 16 --real --words 8 --big")
    assert first["words"] == ["0x0", None]
    assert "????????????????" in shown(f"read {RAM_BYTES - 12:#x} 16 --real --words 8 --big")


def test_a_guest_with_translation_off_reads_real_addresses() -> None:
    target = firmware_target()
    target.source.put(0x100, b"firmware")
    (answer,) = told("read 0x100 8", target)
    assert (bytes.fromhex(answer["data"]), answer["ra"]) == (b"firmware", "0x100")


def test_a_bare_machine_reads_through_its_partition_table() -> None:
    (answer,) = told("read $nip 16", bare_target())
    assert bytes.fromhex(answer["data"]) == CODE


def test_a_running_guest_is_said_to_be_changing() -> None:
    target = linux_target()
    target.clock.running = True
    note, answer = told("read $nip 4", target)
    assert "may be changing" in note["note"]
    assert answer["status"] == "ok"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("read", "ADDR"),
        ("read 0x10 0", "length"),
        (f"read 0x10 {LONGEST + 1}", "in parts"),
        ("read 0x10 5 --words 4", "multiple of 4"),
        ("read 0xfffffffffffffff8 0x10", "run over the end"),
        ("read 0x10 8 --real --pid 4", "give one of them"),
        ("read 0x10 8 --words 3", "--words"),
        ("read 0x10 8 --words 4 --big --little", "not allowed with"),
        ("read $nip+ 8", "ends early"),
        ("read 0x10000000000000000 8", "65 bits"),
    ],
)
def test_wrong_words_are_told(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ask(words)


@given(
    start=st.integers(0, 6 * 64 * KiB),
    length=st.integers(1, 3 * 64 * KiB),
    width=st.sampled_from([0, 1, 2, 4, 8]),
    cheap=st.booleans(),
)
def test_every_byte_is_told_once_in_order(start: int, length: int, width: int, cheap: bool) -> None:
    """Against the process's pages laid out by hand: 64K of text, a gap, 4 of data of which the last is elsewhere."""
    target = _marked(cheap)
    length += -length % (width or 1)
    words = f"read {0x1000_0000 + start:#x} {length} --pid {PID}" + (f" --words {width} --big" if width else "")
    results = ask(words, guest(target))
    at = 0x1000_0000 + start
    for each in results:
        assert isinstance(each, Shown | Missing)
        assert each.address == at
        if isinstance(each, Shown):
            assert each.data == bytes(_expected(at + n) or 0 for n in range(len(each.data)))
            assert all(_expected(at + n) is not None for n in (0, len(each.data) - 1))
            at += len(each.data)
        else:
            assert _expected(at) is None
            assert _expected(at + each.length - 1) is None
            at += each.length
    assert at == 0x1000_0000 + start + length
    for one, two in pairwise(results):
        if isinstance(one, Shown) and isinstance(two, Shown):
            assert len(one.data) % LINE == 0, "only the last before a hole ends within a line"
        assert one.ok or two.ok, "two holes of one cause are one"


PAGES = {0: 0, 4: 1, 5: 2, 6: 3, 7: 128}
"""Process PID's 64K pages from 0x10000000 on, as pages from USER_PAGES_AT on."""


def _mark(page: int, offset: int) -> int:
    return (page * 37 + offset // 61 + 1) % 255


_SHARED: dict[bool, FakeTarget] = {}


def _marked(cheap: bool) -> FakeTarget:
    """The guest with recognizable bytes in all of the process's pages; made once."""
    if cheap not in _SHARED:
        target = linux_target(cheap=cheap)
        for page in PAGES.values():
            data = bytes(_mark(page, offset) for offset in range(64 * KiB))
            target.source.put(USER_PAGES_AT + page * 64 * KiB, data)
        _SHARED[cheap] = target
    return _SHARED[cheap]


def _expected(ea: int) -> int | None:
    page, offset = divmod(ea - 0x1000_0000, 64 * KiB)
    return None if page not in PAGES else _mark(PAGES[page], offset)


def test_the_ram_map() -> None:
    (answer,) = told("ram")
    assert answer["total"] == RAM_BYTES + MiB
    assert answer["captured"] is None
    assert [(r["start"], r["size"], r["name"]) for r in answer["ranges"]] == [
        ("0x0", RAM_BYTES, "ppc_spapr.ram"),
        (f"{GiB:#x}", MiB, "dimm1"),
    ]


def test_how_much_of_each_range_a_snapshot_holds() -> None:
    target = linux_target()
    target.source.captured = [(0x8000, 0x1000), (RAM_BYTES - 0x1000, 0x1000), (GiB, MiB)]
    (answer,) = told("ram", target)
    assert [r["captured"] for r in answer["ranges"]] == [0x2000, MiB]
    assert answer["captured"] == MiB + 0x2000
    text = shown("ram", target)
    assert "8K captured" in text
