"""``search``: every place in RAM, what maps it, and what was not looked through."""

from __future__ import annotations

from typing import Any

import pytest

import inspector
from inspector.commands.registry import run
from inspector.commands.search import LIMIT, Hit, Searched
from inspector.errors import UsageError
from inspector.memory import scan
from tests.commands.asking import ask, session, shown, told
from tests.fakes import (
    BANNER,
    BANNER_AT,
    KERNEL,
    PID,
    PROCESS_TABLE_AT,
    RAM_BYTES,
    TABLES_AT,
    USER_DATA_EA,
    USER_PAGES_AT,
    FakeControl,
    FakeTarget,
    GiB,
    KiB,
    MiB,
    bare_target,
    firmware_target,
    guest,
    linux_target,
)

HELLO_AT = USER_PAGES_AT + 64 * KiB


def places(words: str, target: FakeTarget | None = None) -> list[int]:
    """The real addresses of the hits."""
    return [int(each["ra"], 16) for each in told(words, target) if "mappings" in each]


def closing(words: str, target: FakeTarget | None = None) -> dict[str, Any]:
    """What was looked through."""
    (found,) = (each for each in told(words, target) if "searched" in each)
    return found


def test_text_is_found_with_all_that_maps_it() -> None:
    hit, end = told('search text "hello from" process')
    assert (hit["ra"], hit["length"]) == (f"{HELLO_AT:#x}", 18)
    assert bytes.fromhex(hit["data"]).startswith(b"hello from process four\0")
    assert [(each["pid"], each["ea"]) for each in hit["mappings"]] == [
        (0, f"{KERNEL + HELLO_AT:#x}"),
        (PID, f"{USER_DATA_EA:#x}"),
    ]
    assert end == end | {"hits": 1, "searched": RAM_BYTES + MiB, "of": RAM_BYTES + MiB, "limited": False}
    assert "hello from process four" in shown("search text hello")


@pytest.mark.parametrize("make", [linux_target, bare_target])
def test_bytes_and_words(make: Any) -> None:
    at = BANNER_AT - KERNEL
    assert places("search bytes 4c 69 6e 75 78 20", make()) == [at]
    assert places("search bytes 0x4c696e7578 20", make()) == [at]
    word = int.from_bytes(BANNER[:8], "little")
    assert places(f"search word {word:#x} --order little", make()) == [at]
    assert places(f"search word {word:#x} --order big", make()) == []
    assert places(f"search word {word:#x}", make()) == [at], "the vCPU is little-endian"
    assert places(f"search word {word & 0xFFFF_FFFF:#x} --size 4", make()) == [at]
    assert places(f"search word {word & 0xFFFF:#x} {word >> 16 & 0xFFFF:#x} --size 2", make()) == [at]
    assert places(f"search word {BANNER[2]:#x} {BANNER[3]:#x} --size 1", make()) == [at + 2]


def test_a_word_is_sought_at_multiples_of_its_size_unless_told() -> None:
    target = linux_target()
    target.source.put(0x1_0003, (0x1122_3344_5566_7788).to_bytes(8, "little"))
    assert places("search word 0x1122334455667788", target) == []
    assert places("search word 0x1122334455667788 --align 1", target) == [0x1_0003]
    assert places("search bytes 8877 --align 2", target) == []
    target.source.put(0x2_0000, (-2 % (1 << 32)).to_bytes(4, "little"))
    assert places("search word --size 4 -- -2", target) == [0x2_0000]


def test_the_order_is_told_where_it_was_not_asked_for() -> None:
    assert "little-endian, as vCPU 0" in told("search word 0x1234567887654321")[0]["note"]
    assert "note" not in told("search word 0x1234567887654321 --order big")[0]
    target = linux_target()
    target.set(0, msr=0x8000_0000_0280_B032)
    assert "big-endian, as vCPU 0" in told("search word 0x1234567887654321", target)[0]["note"]
    target.set(0, msr=None)
    with pytest.raises(UsageError, match="say --order"):
        ask("search word 1", target)
    running = linux_target()
    FakeControl(running).resume()
    with pytest.raises(UsageError, match="say --order"):
        ask("search word 1", running)


