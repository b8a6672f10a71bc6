from __future__ import annotations

import pytest

from inspector.errors import UsageError
from inspector.radix.fields import Field, Format, entries_text, flag, misaligned_text, size_text


def test_a_field_counts_from_both_ends() -> None:
    top = Field("V", 63, 1, "valid")
    assert (top.bits, top.ibm(), top.mask) == ("63", "0", 1 << 63)
    rpn = Field("RPN", 12, 45, "real page number")
    assert (rpn.bits, rpn.ibm(), rpn.mask) == ("56:12", "7:51", 0x01FF_FFFF_FFFF_F000)
    assert Field("AP", 29, 3, "").ibm(32) == "0:2"


def test_words_for_values() -> None:
    assert Field("X", 0, 2, "", values={2: "two"}).text(2) == "two"
    assert Field("X", 0, 8, "").text(9) == "9"
    assert Field("X", 0, 8, "").text(16) == "0x10"
    assert Field("X", 4, 8, "", show=lambda raw: f"<{raw}>").text(1) == "<1>"
    assert (flag("F", 3, "").text(1), flag("F", 3, "").text(0)) == ("set", "clear")
    assert (flag("F", 3, "", on="yes").text(1), flag("F", 3, "", on="yes").text(0)) == ("yes", "clear")


@pytest.mark.parametrize(
    "fields",
    [
        (Field("A", 4, 4, ""), Field("B", 7, 1, "")),
        (Field("A", 4, 4, ""), Field("A", 0, 1, "")),
        (Field("A", 6, 4, ""),),
        (Field("A", -1, 4, ""),),
        (Field("A", 0, 0, ""),),
    ],
    ids=["overlap", "same name", "too high", "below zero", "no bits"],
)
def test_a_broken_table_is_refused(fields: tuple[Field, ...]) -> None:
    with pytest.raises(ValueError, match=r"X\.[AB]"):
        Format("X", "x", 8, fields)


def test_decode_tells_fields_from_residue() -> None:
    word = Format("X", "a word", 8, (Field("HIGH", 6, 2, "h"), Field("LOW", 0, 3, "l")), linux=lambda value: "penguin")
    decoded = word.decode(0b1011_0101)
    assert [(part.field.name, part.raw) for part in decoded.fields] == [("HIGH", 2), ("LOW", 5)]
    assert decoded.residue == 0b0011_0000
    assert decoded["LOW"] == 5
    assert decoded.meaning == "0xb5"
    assert decoded.linux == "penguin"
    assert decoded.assemble() == 0b1011_0101
    assert word.field("HIGH").low == 6
    with pytest.raises(KeyError):
        decoded["NONE"]
    with pytest.raises(KeyError):
        word.field("NONE")


def test_a_value_that_does_not_fit_is_refused_in_one_sentence() -> None:
    word = Format("X", "a word", 8, ())
    with pytest.raises(UsageError, match="0x100 has 9 bits and a word has 8; give a value that fits"):
        word.decode(0x100)
    with pytest.raises(UsageError, match="-1 is negative"):
        word.decode(-1)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (8, "8 bytes"), (256, "256 bytes"), (1024, "1 KiB"), (3 << 19, "1536 KiB"), (1 << 36, "64 GiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


def test_tables_in_words() -> None:
    assert entries_text(13, 8) == "2^13 entries (64 KiB)"
    assert misaligned_text(0x2740000, 0x10000) == ""
    assert misaligned_text(0x2741000, 0x10000) == ", but that base is not a multiple of 64 KiB"
