"""Linux's regions, held to addresses seen in real guests."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from inspector.errors import UsageError
from inspector.linux.regions import REGIONS, by_region, region_named, region_of


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


@pytest.mark.parametrize("name", ["linear map", "linear-map", "Linear Map", "linear", "l"])
def test_a_region_by_its_name_or_how_it_begins(name: str) -> None:
    assert region_named(name).start == 0xC000_0000_0000_0000


@pytest.mark.parametrize("name", ["", "vm", "nowhere", "-"])
def test_a_name_that_is_none_or_several_is_told_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"there are user, linear map, vmalloc.*KASAN shadow"):
        region_named(name)


def test_addresses_by_region() -> None:
    bounds = sorted({bound for region in REGIONS for bound in (region.start, region.end)})
    eas = np.array(sorted({bound + near for bound in bounds for near in (-1, 0, 1) if bound + near >= 0}), np.uint64)
    groups = list(by_region(eas))
    assert [begin for _, begin, _ in groups] == [0, *(end for _, _, end in groups[:-1])]
    assert groups[-1][2] == len(eas)
    for region, first, end in groups:
        assert {region_of(ea) for ea in eas[first:end].tolist()} == {region}
    assert all(one[0] is not other[0] for one, other in pairwise(groups))
    assert list(by_region(eas[:0])) == []
