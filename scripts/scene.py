"""The standard scene of KVM guests in a bare machine: three guests at once, and what each has stored where.

    with closing(scene()) as host:
        host.machine                     # the bare machine, for the inspector
        host.guests[0].lpid, host.guests[0].stored

The first has memory of 64K and of 2M pages, shared, read-only, logged and untouched, and trees of leaves of every size;
the second shares some of its memory; the third has set up no table, and runs in real mode only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.guests import Machine, booted
from scripts.monitor import IN_GUEST, REAL, USER, VIRTUAL, Monitor, built, outcome

KIND = "powernv9-kvm"
HUGE_PAGES = 24
SHARED = "/tmp/shared"
USER_CODE = 0x10_0000
"""EA at which each process maps the guest's first page for problem state."""
KERNEL = 0xC000_0000_0000_0000
DEVICE, DEVICE_EA = 0xF000_0000, 0x5000_0000
"""A guest real address that no slot holds, and where processes map it; for problem state USER_DEVICE_EA."""
USER_DEVICE_EA = 0x5001_0000

CODE, DATA, USER_DATA, USER_ROOM, READ_ONLY, IO = 0x18D, 0x18E, 0x186, 0x105, 0x10C, 0x1AE
"""Flags of leaves, as Linux has them: R and C, privileged or not, and the rights."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Guest real memory, of 64K pages of the host or of 2M ones."""

    gpa: int
    size: int
    huge: bool = False
    options: str = ""

    @property
    def line(self) -> str:
        """As the monitor is told."""
        return f"slot {self.gpa:x} {self.size:x} {'huge' if self.huge else 'small'} {self.options}".rstrip()

    @property
    def shift(self) -> int:
        """log2 of the pages that the host maps it with: a log of dirty pages wants small ones."""
        return 21 if self.huge and "logged" not in self.options else 16

    @property
    def writable(self) -> bool:
        """Whether the guest may write it."""
        return "readonly" not in self.options


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of a process's tree."""

    pid: int
    ea: int
    gpa: int
    shift: int
    flags: int

    @property
    def line(self) -> str:
        """As the monitor is told."""
        return f"map {self.pid:x} {self.ea:x} {self.gpa:x} {self.shift:x} {self.flags:x}"


@dataclass(frozen=True, slots=True)
class Layout:
    """All that a guest is made of. ``touched`` are further places to store at: (PID, EA); the rest is left alone."""

    name: str
    slots: tuple[Slot, ...]
    table: int | None = None
    leaves: tuple[Leaf, ...] = ()
    touched: tuple[tuple[int, int], ...] = ()

    def slot(self, gpa: int) -> Slot | None:
        """The slot that holds ``gpa``."""
        return next((slot for slot in self.slots if slot.gpa <= gpa < slot.gpa + slot.size), None)

    def leaf(self, pid: int, ea: int) -> Leaf | None:
        """The leaf that maps ``ea`` for ``pid``; quadrant 3 is PID 0's."""
        pid = 0 if ea >> 62 == 3 else pid
        low = (1 << 62) - 1
        return next(
            (leaf for leaf in self.leaves if leaf.pid == pid and 0 <= (ea & low) - (leaf.ea & low) < 1 << leaf.shift),
            None,
        )


@dataclass(frozen=True, slots=True)
class Stored:
    """A little-endian doubleword that the guest's own CPU stored at ``ea`` with this PID and MSR. ``shift`` is log2 of
    the smaller of both stages' pages."""

    pid: int
    ea: int
    value: int
    msr: int
    gpa: int
    shift: int


