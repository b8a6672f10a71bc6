"""The words for the signatures, held to the catalogue that has them."""

from __future__ import annotations

from inspector.triage.catalogue import CAUSES, NOTHING, UNKNOWN
from inspector.triage.signs import SIGNS


def test_every_cause_says_by_what_it_is_known() -> None:
    slugs = [each.slug for each in (*CAUSES, UNKNOWN, NOTHING)]
    assert len(slugs) == len(set(slugs))
    assert set(slugs) == set(SIGNS)
    for each in (*CAUSES, UNKNOWN, NOTHING):
        for words in (each.meaning, each.advice, SIGNS[each.slug]):
            assert words.endswith("."), each.slug
            assert words[0].isupper() or words[0] == "'", each.slug
