"""Hangs of the bring-up guest: accesses that its tables, keys or state forbid, each made for ever.

    with Bringup("pseries") as guest:
        placed = set_up(guest, "pseries")
        guest.begin([each.access for each in placed])
        guest.hang_at(2)                  # it is stuck as placed[2].hang says

Each has what the CPU is to record of it: a vector and the bits of DSISR, SRR1, HDSISR or HSRR1 that Power ISA 3.0B book
III, 6.5.3, 6.5.5, 6.5.16 and 6.5.17, gives the cause; QEMU 7.2 mmu-radix64.c is who records it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from inspector.radix.bits import (
    AMR_NO_READ,
    AMR_NO_WRITE,
    ATT_NON_IDEMPOTENT,
    DSISR_BADCONFIG,
    DSISR_ISSTORE,
    DSISR_NOEXEC_OR_GUARDED,
    DSISR_NOPTE,
    DSISR_PROTFAULT,
    DSISR_PRTABLE_FAULT,
    IAMR_NO_EXECUTE,
    MSR_DR,
    MSR_HV,
    MSR_IR,
    MSR_PR,
    MSR_SF,
    PATE0_HR,
    PATE1_GR,
    PDE_NLB,
    PDE_NLS,
    PTE_C,
    PTE_EXEC,
    PTE_PRIVILEGED,
    PTE_R,
    PTE_READ,
    PTE_WRITE,
)
from scripts.bringup import LEFT_AT, LOAD_AT, PAGES, STORE_AT, TABLES, TABLES_END, Access, Bringup, MachineName
from scripts.nested import Tree

DSI, ISI, HDSI, HISI, GOES_WELL = 0x300, 0x400, 0xE00, 0xE20, 0xC00
MSR_EE, MSR_ME = 0x8000, 0x1000
KERNEL_STATE = MSR_SF | MSR_ME | MSR_IR | MSR_DR
USER_STATE = KERNEL_STATE | MSR_PR | MSR_EE

KERNEL_CODE, USER_CODE = 0xC000_0000_0000_0000, 0x1000_0000
"""Where the guest's own code is mapped for the kernel, and for its user."""
USER_PAGE = 0x2000_0000
KERNEL_PAGE = 0xC000_0000_4000_0000
VMALLOC = 0xC008_0000_0021_0000
DEVICE, UNMAPPED_DEVICE = 0xC00A_0000_8002_1000, 0xC00A_0000_8004_1014
"""In the region where Linux's ioremap puts devices (inspector/linux/regions.py)."""
BYTE = 0x120
"""What is accessed in a page."""
PID, LPID = 5, 3
PROCESSES = 256
NOWHERE = 0x7000_0000_0000
"""No RAM, and no device, of either machine."""
AWAY = 1 << 40
"""Guest real addresses from here on the host has nothing for, unless a hang gives it something."""

READ_WRITE = PTE_READ | PTE_WRITE | PTE_R | PTE_C
CODE = PTE_READ | PTE_EXEC | PTE_R
ALL = READ_WRITE | PTE_EXEC
HOST_PAGE = 21
HOST_ROOM = 0x20_0000
"""For the host's own tables."""

Where = Literal["pseries", "guest", "host"]
"""pseries; a guest of powernv's, which has LPIDR and a second stage; powernv's own kernel, with MSR[HV]."""


