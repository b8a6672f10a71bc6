"""A target out of a sparse memory and registers, and small guests in it with real page tables.

The guests are as a Debian kernel with 64K pages lays them out, only smaller: the kernel's linear map in 2M leaves, one
user process with 64K and 4K pages, and device mappings that no RAM is behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inspector.errors import NotCaptured, Unreadable, UsageError
from inspector.guest import Guest
from inspector.memory.physical import Clock, RamMap, Range
from inspector.targets.base import KnownRoots, Registers, RunControl, RunState
from tests.radix.trees import GUARDED, LEAF, TOLERANT, VALID, Bump, Tree

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
CHUNK = 4 * KiB
GR = HR = 1 << 63


@dataclass
class SparseMemory:
    """A MemorySource of zeros but for what was put there.

    ``captured`` are the (address, size) that it holds, all of it where None; ``refused`` are those whose reads fail.
    ``asked`` is every read, so that a test can tell what was never touched."""

    cheap: bool = True
    captured: Sequence[tuple[int, int]] | None = None
    refused: Sequence[tuple[int, int]] = ()
    chunks: dict[int, bytearray] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    description: str = "a sparse memory"

    def put(self, address: int, data: bytes) -> None:
        """Store ``data`` at real address ``address``."""
        for at, byte in enumerate(data, address):
            self.chunks.setdefault(at // CHUNK, bytearray(CHUNK))[at % CHUNK] = byte

    def put_word(self, address: int, value: int) -> None:
        """Store the big-endian doubleword that every page-table entry is."""
        self.put(address, value.to_bytes(8, "big"))

    def word(self, address: int) -> int:
        """The big-endian doubleword at ``address``."""
        return int.from_bytes(self.peek(address, 8), "big")

    def peek(self, address: int, length: int) -> bytes:
        """The bytes, whatever is captured, and not counted as asked for."""
        pieces = []
        end = address + length
        while address < end:
            offset = address % CHUNK
            size = min(CHUNK - offset, end - address)
            chunk = self.chunks.get(address // CHUNK)
            pieces.append(bytes(size) if chunk is None else bytes(chunk[offset : offset + size]))
            address += size
        return b"".join(pieces)

    def read(self, address: int, length: int) -> bytes:
        """As a MemorySource reads."""
        self.asked.append((address, length))
        for start, size in self.refused:
            if address < start + size and start < address + length:
                raise Unreadable(address, length, "the source refused it")
        if self.captured is not None:
            self._hold(address, address + length, sorted(self.captured))
        return self.peek(address, length)

    @staticmethod
    def _hold(address: int, end: int, captured: Sequence[tuple[int, int]]) -> None:
        """As a snapshot, tell the first stretch that is not captured."""
        for start, size in captured:
            if start <= address < start + size:
                address = start + size
        if address < end:
            after = min((start for start, _ in captured if start > address), default=end)
            raise NotCaptured(address, min(after, end) - address)


@dataclass
class FakeTarget:
    """A Target (see :mod:`inspector.targets.base`) that stands still, unless it is given a ``control``."""

    source: SparseMemory
    ram: RamMap
    files: dict[int, Registers]
    known_roots: KnownRoots = field(default_factory=KnownRoots)
    control: RunControl | None = None
    state: RunState = RunState.RECORDED
    clock: Clock = field(default_factory=Clock)
    name: str = "fake"
    closed: bool = False
    vmcoreinfo: bytes | None = None
    machine: Mapping[str, Any] = field(default_factory=lambda: {"kind": "fake"})

    @property
    def cpus(self) -> Sequence[int]:
        return tuple(self.files)

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        if cpu not in self.files:
            raise UsageError(f"there is no vCPU {cpu}")
        return self.files[cpu]

    def set(self, cpu: int, **values: int | None) -> None:
        """Change registers of a vCPU; None makes one unknown."""
        known = {**self.files[cpu].values, **values}
        self.files[cpu] = Registers(cpu, {name: value for name, value in known.items() if value is not None})

    def close(self) -> None:
        self.closed = True


class FakeControl:
    """A RunControl over a :class:`FakeTarget`: every step moves NIP on by 4, and what it was asked is in ``calls``.

    A guest that runs stops by itself within ``stops_after`` seconds, if that is not None."""

    def __init__(self, target: FakeTarget, stops_after: float | None = None) -> None:
        self.target = target
        self.stops_after = stops_after
        self.calls: list[str] = []
        self.glances: list[bool] = []
        self.on_wait: Callable[[], None] = lambda: None
        self.halts: dict[int, bool] = {}
        self.monitor_says: dict[str, str] = {"info virtio": "No VirtIO devices\r\n"}
        target.control = self
        target.state = RunState.STOPPED

    def _went(self, nip: int, cpu: int = 0) -> None:
        self.target.clock.tick()
        self.target.set(cpu, nip=(self.target.files[cpu].need("nip") + nip) % (1 << 64))

    def resume(self) -> None:
        self.calls.append("resume")
        self.target.state = RunState.RUNNING
        self.target.clock.running = True

    def interrupt(self, *, glance: bool = False) -> None:
        self.calls.append("interrupt")
        self.glances.append(glance)
        self.target.state = RunState.STOPPED
        self.target.clock.running = False
        self._went(0x100)

    def step(self, cpu: int) -> None:
        self.calls.append(f"step {cpu}")
        self._went(4, cpu)

    def wait(self, seconds: float | None) -> bool:
        self.calls.append(f"wait {seconds}")
        self.on_wait()
        if self.stops_after is None or (seconds is not None and seconds < self.stops_after):
            return False
        self.interrupt()
        return True

    def halted(self) -> Mapping[int, bool]:
        return self.halts

    def monitor(self, commands: Sequence[str]) -> list[str]:
        self.calls += [f"monitor {command}" for command in commands]
        return [self.monitor_says.get(command, "") for command in commands]

    def console(self, command: str) -> str:
        self.calls.append(f"console {command}")
        if command.startswith("set"):
            raise UsageError(f"{command!r} would write, and this only looks")
        return f"answer to {command}\n"


# -- guests ------------------------------------------------------------------------------------------------------------

TEXT, DATA = VALID | LEAF | 0x18D, VALID | LEAF | 0x18E
DEVICE = VALID | LEAF | 0x18E | GUARDED
WRITE_COMBINED = VALID | LEAF | 0x18E | TOLERANT
USER_TEXT, USER_DATA, USER_READ = VALID | LEAF | 0x105, VALID | LEAF | 0x386, VALID | LEAF | 0x384

KERNEL = 0xC000_0000_0000_0000
IO = 0xC00A_0000_8000_0000
TIMA = 0x6_0302_031A_0000
"""No RAM: where a pseries guest has the XIVE TIMA, the read of which kills QEMU 7.2."""
RAM_BYTES = 64 * MiB
TEXT_BYTES = 32 * MiB
PROCESS_TABLE_AT = 16 * MiB
PRTS = 12
"""2^20 PIDs, as Linux has it: 16 MiB."""
REGISTERED = GR | PROCESS_TABLE_AT | PRTS
TABLES_AT = 34 * MiB
PARTITION_TABLE_AT = 60 * MiB
PTCR = PARTITION_TABLE_AT | 4
NIP = 0xC000_0000_0000_8000
CODE = bytes.fromhex("a6427b7d0000a2e8000000602000804e")
BANNER_AT = 0xC000_0000_0040_0000
BANNER = b"Linux version 6.1.0-50-powerpc64le\n\0"
PID = 4
USER_TEXT_EA, USER_DATA_EA, SMALL_PAGES_EA, STACK_EA = 0x1000_0000, 0x1004_0000, 0x2000_0000, 0x7FFF_E000_0000
USER_PAGES_AT = 48 * MiB

KERNEL_MSR = 0x8000_0000_0280_B033
USER_MSR = 0x8000_0000_0280_F033
HOST_MSR = 0x9000_0000_0280_B033
LINUX_LPCR = 0x3D3_F408


def _kernel_tree(memory: SparseMemory, space: Bump) -> Tree:
    tree = Tree(memory.put_word, space)
    for at in range(0, RAM_BYTES, 2 * MiB):
        tree.map(KERNEL + at, at | (TEXT if at < TEXT_BYTES else DATA), 21)
    tree.map(IO, TIMA | DEVICE, 16)
    for at in (0x2_0000, 0x4_0000):
        tree.map(IO + at, 0x2100_0000_0000 | DEVICE, 16)
    tree.map(IO + 0x10_0000, 0x2000_8001_0000 | WRITE_COMBINED, 16)
    return tree


def _user_tree(memory: SparseMemory, space: Bump) -> Tree:
    tree = Tree(memory.put_word, space)
    at = USER_PAGES_AT
    tree.map(USER_TEXT_EA, at | USER_TEXT, 16)
    for n in range(3):
        tree.map(USER_DATA_EA + n * 64 * KiB, at + (n + 1) * 64 * KiB | USER_DATA, 16)
    tree.map(USER_DATA_EA + 3 * 64 * KiB, at + 8 * MiB | USER_DATA, 16)
    for n in range(4):
        tree.map(SMALL_PAGES_EA + n * 4 * KiB, at + MiB + n * 4 * KiB | (USER_READ if n < 2 else USER_DATA), 12)
    tree.map(STACK_EA, at + 2 * MiB | USER_DATA, 16)
    memory.put(at + 64 * KiB, b"hello from process four\0")
    return tree


def _linux(memory: SparseMemory) -> tuple[Tree, Tree]:
    """The kernel's tree and that of process PID, in the process table."""
    space = Bump(TABLES_AT)
    kernel, user = _kernel_tree(memory, space), _user_tree(memory, space)
    memory.put_word(PROCESS_TABLE_AT, kernel.descriptor)
    memory.put_word(PROCESS_TABLE_AT + 16 * PID, user.descriptor)
    memory.put(NIP - KERNEL, CODE)
    memory.put(BANNER_AT - KERNEL, BANNER)
    return kernel, user


