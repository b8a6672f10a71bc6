"""Opening a snapshot, or any ELF core of a ppc64 machine, told apart by content.

A snapshot of ours knows everything it says; another core (QEMU's dump-guest-memory, a vmcore) knows
its RAM, and of each vCPU the general registers, NIP, MSR, CR, LR, CTR and XER. Nothing else is made up.
"""

from __future__ import annotations

from dataclasses import dataclass

from inspector.errors import FormatError, InspectorError
from inspector.memory.compressed import open_bytes
from inspector.memory.core import CoreMemory
from inspector.memory.elf import Core, claimed_bytes, read_core, read_notes
from inspector.memory.physical import RamMap, Range
from inspector.memory.plainfile import FileBytes
from inspector.snapshot import manifest as manifests
from inspector.snapshot import prstatus
from inspector.snapshot.jsonsafe import MAX_BYTES
from inspector.snapshot.manifest import MAX_CPUS, CpuRecord, Manifest

VMCOREINFO = b"VMCOREINFO"
MAX_VMCOREINFO = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenedCore:
    """What a core holds. ``manifest`` is None for one that is not ours.

    ``byte_order`` ('little', 'big') is the guest's where the manifest says it, else that of the ELF
    headers, which QEMU before 8.1 gets wrong. ``checked`` says whether what is read is held to checksums."""

    memory: CoreMemory
    ram: RamMap
    cpus: tuple[CpuRecord, ...]
    byte_order: str
    manifest: Manifest | None
    vmcoreinfo: bytes | None
    checked: bool


class Checksums:
    """Holds captured runs to their checksums, each block before its first byte is handed out."""

    def __init__(self, file: FileBytes, core: Core, manifest: Manifest) -> None:
        runs = sorted(manifest.runs or (), key=lambda r: r.address)
        held = [s for s in core.segments if s.file_size]
        blank = [(s.address, s.size) for s in core.segments if not s.file_size]
        if (
            [(s.address, s.file_size) for s in held] != [(r.address, r.size) for r in runs]
            or any(s.file_size != s.size for s in held)
            or blank != sorted(manifest.zeros)
        ):
            raise FormatError(file.path, "its headers and its manifest tell of different RAM; get the file again")
        self._file = file
        self._offsets = [s.offset for s in held]
        self._runs = runs
        self._block = manifest.block
        self._done = [bytearray(len(r.digests)) for r in runs]
        self._left = [len(r.digests) for r in runs]

    def __call__(self, run: int, offset: int, length: int) -> bool:
        """Check the blocks of ``length`` bytes at ``offset`` of ``run``. True once all of ``run`` has been.

        Raises FormatError naming the run."""
        done = self._done[run]
        if length > 0:
            for block in range(offset // self._block, (offset + length - 1) // self._block + 1):
                if not done[block]:
                    self._check(run, block)
                    done[block] = 1
                    self._left[run] -= 1
        return self._left[run] == 0

    def _check(self, run: int, block: int) -> None:
        from hashlib import sha256

        record = self._runs[run]
        start = block * self._block
        stop = min(start + self._block, record.size)
        with memoryview(self._file.data) as view:
            digest = sha256(view[self._offsets[run] + start : self._offsets[run] + stop]).hexdigest()
        if digest != record.digests[block]:
            raise FormatError(
                self._file.path,
                f"the run of RAM at {record.address:#x} (+{record.size:#x}) is not as it was recorded "
                f"(its checksum does not hold at {record.address + start:#x}); get the file again",
            )


def open_core(path: str) -> OpenedCore:
    """Open the snapshot or core ``path``, packed or not. Its memory is to be closed.

    Raises FormatError for what is neither, is cut short, or garbled; WrongArchitecture for another machine's."""
    file = open_bytes(path, claimed_bytes)
    try:
        return _from_file(file)
    except InspectorError:
        file.close()
        raise


def _from_file(file: FileBytes) -> OpenedCore:
    from hashlib import sha256

    path = file.path
    core = read_core(path, file.data, file.size)
    manifest: Manifest | None = None
    vmcoreinfo: bytes | None = None
    cpus: list[CpuRecord] = []
    for note in read_notes(path, file.data, core):
        if note.name == manifests.NOTE_NAME or note.type == manifests.NOTE_TYPE:
            if manifest is not None or note.name != manifests.NOTE_NAME or note.type != manifests.NOTE_TYPE:
                raise FormatError(path, "the note that holds its manifest is garbled; get the file again")
            if note.size > MAX_BYTES:
                raise FormatError(path, f"its manifest is longer than {MAX_BYTES >> 20} MiB; get the file again")
            manifest = manifests.decode(path, file.data[note.offset : note.offset + note.size])
            before = file.data[max(at for at, _ in core.note_spans if at <= note.start) : note.start]
            if manifest.notes is not None and manifest.notes != sha256(before).hexdigest():
                raise FormatError(path, "its notes are not as they were written; get the file again")
        elif note.name == prstatus.NAME and note.type == prstatus.NT_PRSTATUS and note.size == prstatus.SIZE:
            if len(cpus) == MAX_CPUS:
                raise FormatError(path, f"it claims more than {MAX_CPUS} vCPUs; get the file again")
            values = prstatus.decode(core.order, file.data[note.offset : note.offset + note.size])
            cpus.append(CpuRecord(len(cpus), values))
        elif note.name == VMCOREINFO and note.size <= MAX_VMCOREINFO:
            vmcoreinfo = file.data[note.offset : note.offset + note.size]
    if manifest is None:
        if file.data[9:16] == manifests.MARK:
            raise FormatError(path, "it is a snapshot whose manifest is missing or garbled; get the file again")
        return _foreign(file, core, tuple(cpus), vmcoreinfo)
    check = Checksums(file, core, manifest) if manifest.runs is not None else None
    ram = RamMap(manifest.ram if manifest.ram is not None else _loads(core))
    for segment in core.segments:
        if not ram.covers(segment.address, segment.size):
            raise FormatError(
                path, f"it holds RAM at {segment.address:#x}, where its manifest says there is none; get the file again"
            )
    memory = CoreMemory(
        file, core, unreadable=manifest.unreadable, zeros=manifest.zeros, check=check, description="a snapshot"
    )
    known = manifest.cpus if manifest.cpus is not None else tuple(cpus)
    return OpenedCore(
        memory, ram, known, manifest.byte_order or core.byte_order, manifest, vmcoreinfo, check is not None
    )


def _loads(core: Core) -> list[Range]:
    return [Range(s.address, s.size) for s in core.segments]


def _foreign(file: FileBytes, core: Core, cpus: tuple[CpuRecord, ...], vmcoreinfo: bytes | None) -> OpenedCore:
    """A core of someone else: its RAM is what its PT_LOADs say."""
    if not core.segments:
        raise FormatError(file.path, "it is a core that holds no RAM; record or dump the guest again")
    memory = CoreMemory(file, core, description="an ELF core")
    return OpenedCore(memory, RamMap(_loads(core)), cpus, core.byte_order, None, vmcoreinfo, False)