class Ground:
    """Tables of one hang's own, with everything in order: the kernel's tree and that of the process PID, each with the
    guest's code, a page, and all that is above them."""

    def __init__(self, bringup: Bringup, where: Where, at: int, host: Tree | None) -> None:
        self.put, self.word, self.where, self.host = bringup.put, bringup.word, where, host
        self.kernel = Tree(self.put, at)
        self.process = Tree(self.put, self.kernel.root + 0x4_0000)
        self.table = self.process.root + 0x4_0000
        self.partitions = self.table + 0x1000
        self.end = self.table + 0x1_0000
        self.kernel.map(KERNEL_CODE, CODE | PTE_PRIVILEGED, 16)
        self.kernel.map(KERNEL_PAGE, READ_WRITE | PTE_PRIVILEGED | PAGES, 16)
        self.kernel.map(DEVICE, READ_WRITE | PTE_PRIVILEGED | ATT_NON_IDEMPOTENT | PAGES, 16)
        self.process.map(USER_CODE, CODE, 16)
        self.process.map(USER_PAGE, READ_WRITE | PAGES, 16)
        self.put(self.table, self.kernel.descriptor)
        self.put(self.process_entry, self.process.descriptor)
        self.registered = PATE1_GR | self.table
        if host is not None:
            for lpid in (0, LPID):
                self.put(self.partitions + 16 * lpid, PATE0_HR | host.descriptor)
                self.put(self.partitions + 16 * lpid + 8, self.registered)

    @property
    def process_entry(self) -> int:
        """Where the process's entry is."""
        return self.table + 16 * PID

    def load(self, ea: int, *, user: bool = False) -> Access:
        """A load by the kernel, or by its user."""
        return self._access((USER_CODE if user else KERNEL_CODE) | LOAD_AT, ea, user)

    def store(self, ea: int, *, user: bool = False) -> Access:
        """A store."""
        return self._access((USER_CODE if user else KERNEL_CODE) | STORE_AT, ea, user)

    def fetch(self, ea: int, *, user: bool = False) -> Access:
        """A fetch: it has come to this address."""
        return self._access(ea, ea, user)

    def _access(self, start: int, ea: int, user: bool) -> Access:
        state = (USER_STATE if user else KERNEL_STATE) | (MSR_HV if self.where == "host" else 0)
        table = self.registered if self.host is None else self.partitions
        return Access(start, ea, state, PID, lpidr=LPID if self.where == "guest" else 0, table=table)

    def entry(self, tree: Tree, ea: int, level: int) -> int:
        """Where this level's entry is on the way to ``ea``; the root's are of level 3."""
        at, bits, low = tree.root, 13, 52
        for above in range(3, level - 1, -1):
            low -= bits
            place = at + 8 * (ea >> low & ((1 << bits) - 1))
            if above > level:
                directory = self.word(place)
                at, bits = directory & PDE_NLB, directory & PDE_NLS
        return place

    def change(self, place: int, gone: int, come: int) -> None:
        """Other bits in the entry there."""
        self.put(place, self.word(place) & ~gone | come)


@dataclass(frozen=True, slots=True)
class Hang:
    """One: ``slug`` is the cause that triage is to name ("healthy" for an access that goes well each time); ``vector``
    and ``bits`` are what the CPU records, and ``asdr`` is the guest real address that it has to do with, for the
    hypervisor's interrupts. ``made`` changes the tables and says which access is made."""

    name: str
    slug: str
    vector: int
    bits: int
    made: Callable[[Ground], Access]
    where: tuple[Where, ...] = ("pseries", "guest")
    asdr: Callable[[Ground], int] | None = None


def _go_there(ground: Ground) -> Access:
    return ground.fetch(VMALLOC | BYTE)


def _with(made: Callable[[Ground], Access], *, amr: int = 0, iamr: int = 0) -> Callable[[Ground], Access]:
    return lambda ground: replace(made(ground), amr=amr, iamr=iamr)


def _code_at(leaf: int) -> Callable[[Ground], Access]:
    """The kernel goes to a page of its own that has this leaf."""

    def made(ground: Ground) -> Access:
        ground.kernel.map(VMALLOC, PTE_PRIVILEGED | PTE_R | PAGES | leaf, 16)
        return _go_there(ground)

    return made


def _dealt_with(ground: Ground) -> Access:
    """System calls, after a fault that nothing came of: its address is not mapped, and a load is next by chance."""
    return replace(ground.load(VMALLOC), start=KERNEL_CODE | LEFT_AT, value=DSISR_NOPTE)


def _privileged(ground: Ground) -> Access:
    ground.change(ground.entry(ground.process, USER_PAGE, 0), 0, PTE_PRIVILEGED)
    return ground.load(USER_PAGE | BYTE, user=True)


def _privileged_code(ground: Ground) -> Access:
    ground.change(ground.entry(ground.process, USER_PAGE, 0), 0, PTE_PRIVILEGED | PTE_EXEC)
    return ground.fetch(USER_PAGE | BYTE, user=True)


def _user_page_as_code(ground: Ground) -> Access:
    ground.change(ground.entry(ground.process, USER_PAGE, 0), 0, PTE_EXEC)
    return ground.fetch(USER_PAGE | BYTE)


def _read_only(ground: Ground) -> Access:
    ground.change(ground.entry(ground.process, USER_PAGE, 0), PTE_WRITE, 0)
    return ground.store(USER_PAGE | BYTE, user=True)


