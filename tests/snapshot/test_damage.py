"""A snapshot is untrusted input: whatever its bytes, there is an error of ours or the very guest that was recorded."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.errors import FormatError, InspectorError
from inspector.snapshot.write import write_snapshot
from inspector.targets.recorded import open_recorded
from tests.memory.elfmaker import Load, elf_core, note, prstatus
from tests.snapshot.samples import everything, recording


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.core"
    write_snapshot(str(path), recording())
    return path.read_bytes()


def told(folder: Path, data: bytes) -> object:
    """Everything that a snapshot of these bytes tells, or None where it is refused."""
    path = folder / "damaged.core"
    path.write_bytes(data)
    try:
        target = open_recorded(str(path))
    except InspectorError:
        return None
    try:
        return everything(target)
    except InspectorError:
        return None
    finally:
        target.close()


def test_every_single_byte_of_it_matters_or_changes_nothing(tmp_path: Path, good: bytes) -> None:
    right = told(tmp_path, good)
    assert right is not None
    silent = 0
    captured = range(448, 448 + 4096)
    for at in [n for n in range(len(good)) if n not in captured or n % 64 == 0]:
        damaged = bytearray(good)
        damaged[at] ^= 1 << (at % 8)
        answer = told(tmp_path, bytes(damaged))
        assert answer is None or answer == right, f"byte {at:#x} changed the answer in silence"
        silent += answer is not None
    assert silent < len(good) // 2  # most damage is noticed: only fields that nothing is read from are silent


def test_every_cut_is_noticed(tmp_path: Path, good: bytes) -> None:
    for length in range(0, len(good), 37):
        assert told(tmp_path, good[:length]) is None


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_an_error_of_ours(tmp_path: Path, good: bytes, data: st.DataObject) -> None:
    damaged = bytearray(good)
    interesting = st.one_of(st.integers(0, 63 + 56 * 4), st.integers(0, len(good) - 1))
    for at, value in data.draw(
        st.lists(st.tuples(interesting, st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])), min_size=1, max_size=12)
    ):
        damaged[at] = value
    told(tmp_path, bytes(damaged))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tail=st.binary(max_size=400))
def test_anything_behind_a_good_magic_is_an_error_of_ours(tmp_path: Path, tail: bytes) -> None:
    told(tmp_path, b"\x7fELF\2\1\1" + tail)
    told(tmp_path, elf_core([])[:64] + tail)


def test_the_run_that_is_not_as_it_was_recorded_is_named(tmp_path: Path, good: bytes) -> None:
    at = good.index(bytes(range(256)))
    path = tmp_path / "x.core"
    path.write_bytes(good[: at + 5] + b"!" + good[at + 6 :])
    target = open_recorded(str(path))
    with pytest.raises(FormatError, match=r"run of RAM at 0x2740000 \(\+0x1000\) is not as it was recorded"):
        target.source.read(0x2740F00, 8)
    assert target.source.read(1 << 40, 4) == b"hotp"  # the other run is as it was


def test_what_it_claims_is_not_allocated(tmp_path: Path) -> None:
    cores = [
        elf_core([Load(0, b"x", memsz=1 << 63)]),
        elf_core([Load(0, b"x", filesz=1 << 62, memsz=1 << 62)]),
        elf_core([Load(0, b"x")], notes_size=1 << 62),
        elf_core([Load(0, b"x")], phnum=0xFFFE),
    ]
    for core in cores:
        path = tmp_path / "x.core"
        path.write_bytes(core)
        tracemalloc.start()
        try:
            target = open_recorded(str(path))
            with pytest.raises(InspectorError):
                target.source.read(0, 1 << 62)
        except FormatError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 8 << 20


def test_a_core_of_someone_else_knows_the_general_registers_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "qemu.dump"
    slots = {0: 0xA0, 31: 0xA31, 32: 0xC000, 33: 0x8000_0000_0280_B033, 34: 3, 35: 0xC7, 36: 0x17, 37: 0x20, 38: 0x44}
    notes = prstatus(slots, ">") + note(b"CORE", 2, bytes(264), ">") + prstatus({32: 0x100, 41: 0xDA}, ">")
    path.write_bytes(elf_core([Load(0, b"ram" * 100)], notes, order=">", ehsize=8))
    target = open_recorded(str(path))
    assert tuple(target.cpus) == (0, 1)
    first = target.registers(0)
    assert (first.get("r0"), first.get("r31"), first.get("nip")) == (0xA0, 0xA31, 0xC000)
    assert (first.get("ctr"), first.get("lr"), first.get("xer"), first.get("cr")) == (0xC7, 0x17, 0x20, 0x44)
    for unknown in ("pid", "lpcr", "amr", "dar", "dsisr", "ptcr"):
        assert first.get(unknown) is None
    assert target.registers(1).get("dar") is None
    assert [(r.start, r.size) for r in target.ram] == [(0, 300)]
    assert target.machine["kind"] == "core"
    assert target.known_roots.process_table is None
    assert target.byte_order == "big"


def test_a_core_without_ram_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.core"
    path.write_bytes(elf_core([], prstatus({})))
    with pytest.raises(FormatError, match="holds no RAM"):
        open_recorded(str(path))
