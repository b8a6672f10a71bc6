"""The manifest of a snapshot: what an ELF core has no place for, as JSON in a note of our own.

The note is named PPC64INSPECTOR and of a type that is no one else's: readelf and gdb go by the type
of a note whose name they do not know. Its bytes are the SHA-256 of the JSON in hex, a newline, and
the JSON. Seven bytes of the ELF header's padding say that there must be such a note, so that one
lost to damage is missed. Fields may be added without a new version, and a reader ignores those
it does not know; every field may be missing, and is then unknown. A version this does not know is
refused rather than read as a plain core: without the manifest a hole would look like a device, and
every register but the general ones would be gone, in silence.

The JSON: ::

    {"version": 1, "byte_order": "little", "recorded_at": "2026-01-31T12:00:00Z",
     "machine": {"qemu": "7.2.22", ...},
     "cpus": [{"cpu": 0, "byte_order": "little", "registers": {"pid": "0x4", ...}}],
     "ram": [["0x0", 1073741824, "ppc_spapr.ram"]],
     "zeros": [["0x3e010000", 16711680]],
     "unreadable": [["0x1000", 4096]],
     "roots": {"process_table": "0x800000003e00000c", "how": "...", "sure": "..."},
     "contents": [{"kind": "code", "size": 4096, "text": "..."}],
     "virtio": {"version": 1, ...},
     "triage": {"version": 1, ...},
     "notes": "<SHA-256 of the notes before this one>",
     "block": 4194304,
     "runs": [["0x2740000", 65536, ["<SHA-256 of each block>", ...]]]}

``ram`` is what is RAM, ``runs`` what was captured of it, ``zeros`` what was captured and holds
nothing but zeros (a PT_LOAD without bytes in the file), ``unreadable`` what was asked for and refused; RAM that is in
none of them was not asked for. ``contents`` is what there is of each kind, in words; ``virtio`` the devices
(inspector/virtio/state.py) and ``triage`` what triage goes by (inspector/triage/recorded.py), both checked by whoever
asks for them. Everything here may come from a stranger and is checked; strings are made safe to print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from inspector.errors import FormatError
from inspector.memory.physical import Range
from inspector.snapshot import jsonsafe

VERSION = 1
NOTE_NAME = b"PPC64INSPECTOR"
NOTE_TYPE = 0x50363453
"""'P64S'."""
MARK = b"P64SNAP"
"""e_ident[9:16] of a snapshot of ours: padding to everyone else."""
MAX_CPUS = 1 << 14
MAX_RANGES = 1 << 16
MAX_CONTENTS = 256
DIGEST_HEX = 64
LEAST_BLOCK = 4 << 20
MOST_BLOCKS = 1 << 14
BYTE_ORDERS = ("little", "big")


@dataclass(frozen=True, slots=True)
class CpuRecord:
    """One vCPU: the registers that were known, by canonical name, and its byte order (MSR[LE]) when recorded."""

    cpu: int
    registers: Mapping[str, int]
    byte_order: str | None = None


@dataclass(frozen=True, slots=True)
class RootsRecord:
    """The registered process table with its size field (None: not known), who said so, and how sure that is."""

    process_table: int | None = None
    how: str = ""
    sure: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One captured run and the SHA-256, in hex, of each ``block`` bytes of it (the last one may be shorter)."""

    address: int
    size: int
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What there is of one kind: a slug, how many bytes that are (0: of no such size), and what it is in words."""

    kind: str
    size: int
    text: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a snapshot. None is unknown; addresses and sizes are in bytes."""

    byte_order: str | None = None
    recorded_at: str | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    cpus: tuple[CpuRecord, ...] | None = None
    ram: tuple[Range, ...] | None = None
    zeros: tuple[tuple[int, int], ...] = ()
    unreadable: tuple[tuple[int, int], ...] = ()
    roots: RootsRecord | None = None
    contents: tuple[Content, ...] = ()
    virtio: Mapping[str, Any] | None = None
    triage: Mapping[str, Any] | None = None
    notes: str | None = None
    block: int = LEAST_BLOCK
    runs: tuple[RunRecord, ...] | None = None


def block_for(total: int) -> int:
    """Bytes that one checksum is over, so that even a terabyte needs only MOST_BLOCKS of them."""
    block = LEAST_BLOCK
    while total > block * MOST_BLOCKS:
        block *= 2
    return block


