"""Tables of every kind of column, for property tests of what writes them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from inspector.mappings.table import Batch, Column, Field, words_of

MOST = (1 << 64) - 1
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
ODD_WORDS = ("plain", "with, comma", 'a "quote"', "100%d", "two\nlines", "")


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    """Up to 40 rows."""
    rows = draw(st.integers(0, 40))

    def column(kind: st.SearchStrategy[int], name: str, of: str, dtype: str, few: bool) -> Column:
        values = np.array(draw(st.lists(kind, min_size=rows, max_size=rows)), dtype)
        known = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), np.bool_)
        field = Field(name, "address" if of == "address" else "number")
        return Column(field, values, known=known if draw(st.booleans()) else None, few=few)

    near = st.one_of(st.integers(0, MOST), st.sampled_from([0, 1 << 63, MOST]))
    truths = np.array(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)), np.bool_)
    codes = np.array(draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows)), np.uint8)
    columns = [
        column(near, "ea", "address", "uint64", False),
        column(st.sampled_from([5, MOST, 1 << 63]), "raw 100%", "address", "uint64", True),
        column(st.integers(-(1 << 63), (1 << 63) - 1), "size", "number", "int64", False),
        column(st.integers(-3, 3), "pid", "number", "int32", True),
        column(st.integers(0, 255), "shift", "number", "uint8", draw(st.booleans())),
        Column(Field("truth", "truth"), truths, few=True),
        Column(Field("word", "word"), codes, (None, *ODD_WORDS), few=True),
        Column(Field("one", "number"), np.broadcast_to(np.uint64(1), rows)),
    ]
    if draw(st.booleans()):
        texts = draw(st.lists(st.one_of(st.none(), TEXT), min_size=rows, max_size=rows))
        columns.append(words_of(Field("text", "word"), texts))
    return Batch(tuple(draw(st.permutations(columns))))
