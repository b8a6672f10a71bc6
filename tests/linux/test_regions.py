"""Linux's regions, held to addresses seen in real guests."""

from __future__ import annotations

from itertools import pairwise

import pytest

from inspector.linux.regions import REGIONS, region_of


@pytest.mark.parametrize(
    ("ea", "name"),
    [
        (0x1000_0000, "user"),
        (0x7FFF_8765_4321, "user"),
        (0xC000_0000_0274_0000, "linear map"),
        (0xC008_0000_0000_0000, "vmalloc"),
        (0xC00A_0000_0001_0000, "PHB I/O"),
        (0xC00A_0000_8000_0000, "ioremap"),
        (0xC00B_FFFF_FFFF_0000, "fixmap"),
        (0xC00C_0000_0000_0000, "vmemmap"),
        (0xC00E_0000_0000_0000, "KASAN shadow"),
        (1 << 52, None),
        (0xBFFF_FFFF_FFFF_FFFF, None),
        (0xC00F_C000_0000_0000, None),
        ((1 << 64) - 1, None),
    ],
)
def test_the_region_of_an_address(ea: int, name: str | None) -> None:
    found = region_of(ea)
    assert (found and found.name) == name


def test_they_do_not_overlap_and_their_bounds_are_pages() -> None:
    assert all(one.end <= other.start for one, other in pairwise(REGIONS))
    assert all(region.start % 0x1_0000 == 0 == region.end % 0x1_0000 for region in REGIONS)