def encode(manifest: Manifest) -> bytes:
    """The note's bytes. The same manifest gives the same bytes."""
    import json
    from hashlib import sha256

    document: dict[str, Any] = {"version": VERSION}
    if manifest.byte_order is not None:
        document["byte_order"] = manifest.byte_order
    if manifest.recorded_at is not None:
        document["recorded_at"] = manifest.recorded_at
    document["machine"] = dict(manifest.machine)
    if manifest.cpus is not None:
        document["cpus"] = [_cpu_document(cpu) for cpu in manifest.cpus]
    if manifest.ram is not None:
        document["ram"] = [[hex(r.start), r.size, r.name] for r in manifest.ram]
    document["zeros"] = [[hex(address), size] for address, size in manifest.zeros]
    document["unreadable"] = [[hex(address), size] for address, size in manifest.unreadable]
    if manifest.roots is not None:
        roots = manifest.roots
        value = None if roots.process_table is None else hex(roots.process_table)
        document["roots"] = {"process_table": value, "how": roots.how, "sure": roots.sure}
    if manifest.contents:
        document["contents"] = [{"kind": c.kind, "size": c.size, "text": c.text} for c in manifest.contents]
    for name, held in (("virtio", manifest.virtio), ("triage", manifest.triage)):
        if held is not None:
            document[name] = dict(held)
    if manifest.notes is not None:
        document["notes"] = manifest.notes
    if manifest.runs is not None:
        document["block"] = manifest.block
        document["runs"] = [[hex(run.address), run.size, list(run.digests)] for run in manifest.runs]
    raw = json.dumps(document, separators=(",", ":"), default=str).encode()
    return sha256(raw).hexdigest().encode() + b"\n" + raw


def _cpu_document(cpu: CpuRecord) -> dict[str, Any]:
    document: dict[str, Any] = {"cpu": cpu.cpu}
    if cpu.byte_order is not None:
        document["byte_order"] = cpu.byte_order
    document["registers"] = {name: hex(value) for name, value in cpu.registers.items()}
    return document


def decode(path: str, note: bytes) -> Manifest:
    """The manifest in the bytes of a note. Raises FormatError."""
    from hashlib import sha256

    raw = note[DIGEST_HEX + 1 :]
    if note[: DIGEST_HEX + 1] != sha256(raw).hexdigest().encode() + b"\n":
        raise FormatError(path, "its manifest is garbled (its checksum does not hold); get the file again")
    try:
        document = jsonsafe.parse(raw)
    except ValueError as e:
        raise FormatError(path, f"its manifest is no JSON: {e}; get the file again") from None
    try:
        return _from_document(document)
    except _Newer as e:
        raise FormatError(path, str(e)) from None
    except _Wrong as e:
        raise FormatError(path, f"its manifest is wrong: {e}; get the file again") from None


class _Wrong(Exception):
    """What is wrong with a manifest, in words that fit behind 'its manifest is wrong:'."""


class _Newer(Exception):
    """The manifest is of a version this cannot read."""


def _from_document(document: object) -> Manifest:
    if not isinstance(document, dict):
        raise _Wrong("it is not an object")
    version = jsonsafe.number(document.get("version"))
    if version is None:
        raise _Wrong("it has no version")
    if version != VERSION:
        raise _Newer(
            f"its manifest is of version {version}, and this inspector reads version {VERSION}; "
            "use the inspector that wrote it, or a newer one"
        )
    machine = document.get("machine", {})
    block = jsonsafe.number(document.get("block", LEAST_BLOCK))
    if not isinstance(machine, dict):
        raise _Wrong("'machine' is not an object")
    if not block:
        raise _Wrong("'block' is not a size")
    return Manifest(
        byte_order=_byte_order(document.get("byte_order")),
        recorded_at=jsonsafe.text(document.get("recorded_at")),
        machine=jsonsafe.plain(machine),
        cpus=_cpus(document["cpus"]) if "cpus" in document else None,
        ram=_ram(document["ram"]) if "ram" in document else None,
        zeros=tuple(_span(row) for row in _rows(document, "zeros", jsonsafe.MAX_BRACKETS)),
        unreadable=tuple(_span(row) for row in _rows(document, "unreadable", jsonsafe.MAX_BRACKETS)),
        roots=_roots(document["roots"]) if "roots" in document else None,
        contents=tuple(_content(row) for row in _rows(document, "contents", MAX_CONTENTS)),
        virtio=_object(document, "virtio"),
        triage=_object(document, "triage"),
        notes=jsonsafe.text(document.get("notes")),
        block=block,
        runs=_runs(document, block) if "runs" in document else None,
    )