def _registers(cpu: int, **values: int) -> Registers:
    usual = {
        **{f"r{n}": 0x1111_1111 * n for n in range(32)},
        "r1": KERNEL + 0x3A3_C000,
        "nip": NIP,
        "msr": KERNEL_MSR,
        "cr": 0x2400_0280,
        "lr": KERNEL + 0x9000,
        "ctr": 0,
        "xer": 0x2004_0000,
        "pid": PID,
        "lpidr": 0,
        "lpcr": LINUX_LPCR,
        "ptcr": 0,
        "amr": 0xFCFF_FFFF_FFFF_FFFF,
        "iamr": 0x5455_5555_5555_5555,
        "uamor": 0,
        "hrmor": 0,
        "pvr": 0x004E_1202,
        "dar": USER_DATA_EA + 0x40,
        "dsisr": 0x4200_0000,
        "srr0": NIP + 0x20,
        "srr1": USER_MSR,
    }
    return Registers(cpu, {**usual, **values})


def linux_target(*, registered: int | None = REGISTERED, cheap: bool = True) -> FakeTarget:
    """A pseries guest with two vCPUs, the second in user mode with its LPCR and AMR unknown.

    Process PID is the current one of both. ``registered`` is what the target itself knows of the process table: None
    leaves it to be searched for."""
    memory = SparseMemory(cheap=cheap)
    _linux(memory)
    user = _registers(1, nip=USER_TEXT_EA + 0x100, msr=USER_MSR)
    known = {name: value for name, value in user.values.items() if name not in ("lpcr", "amr", "iamr")}
    return FakeTarget(
        memory,
        RamMap([Range(0, RAM_BYTES, "ppc_spapr.ram"), Range(GiB, MiB, "dimm1")]),
        {0: _registers(0), 1: Registers(1, known)},
        KnownRoots(registered, "recorded in the snapshot", "confirmed") if registered is not None else KnownRoots(),
    )


