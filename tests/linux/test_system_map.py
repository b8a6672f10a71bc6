"""Symbols of a System.map, or of what looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import FormatError, NotSupported, UnknownSymbol, UsageError
from tests.linux.images import BASE, damaged, opened

MAP = b"""                 w not_linked
c000000000000000 T _stext
c000000000000000 T start
c000000000000100 t init
c000000000000200 T init
0000000000001234 a number
                 U absent
c000000000000300 W weak_one
c000000000000400 d __key.0
c000000000000500 d __key.0
c000000000003000 B process_tb
c000000000003100 B _end
c008000000000000 t module_one\t[kvm_hv]
c008000000000100 t module_two\t[kvm_hv]
"""


def test_a_system_map_will_do(tmp_path: Path) -> None:
    symbols = opened(tmp_path, MAP)
    assert symbols.address("process_tb") == BASE + 0x3000
    assert symbols.address("init") == BASE + 0x200
    assert symbols.address("weak_one") == BASE + 0x300
    assert symbols.address("module_one") == 0xC008000000000000
    assert symbols.size("process_tb") is None
    assert (symbols.byte_order, symbols.byte_order_known, symbols.build_id) == ("little", False, None)
    assert symbols.count == 12
    with pytest.raises(UsageError, match="2 places"):
        symbols.address("__key.0")
    with pytest.raises(UnknownSymbol):
        symbols.address("absent")
    with pytest.raises(NotSupported, match="no values"):
        symbols.read_initial("process_tb")
    assert symbols.complete("module_") == ["module_one", "module_two"]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        (BASE, ("_stext", 0)),
        (BASE + 0x3008, ("process_tb", 8)),
        (BASE + 0x3100, ("_end", 0)),
        (BASE + 0x3101, None),
        (0xC008000000000080, ("module_one", 0x80)),
        (0xC008000000000100, ("module_two", 0)),
        (0xC008000000000101, None),
        (0x1234, None),
    ],
)
def test_addresses_to_names_with_a_map(tmp_path: Path, address: int, found: tuple[str, int] | None) -> None:
    assert opened(tmp_path, MAP).name_of(address) == found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"ffffffffffffffff B The real System.map is in another package\n", "neither"),
        (b"c000000000000000 T a\nhello world\n", "line 2 is not 'ADDRESS TYPE NAME'"),
        (b"c000000000000000 T a\nc00000", "line 2"),
        (b"0000000000000000 T a\n0000000000000000 T b\n", "copy /proc/kallsyms as root"),
        (b"0000000000000000 U a\n", "holds no symbols"),
    ],
)
def test_a_text_that_is_no_map(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        opened(tmp_path, content)
    assert problem in str(caught.value)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(0, len(MAP)),
    st.lists(st.tuples(st.integers(0, len(MAP)), st.integers(0, 255)), max_size=4),
)
def test_a_damaged_map_is_an_error_of_ours(tmp_path: Path, length: int, flips: list[tuple[int, int]]) -> None:
    content = bytearray(MAP[:length])
    damaged(tmp_path, content, flips)
