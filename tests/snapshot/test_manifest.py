"""The manifest: read back, and every way in which a stranger's can be wrong."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import FormatError, InspectorError
from inspector.memory.physical import Range
from inspector.snapshot import jsonsafe
from inspector.snapshot.manifest import (
    MARK,
    MOST_BLOCKS,
    NOTE_NAME,
    NOTE_TYPE,
    Content,
    CpuRecord,
    Manifest,
    RootsRecord,
    RunRecord,
    block_for,
    decode,
    encode,
)
from inspector.targets.recorded import open_recorded
from tests.memory.elfmaker import Load, elf_core, note

FULL = Manifest(
    byte_order="big",
    recorded_at="2026-01-31T12:00:00Z",
    machine={"qemu": "7.2", "smp": 2},
    cpus=(CpuRecord(0, {"pid": 4}, "little"), CpuRecord(3, {"nip": (1 << 64) - 1}, None)),
    ram=(Range(0, 1 << 30, "ram"), Range(1 << 63, 1 << 63, "")),
    zeros=((0x2000, 8),),
    unreadable=((0x1000, 16),),
    contents=(Content("tables", 1 << 20, "page tables"), Content("registers", 0, "registers of 2 vCPUs")),
    virtio={"version": 1, "devices": []},
    triage={"version": 9, "whatever": [1, {"a": None}]},
    notes="2" * 64,
    roots=RootsRecord(0x8000_0000_3E00_000C, "process_tb", "certain"),
    runs=(RunRecord(0, 5 << 20, ("0" * 64, "1" * 64)),),
)


def note_of(document: Any) -> bytes:
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return sha256(raw).hexdigest().encode() + b"\n" + raw


def test_a_manifest_is_read_back() -> None:
    assert decode("x", encode(FULL)) == FULL
    assert decode("x", encode(Manifest())) == Manifest()


def test_what_is_not_there_is_unknown_and_what_is_more_is_ignored() -> None:
    assert decode("x", note_of({"version": 1, "colour": "blue"})) == Manifest()
    assert decode("x", note_of({"version": 1, "cpus": [{}]})).cpus == (CpuRecord(0, {}, None),)
    assert decode("x", note_of({"version": 1, "byte_order": "middle"})).byte_order is None


def test_a_newer_version_is_refused_with_a_way_out() -> None:
    with pytest.raises(FormatError, match="version 2, and this inspector reads version 1; use the inspector that"):
        decode("x", note_of({"version": 2, "cpus": "who knows"}))


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 500_000,
        b'{"version": 1, "machine": {"x": NaN}}',
        b'{"version": ' + b"9" * 5000 + b"}",
        [],
        7,
        {},
        {"version": "one"},
        {"version": 1, "machine": []},
        {"version": 1, "block": 0},
        {"version": 1, "block": "big"},
        {"version": 1, "cpus": {}},
        {"version": 1, "cpus": [7]},
        {"version": 1, "cpus": [{"registers": []}]},
        {"version": 1, "cpus": [{"registers": {"pid": "0x1" + "0" * 16}}]},
        {"version": 1, "cpus": [{"registers": {"pid": -1}}]},
        {"version": 1, "cpus": [{"registers": {"pid": True}}]},
        {"version": 1, "cpus": [{"registers": {"pid": 1.5}}]},
        {"version": 1, "cpus": [{"registers": {"p" * 33: 1}}]},
        {"version": 1, "cpus": [{"cpu": 1}, {"cpu": 1}]},
        {"version": 1, "cpus": [{"cpu": 1 << 40}]},
        {"version": 1, "cpus": [{}] * 20_000},
        {"version": 1, "ram": [[0]]},
        {"version": 1, "ram": [["0x0", 0]]},
        {"version": 1, "ram": [[1 << 63, (1 << 63) + 1]]},
        {"version": 1, "ram": [[0, 16], [8, 16]]},
        {"version": 1, "unreadable": 5},
        {"version": 1, "zeros": [[0, "x"]]},
        {"version": 1, "roots": []},
        {"version": 1, "roots": {"process_table": "x"}},
        {"version": 1, "virtio": []},
        {"version": 1, "triage": "all"},
        {"version": 1, "contents": {}},
        {"version": 1, "contents": [7]},
        {"version": 1, "contents": [{"kind": "tables", "size": -1, "text": "x"}]},
        {"version": 1, "contents": [{"kind": "tables", "size": 1, "text": 5}]},
        {"version": 1, "contents": [{"kind": "x", "size": 1, "text": ""}] * 300},
        {"version": 1, "runs": [[0, 16]]},
        {"version": 1, "runs": [[0, 16, ["0" * 63]]]},
        {"version": 1, "runs": [[0, 16, []]]},
        {"version": 1, "runs": [[0, 16, ["0" * 64, "0" * 64]]]},
        {"version": 1, "block": 1, "runs": [[0, 1 << 62, []]]},
    ],
)
def test_a_wrong_one_is_an_error_that_says_so(document: Any) -> None:
    with pytest.raises(FormatError, match="manifest"):
        decode("x", note_of(document))


def test_a_changed_one_is_noticed() -> None:
    good = bytearray(encode(FULL))
    good[100] ^= 1
    with pytest.raises(FormatError, match="checksum"):
        decode("x", bytes(good))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = ["machine", "cpus", "ram", "zeros", "unreadable", "roots", "block", "runs", "byte_order", "recorded_at"]
KEYS += ["contents", "virtio", "triage"]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_any_json_is_a_manifest_or_an_error_of_ours(document: dict[str, Any]) -> None:
    with suppress(InspectorError):
        decode("x", note_of({"version": 1, **document}))


def test_strings_cannot_steer_a_terminal() -> None:
    found = decode(
        "x",
        note_of(
            {
                "version": 1,
                "machine": {"a\x1b[2J": ["\x07bell", {"deep\r": "\ud800"}]},
                "recorded_at": "\x9b31m",
                "ram": [[0, 8, "ram\x1b]0;title\x07"]],
                "roots": {"process_table": 4, "how": "h\x1b", "sure": "x" * 100_000},
                "cpus": [{"registers": {"r\x1b": 1}}],
            }
        ),
    )
    assert found.roots is not None
    assert len(found.roots.sure) <= jsonsafe.MAX_TEXT
    words = str(found)
    assert words.isprintable()
    words.encode()


def core_with(document: Any, *loads: Load) -> bytes:
    core = bytearray(elf_core(list(loads), note(NOTE_NAME, NOTE_TYPE, note_of(document))))
    core[9:16] = MARK
    return bytes(core)


@pytest.mark.parametrize(
    ("core", "words"),
    [
        (core_with({"version": 1, "runs": []}, Load(0, b"x")), "different RAM"),
        (core_with({"version": 1, "runs": [[0, 2, ["0" * 64]]]}, Load(0, b"x")), "different RAM"),
        (core_with({"version": 1, "runs": [], "zeros": [[0, 8]]}), "different RAM"),
        (core_with({"version": 1, "ram": [[64, 8]]}, Load(0, b"x")), "says there is none"),
        (elf_core([Load(0, b"x")])[:9] + MARK + elf_core([Load(0, b"x")])[16:], "missing or garbled"),
        (elf_core([], note(NOTE_NAME, 1, b"")), "garbled"),
        (elf_core([], note(b"SOMEONE", NOTE_TYPE, b"")), "garbled"),
        (elf_core([], note(NOTE_NAME, NOTE_TYPE, note_of({"version": 1})) * 2), "garbled"),
        (elf_core([], note(NOTE_NAME, NOTE_TYPE, bytes(17 << 20))), "longer than 16 MiB"),
    ],
)
def test_a_manifest_that_does_not_fit_its_core_is_refused(tmp_path: Path, core: bytes, words: str) -> None:
    path = tmp_path / "x.core"
    path.write_bytes(core)
    with pytest.raises(FormatError, match=words):
        open_recorded(str(path))


def test_a_manifest_that_tells_little_is_taken_at_that(tmp_path: Path) -> None:
    path = tmp_path / "x.core"
    path.write_bytes(core_with({"version": 1}, Load(0x1000, b"data")))
    target = open_recorded(str(path))
    assert target.source.read(0x1000, 4) == b"data"
    assert [(r.start, r.size) for r in target.ram] == [(0x1000, 4)]
    assert tuple(target.cpus) == (0,)
    assert target.registers(0).values == {}
    assert target.machine["checksums"] == "none recorded"


def test_checksums_of_a_terabyte_are_still_few() -> None:
    for total in (0, 1, 1 << 30, 1 << 36, 1 << 40, 1 << 50):
        block = block_for(total)
        assert -(-total // block) <= MOST_BLOCKS
    assert block_for(1 << 36) == 4 << 20
