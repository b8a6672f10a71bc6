"""Writing a snapshot: an ELF64 core of EM_PPC64 that readelf, gdb, drgn and crash can open.

Laid out so that it can be written from front to back, packed or not: file header, program headers,
the runs, and last the notes, because the manifest holds checksums that are only known by then. Its
length is known before, for a checksum is as long whatever it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from inspector.errors import MemoryReadError, RecordError
from inspector.memory import elf
from inspector.memory.physical import RamMap
from inspector.snapshot import manifest as manifests
from inspector.snapshot import prstatus
from inspector.snapshot.jsonsafe import MASK64, MAX_BRACKETS, MAX_BYTES, MAX_COMMAS
from inspector.snapshot.manifest import Manifest, RunRecord, block_for
from inspector.snapshot.output import replacing
from inspector.snapshot.read import VMCOREINFO
from inspector.snapshot.recording import LINEAR_LIMIT, Piece, Recording, join, joined, without_refused

PF_RWX = 7
EF_PPC64_ABI_V2 = 2
"""e_flags of a little-endian core, as Linux's own vmcores have (ELF_CORE_EFLAGS, 6.1); 0 leaves it unsaid."""
ALIGN = 64
NO_DIGEST = "0" * manifests.DIGEST_HEX


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written: ``file_size`` bytes on the disk; of the guest's RAM ``captured`` bytes, of which ``zeros``
    are known to be zero and take no room, and ``unreadable`` that refused."""

    path: str
    file_size: int
    runs: int
    captured: int
    zeros: int
    unreadable: int
    cpus: int


def write_snapshot(path: str, recording: Recording, *, force: bool = False) -> Summary:
    """Write ``recording`` to ``path``; a name that ends in .gz or .zst is packed, always to the same bytes.

    The file is written beside its name (mode 0600: it holds a guest's memory), flushed to the disk
    and renamed into place. A file that is already there is left alone unless ``force``. What a
    reader refuses (Unreadable) is told in the manifest. Raises RecordError, and nothing is left
    behind; or TargetError where the guest was lost, likewise."""
    try:
        return _write(path, recording, force)
    except MemoryReadError:
        pass
    try:
        return _write(path, without_refused(recording), force)
    except MemoryReadError as e:
        raise RecordError(
            f"{path} was not written: {e}, though a moment ago it was; stop the guest and try again"
        ) from e


def _write(path: str, recording: Recording, force: bool) -> Summary:
    layout = Layout(path, recording)
    with replacing(path, force) as out:
        for piece in layout.content():
            out.write(piece)
        size = out.finish()
    return layout.summary(size)


def planned(path: str, recording: Recording) -> Summary:
    """What :func:`write_snapshot` would say, and nothing is written or read: ``file_size`` is that of a file which is
    not packed. Raises RecordError for what cannot be written."""
    layout = Layout(path, recording)
    return layout.summary(layout.size)


class Layout:
    """Where everything goes in the file."""

    def __init__(self, path: str, recording: Recording) -> None:
        from hashlib import sha256

        self._path = path
        if recording.byte_order not in manifests.BYTE_ORDERS:
            raise RecordError(f"{path} was not written: byte order {recording.byte_order!r} is not 'little' or 'big'")
        for cpu in recording.cpus:
            for name, value in cpu.registers.items():
                if not 0 <= value <= MASK64:
                    raise RecordError(f"{path} was not written: {name} of vCPU {cpu.cpu} is {value:#x}, not 64 bits")
        self.recording = replace(recording, unreadable=joined(recording.unreadable))
        self.order = "<" if recording.byte_order == "little" else ">"
        self.pieces: list[Piece] = join(recording.runs, recording.zeros, RamMap(recording.ram))
        total = sum(piece.file_size for piece in self.pieces)
        self._others = self._other_notes()
        self._manifest = _manifest(self.recording, self.pieces, block_for(total), sha256(self._others).hexdigest())
        encoded = manifests.encode(self._manifest)
        spans = len(self.pieces) + len(self.recording.unreadable)
        values = encoded.count(b"[") + encoded.count(b"{"), encoded.count(b",")
        long = len(encoded) > MAX_BYTES or values[0] > MAX_BRACKETS or values[1] > MAX_COMMAS
        if long or spans * 2 > MAX_BRACKETS:
            way = "record larger stretches with --also ADDR:LEN, or --everything"
            what = f"{spans} separate runs are more than a snapshot can list"
            if recording.triage is not None and spans * 2 <= MAX_BRACKETS:
                what, way = "what triage sampled is more than a snapshot can hold", "leave --triage out"
            raise RecordError(f"{path} was not written: {what}; {way}")
        self._phnum = len(self.pieces) + 1
        lead = elf.EHDR_BYTES + self._phnum * elf.PHDR_BYTES
        if self._phnum >= elf.PN_XNUM:
            lead += elf.SHDR_BYTES
        self._offsets: list[int] = []
        at = self._lead = _aligned(lead, ALIGN)
        for piece in self.pieces:
            self._offsets.append(at)
            at = _aligned(at + piece.file_size, ALIGN)
        self._notes_at = at
        self._notes_size = len(self._notes(encoded))

    @property
    def size(self) -> int:
        """Bytes of the file, before it is packed."""
        return self._notes_at + self._notes_size

    def summary(self, size: int) -> Summary:
        """What a file of this ``size`` holds."""
        captured = sum(piece.size for piece in self.pieces)
        unreadable = sum(length for _, length in self.recording.unreadable)
        zeros = sum(piece.size - piece.file_size for piece in self.pieces)
        return Summary(self._path, size, len(self.pieces), captured, zeros, unreadable, len(self.recording.cpus))

    def content(self) -> Iterator[bytes]:
        """The file from front to back. Raises what the runs' readers raise."""
        from hashlib import sha256

        yield self._headers()
        records = []
        for piece in self.pieces:
            if not piece.parts:
                continue
            digests: list[str] = []
            block, room = sha256(), self._manifest.block
            for chunk in piece.chunks():
                yield chunk
                rest = memoryview(chunk)
                while rest:
                    part = rest[:room]
                    block.update(part)
                    room -= len(part)
                    rest = rest[len(part) :]
                    if room == 0:
                        digests.append(block.hexdigest())
                        block, room = sha256(), self._manifest.block
            if room != self._manifest.block:
                digests.append(block.hexdigest())
            records.append(RunRecord(piece.address, piece.size, tuple(digests)))
            yield b"\0" * (-piece.size % ALIGN)
        notes = self._notes(manifests.encode(replace(self._manifest, runs=tuple(records))))
        assert len(notes) == self._notes_size
        yield notes

    def _headers(self) -> bytes:
        many = self._phnum >= elf.PN_XNUM
        little = self.order == "<"
        ident = b"\x7fELF" + bytes([2, 1 if little else 2, 1, 0, 0]) + manifests.MARK
        shoff = elf.EHDR_BYTES + self._phnum * elf.PHDR_BYTES if many else 0
        out = [
            ident,
            struct.pack(
                self.order + "HHIQQQIHHHHHH",
                elf.ET_CORE,
                elf.EM_PPC64,
                1,
                0,
                elf.EHDR_BYTES,
                shoff,
                EF_PPC64_ABI_V2 if little else 0,
                elf.EHDR_BYTES,
                elf.PHDR_BYTES,
                elf.PN_XNUM if many else self._phnum,
                elf.SHDR_BYTES if many else 0,
                1 if many else 0,
                0,
            ),
        ]
        header = struct.Struct(self.order + "IIQQQQQQ")
        out.append(header.pack(elf.PT_NOTE, 0, self._notes_at, 0, 0, self._notes_size, 0, 4))
        base = self.recording.linear_base
        for piece, offset in zip(self.pieces, self._offsets, strict=True):
            mapped = base is not None and piece.address + piece.size <= LINEAR_LIMIT
            vaddr = (base or 0) + piece.address if mapped else 0
            out.append(header.pack(elf.PT_LOAD, PF_RWX, offset, vaddr, piece.address, piece.file_size, piece.size, 1))
        if many:
            # gABI: sh_info of section header 0 counts what e_phnum cannot.
            out.append(struct.pack(self.order + "IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, self._phnum, 0, 0))
        return b"".join(out).ljust(self._lead, b"\0")

    def _notes(self, manifest: bytes) -> bytes:
        """All notes, the manifest last because it holds a checksum of the others."""
        return self._others + _note(self.order, manifests.NOTE_NAME, manifests.NOTE_TYPE, manifest)

    def _other_notes(self) -> bytes:
        recording = self.recording
        notes = [
            _note(self.order, prstatus.NAME, prstatus.NT_PRSTATUS, prstatus.encode(self.order, cpu.cpu, cpu.registers))
            for cpu in recording.cpus
        ]
        if recording.vmcoreinfo is not None:
            notes.append(_note(self.order, VMCOREINFO, 0, recording.vmcoreinfo))
        return b"".join(notes)


def _manifest(recording: Recording, pieces: list[Piece], block: int, notes: str) -> Manifest:
    """The manifest, with checksums that are still to be filled in."""
    return Manifest(
        byte_order=recording.byte_order,
        recorded_at=recording.recorded_at,
        machine=recording.machine,
        cpus=tuple(recording.cpus),
        ram=tuple(recording.ram),
        zeros=tuple((p.address, p.size) for p in pieces if not p.parts),
        unreadable=tuple(recording.unreadable),
        roots=recording.roots,
        contents=tuple(recording.contents),
        virtio=recording.virtio,
        triage=recording.triage,
        notes=notes,
        block=block,
        runs=tuple(RunRecord(p.address, p.size, (NO_DIGEST,) * -(-p.size // block)) for p in pieces if p.parts),
    )


def _note(order: str, name: bytes, kind: int, content: bytes) -> bytes:
    """One note: header, name and content, the last two padded to 4 bytes (System V ABI, note section)."""
    name += b"\0"
    head = struct.pack(order + "III", len(name), len(content), kind)
    return head + name + b"\0" * (-len(name) % 4) + content + b"\0" * (-len(content) % 4)


def _aligned(value: int, to: int) -> int:
    return -(-value // to) * to
