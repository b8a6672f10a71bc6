from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.radix.bits import LEVEL_BITS
from inspector.radix.formats import AP_ENCODING
from inspector.radix.geometry import (
    GEOMETRIES,
    MMU_PAGE_COUNT,
    PSIZE_DEFS,
    PSIZE_DEFS_WITHOUT_PROPERTY,
    PSIZE_NAMES,
    Geometry,
    PageSize,
    decode_ap,
    encode_ap,
    level_shifts,
    psize_index,
    psize_name,
    rmmu_info,
)

QEMU_POWER9_RADIX_PAGE_INFO = (0x0000000C, 0xA0000010, 0x20000015, 0x4000001E)


def test_what_kvm_reports_is_what_qemu_has() -> None:
    info = rmmu_info()
    assert info.ap_encodings == QEMU_POWER9_RADIX_PAGE_INFO
    assert [(g.page_shift, g.level_bits) for g in info.geometries] == [(12, (9, 9, 9, 13)), (16, (5, 9, 9, 13))]


def test_a_size_without_a_shift_leaves_no_gap() -> None:
    assert rmmu_info(PSIZE_DEFS_WITHOUT_PROPERTY).ap_encodings == (0x0000000C, 0xA0000010)
    assert rmmu_info({**PSIZE_DEFS, 2: PageSize(0, 5)}).ap_encodings == (0x0000000C, 0x20000015, 0x4000001E)
    assert rmmu_info({}).ap_encodings == ()
    assert len(rmmu_info({}).geometries) == 2


def test_only_four_sizes_are_reported_whatever_is_defined() -> None:
    every = {index: PageSize(20 + index, 3) for index in range(16)}
    assert [word & 0x3F for word in rmmu_info(every).ap_encodings] == [20, 22, 27, 33]


@given(st.integers(0, 63), st.integers(0, (1 << 64) - 1))
def test_an_encoding_is_32_bits_wide_as_in_the_kernel(shift: int, ap: int) -> None:
    """``ap`` is an unsigned long there and the word a __u32: what does not fit is cut off."""
    word = encode_ap(PageSize(shift, ap))
    assert word < 1 << 32
    assert decode_ap(word) == PageSize(shift, ap & 7)
    decoded = AP_ENCODING.decode(word)
    assert (decoded["AP"], decoded["SHIFT"], decoded.residue) == (ap & 7, shift, 0)


@pytest.mark.parametrize(("shift", "name"), [(12, "4K"), (16, "64K"), (21, "2M"), (30, "1G")])
def test_shifts_and_indexes(shift: int, name: str) -> None:
    assert psize_name(psize_index(shift)) == name
    assert PSIZE_NAMES.index(name) == {"4K": 0, "64K": 2, "2M": 7, "1G": 13}[name]


def test_a_shift_that_the_host_lacks_is_16_and_no_error() -> None:
    assert MMU_PAGE_COUNT == 16
    assert psize_index(39) == 16
    assert psize_index(21, PSIZE_DEFS_WITHOUT_PROPERTY) == 16
    assert psize_name(16) == "unknown"
    assert psize_index(16, {3: PageSize(16), 2: PageSize(16)}) == 2


@pytest.mark.parametrize("shape", GEOMETRIES)
@given(ea=st.integers(0, (1 << 52) - 1))
def test_indexes_take_an_address_apart(shape: Geometry, ea: int) -> None:
    rebuilt = ea & ((1 << shape.page_shift) - 1)
    for level in range(4):
        rebuilt |= shape.index(ea, level) << shape.shift(level)
    assert rebuilt == ea
    assert shape.shift(4) == 52


def test_shapes_agree_with_the_walkers() -> None:
    for geometry in GEOMETRIES:
        assert all(geometry.level_bits[level] in LEVEL_BITS[level] for level in range(4))
        assert level_shifts(geometry.level_bits[0]) == tuple(geometry.shift(level) for level in range(4))
    assert [GEOMETRIES[1].table_bytes(level) for level in range(4)] == [256, 4096, 4096, 65536]
    with pytest.raises(ValueError, match=r"2\^7"):
        level_shifts(7)