def bare_target() -> FakeTarget:
    """A powernv machine: the same tables, found through a partition table, and MSR[HV] set."""
    memory = SparseMemory()
    kernel, _ = _linux(memory)
    memory.put_word(PARTITION_TABLE_AT, HR | kernel.descriptor)
    memory.put_word(PARTITION_TABLE_AT + 8, REGISTERED)
    files = {0: _registers(0, msr=HOST_MSR, ptcr=PTCR)}
    return FakeTarget(memory, RamMap([Range(0, RAM_BYTES, "pnv.ram")]), files)


def firmware_target() -> FakeTarget:
    """A pseries guest before Linux: big-endian, its MMU off, nothing registered."""
    files = {0: _registers(0, msr=1 << 63, lpcr=0x3_F008, nip=0xDBF_0100, pid=0)}
    return FakeTarget(SparseMemory(), RamMap([Range(0, RAM_BYTES, "ppc_spapr.ram")]), files)


BROKEN_PID = 7
BROKEN_EA = 0x3000_0000


def broken_target() -> FakeTarget:
    """The pseries guest with one process more, PID 7: a page, a directory outside RAM, a cycle, a wrong size."""
    target = linux_target()
    memory = target.source
    tree = Tree(memory.put_word, Bump(56 * MiB))
    memory.put_word(PROCESS_TABLE_AT + 16 * BROKEN_PID, tree.descriptor)
    path = tree.map(BROKEN_EA, USER_PAGES_AT | USER_DATA | 0x40, 16)
    memory.put_word(path[1] + 8, VALID | TIMA | 5)
    memory.put_word(path[1] + 16, VALID | (path[1] & ~0xFFF) | 9)
    memory.put_word(path[1] + 24, VALID | USER_PAGES_AT | 7)
    return target


