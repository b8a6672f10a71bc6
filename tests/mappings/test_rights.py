"""Rights written in letters, held to Python's own logic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ExpressionError
from inspector.mappings.rights import parse
from inspector.radix.access import encoded_rights

ALL = np.arange(1 << 9, dtype=np.uint64)
"""Every combination of R, C, ATT and EAA."""


def letter(name: str, flags: int) -> bool:
    """What a letter asks, of one entry."""
    rights = encoded_rights(flags)
    return {
        "r": rights.read,
        "w": rights.write,
        "x": rights.execute,
        "p": bool(flags & 8),
        "u": not flags & 8,
        "R": bool(flags & 0x100),
        "C": bool(flags & 0x80),
    }[name]


TEXTS = st.recursive(
    st.sampled_from("rwxpuRC"),
    lambda inner: st.one_of(
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, inner).map(lambda both: f"({both[0]}|{both[1]})"),
        st.tuples(inner, st.sampled_from(["", "&", " & "]), inner).map("".join),
    ),
    max_leaves=8,
)


def python(text: str) -> str:
    """The same for eval(): letters as lookups, and 'and' written out."""
    words: list[str] = []
    for char in text.replace(" ", "").replace("&", ""):
        if words and (char.isalpha() or char in "!(") and (words[-1] == ")" or words[-1].startswith("of[")):
            words.append("and")
        words.append(f"of['{char}']" if char.isalpha() else {"|": "or", "!": "not"}.get(char, char))
    return " ".join(words)


@given(TEXTS)
def test_it_means_what_it_says(text: str) -> None:
    meaning = compile(python(text), text, "eval")
    expected = [bool(eval(meaning, {"of": {name: letter(name, flags) for name in "rwxpuRC"}})) for flags in range(512)]
    assert parse(text)(ALL).tolist() == expected


@pytest.mark.parametrize(
    ("text", "flags", "is_so"),
    [
        ("w&x", 0x3, True),
        ("wx", 0x2, False),
        ("!r", 0x1, True),
        ("!r", 0x2, False),  # write implies read
        ("x", 0x21, False),  # guarded
        ("x", 0x31, True),
        ("!rw", 0x4, False),  # not r, and w
        ("u(w|x)!C", 0x105, True),
        (" r | w & x ", 0x4, True),
        ("p", 0x18D, True),
    ],
)
def test_examples(text: str, flags: int, is_so: bool) -> None:
    assert bool(parse(text)(np.array([flags], np.uint64))[0]) is is_so


@pytest.mark.parametrize(
    ("text", "position"),
    [("", 0), ("w&", 2), ("w|", 2), ("(w", 2), ("w)", 1), ("q", 0), ("w&&x", 2), ("!", 1), ("rw7", 2), ("()", 1)],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, position: int) -> None:
    with pytest.raises(ExpressionError) as raised:
        parse(text)
    assert raised.value.position == position
    assert "write rights as in" in str(raised.value)


def test_nesting_has_an_end() -> None:
    assert parse("!" * 30 + "w")(np.array([2, 4], np.uint64)).tolist() == [True, False]
    for text in ("!" * 100_000 + "w", "(" * 100_000):
        with pytest.raises(ExpressionError):
            parse(text)
