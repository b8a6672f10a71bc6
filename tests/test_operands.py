from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ExpressionError, InspectorError, UnknownRegister, UnknownSymbol
from inspector.operands import DEEPEST, LONGEST, evaluate, parse_range

REGISTERS = {"nip": 0xC000000000008000, "r1": 0xC000000002743F00, "msr": 0x8000000000001033}
SYMBOLS = {"swapper_pg_dir": 0xC000000002740000, ".text": 0x100, "memcpy$2": 2, "sym@plt": 3, "K": 7, "_end": 9, "a": 1}


class Names:
    def register(self, name: str) -> int:
        if name not in REGISTERS:
            raise UnknownRegister(name, 0, False)
        return REGISTERS[name]

    def symbol(self, name: str) -> int:
        if name not in SYMBOLS:
            raise UnknownSymbol(name, "vmlinux")
        return SYMBOLS[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("00", 0),
        ("64", 64),
        ("0xC000_0000_0000_0000", 0xC000000000000000),
        ("0XfF", 255),
        ("0b1010_1010", 0xAA),
        ("0o17", 15),
        ("1_000", 1000),
        ("64K", 65536),
        ("2m", 2 << 20),
        ("0x10G", 16 << 30),
        ("1T", 1 << 40),
        ("0b1K", 1024),
        ("$nip", 0xC000000000008000),
        ("$r1+0x10", 0xC000000002743F10),
        ("$r1 + -8", 0xC000000002743EF8),
        ("$r1-8", 0xC000000002743EF8),
        ("swapper_pg_dir+8", 0xC000000002740008),
        ("swapper_pg_dir & ~0xfff | 4", 0xC000000002740004),
        (".text", 0x100),
        ("memcpy$2+sym@plt", 5),
        ("K", 7),
        ("_end", 9),
        ("-1", (1 << 64) - 1),
        ("-0", 0),
        ("--1", 1),
        ("~0", (1 << 64) - 1),
        ("~~5", 5),
        ("-~0", 1),
        ("~0xfff", 0xFFFFFFFFFFFFF000),
        ("~0 >> 60", 0xF),
        ("~0 << 4", 0xFFFFFFFFFFFFFFF0),
        ("1-2", (1 << 64) - 1),
        ("1 - 2 + 1", 0),
        ("~0xffffffffffffffff", 0),
        ("-~0xffffffffffffffff | 1", 1),
        ("0 - 0xffffffffffffffff - 0xffffffffffffffff", 2),
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("8-4-2", 2),
        ("1<<2+1", 8),
        ("1 | 6 & 3 ^ 1", 1 | ((6 & 3) ^ 1)),
        ("0x80>>3<<1", 0x20),
        ("1<<63", 1 << 63),
        ("  ( 0x10 )  ", 16),
        ("0xffffffffffffffff", (1 << 64) - 1),
        ("-0xffffffffffffffff", 1),
    ],
)
def test_values(text: str, value: int) -> None:
    assert evaluate(text, Names()) == value


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("", 0, "nothing to read"),
        ("   ", 3, "nothing to read"),
        ("1+", 2, "it ends early: a number, $register or symbol is missing after '+'"),
        ("$r1 << ", 7, "it ends early"),
        ("-", 1, "it ends early"),
        ("(1+2", 4, "a ')' is missing: it ends early"),
        ("(", 1, "it ends early"),
        ("(1 2", 3, "a ')' is missing before '2'"),
        ("1 2", 2, "'2' was not expected"),
        ("1)", 1, "')' was not expected"),
        ("()", 1, "was expected, not ')'"),
        ("1+*2", 2, "was expected, not '*'"),
        ("$", 0, "name is missing"),
        ("1/2", 1, "'/' means nothing here"),
        ("0x", 0, "'0x' is not a number"),
        ("0x12_", 0, "is not a number"),
        ("0xfz", 0, "is not a number"),
        ("0b12", 0, "is not a number"),
        ("12abc", 0, "is not a number"),
        ("29e0100", 0, "write 0x29e0100"),
        ("1+c000000002740000", 2, "write 0xc000000002740000"),
        ("010", 0, "octal or decimal"),
        ("0x1ffffffffffffffff", 0, "65 bits"),
        ("1 + 0x10000000000000000", 4, "65 bits"),
        ("0xffffffffffffffff+1", 18, "65 bits"),
        ("0x8000000000000000*2", 18, "65 bits"),
        ("3<<63", 1, "65 bits"),
        ("1<<64", 3, "shift by 64"),
        ("1 >> -1", 5, "shift by -1"),
        ("16777216T", 0, "65 bits"),
        ("1\u0661", 1, "means nothing here"),
        ("a\u00e9", 1, "means nothing here"),
        ("9" * 900, 0, "a part of it has"),
    ],
)
def test_what_does_not_parse_says_where_and_why(text: str, position: int, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        evaluate(text, Names())
    assert caught.value.position == position
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_names_that_mean_nothing() -> None:
    with pytest.raises(UnknownRegister, match="'regs' lists"):
        evaluate("$nothing", Names())
    with pytest.raises(UnknownSymbol, match="no symbol 'nothing' in vmlinux"):
        evaluate("nothing + 4", Names())
    with pytest.raises(UnknownSymbol, match="--vmlinux"):
        evaluate("init_mm")
    with pytest.raises(UnknownRegister):
        evaluate("$nip")


@pytest.mark.parametrize(
    "text", ["(" * 900, "-" * 900 + "1", "~" * 900 + "1", "(-" * 400 + "1", "(" * 66 + "1" + ")" * 66]
)
def test_depth_is_limited(text: str) -> None:
    with pytest.raises(ExpressionError, match=f"more than {DEEPEST} deep"):
        evaluate(text)


def test_depth_below_the_limit_is_fine() -> None:
    assert evaluate("(" * DEEPEST + "1" + ")" * DEEPEST) == 1


def test_length_is_limited() -> None:
    assert evaluate("1" + "+1" * 500) == 501
    with pytest.raises(ExpressionError, match="1025 characters") as caught:
        evaluate("1" * (LONGEST + 1))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0x2740000:64K", (0x2740000, 65536)),
        ("swapper_pg_dir & 0xfffffffffffffff : 8*13", (0x2740000, 104)),
        ("-4K:4K", ((1 << 64) - 4096, 4096)),
    ],
)
def test_ranges(text: str, expected: tuple[int, int]) -> None:
    assert parse_range(text, Names()) == expected


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("0x1000", 6, "ADDR:LEN"),
        ("0x1000:", 7, "nothing to read"),
        (":5", 0, "nothing to read"),
        ("0x1000:0", 7, "the length is 0"),
        ("0x1000:1+", 9, "ends early"),
        ("1+:5", 2, "ends early"),
        ("1:2:3", 3, "':' means nothing"),
        ("-4K:4K+1", 4, "run over the end"),
    ],
)
def test_broken_ranges(text: str, position: int, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_range(text)
    assert (caught.value.position, problem in caught.value.problem) == (position, True)


def literals() -> st.SearchStrategy[str]:
    numbers = st.integers(0, (1 << 64) - 1)
    return st.one_of(numbers.map(hex), numbers.map(str), numbers.map(bin), numbers.map(oct))


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(inner, st.sampled_from("+-*&|^"), inner).map(" ".join)
    shift = st.tuples(inner, st.sampled_from(["<<", ">>"]), st.integers(0, 70).map(str)).map("".join)
    signed = st.tuples(st.sampled_from("-~"), inner).map("".join)
    return st.one_of(pair, shift, signed, inner.map(lambda t: f"({t})"))


@given(st.recursive(literals(), grown, max_leaves=12))
def test_values_are_pythons(text: str) -> None:
    """Python's precedence is C's here, and its whole numbers agree modulo 2**64 but for right shifts of negatives."""
    refused, value = "", 0
    try:
        value = evaluate(text)
    except ExpressionError as error:
        refused = error.problem
    if refused:
        assert "bits" in refused or "shift" in refused
    elif ">>" not in text:
        assert value == eval(text) % (1 << 64)
    assert 0 <= value < 1 << 64


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 63))
def test_shifts_are_those_of_unsigned_words(value: int, count: int) -> None:
    assert evaluate(f"{value} >> {count}") == value >> count
    assert evaluate(f"~{value} >> {count}") == (value ^ ((1 << 64) - 1)) >> count


@given(st.text(alphabet="0123456789abcxKMG_+-*~&|^<>()$. :/rnip\u00e9\u0664", max_size=40))
def test_any_text_is_a_value_or_one_sentence(text: str) -> None:
    for read in (evaluate, parse_range):
        caught: InspectorError | None = None
        try:
            read(text, Names())
        except InspectorError as error:
            caught = error
        assert caught is None or caught.exit_status == 2
        assert not isinstance(caught, ExpressionError) or 0 <= caught.position <= len(text)