def test_only_what_a_process_maps_or_what_is_mapped_so() -> None:
    hello = "search text hello"
    assert places(f"{hello} --pid {PID} --user --rights w") == [HELLO_AT]
    assert places(f"{hello} --pid {PID} --rights x") == []
    assert places(f"{hello} --pid 0 --privileged") == [HELLO_AT]
    assert places("search text Linux --user") == []
    assert closing(f"{hello} --pid {PID}")["of"] == 6 * 64 * KiB + 16 * KiB
    mapped = told(f"{hello} --pid {PID}")[0]["mappings"]
    assert [each["pid"] for each in mapped] == [0, PID], "all that maps a hit is told"


def test_only_in_these_real_addresses() -> None:
    assert places(f"search text hello --range {HELLO_AT:#x}:5") == [HELLO_AT]
    assert places(f"search text hello --range {HELLO_AT:#x}:4") == []
    assert places(f"search text hello --range 0..1M --range {HELLO_AT - 9:#x}..{HELLO_AT + 9:#x}") == [HELLO_AT]
    assert places(f"search text hello --range {HELLO_AT:#x}:1M --pid 0") == [HELLO_AT]
    assert closing("search text hello --range 0x2000000000:1M")["of"] == 0
    assert "none of what was asked for is RAM" in shown("search text hello --range 0x2000000000:1M")


def test_a_hit_in_the_tables_is_named() -> None:
    target = linux_target()
    descriptor = target.source.word(PROCESS_TABLE_AT + 16 * PID)
    entry, *_ = told(f"search word {descriptor:#x} --order big", target)
    assert (entry["ra"], entry["holds"]) == (
        f"{PROCESS_TABLE_AT + 16 * PID:#x}",
        [{"kind": "process-table", "pid": PID}],
    )
    leaf, *_ = told(f"search word {HELLO_AT | 0xC000_0000_0000_0386:#x} --order big", target)
    (table,) = leaf["holds"]
    assert (table["pid"], table["level"]) == (PID, 0)
    text = shown(f"search word {HELLO_AT | 0xC000_0000_0000_0386:#x} --order big", target)
    assert f"a level 0 table of PID {PID} for" in text


def test_that_it_is_nowhere_is_a_finding() -> None:
    (result,) = ask("search text nowhere")
    assert not result.ok
    assert "no hit in 65.0 MiB" in shown("search text nowhere")


def test_a_limit_ends_it_and_is_told() -> None:
    hits = ask("search bytes 00")
    assert len([each for each in hits if isinstance(each, Hit)]) == LIMIT
    end = closing("search bytes 00 --limit 3")
    assert end == end | {"hits": 3, "limited": True, "last": "0x2"}
    assert "--limit N" in shown("search bytes 00 --limit 3")
    assert closing("search text hello --limit 1")["hits"] == 1


def test_of_a_snapshot_it_says_what_it_does_not_hold() -> None:
    target = linux_target()
    target.source.captured = [(PROCESS_TABLE_AT, 0x1000), (TABLES_AT, MiB), (HELLO_AT, 0x1000)]
    assert places("search text hello", target) == [HELLO_AT]
    end = closing("search text hello", target)
    assert end["not_captured"] == RAM_BYTES - 0x2000
    assert end["searched"] == MiB + 0x2000
    assert "did not capture" in shown("search text hello", target)


def test_bytes_may_be_quoted_together() -> None:
    line = "search bytes 'c0 00' 00 0000 --limit 1"
    assert places(line) == places("search bytes c000000000 --limit 1") != []