def guest(target: FakeTarget | None = None, **options: Any) -> Guest:
    """A Guest over a target (the pseries one). ``options`` are Guest's."""
    return Guest(target or linux_target(), **options)


LPID = 1
"""The KVM guest of :func:`kvm_host_target`."""
GUEST_PID = 5
HASHED_LPID = 3
GUEST_RAM_AT = GiB
"""Host real: where the host keeps what it has behind the guest's memory."""
GUEST_PAGES: Mapping[int, tuple[int, int]] = {
    **{n * 64 * KiB: (GUEST_RAM_AT + (31 - n) * 64 * KiB, 16) for n in range(16)},
    **{n * 64 * KiB: (GUEST_RAM_AT + 4 * MiB + n * 64 * KiB, 16) for n in range(20, 24)},
    2 * MiB: (GUEST_RAM_AT + 6 * MiB, 21),
    6 * MiB: (GUEST_RAM_AT + 2 * MiB, 21),
    GiB: (GUEST_RAM_AT + 8 * MiB, 16),
}
"""Guest real address -> (host real, log2 of the page's size): pages that run backwards, and holes from 1M to 1.25M,
from 1.5M to 2M and from 4M to 6M."""
GUEST_READ_ONLY = 0x17_0000
"""Guest real: the page that the host lets the guest only read and execute."""
GUEST_PROCESS_TABLE_AT, GUEST_TABLES_AT = 0x1_0000, 0x2_0000
"""Guest real."""
GUEST_TEXT_EA, GUEST_DATA_EA, GUEST_SMALL_EA, GUEST_LOST_EA = 0x1000_0000, 0x1004_0000, 0x2000_0000, 0x4000_0000
"""Of PID GUEST_PID: 64K at guest real 2M, the read-only page, 4K pages at 6M, and 2M at 4M, where nothing is behind."""
KVM_LEAF = VALID | LEAF | 0x387


def guest_to_host(address: int) -> int:
    """The host real address behind a guest real one of the KVM guest; KeyError where there is none."""
    shift = next(s for s in (16, 21) if GUEST_PAGES.get(address >> s << s, (0, 0))[1] == s)
    return GUEST_PAGES[address >> shift << shift][0] | address & ((1 << shift) - 1)


def kvm_host_target(*, hashed: bool = False) -> FakeTarget:
    """The powernv machine with a KVM guest, LPID 1, that its vCPU 1 runs in PID 5; ``hashed`` adds LPID 3, a guest with
    a hashed page table."""
    target = bare_target()
    memory = target.source
    target.ram = RamMap([Range(0, RAM_BYTES, "pnv.ram"), Range(GUEST_RAM_AT, 16 * MiB, "pnv.ram")])
    behind = Tree(memory.put_word, Bump(61 * MiB))
    for gra, (ra, shift) in GUEST_PAGES.items():
        behind.map(gra, ra | (KVM_LEAF & ~0x82 if gra == GUEST_READ_ONLY else KVM_LEAF), shift)
    entry = PARTITION_TABLE_AT + 16 * LPID
    memory.put_word(entry, HR | behind.descriptor)
    memory.put_word(entry + 8, GR | GUEST_PROCESS_TABLE_AT | 4)
    if hashed:
        memory.put_word(PARTITION_TABLE_AT + 16 * HASHED_LPID, 0x3800_0000 | 6)

    def put(gra: int, value: int) -> None:
        memory.put_word(guest_to_host(gra), value)

    space = Bump(GUEST_TABLES_AT)
    kernel, user = Tree(put, space), Tree(put, space)
    for at in range(0, 8 * MiB, 2 * MiB):
        kernel.map(KERNEL + at, at | (DATA if at else TEXT), 21)
    user.map(GUEST_TEXT_EA, 2 * MiB | USER_TEXT, 16)
    user.map(GUEST_DATA_EA, GUEST_READ_ONLY | USER_DATA, 16)
    for n in range(4):
        user.map(GUEST_SMALL_EA + n * 4 * KiB, 6 * MiB + n * 4 * KiB | USER_DATA, 12)
    user.map(GUEST_LOST_EA, 4 * MiB | USER_DATA, 21)
    put(GUEST_PROCESS_TABLE_AT, kernel.descriptor)
    put(GUEST_PROCESS_TABLE_AT + 16 * GUEST_PID, user.descriptor)
    memory.put(guest_to_host(2 * MiB), b"hello from a guest\0")
    target.files[1] = _registers(
        1, nip=GUEST_TEXT_EA + 0x100, msr=USER_MSR, ptcr=PTCR, lpidr=LPID, pid=GUEST_PID, dar=GUEST_DATA_EA + 0x40
    )
    return target
