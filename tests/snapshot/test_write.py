"""What is written is read back, and is a core that others can open."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings

from inspector.errors import NotCaptured, RecordError, TargetLost, Unreadable
from inspector.memory.elf import read_core, read_notes
from inspector.memory.physical import PhysicalMemory, Range
from inspector.snapshot import manifest, prstatus
from inspector.snapshot.manifest import CpuRecord
from inspector.snapshot.recording import Recording, Run, run_of
from inspector.snapshot.write import write_snapshot
from inspector.targets.recorded import open_recorded
from tests.snapshot.samples import everything, read_or_why, recording, recordings

SUFFIXES = ["core", "core.gz", "core.zst"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=recordings())
def test_any_recording_is_read_back_the_same(tmp_path: Path, made: Recording) -> None:
    path = str(tmp_path / "any.core")
    summary = write_snapshot(path, made, force=True)
    target = open_recorded(path)
    try:
        expected = {cpu.cpu: cpu for cpu in made.cpus} or {0: CpuRecord(0, {})}
        assert tuple(target.cpus) == tuple(expected)
        for number, cpu in expected.items():
            assert target.registers(number).values == cpu.registers
            assert target.byte_order_of(number) == cpu.byte_order
        assert [(r.start, r.size) for r in target.ram] == [(r.start, r.size) for r in made.ram]
        assert target.known_roots.process_table == (made.roots.process_table if made.roots else None)
        assert target.byte_order == made.byte_order
        assert target.vmcoreinfo == made.vmcoreinfo
        for run in made.runs:
            assert target.source.read(run.address, run.size) == run.read(run.address, run.size)
        for address, size in made.zeros:
            assert target.source.read(address, size) == bytes(size)
        for address, size in made.unreadable:
            assert read_or_why(target, address, size) == "unreadable"
        told = [*((r.address, r.size) for r in made.runs), *made.zeros, *made.unreadable]
        for span in made.ram:
            missing = [a for a in range(span.start, span.end) if not any(b <= a < b + s for b, s in told)]
            for address in missing[:3] + missing[-3:]:
                assert read_or_why(target, address, 1) == "not-captured"
        assert summary.captured - summary.zeros == sum(r.size for r in made.runs)
        assert summary.file_size == Path(path).stat().st_size
    finally:
        target.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_packed_by_its_name_and_always_to_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    for path in (one, two):
        write_snapshot(str(path), recording())
    assert one.read_bytes() == two.read_bytes()
    plain = one.read_bytes()
    if suffix.endswith("gz"):
        plain = gzip.decompress(plain)
    elif suffix.endswith("zst"):
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(plain)
    assert plain.startswith(b"\x7fELF\2\1\1")
    plainly = tmp_path / "plain"
    plainly.write_bytes(plain)
    assert everything(open_recorded(str(one))) == everything(open_recorded(str(plainly)))


def test_the_elf_is_what_design_says(tmp_path: Path) -> None:
    path = tmp_path / "a.core"
    write_snapshot(str(path), recording())
    data = path.read_bytes()

    def little(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    assert (little(16, 2), little(18, 2), little(48, 4)) == (4, 21, 2)  # ET_CORE, EM_PPC64, ELFv2
    assert (little(52, 2), little(54, 2), little(56, 2), little(60, 2)) == (64, 56, 4, 0)
    headers = [[little(64 + 56 * n + at, 8) for at in (16, 24, 32, 40)] for n in range(4)]
    assert headers[1:] == [
        [0xC000_0000_0274_0000, 0x274_0000, 4096, 4096],
        [0xC000_0000_3E01_0000, 0x3E01_0000, 0, 0xFF_0000],
        [0xC000_0100_0000_0000, 1 << 40, 10, 10],
    ]
    core = read_core("a", data, len(data))
    notes = [(n.name, n.type) for n in read_notes("a", data, core)]
    assert notes == [
        (b"CORE", 1),
        (b"CORE", 1),
        (b"VMCOREINFO", 0),
        (manifest.NOTE_NAME, manifest.NOTE_TYPE),
    ]
    first = next(iter(read_notes("a", data, core)))
    assert prstatus.decode("<", data[first.offset :][: first.size])["nip"] == 0xC000_0000_000E_1130


def test_a_big_endian_guest_makes_a_big_endian_core(tmp_path: Path) -> None:
    path = tmp_path / "be.core"
    write_snapshot(str(path), recording(byte_order="big", linear_base=None))
    data = path.read_bytes()
    assert data[5] == 2
    assert int.from_bytes(data[48:52], "big") == 0
    assert int.from_bytes(data[64 + 56 + 16 : 64 + 56 + 24], "big") == 0  # no linear map, no p_vaddr
    assert open_recorded(str(path)).byte_order == "big"


def test_what_lies_beyond_the_linear_map_has_no_virtual_address(tmp_path: Path) -> None:
    path = tmp_path / "far.core"
    write_snapshot(
        str(path), recording(ram=[Range(1 << 51, 64)], runs=[run_of(1 << 51, b"far")], zeros=[], unreadable=[])
    )
    assert int.from_bytes(path.read_bytes()[64 + 56 + 16 : 64 + 56 + 24], "little") == 0


def test_more_runs_than_16_bits_count(tmp_path: Path) -> None:
    path = str(tmp_path / "many.core")
    runs = [run_of(16 * n, n.to_bytes(4, "big")) for n in range(66_000)]
    write_snapshot(path, recording(runs=runs, zeros=[], unreadable=[], cpus=[]))
    target = open_recorded(path)
    assert len(target.captured) == 66_000
    assert target.source.read(16 * 65_999, 4) == (65_999).to_bytes(4, "big")
    target.close()


def test_more_runs_than_a_manifest_can_list_are_refused_in_words(tmp_path: Path) -> None:
    runs = [run_of(16 * n, b"x") for n in range(210_000)]
    with pytest.raises(RecordError, match="--everything"):
        write_snapshot(str(tmp_path / "x"), recording(runs=runs, zeros=[], unreadable=[]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"runs": [run_of(0x1000, b"x" * 32), run_of(0x1010, b"y")]},
        {"runs": [run_of(0x1000, b"x" * 32)], "zeros": [(0x101F, 1)]},
        {"runs": [run_of((1 << 30) - 4, b"x" * 8)]},
        {"zeros": [(1 << 50, 8)]},
        {"byte_order": "middle"},
        {"cpus": [CpuRecord(0, {"pid": 1 << 64})]},
        {"runs": [Run(0, 32, lambda address, length: b"short")]},
    ],
)
def test_what_cannot_be_is_not_written(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        write_snapshot(str(tmp_path / "x.core"), recording(**wrong))
    assert list(tmp_path.iterdir()) == []


class Patchy:
    """A reader that refuses some addresses."""

    def __init__(self, refused: list[tuple[int, int]], error: type[NotCaptured | Unreadable]) -> None:
        self.refused = refused
        self.error = error

    def __call__(self, address: int, length: int) -> bytes:
        for start, size in self.refused:
            if address < start + size and start < address + length:
                raise self._missing(address, length)
        return b"".join((n // 8).to_bytes(8, "big") for n in range(address, address + length, 8))

    def _missing(self, address: int, length: int) -> NotCaptured | Unreadable:
        return NotCaptured(address, length) if self.error is NotCaptured else Unreadable(address, length, "it refused")


@pytest.mark.parametrize(("error", "slug"), [(NotCaptured, "not-captured"), (Unreadable, "unreadable")])
def test_what_a_reader_refuses_is_told_and_the_rest_is_kept(
    tmp_path: Path, error: type[NotCaptured | Unreadable], slug: str
) -> None:
    refused = [(0x3000, 0x2000), (0x10_0000, 0x1000), (0x2F_F000, 0x1000)]
    path = str(tmp_path / "patchy.core.gz")
    run = Run(0, 0x30_0000, Patchy(refused, error))
    summary = write_snapshot(path, recording(runs=[run], zeros=[], unreadable=[], ram=[Range(0, 1 << 30)]))
    assert summary.captured == 0x30_0000 - 0x4000
    target = open_recorded(path)
    for start, size in refused:
        assert read_or_why(target, start, 8) == slug
        assert read_or_why(target, start + size - 8, 8) == slug
        assert target.source.read(start - 8, 8) == ((start - 8) // 8).to_bytes(8, "big")
        if start + size < run.end:
            assert target.source.read(start + size, 8) == ((start + size) // 8).to_bytes(8, "big")
    assert sum(size for _, size in target.captured) == summary.captured


def test_a_snapshot_of_a_snapshot_tells_the_same_absences(tmp_path: Path) -> None:
    first, second = str(tmp_path / "a.core"), str(tmp_path / "b.core")
    ram = [Range(0, 0x8000)]
    write_snapshot(
        first, recording(ram=ram, runs=[run_of(0x1100, b"x" * 256)], zeros=[(0x3000, 64)], unreadable=[(0x5000, 8)])
    )
    one = open_recorded(first)
    write_snapshot(
        second,
        recording(ram=ram, runs=[Run(0, 0x8000, PhysicalMemory(one.source, one.ram).read)], zeros=[], unreadable=[]),
    )
    two = open_recorded(second)
    for address in range(0, 0x8000, 8):
        assert read_or_why(one, address, 8) == read_or_why(two, address, 8), hex(address)


def test_a_guest_lost_while_recording_leaves_nothing(tmp_path: Path) -> None:
    def lost(address: int, length: int) -> bytes:
        raise TargetLost("QEMU is gone; start it again")

    with pytest.raises(TargetLost):
        write_snapshot(str(tmp_path / "x.core"), recording(runs=[Run(0, 64, lost)]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is not installed")
@pytest.mark.parametrize("order", ["little", "big"])
def test_readelf_has_nothing_to_complain_of(tmp_path: Path, order: str) -> None:
    path = str(tmp_path / "a.core")
    write_snapshot(path, recording(byte_order=order))
    shown = subprocess.run(["readelf", "-hlnW", path], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stderr == ""
    assert "Warning" not in shown.stdout
    assert "PowerPC64" in shown.stdout
    assert shown.stdout.count("NT_PRSTATUS") == 2
    assert "PPC64INSPECTOR" in shown.stdout


@pytest.mark.skipif(shutil.which("gdb-multiarch") is None, reason="gdb-multiarch is not installed")
def test_gdb_sees_registers_and_the_linear_map(tmp_path: Path) -> None:
    path = str(tmp_path / "a.core")
    write_snapshot(path, recording())
    ask = ["-ex", f"core-file {path}", "-ex", "info threads", "-ex", "p/x $msr", "-ex", "x/2xb 0xc000000002740001"]
    shown = subprocess.run(
        ["gdb-multiarch", "-nx", "-q", "-batch", *ask], capture_output=True, text=True, timeout=100, check=True
    ).stdout
    assert "LWP 1" in shown
    assert "LWP 2" in shown
    assert "0x800000000280b033" in shown
    assert "0x01\t0x02" in shown


def test_pyelftools_reads_the_same_notes(tmp_path: Path) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    path = tmp_path / "a.core"
    write_snapshot(str(path), recording())
    with path.open("rb") as file:
        elf = elffile.ELFFile(file)
        notes = [n["n_name"] for s in elf.iter_segments("PT_NOTE") for n in s.iter_notes()]
        assert notes == ["CORE", "CORE", "VMCOREINFO", "PPC64INSPECTOR"]
        assert [s["p_paddr"] for s in elf.iter_segments("PT_LOAD")] == [0x2740000, 0x3E010000, 1 << 40]