def test_what_is_wrong_is_told_before_anything_else() -> None:
    with pytest.raises(UsageError, match="'nonsense'"):
        next(run(session(), ["search", "word", "nonsense"]))
    with pytest.raises(UsageError, match=f"leave it out for {LIMIT}"):
        ask("search text foo --limit -1")
    with pytest.raises(UsageError, match="--pid takes a radix PID, not '-1'"):
        ask("search text foo --pid -1")
    with pytest.raises(UsageError, match="--pid: 'nonsense'"):
        ask("search text foo --pid nonsense")


def test_what_is_refused_is_told() -> None:
    target = linux_target()
    target.source.refused = [(GiB, 0x1000)]
    end = closing("search text hello", target)
    assert (end["hits"], end["not_read"]) == (1, 0x1000)
    assert "4.0 KiB could not be read" in shown("search text hello", target)


def test_ctrl_c_gives_what_there_is_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "PIECE", MiB)
    target = linux_target()
    read = target.source.read

    def interrupted(address: int, length: int) -> bytes:
        if length > MiB and address >= USER_PAGES_AT + 2 * MiB:
            raise KeyboardInterrupt
        return read(address, length)

    monkeypatch.setattr(target.source, "read", interrupted)
    hit, end = list(run(session(target), ["search", "text", "hello"]))
    assert isinstance(hit, Hit)
    assert isinstance(end, Searched)
    assert (end.interrupted, end.ok, end.hits) == (True, False, 1)
    assert end.done == USER_PAGES_AT + 2 * MiB
    assert "interrupted: 15.0 MiB of 65.0 MiB left unsearched" in shown("search text hello", target)


def test_a_guest_without_tables_is_searched_all_the_same() -> None:
    target = firmware_target()
    target.source.put(0x1234, b"SLOF")
    note, hit, _ = told("search text SLOF", target)
    assert "what maps a hit is not known" in note["note"]
    assert (hit["ra"], hit["mappings"], hit["holds"]) == ("0x1234", None, [])
    assert [each.ok for each in ask("search text SLOF --user", target)] == [False]


def test_a_process_that_is_not_there() -> None:
    odd, end = told("search text hello --pid 3")
    assert (odd["oddity"], end["of"]) == ("no-process", 0)
    with pytest.raises(UsageError, match="1048576 entries"):
        ask("search text hello --pid 0x100000")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("search bytes de a", "two digits"),
        ("search bytes zz", "two digits"),
        ("search text ''", "give what is to be found"),
        ("search word 0x1ffffffff --size 4", "more than a word of 4 bytes"),
        ("search word nosuch", "neither a number"),
        ("search text x --size 4", "--size is of words"),
        ("search text x --order big", "--order is of words"),
        ("search text x --align 3", "power of two"),
        ("search text x --align 0", "power of two"),
        ("search text x --limit -1", "--limit takes a count"),
        ("search text x --rights q", "is not known"),
        ("search sound x", "invalid choice"),
    ],
)
def test_wrong_words_are_told(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ask(words)


def test_what_a_guest_wrote_cannot_move_the_cursor() -> None:
    target = linux_target()
    target.source.put(0x5000, b"evil\x1b[2J\xe2\x80\xae tail")
    text = shown("search text evil", target)
    assert "\x1b" not in text
    assert "evil\\x1b[2J" in text


def test_nothing_outside_ram_is_read() -> None:
    target = linux_target()
    ask(f"search bytes 6d --range 0..{1 << 60:#x} --limit 100000", guest(target))
    assert all(target.ram.covers(address, length) for address, length in target.source.asked)


def test_a_recorded_guest() -> None:
    """Its tables are all that it holds: the root of PID 0 is in its process-table entry, and nowhere else."""
    with inspector.open_target("demo") as demo:
        base, _ = demo.process_table()
        first = demo.memory.read_u64(base)
        hit, end = told(f"search word {first:#x} --order big", demo)
        assert (hit["ra"], hit["holds"]) == (f"{base:#x}", [{"kind": "process-table", "pid": 0}])
        assert end["searched"] + end["not_captured"] == demo.memory.ram.total
