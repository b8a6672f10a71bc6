"""The overlay is the base with what was written laid over it, whatever is written and read."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import MemoryReadError, NotRam, Unreadable
from inspector.memory.overlay import ChangedWord, Overlay
from inspector.memory.physical import PhysicalMemory, RamMap, Range

SIZE = 0x1000
POOL = Range(0x8000, 0x400, "pool")
INSIDE = Range(0x400, 0x200, "pool")


class Pattern:
    """RAM that knows no writing: each byte tells its address. What is among ``holes`` is refused."""

    description = "a pattern"
    cheap = True
    captured = None
    zeros = ()

    def __init__(self, *holes: tuple[int, int]) -> None:
        self.data = bytes((at * 7 + (at >> 8)) & 0xFF for at in range(SIZE))
        self.holes = holes
        self.asked: list[tuple[int, int]] = []

    def read(self, address: int, length: int) -> bytes:
        self.asked.append((address, length))
        for start, end in self.holes:
            if address < end and start < address + length:
                raise Unreadable(address, length, "there is a hole")
        return self.data[address : address + length]


def over(*holes: tuple[int, int], pools: tuple[Range, ...] = (POOL,)) -> tuple[Overlay, Pattern]:
    source = Pattern(*holes)
    return Overlay(PhysicalMemory(source, RamMap([Range(0, SIZE, "ram")])), pools), source


WORD = st.integers(0, SIZE // 8 - 1).map(lambda n: 8 * n)
IN_POOL = st.integers(0, POOL.size // 8 - 1).map(lambda n: POOL.start + 8 * n)
DATA = st.integers(1, 100).flatmap(lambda words: st.binary(min_size=8 * words, max_size=8 * words))
STEPS = st.lists(
    st.tuples(st.just("word"), WORD | IN_POOL, st.integers(0, (1 << 64) - 1))
    | st.tuples(st.just("write"), WORD | IN_POOL, DATA)
    | st.tuples(st.just("clear"), WORD | IN_POOL, st.integers(0, 100).map(lambda n: 8 * n))
    | st.tuples(st.just("reset"), st.just(0), st.just(0)),
    max_size=12,
)


@given(steps=STEPS, reads=st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 700)), max_size=8))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("pools", [(POOL,), (POOL, INSIDE)])
def test_it_is_the_base_and_what_was_written(
    pools: tuple[Range, ...], steps: list[tuple[str, int, object]], reads: list[tuple[int, int]]
) -> None:
    overlay, source = over(pools=pools)
    before = source.data
    plain = {at: 0 for pool in pools for at in range(pool.start, pool.end)}
    plain = dict(enumerate(source.data)) | plain
    untouched = dict(plain)
    ends = {at: SIZE if at < SIZE else POOL.end for at in plain}
    for kind, address, what in steps:
        version = overlay.version
        if kind == "reset":
            overlay.reset()
            plain = dict(untouched)
            continue
        if kind == "word":
            data = int(what).to_bytes(8, "big")  # type: ignore[call-overload]
            overlay.write_u64(address, what)  # type: ignore[arg-type]
        else:
            data = what if isinstance(what, bytes) else bytes(what)  # type: ignore[call-overload]
            data = data[: ends[address] - address]
            if kind == "write":
                overlay.write(address, data)
            else:
                overlay.clear(address, len(data))
        assert overlay.version > version
        plain |= dict(enumerate(data, address))
    runs = [(address, min(length, ends[address] - address)) for address, length in reads]
    for address, length in [*runs, (0, SIZE), (POOL.start, POOL.size)]:
        expected = bytes(plain[at] for at in range(address, address + length))
        assert overlay.read(address, length) == expected
        assert overlay.memory.read(address, length) == expected
    assert overlay.read_runs(runs) == [overlay.read(*run) for run in runs]
    for address in range(0, SIZE, 56):
        assert overlay.read_u64(address) == word_of(plain, address)
    changed = {each.address: (each.before, each.after) for each in overlay.changes()}
    words = [at for at in plain if at % 8 == 0]
    both = {at: (word_of(untouched, at), word_of(plain, at)) for at in words}
    assert changed == {at: each for at, each in both.items() if each[0] != each[1]}
    assert list(changed) == sorted(changed)
    assert source.data == before


def word_of(plain: dict[int, int], at: int) -> int:
    """The big-endian doubleword there."""
    return int.from_bytes(bytes(plain[at + n] for n in range(8)), "big")


def test_a_change_tells_what_was_there() -> None:
    overlay, source = over()
    overlay.write_u64(0x100, 5)
    overlay.write_u64(0x108, int.from_bytes(source.data[0x108:0x110], "big"))
    overlay.write_u64(POOL.start, 7)
    overlay.write_u64(POOL.start + 8, 0)
    assert list(overlay.changes()) == [
        ChangedWord(0x100, int.from_bytes(source.data[0x100:0x108], "big"), 5),
        ChangedWord(POOL.start, 0, 7),
    ]


def test_a_pool_outside_of_ram_is_read_and_the_base_never_asked() -> None:
    overlay, source = over()
    assert overlay.read(POOL.start, POOL.size) == bytes(POOL.size)
    assert overlay.read_u64(POOL.start) == 0
    assert source.asked == []
    assert overlay.memory.ram.covers(POOL.start, POOL.size)
    assert not overlay.base.ram.covers(POOL.start, 1)


@pytest.mark.parametrize("address", [SIZE, SIZE - 8, POOL.end, POOL.start - 8])
def test_nothing_is_kept_outside_of_ram_and_pools(address: int) -> None:
    overlay, _ = over()
    with pytest.raises(NotRam):
        overlay.write(address, bytes(16))
    with pytest.raises(NotRam):
        overlay.clear(address, 16)
    with pytest.raises(NotRam):
        overlay.write_u64(address + 8 if address == SIZE - 8 else address, 1)
    assert overlay.read(SIZE - 8, 8) == over()[1].data[-8:], "nor the part that would have fitted"


def test_what_cannot_be_read_can_be_written_and_read_then() -> None:
    overlay, _ = over((0x200, 0x300))
    with pytest.raises(MemoryReadError):
        overlay.read(0x200, 8)
    overlay.write_u64(0x208, 9)
    assert overlay.read_u64(0x208) == 9
    with pytest.raises(MemoryReadError):
        overlay.read(0x200, 16)
    assert [each.before for each in overlay.changes()] == [None]
    overlay.write(0x200, bytes(0x100))
    assert overlay.read(0x1F8, 0x110)[8:0x108] == bytes(0x100), "a unit that is wholly written need not be there"
    answers = overlay.read_runs([(0x200, 8), (0x2F8, 16), (0x10, 8)])
    assert not any(isinstance(each, Exception) for each in answers)


def test_a_run_that_fails_does_not_spoil_the_others() -> None:
    overlay, source = over((0x200, 0x300))
    overlay.write_u64(0x200, 1)
    bad, good = overlay.read_runs([(0x200, 16), (0x100, 16)])
    assert isinstance(bad, MemoryReadError)
    assert good == source.data[0x100:0x110]


def test_memory_grows_with_what_was_written() -> None:
    overlay, _ = over()
    assert overlay.kept == 0
    for _ in range(3):
        overlay.write_u64(0x100, 1)
        overlay.write_u64(0x1F8, 1)
    assert overlay.kept == 0x100
    overlay.read(0, SIZE)
    assert overlay.kept == 0x100
    overlay.reset()
    assert overlay.kept == 0
    assert list(overlay.changes()) == []


def test_the_rest_of_a_unit_follows_the_base() -> None:
    overlay, source = over(pools=())
    overlay.write_u64(0x108, 1)
    source.data = bytes(SIZE)
    overlay.base.clock.epoch += 1
    assert overlay.read(0x100, 0x18) == bytes(15) + b"\x01" + bytes(8)


def test_what_is_refused_is_asked_for_once_where_nothing_was_written() -> None:
    """A recording of all RAM goes by what a refusal says: one of a few bytes each would be asked for without end."""
    overlay, source = over((0x100, 0xF00))
    source.asked.clear()
    with pytest.raises(Unreadable) as refused:
        overlay.read(0x100, 0xE00)
    assert (refused.value.address, refused.value.length) == (0x100, 0xE00)
    assert len(source.asked) == 1