def _misaligned(ground: Ground) -> Access:
    """As by someone who gave a table of 4 KiB half a page too high an address: the MMU looks half a page lower."""
    place = ground.entry(ground.kernel, KERNEL_PAGE, 1)
    ground.put(place + 0x800, ground.word(place))
    ground.put(place, 0)
    ground.change(ground.entry(ground.kernel, KERNEL_PAGE, 2), 0, 0x800)
    return ground.load(KERNEL_PAGE | BYTE)


def _outside(ground: Ground) -> Access:
    ground.change(ground.entry(ground.kernel, KERNEL_PAGE, 2), PDE_NLB, NOWHERE)
    return ground.load(KERNEL_PAGE | BYTE)


def _impossible(ground: Ground) -> Access:
    ground.change(ground.entry(ground.kernel, KERNEL_PAGE, 2), PDE_NLS, 7)
    return ground.load(KERNEL_PAGE | BYTE)


def _past(ground: Ground) -> Access:
    return replace(ground.load(USER_PAGE | BYTE), pid=PROCESSES + PID)


def _cleared(ground: Ground) -> Access:
    ground.put(ground.process_entry, 0)
    return ground.load(USER_PAGE | BYTE)


def _behind(leaf: int | None, rights: int, way: Callable[[Ground], Access]) -> Callable[[Ground], Access]:
    """A kernel's page at AWAY, with nothing behind it, or the host's ``leaf``."""

    def made(ground: Ground) -> Access:
        assert ground.host is not None
        ground.kernel.map(VMALLOC, PTE_PRIVILEGED | PTE_R | PTE_C | rights | _away(ground), 16)
        if leaf is not None:
            ground.host.map(_away(ground), leaf | PTE_R | PTE_C | PAGES, 16)
        return way(ground)

    return made


def _away(ground: Ground) -> int:
    """A guest real address of this hang's own, for all share the host's tree."""
    return AWAY + ground.kernel.root


def _behind_table(ground: Ground) -> Access:
    ground.change(ground.entry(ground.kernel, KERNEL_PAGE, 2), PDE_NLB, _away(ground))
    return ground.load(KERNEL_PAGE | BYTE)


