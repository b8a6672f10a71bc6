"""Recordings to write, and what is read back of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from inspector.errors import MemoryReadError
from inspector.memory.physical import RamMap, Range
from inspector.snapshot.manifest import CpuRecord, RootsRecord
from inspector.snapshot.recording import Recording, Run, run_of
from inspector.targets.recorded import RecordedTarget

RAM = (Range(0, 1 << 30, "ppc_spapr.ram"), Range(1 << 40, 1 << 20, "dimm1"))
REGISTERS = {"r1": 0xC000_0000_0123_4560, "nip": 0xC000_0000_000E_1130, "msr": 0x8000_0000_0280_B033, "pid": 4}


def recording(**more: object) -> Recording:
    """A small one: two runs, zeros, a refusal, two vCPUs."""
    small = Recording(
        byte_order="little",
        runs=[run_of(0x2740000, bytes(range(256)) * 16), run_of(1 << 40, b"hotplugged")],
        ram=RAM,
        cpus=[
            CpuRecord(0, {**REGISTERS, "dar": 0x1234, "amr": 0xFCFF_FFFF_FFFF_FFFF}, "little"),
            CpuRecord(1, {"nip": 0x100, "msr": 1 << 63}, "big"),
        ],
        zeros=[(0x3E010000, 0xFF0000)],
        unreadable=[(0x5000, 0x1000)],
        roots=RootsRecord(0x8000_0000_3E00_000C, "a search of RAM", "likely"),
        machine={"qemu": "7.2.22", "smp": 2},
        vmcoreinfo=b"OSRELEASE=6.1.0\nPAGESIZE=65536\n",
        linear_base=0xC000_0000_0000_0000,
        recorded_at="2026-01-31T12:00:00Z",
    )
    return replace(small, **more)  # type: ignore[arg-type]


def read_or_why(target: RecordedTarget, address: int, length: int) -> bytes | str:
    """The bytes, or the slug of why there are none."""
    try:
        return target.source.read(address, length)
    except MemoryReadError as e:
        return e.slug


def everything(target: RecordedTarget) -> object:
    """All that a target tells but its name."""
    bytes_ = [(a, target.source.read(a, s)) for a, s in target.captured]
    return (
        bytes_,
        list(target.ram),
        [dict(target.registers(n).values) for n in target.cpus],
        [target.byte_order_of(n) for n in target.cpus],
        target.known_roots,
        dict(target.machine),
        [read_or_why(target, a, 8) for a in (0x5000, 0x3E010000, 0x6000)],
    )


@st.composite
def spans(draw: st.DrawFn, most: int = 12) -> list[tuple[int, int]]:
    """Disjoint, sorted (address, size) from anywhere in 64 bits, often touching, of at most 300 bytes each."""
    sizes = draw(st.lists(st.integers(1, 300), max_size=most))
    out = []
    at = draw(st.sampled_from([0, 1, 0x1000, 1 << 51, (1 << 63) - 100]))
    for size in sizes:
        at += draw(st.sampled_from([0, 0, 1, 8, 4096, 1 << 30]))
        out.append((at, size))
        at += size
    return out


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Any runs, zeros and refusals, in RAM that holds them and perhaps more."""
    parts = draw(spans())
    kinds = [draw(st.sampled_from(["bytes", "reader", "zeros", "unreadable", "left out"])) for _ in parts]
    runs: list[Run] = []
    for (address, size), kind in zip(parts, kinds, strict=True):
        data = draw(st.binary(min_size=size, max_size=size))
        if kind == "bytes":
            runs.append(run_of(address, data))
        elif kind == "reader":
            runs.append(Run(address, size, lambda a, n, data=data, base=address: data[a - base : a - base + n]))  # type: ignore[misc]
    ram = [Range(start, end - start) for start, end in RamMap(Range(a, s) for a, s in parts).spans()]
    register = st.sampled_from(["r0", "r31", "nip", "msr", "pid", "lpcr", "amr", "dsisr", "cr"])
    files = draw(st.lists(st.dictionaries(register, st.integers(0, (1 << 64) - 1)), max_size=3))
    return Recording(
        byte_order=draw(st.sampled_from(["little", "big"])),
        runs=draw(st.permutations(runs)),
        ram=ram,
        cpus=[CpuRecord(n, values, draw(st.sampled_from(["little", "big", None]))) for n, values in enumerate(files)],
        zeros=[span for span, kind in zip(parts, kinds, strict=True) if kind == "zeros"],
        unreadable=[span for span, kind in zip(parts, kinds, strict=True) if kind == "unreadable"],
        roots=draw(st.none() | st.builds(RootsRecord, st.integers(0, (1 << 64) - 1), st.just("told"), st.just("sure"))),
        vmcoreinfo=draw(st.none() | st.binary(max_size=50)),
        linear_base=draw(st.sampled_from([None, 0xC000_0000_0000_0000])),
    )
