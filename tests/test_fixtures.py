"""The recorded guests answer offline as QEMU answered when they were recorded."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

import inspector
from inspector.guest import Guest
from inspector.opening import DEMO_FILE
from inspector.radix.bits import MSR_DR, MSR_HV, MSR_IR, MSR_LE
from inspector.radix.tree import Leaf, walk_tree
from scripts.oracle import ours

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
KINDS = ("pseries-p9", "pseries-p10", "powernv9", "pseries-firmware")
LINUX = KINDS[:3]
KVM_HOST = "powernv9-kvm"
"""Of which more is told: see test_fixtures_kvm.py."""
HANG = "powernv9-hang"
"""Of which nothing was asked: see test_fixtures_hang.py."""
LIFE = "powernv9-faults"
"""What a guest went through, and no snapshot: see test_fixtures_life.py."""


@pytest.fixture(params=KINDS)
def recorded(request: pytest.FixtureRequest) -> Iterator[tuple[str, Guest]]:
    with inspector.open_target(str(FIXTURES / f"{request.param}.core.gz")) as guest:
        yield request.param, guest


def test_every_fixture_has_its_files() -> None:
    there = {path.name for path in FIXTURES.iterdir() if path.is_file()}
    kinds = {f"{kind}.{end}" for kind in (*KINDS, KVM_HOST) for end in ("core.gz", "oracle.gz", "txt")}
    kinds |= {f"{HANG}.{end}" for end in ("core.gz", "txt")}
    assert there == kinds | {f"{LIFE}.{end}" for end in ("jsonl", "oracle.gz", "txt")}


def test_what_qemu_said_is_what_the_walker_finds(recorded: tuple[str, Guest]) -> None:
    kind, guest = recorded
    wrong, answered = [], 0
    with gzip.open(FIXTURES / f"{kind}.oracle.gz", "rt") as oracle:
        for line in oracle:
            cpu, ea, said = line.split()
            theirs = None if said == "-" else int(said, 16)
            answered += theirs is not None
            if (mine := ours(guest, int(ea, 16), int(cpu))) != theirs:
                wrong.append(f"{ea} on vCPU {cpu}: QEMU said {said}, we say {mine}")
    assert wrong == []
    assert answered > 100, "an oracle that says 'nowhere' to all proves little"


def test_the_registers_are_those_of_the_machine(recorded: tuple[str, Guest]) -> None:
    kind, guest = recorded
    assert list(guest.target.cpus) == [0, 1]
    pvr = guest.registers(0).need("pvr") >> 16
    assert pvr == (0x80 if kind == "pseries-p10" else 0x4E)
    for cpu in guest.target.cpus if kind in LINUX else (0,):
        msr = guest.registers(cpu).need("msr")
        assert bool(msr & MSR_HV) == (kind == "powernv9")
        assert bool(msr & MSR_LE) == (kind in LINUX)
        assert bool(msr & (MSR_IR | MSR_DR)) == (kind in LINUX)


def test_roots_are_told_with_how_they_were_found(recorded: tuple[str, Guest]) -> None:
    kind, guest = recorded
    roots = guest.roots
    if kind == "pseries-firmware":
        assert roots.state == "mmu-off"
        assert "firmware" in roots.explanation
    elif kind == "powernv9":
        assert (roots.how, roots.sure, roots.flat) == ("PTCR", "certain", False)
    else:
        assert roots.state == "radix"
        assert "process_tb" in roots.how


@pytest.mark.parametrize("kind", LINUX)
def test_an_independent_reading_finds_the_same_leaves(kind: str) -> None:
    """Every leaf again, by a reader of twenty lines that shares nothing with the walkers but the file's bytes."""
    with inspector.open_target(str(FIXTURES / f"{kind}.core.gz")) as guest:
        memory = guest.memory

        def read(base: int, bits: int, shift: int, offset: int) -> Iterator[tuple[int, int, int]]:
            for index, entry in enumerate(struct.unpack(f">{1 << bits}Q", memory.read(base, 8 << bits))):
                at = offset + (index << (shift - bits))
                if entry >> 62 == 3:
                    yield at, entry, shift - bits
                elif entry >> 63:
                    yield from read(entry & 0x0FFF_FFFF_FFFF_FF00, entry & 31, shift - bits, at)

        processes = list(guest.processes())
        assert processes[0].pid == 0
        assert len(processes) > 2, "no process was alive"
        for process in processes:
            ours = [(f.offset, f.entry, f.shift) for f in walk_tree(memory.read, process.entry) if isinstance(f, Leaf)]
            assert ours == list(read(process.entry & 0x0FFF_FFFF_FFFF_FF00, 13, 52, 0))
            assert ours, f"PID {process.pid} maps nothing"


def test_no_code_of_a_kernel_is_in_them(recorded: tuple[str, Guest]) -> None:
    """Page tables and registers only: the page that NIP lies in was not captured."""
    _, guest = recorded
    for cpu in guest.target.cpus:
        answer = guest.translate(guest.registers(cpu).need("nip"), cpu=cpu)
        assert answer.ra is not None
        with pytest.raises(inspector.MemoryReadError):
            guest.memory.read(answer.ra & ~3, 4)


def test_notes_name_no_folder_of_the_machine_that_recorded_them() -> None:
    for kind in KINDS:
        note = (FIXTURES / f"{kind}.txt").read_text()
        assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|usr)/", note)
        assert "scripts/record-fixtures" in note


def test_the_demo_guest_is_a_fixture() -> None:
    assert (ROOT / "inspector/demo" / DEMO_FILE).read_bytes() == (FIXTURES / "pseries-p9.core.gz").read_bytes()
