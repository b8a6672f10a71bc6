"""Effective addresses against a decoder of their own, written from the ISA's formats: fields by IBM's bit numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.instructions.decode import decode
from inspector.instructions.effective import Reach, reach
from inspector.instructions.operations import Kind

M64 = (1 << 64) - 1
SF = 1 << 63
D_SIZES = {32: 4, 34: 1, 36: 4, 38: 1, 40: 2, 42: 2, 44: 2, 48: 4, 50: 8, 52: 4, 54: 8}
"""Of the D-forms without update, by primary opcode; the next opcode is the one with update."""
X_SIZES = {87: 1, 279: 2, 343: 2, 23: 4, 341: 4, 21: 8, 215: 1, 407: 2, 151: 4, 149: 8, 534: 4, 532: 8, 790: 2, 20: 4}
X_UPDATES = {119: 1, 311: 2, 375: 2, 55: 4, 373: 4, 53: 8, 247: 1, 439: 2, 183: 4, 181: 8}
STORES = {36, 38, 44, 52, 54, 215, 407, 151, 149, 247, 439, 183, 181}

registers = st.lists(st.integers(0, M64), min_size=32, max_size=32)
number = st.integers(0, 31)


def bits(word: int, first: int, last: int) -> int:
    """Bits ``first`` to ``last`` of a word, numbered from the left."""
    text = f"{word:032b}"[first : last + 1]
    return int(text, 2)


def extended(text: str) -> int:
    """A string of bits as a number with its sign."""
    return int(text, 2) - (int(text[0]) << len(text))


def words(values: list[int], msr: int = SF, **more: int) -> Mapping[str, int]:
    return {f"r{n}": value for n, value in enumerate(values)} | {"msr": msr} | more


def told(word: int, known: Mapping[str, int], suffix: int | None = None, at: int = 0) -> Reach:
    found = reach(decode(at, word, suffix), known.get)
    assert found is not None
    return found


@given(st.sampled_from(sorted(D_SIZES)), number, number, st.integers(0, 0xFFFF), registers, st.booleans())
def test_d_forms(opcode: int, rt: int, ra: int, d: int, values: list[int], wide: bool) -> None:
    word = opcode << 26 | rt << 21 | ra << 16 | d
    base = 0 if bits(word, 11, 15) == 0 else values[bits(word, 11, 15)]
    ea = (base + extended(f"{word:032b}"[16:])) % (1 << 64)
    found = told(word, words(values, SF if wide else 0))
    assert (found.ea, found.size) == (ea if wide else ea % (1 << 32), D_SIZES[opcode])
    assert found.way == ("w" if opcode in STORES else "r")
    assert found.why == ""


@given(st.sampled_from(sorted(D_SIZES)), number, number, st.integers(0, 0xFFFF), registers)
def test_d_forms_with_update(opcode: int, rt: int, ra: int, d: int, values: list[int]) -> None:
    fixed_load = opcode < 48 and opcode not in STORES
    found = told((opcode + 1) << 26 | rt << 21 | ra << 16 | d, words(values))
    if ra == 0 or (fixed_load and ra == rt):
        assert found.ea is None
        assert "invalid" in found.why
    else:
        assert (found.ea, found.why) == ((values[ra] + extended(f"{d:016b}")) % (1 << 64), "")


@given(st.sampled_from([(58, 0), (58, 2), (62, 0)]), number, number, st.integers(0, 0x3FFF), registers)
def test_ds_forms(which: tuple[int, int], rt: int, ra: int, ds: int, values: list[int]) -> None:
    opcode, low = which
    word = opcode << 26 | rt << 21 | ra << 16 | ds << 2 | low
    base = values[ra] if ra else 0
    assert told(word, words(values)).ea == (base + extended(f"{word:032b}"[16:30] + "00")) % (1 << 64)


@given(st.sampled_from([1, 5]), number, number, st.integers(0, 0xFFF), st.integers(0, 1), registers)
def test_dq_forms(low: int, rt: int, ra: int, dq: int, tx: int, values: list[int]) -> None:
    found = told(61 << 26 | rt << 21 | ra << 16 | dq << 4 | tx << 3 | low, words(values))
    base = values[ra] if ra else 0
    assert (found.ea, found.size) == ((base + extended(f"{dq:012b}0000")) % (1 << 64), 16)
    assert found.way == {1: "r", 5: "w"}[low]


@given(st.sampled_from(sorted(X_SIZES | X_UPDATES)), number, number, number, registers, st.booleans())
def test_x_forms(xo: int, rt: int, ra: int, rb: int, values: list[int], wide: bool) -> None:
    word = 31 << 26 | rt << 21 | ra << 16 | rb << 11 | xo << 1
    found = told(word, words(values, SF if wide else 0))
    assert found.size == (X_SIZES | X_UPDATES)[xo]
    assert found.way == ("w" if xo in STORES else "r")
    if xo in X_UPDATES and (bits(word, 11, 15) == 0 or (xo not in STORES and bits(word, 6, 10) == bits(word, 11, 15))):
        assert found.ea is None
    else:
        base = 0 if bits(word, 11, 15) == 0 else values[bits(word, 11, 15)]
        ea = (base + values[bits(word, 16, 20)]) % (1 << 64)
        assert found.ea == (ea if wide else ea % (1 << 32))


@given(st.integers(0, (1 << 34) - 1), number, registers, st.booleans(), st.integers(0, 1 << 60))
def test_prefixed_ones(d: int, ra: int, values: list[int], relative: bool, where: int) -> None:
    at = where * 8
    prefix = 1 << 26 | (1 << 20 if relative else 0) | d >> 16
    found = told(prefix, words(values), 57 << 26 | 3 << 21 | ra << 16 | d & 0xFFFF, at)
    if relative and ra:
        assert found.ea is None
    else:
        base = at if relative else values[ra] if ra else 0
        assert (found.ea, found.size) == ((base + extended(f"{d:034b}")) % (1 << 64), 8)


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF), registers)
def test_any_word_at_all_has_an_answer(word: int, suffix: int, values: list[int]) -> None:
    found = decode(0x1000, word, suffix if word >> 26 == 1 else None)
    reached = reach(found, words(values, xer=5).get)
    assert (reached is None) is (found.operation is None)
    if reached is not None and reached.ea is None:
        assert reached.why
    assert reach(found, lambda _name: None) is None or found.operation


def test_a_register_that_is_not_known_is_named() -> None:
    found = told(0xE8A4_0010, {"msr": SF})
    assert (found.ea, found.size, found.sum, found.why) == (None, 8, "r4 + 0x10", "r4 is not known")
    by_length = told(31 << 26 | 6 << 21 | 4 << 16 | 5 << 11 | 269 << 1, {"r4": 0x1000, "msr": SF})
    assert (by_length.ea, by_length.size, by_length.why) == (0x1000, None, "its size is in r5, which is not known")


def test_a_mode_that_is_assumed_is_said() -> None:
    far = told(0xE8A4_0010, {"r4": 1 << 40})
    assert (far.ea, far.why) == ((1 << 40) + 16, "msr is not known, and 64-bit mode assumed")
    assert told(0xE8A4_0010, {"r4": 1 << 20}).why == ""


def test_without_a_base_the_displacement_is_the_address() -> None:
    found = told(0xE8A0_FFF0, words([1] * 32))  # ld r5,-16(0)
    assert (found.ea, found.sum) == (M64 - 15, "0xfffffffffffffff0")


@pytest.mark.parametrize(
    ("word", "way", "size", "ea"),
    [
        (46 << 26 | 29 << 21 | 4 << 16 | 8, "r", 12, 0x1027),  # lmw r29,8(r4)
        (47 << 26 | 0 << 21 | 4 << 16 | 8, "w", 128, 0x1027),
        (31 << 26 | 6 << 21 | 4 << 16 | 0 << 11 | 597 << 1, "r", 32, 0x101F),  # lswi r6,r4,32
        (31 << 26 | 6 << 21 | 4 << 16 | 7 << 11 | 725 << 1, "w", 7, 0x101F),
        (31 << 26 | 6 << 21 | 4 << 16 | 5 << 11 | 533 << 1, "r", 3, 0x101F + 0x305),  # lswx: 3 bytes by XER
        (31 << 26 | 6 << 21 | 4 << 16 | 5 << 11 | 103 << 1, "r", 16, 0x1320),  # lvx rounds down
        (31 << 26 | 6 << 21 | 4 << 16 | 5 << 11 | 7 << 1, "r", 1, 0x1324),  # lvebx does not
        (31 << 26 | 4 << 16 | 5 << 11 | 1014 << 1, "w", 128, 0x1300),  # dcbz: the block
        (31 << 26 | 6 << 21 | 4 << 16 | 5 << 11 | 614 << 1, "w", 8, 0x101F),  # ldat: RB says what it does
        (31 << 26 | 6 << 21 | 4 << 16 | 7 << 11 | 269 << 1, "r", 16, 0x101F),  # lxvl: at most 16
    ],
)
def test_those_of_many_bytes(word: int, way: str, size: int, ea: int) -> None:
    found = told(word, {"r4": 0x101F, "r5": 0x305, "r7": 0xFF << 56, "xer": 0x8003, "msr": SF})
    assert (found.way, found.size, found.ea) == (way, size, ea)
    assert found.last == ea + size - 1


def test_hints_and_real_addresses_are_said() -> None:
    assert told(31 << 26 | 4 << 16 | 5 << 11 | 278 << 1, words([0] * 32)).hint
    assert told(31 << 26 | 6 << 21 | 4 << 16 | 5 << 11 | 885 << 1, words([0] * 32)).real
    assert decode(0, 31 << 26 | 4 << 16 | 5 << 11 | 278 << 1).kind is Kind.CACHE