@dataclass
class KvmGuest:
    """One guest of the scene."""

    monitor: Monitor
    lpid: int
    layout: Layout
    hva: dict[int, int] = field(default_factory=dict)
    """Where in the monitor's own space each slot lies, by its guest real address."""
    stored: list[Stored] = field(default_factory=list)

    def set_up(self) -> None:
        """Give it its memory and trees, and have it store a value of its own in each of its writable leaves."""
        said = self.monitor.ask(*(slot.line for slot in self.layout.slots))
        self.hva = {slot.gpa: outcome(line).fields["hva"] for slot, line in zip(self.layout.slots, said, strict=True)}
        if self.layout.table is not None:
            self.monitor.ask(f"table {self.layout.table:x} 400000", *(leaf.line for leaf in self.layout.leaves))
        self.store([*self._places(), *self.layout.touched])

    def store(self, places: Sequence[tuple[int, int]]) -> None:
        """Have it store a value of its own at each of these (PID, EA); real mode where it has no tables.

        Raises AssertionError where the guest itself could not."""
        first = len(self.stored)
        new = [self._planned(pid, ea, first + n) for n, (pid, ea) in enumerate(places)]
        lines = [
            f"store {each.pid:x} {each.ea:x} {each.value:x} {each.msr:x} {USER_CODE if each.msr == USER else 0:x}"
            for each in new
        ]
        for line, answer in zip(lines, self.monitor.ask(*lines), strict=True):
            assert answer.startswith("ok"), f"guest {self.layout.name}: {line!r} came to {answer!r}"
        self.stored += new

    def _places(self) -> list[tuple[int, int]]:
        """A place in each leaf that may be written, no two the same memory; in real mode, one in each slot."""
        if self.layout.table is None:
            return [(0, slot.gpa + slot.size // 2) for slot in self.layout.slots]
        places = []
        for number, leaf in enumerate(self.layout.leaves):
            slot = self.layout.slot(leaf.gpa)
            if slot is not None and slot.writable and leaf.flags & 2:
                room = min(1 << leaf.shift, slot.gpa + slot.size - leaf.gpa)
                places.append((leaf.pid, leaf.ea + room // 2 + 8 * number))
        return places

    def _planned(self, pid: int, ea: int, number: int) -> Stored:
        value = self.lpid << 56 | number << 40 | ea & 0xFF_FFFF_FFFF
        leaf = self.layout.leaf(pid, ea)
        gpa = ea if leaf is None else leaf.gpa + (ea & ((1 << leaf.shift) - 1))
        msr = REAL if leaf is None else VIRTUAL if leaf.flags & 8 else USER
        slot = self.layout.slot(gpa)
        assert slot is not None, f"{gpa:#x} is no memory"
        return Stored(pid, ea, value, msr, gpa, min(slot.shift, slot.shift if leaf is None else leaf.shift))


def _common(pid: int) -> tuple[Leaf, ...]:
    """What every process maps: the guest's first page, as the kernel's and as the user's; and a device."""
    return (
        Leaf(pid, 0, 0, 16, CODE),
        Leaf(pid, USER_CODE, 0, 16, USER_ROOM),
        Leaf(pid, DEVICE_EA, DEVICE, 16, IO),
        Leaf(pid, USER_DEVICE_EA, DEVICE, 16, IO & ~8),
    )


FIRST = Layout(
    "first",
    (
        Slot(0, 0x200_0000),
        Slot(0x4000_0000, 0x80_0000, huge=True),
        Slot(0x5000_0000, 0x100_0000),  # hardly touched
        Slot(0x6000_0000, 0x10_0000, options=f"shared {SHARED}"),
        Slot(0x6800_0000, 0x10_0000, options="readonly"),
        Slot(0x7000_0000, 0x40_0000, huge=True, options="logged"),
    ),
    0x40_0000,
    (
        *_common(5),
        Leaf(5, 0x2000_0000, 0x100_0000, 16, DATA),
        Leaf(5, 0x2001_0000, 0x101_0000, 16, USER_DATA),
        Leaf(5, 0x2800_0000, 0x6000_0000, 16, USER_DATA),
        Leaf(5, 0x2801_0000, 0x6800_0000, 16, DATA),  # the host lets it be read only
        Leaf(5, 0x3000_0000, 0x102_0000, 12, DATA),
        Leaf(5, 0x3000_1000, 0x102_3000, 12, READ_ONLY),
        Leaf(5, 0x3000_2000, 0x4000_5000, 12, DATA),  # 4K of a 2M page
        Leaf(5, 0x4000_0000, 0x4000_0000, 21, DATA),
        Leaf(5, 0x4020_0000, 0x120_0000, 21, DATA),  # 2M over pages of 64K
        Leaf(5, 0x4400_0000, 0x5000_0000, 21, DATA),
        Leaf(5, 0x4420_0000, 0x5020_0000, 21, READ_ONLY),  # never touched
        Leaf(5, 0x4800_0000, 0x7000_0000, 21, DATA),
        Leaf(5, 0x6000_0000, 0, 21, CODE),
        Leaf(5, 0x7000_2000, 0x2000, 12, CODE),
        Leaf(5, 0x8000_0000, 0x4000_0000, 30, DATA),  # 1G, of which the host has some, of 2M pages and others
        Leaf(5, 0xC000_0000, 0, 30, CODE | 2),
        Leaf(5, 0xF_F123_4567_0000, 0x103_0000, 16, DATA),
        *_common(7),
        Leaf(7, 0x2000_0000, 0x104_0000, 16, DATA),  # where PID 5 has another page
        Leaf(7, 0x2001_0000, 0x6001_0000, 16, USER_DATA),
        *_common(0xFFF),
        Leaf(0xFFF, 0x2000_0000, 0x105_0000, 16, DATA),  # the last entry of the process table
        Leaf(0, KERNEL, 0, 21, CODE | 2),
        Leaf(0, KERNEL | 0x100_0000, 0x100_0000, 21, DATA),
        Leaf(0, KERNEL | 0x4000_0000, 0x4000_0000, 30, DATA),
    ),
    ((5, 0x4402_0000), (5, 0x8040_0000), (5, 0x8000_0000 + 0x1010_0000), (5, KERNEL | 0x100_8000)),
)
SECOND = Layout(
    "second",
    (
        Slot(0, 0x200_0000),
        Slot(0x8000_0000, 0x40_0000, huge=True),
        Slot(0x9000_0000, 0x10_0000, options=f"shared {SHARED}"),
    ),
    0x80_0000,
    (
        *_common(5),
        Leaf(5, 0x2000_0000, 0x150_0000, 16, DATA),  # the same EA and PID as in the first
        Leaf(5, 0x2800_0000, 0x9002_0000, 16, USER_DATA),
        Leaf(5, 0x2900_0000, 0x9000_0000, 16, READ_ONLY),  # what the first guest writes
        Leaf(5, 0x4000_0000, 0x8000_0000, 21, USER_DATA),
        Leaf(5, 0xC000_0000, 0x8000_0000, 30, DATA),
        *_common(9),
        Leaf(9, 0x3000_0000, 0x151_0000, 12, USER_DATA),
        Leaf(0, KERNEL, 0, 21, CODE | 2),
    ),
)
THIRD = Layout("third", (Slot(0, 0x100_0000),))


@dataclass
class Scene:
    """The host and its guests."""

    machine: Machine
    guests: tuple[KvmGuest, ...]

    def close(self) -> None:
        """Stop the machine."""
        self.machine.close()


def scene(layouts: Sequence[Layout] = (FIRST, SECOND, THIRD), **options: Any) -> Scene:
    """Boot the host and set up its guests, each stopped outside of KVM; the caller closes it. ``options`` are those of
    :func:`scripts.guests.booted`.

    KVM gives LPIDs from 1 on, in the order in which guests are made (Linux 6.1, ``kvmppc_alloc_lpid``)."""
    machine = booted(KIND, extra_files={IN_GUEST: built()}, **options)
    try:
        machine.shell(f"echo {HUGE_PAGES} > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
        guests = []
        for lpid, layout in enumerate(layouts, 1):
            guest = KvmGuest(Monitor.start(machine, layout.name), lpid, layout)
            guest.set_up()
            guests.append(guest)
        return Scene(machine, tuple(guests))
    except BaseException:
        machine.close()
        raise
