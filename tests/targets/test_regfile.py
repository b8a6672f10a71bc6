"""Register files, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import FormatError, InspectorError
from inspector.targets.base import REGISTERS, KnownRoots
from inspector.targets.regfile import RegisterFile, read_register_file


def read(folder: Path, content: Any) -> RegisterFile:
    path = folder / "regs.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_register_file(str(path))


def test_strings_numbers_aliases_and_dollars(tmp_path: Path) -> None:
    row = {"pidr": "0x4", "$msr": 9, "AMR": "0xFFFFFFFFFFFFFFFF", "sp": "16", "lpcr": None}
    found = read(tmp_path, {"cpus": [row], "comment": "by hand"})
    assert found.cpus[0].values == {"pid": 4, "msr": 9, "amr": (1 << 64) - 1, "r1": 16}
    assert found.cpus[0].get("lpcr") is None  # unknown, not zero
    assert found.roots == KnownRoots()


def test_vcpus_are_numbered_by_place_or_by_word(tmp_path: Path) -> None:
    assert list(read(tmp_path, {"cpus": [{}, {"cpu": 7}]}).cpus) == [0, 7]
    with pytest.raises(FormatError, match="vCPU 1 is there twice"):
        read(tmp_path, {"cpus": [{"cpu": 1}, {}]})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"cpus": [{"pid": }]}', r"no JSON \(line 1, column 19: Expecting value\)"),
        (b'{"cpus": [{"pid": "0x4", }]}', "no JSON"),
        (b'{"cpus": [{"pid": "0x4"', "no JSON"),
        (b"pid=4\n", "no JSON"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"[" * 3000, "no JSON"),
        ({"cpus": [{"pid": ""}]}, r'cpus\[0\].pid is "", not an unsigned 64-bit number.*leave it out'),
        ({"cpus": [{"pid": "four"}]}, "not an unsigned 64-bit number"),
        ({"cpus": [{}, {"pid": "0x10000000000000000"}]}, r"cpus\[1\].pid is .*not an unsigned 64-bit"),
        ({"cpus": [{"pid": -1}]}, "not an unsigned"),
        ({"cpus": [{"pid": 4.0}]}, "not an unsigned"),
        ({"cpus": [{"pid": True}]}, "not an unsigned"),
        ({"cpus": [{"pid": ["0x4"]}]}, "a list or an object, not"),
        ({"cpus": [{"pdi": "0x4"}]}, r'cpus\[0\] names "pdi", which is no register; did you mean pid'),
        ({"cpus": [{"nothing like it": 1}]}, "which is no register; known are"),
        ({"cpus": [{"pid": 4, "pidr": 5}]}, "differ"),
        ({"cpus": [[]]}, "not an object"),
        ({"cpus": []}, "no list of vCPUs"),
        ({"cpus": {}}, "no list of vCPUs"),
        ({}, "no list of vCPUs"),
        ([], "not an object"),
        ({"cpu": [{}]}, r'no place for "cpu" at its top; did you mean cpus\?'),
        ({"cpus": [{"cpu": 1 << 20}]}, "more vCPUs than"),
        ({"cpus": [{}], "process_table": "x"}, "process_table is"),
        ({"cpus": [{"a\x1b[31m": 1}]}, r"\\u001b"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path, content)
    assert str(caught.value).isprintable()


def test_a_file_too_long_to_be_one_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="longer than 16 MiB"):
        read(tmp_path, b" " * (17 << 20))


@given(st.dictionaries(st.sampled_from(REGISTERS), st.integers(0, (1 << 64) - 1)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_registers_are_read_back(tmp_path: Path, values: dict[str, int]) -> None:
    assert read(tmp_path, {"cpus": [{n: hex(v) for n, v in values.items()}]}).cpus[0].values == values


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,cpus0x1 ', max_size=60).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_registers_or_an_error_of_ours(tmp_path: Path, content: bytes) -> None:
    words = ""
    try:
        read(tmp_path, content)
    except InspectorError as e:
        words = str(e)
    assert not words or words.isprintable()
