"""A word bit by bit, in 80 columns and in JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.radix.fields import Decoded
from inspector.radix.formats import FORMATS, PTE
from inspector.radix.registers import MSR, register_format
from inspector.render import fields
from inspector.render.style import PLAIN, Style
from inspector.targets.base import REGISTERS

EVERY = [*FORMATS.values(), *(form for name in REGISTERS if (form := register_format(name)) is not None)]


@pytest.mark.parametrize("width", [80, 132])
@given(value=st.integers(0, (1 << 64) - 1), form=st.sampled_from(EVERY))
def test_every_word_of_every_format_fits(width: int, value: int, form: object) -> None:
    decoded: Decoded = form.decode(value & ((1 << form.width) - 1))  # type: ignore[attr-defined]
    lines = list(fields.text(decoded, Style(False, width)))
    assert max(map(len, lines), default=0) <= width
    for part in decoded.fields:
        assert any(line.split()[2:3] == [part.field.name] for line in lines), part.field.name
    assert any("unknown bits set" in line for line in lines) == bool(decoded.residue)


def test_both_ways_of_counting_bits_and_what_the_value_means() -> None:
    lines = list(fields.text(MSR.decode(1 << 63 | 1 << 14 | 3 << 33), PLAIN))
    assert lines[0].split() == ["bits", "IBM", "field", "value"]
    assert "  63     0      SF   1  64-bit mode = 64-bit" in lines
    assert "  34:33  29:30  TS   3  transaction state = reserved" in lines
    assert "  14     49     PR   1  problem state = user" in lines
    assert "  4      59     DR   0  data relocation: loads and stores are translated = real" in lines


def test_what_linux_uses_a_bit_for_is_told_where_it_is_set() -> None:
    assert any("to Linux: soft dirty" in line for line in fields.text(PTE.decode(3 << 62 | 0x200), PLAIN))
    assert not any("(_PAGE_SOFT_DIRTY)" in line for line in fields.text(PTE.decode(3 << 62), PLAIN))


def test_zero_fields_are_dim_and_set_ones_are_not() -> None:
    lines = list(fields.text(MSR.decode(1), Style(True)))
    zero = next(line for line in lines if " SF " in line)
    one = next(line for line in lines if " LE " in line)
    assert "\x1b[2m" in zero
    assert "\x1b[2m" not in one


def test_json_has_the_parts_and_the_residue() -> None:
    told = fields.obj(PTE.decode(3 << 62 | 0x40 | 0x18D))
    assert (told["format"], told["value"], told["residue"]) == ("PTE", "0xc0000000000001cd", "0x40")
    assert {each["name"]: each["value"] for each in told["fields"]}["READ"] == "0x1"
    assert told["fields"][0] == {
        "name": "V",
        "bits": "63",
        "ibm": "0",
        "value": "0x1",
        "text": "valid",
        "meaning": "valid",
        "isa": "5.7.10",
    }