def _rows(document: Mapping[str, Any], key: str, most: int) -> Sequence[Any]:
    rows = document.get(key, [])
    if not isinstance(rows, list) or len(rows) > most:
        raise _Wrong(f"'{key}' is not a list of at most {most}")
    return rows


def _object(document: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    found = document.get(key)
    if found is not None and not isinstance(found, dict):
        raise _Wrong(f"'{key}' is not an object")
    return found


def _content(row: object) -> Content:
    if isinstance(row, dict):
        kind, size, text = jsonsafe.text(row.get("kind")), jsonsafe.number(row.get("size")), row.get("text")
        if kind is not None and size is not None and isinstance(text, str):
            return Content(kind, size, jsonsafe.text(text) or "")
    raise _Wrong("what it says of its contents is not a kind, a size and a text each")


def _span(row: object) -> tuple[int, int]:
    """(address, size) out of [address, size, ...], inside 64 bits."""
    if isinstance(row, list) and len(row) >= 2:
        address, size = jsonsafe.number(row[0]), jsonsafe.number(row[1])
        if address is not None and size and address + size <= 1 << 64:
            return address, size
    raise _Wrong("a range is not [address, size]")


def _ram(rows: object) -> tuple[Range, ...]:
    ranges = []
    for row in _rows({"ram": rows}, "ram", MAX_RANGES):
        start, size = _span(row)
        ranges.append(Range(start, size, (jsonsafe.text(row[2]) if len(row) > 2 else None) or ""))
    ranges.sort(key=lambda r: r.start)
    for before, after in pairwise(ranges):
        if before.end > after.start:
            raise _Wrong(f"two ranges of RAM overlap at {after.start:#x}")
    return tuple(ranges)


def _runs(document: Mapping[str, Any], block: int) -> tuple[RunRecord, ...]:
    records = []
    for row in _rows(document, "runs", jsonsafe.MAX_BRACKETS):
        address, size = _span(row)
        digests = row[2] if len(row) > 2 else None
        if (
            not isinstance(digests, list)
            or len(digests) != -(-size // block)
            or not all(isinstance(d, str) and len(d) == DIGEST_HEX for d in digests)
        ):
            raise _Wrong(f"the run at {address:#x} has not one checksum a block")
        records.append(RunRecord(address, size, tuple(digests)))
    return tuple(records)


def _byte_order(value: object) -> str | None:
    return value if isinstance(value, str) and value in BYTE_ORDERS else None


def _cpus(rows: object) -> tuple[CpuRecord, ...]:
    records: dict[int, CpuRecord] = {}
    for place, row in enumerate(_rows({"cpus": rows}, "cpus", MAX_CPUS)):
        registers = row.get("registers", {}) if isinstance(row, dict) else None
        if not isinstance(row, dict) or not isinstance(registers, dict):
            raise _Wrong(f"vCPU {place} is not an object with registers")
        cpu = jsonsafe.number(row.get("cpu", place))
        if cpu is None or cpu >= MAX_CPUS or cpu in records:
            raise _Wrong(f"the number of vCPU {place} is wrong or there twice")
        values: dict[str, int] = {}
        for name, given in registers.items():
            value = jsonsafe.number(given)
            if value is None or len(name) > 32:
                raise _Wrong(f"a register of vCPU {cpu} is not a 64-bit number")
            values[jsonsafe.text(name) or ""] = value
        records[cpu] = CpuRecord(cpu, values, _byte_order(row.get("byte_order")))
    return tuple(records[cpu] for cpu in sorted(records))


def _roots(row: object) -> RootsRecord:
    if not isinstance(row, dict):
        raise _Wrong("'roots' is not an object")
    given = row.get("process_table")
    value = jsonsafe.number(given)
    if given is not None and value is None:
        raise _Wrong("'process_table' is not a 64-bit number")
    return RootsRecord(value, jsonsafe.text(row.get("how")) or "", jsonsafe.text(row.get("sure")) or "")