HANGS: tuple[Hang, ...] = (
    Hang("kernel goes on", "healthy", GOES_WELL, 0, lambda ground: ground.load(KERNEL_PAGE | BYTE)),
    Hang("user goes on", "healthy", GOES_WELL, 0, lambda ground: ground.store(USER_PAGE | BYTE, user=True)),
    Hang("kernel goes on after a fault", "healthy", GOES_WELL, 0, _dealt_with),
    Hang(
        *("device not mapped", "mmio-page-not-mapped", DSI, DSISR_NOPTE),
        lambda ground: ground.load(UNMAPPED_DEVICE),
        ("pseries", "guest", "host"),
    ),
    Hang(
        *("device not mapped, stored to", "mmio-page-not-mapped", DSI, DSISR_NOPTE | DSISR_ISSTORE),
        lambda ground: ground.store(UNMAPPED_DEVICE),
    ),
    Hang(
        *("user's page not mapped", "page-not-mapped", DSI, DSISR_NOPTE | DSISR_ISSTORE),
        lambda ground: ground.store(USER_PAGE + 0x1_0000, user=True),
    ),
    Hang("vmalloc not mapped", "page-not-mapped", DSI, DSISR_NOPTE, lambda ground: ground.load(VMALLOC)),
    Hang(
        *("user's code not mapped", "page-not-mapped", ISI, DSISR_NOPTE),
        lambda ground: ground.fetch(USER_PAGE + 0x1_0000, user=True),
    ),
    Hang("read-only", "write-protected", DSI, DSISR_PROTFAULT | DSISR_ISSTORE, _read_only),
    Hang(
        *("key closed to stores", "key-closed", DSI, DSISR_PROTFAULT | DSISR_ISSTORE),
        _with(lambda ground: ground.store(USER_PAGE | BYTE), amr=AMR_NO_READ | AMR_NO_WRITE),
        ("pseries", "guest", "host"),
    ),
    Hang(
        *("key closed to loads", "key-closed", DSI, DSISR_PROTFAULT),
        _with(lambda ground: ground.load(USER_PAGE | BYTE), amr=AMR_NO_READ | AMR_NO_WRITE),
    ),
    Hang("privileged page", "privileged-from-user", DSI, DSISR_PROTFAULT, _privileged),
    Hang("privileged code", "privileged-from-user", ISI, DSISR_NOEXEC_OR_GUARDED, _privileged_code),
    Hang("no right to execute", "execute-protected", ISI, DSISR_NOEXEC_OR_GUARDED, _code_at(READ_WRITE)),
    Hang(
        *("guarded", "execute-protected", ISI, DSISR_NOEXEC_OR_GUARDED),
        _code_at(ALL | ATT_NON_IDEMPOTENT),
        ("pseries", "guest", "host"),
    ),
    Hang(
        *("key closed to fetches", "execute-protected", ISI, DSISR_NOEXEC_OR_GUARDED),
        _with(_user_page_as_code, iamr=IAMR_NO_EXECUTE),
    ),
    Hang("misaligned directory", "directory-misaligned", DSI, DSISR_NOPTE, _misaligned),
    Hang("directory outside RAM", "directory-outside-ram", DSI, DSISR_NOPTE, _outside, ("pseries", "host")),
    Hang("impossible size", "bad-configuration", DSI, DSISR_BADCONFIG, _impossible, ("pseries", "guest", "host")),
    Hang("PID past the table", "pid-past-table", DSI, DSISR_NOPTE, _past),
    Hang("process's entry cleared", "process-entry-cleared", DSI, DSISR_BADCONFIG, _cleared),
    Hang(
        *("nothing behind data", "second-stage-hole", HDSI, DSISR_NOPTE),
        _behind(None, READ_WRITE, lambda ground: ground.load(VMALLOC | BYTE)),
        ("guest",),
        lambda ground: _away(ground) | BYTE,
    ),
    Hang(
        *("nothing behind code", "second-stage-hole", HISI, DSISR_NOPTE),
        _behind(None, CODE, _go_there),
        ("guest",),
        lambda ground: _away(ground) | BYTE,
    ),
    Hang(
        *("nothing behind a directory", "second-stage-hole", HDSI, DSISR_NOPTE | DSISR_PRTABLE_FAULT),
        _behind_table,
        ("guest",),
        lambda ground: _away(ground) + (ground.entry(ground.kernel, KERNEL_PAGE, 1) & 0xFFF),
    ),
    Hang(
        *("read-only behind data", "second-stage-protection", HDSI, DSISR_PROTFAULT | DSISR_ISSTORE),
        _behind(PTE_READ, READ_WRITE, lambda ground: ground.store(VMALLOC | BYTE)),
        ("guest",),
        lambda ground: _away(ground) | BYTE,
    ),
    Hang(
        *("no right to execute behind code", "second-stage-protection", HISI, DSISR_NOEXEC_OR_GUARDED),
        _behind(READ_WRITE, CODE, _go_there),
        ("guest",),
        lambda ground: _away(ground) | BYTE,
    ),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A hang on one machine: the access that it is of, and the guest real address of the hypervisor's interrupt."""

    hang: Hang
    where: Where
    access: Access
    asdr: int


def places(machine: MachineName) -> list[tuple[Hang, Where]]:
    """What can hang on a machine, in the order of :func:`set_up`."""
    wheres: Sequence[Where] = ("pseries",) if machine == "pseries" else ("guest", "host")
    return [(hang, where) for where in wheres for hang in HANGS if where in hang.where]


def set_up(bringup: Bringup, machine: MachineName) -> list[Placed]:
    """Tables for each of them, in the RAM of a machine that was not let go yet; for :meth:`Bringup.begin`."""
    host = None if machine == "pseries" else Tree(bringup.put, TABLES)
    at = TABLES
    if host is not None:
        for real in range(0, TABLES_END, 1 << HOST_PAGE):
            host.map(real, ALL | real, HOST_PAGE)
        at = host.root + HOST_ROOM
    placed = []
    for hang, where in places(machine):
        ground = Ground(bringup, where, at, host)
        access = hang.made(ground)
        placed.append(Placed(hang, where, access, hang.asdr(ground) if hang.asdr else 0))
        assert ground.kernel.at <= ground.process.root, "no room for the kernel's tables"
        assert ground.process.at <= ground.table, "no room for the process's tables"
        at = ground.end
        assert at < TABLES_END, "too many hangs"
    assert host is None or host.at <= host.root + HOST_ROOM, "no room for the host's tables"
    return placed
