"""Partitions: the guests of a bare machine's hypervisor, each with a tree of its own and memory that it calls real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from inspector import processes
from inspector.errors import MemoryReadError, UsageError
from inspector.memory.behind import GuestMemory, GuestReal
from inspector.memory.physical import RamMap, Range
from inspector.processes import Missed
from inspector.radix.bits import ENTRY_BYTES, PATE0_HR, PTCR_PATB, PTCR_PATS, table_bytes
from inspector.trees import Tree

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.mappings.behind import Behind
    from inspector.processes import Process
    from inspector.spaces import Spaces

PARTITION_TABLE = "partition table"
"""What :class:`Missed` calls it."""
OUT_OF_SIGHT = "this guest's hypervisor is out of sight (pseries): it is LPID 0, and there is no other"


def out_of_sight(lpid: int) -> UsageError:
    """That ``lpid``, which is not 0, was asked for where only LPID 0 is to be seen."""
    return UsageError(
        f"there is no LPID {lpid} to be seen: this guest's hypervisor is out of sight, and it is LPID 0; leave --lpid "
        "out"
    )


@dataclass
class Partition:
    """One radix partition of a bare machine, at one moment: ``tree`` is its partition-scoped tree, whose ``second`` is
    PATE1, the descriptor of its process table (Power ISA 3.0B, book III, 5.7.6.1).

    A guest's guest (L2) lies ``within`` its hypervisor's partition: its tree leads to what that calls real, and that to
    the host's memory."""

    guest: Guest
    tree: Tree
    within: Partition | None = None

    @property
    def lpid(self) -> int:
        """Its LPID."""
        return self.tree.lpid

    @cached_property
    def spaces(self) -> Spaces:
        """Its partition-scoped tree, swept: guest real addresses to the host's. Ctrl-C raises KeyboardInterrupt."""
        from inspector.spaces import spaces_of

        return spaces_of(self.guest, (self.tree,), within=self.within)

    @cached_property
    def behind(self) -> Behind:
        """The same as a map that is asked in bulk."""
        from inspector.mappings.behind import Behind

        return Behind(self.spaces.ranges, self.spaces.unread)

    @cached_property
    def memory(self) -> GuestMemory:
        """What it calls real memory, read wherever the host has put it."""
        ram = RamMap(Range(at, size, f"LPID {self.lpid}") for at, size in self.behind.spans())
        source = GuestReal(self.guest.memory, self.behind, self.lpid)
        return GuestMemory(source, ram, self.guest.target.clock)

    @property
    def process_table(self) -> tuple[int, int]:
        """Guest real address and size in bytes of its process table."""
        return self.tree.process_table

    @property
    def registered(self) -> bool:
        """Whether it has told its hypervisor of a process table."""
        return self.tree.registered

    @property
    def unregistered(self) -> str:
        """The sentence for one that has not."""
        return f"LPID {self.lpid} has registered no process table yet, so that its addresses are all guest real"

    def processes(self, missed: Missed | None = None) -> Iterator[Process]:
        """Every live entry of its process table, by PID; what cannot be read is told to ``missed``."""
        if not self.registered:
            return
        yield from processes.scan(self.memory, *self.process_table, missed, self.guest.progress)


def in_sight(guest: Guest) -> bool:
    """Whether this is a bare machine whose partition table is known."""
    found = guest.roots
    return found.state == "radix" and not found.flat and found.ptcr is not None


def made(guest: Guest) -> Mapping[int, Tree]:
    """By LPID, the partitions that no partition table holds: those that a what-if made where the hypervisor is out of
    sight, now or before the snapshot was recorded."""
    return recorded(guest) if guest.whatif is None else guest.whatif.made


def recorded(guest: Guest) -> Mapping[int, Tree]:
    """Those of a snapshot that was recorded of a what-if."""
    found: dict[int, Tree] = {}
    said = guest.target.machine.get("whatif")
    for each in said.get("made", ()) if isinstance(said, Mapping) else ():
        try:
            lpid, entry = int(each["lpid"]), int(each["entry"], 16)
        except (KeyError, TypeError, ValueError):  # not as it is written here
            continue
        found[lpid] = Tree(lpid, None, 0, entry)
    return found


def partition_table(guest: Guest) -> tuple[int, int]:
    """Real address and size in bytes of the partition table. Raises UsageError where there is none to be seen."""
    found = guest.roots
    if found.state != "radix":
        raise UsageError(found.explanation)
    if found.flat or found.ptcr is None:
        raise UsageError(f"{OUT_OF_SIGHT}; leave --partition out")
    return found.ptcr & PTCR_PATB, table_bytes(found.ptcr & PTCR_PATS)


def entries(guest: Guest, missed: Missed | None = None) -> Iterator[Tree]:
    """Every entry of the partition table that is not empty, by LPID, radix or not: a tree whose ``entry`` has HR clear
    is a hashed page table. Raises UsageError where no partition table is known."""
    if besides := made(guest):
        yield from (besides[lpid] for lpid in sorted(besides))
        return
    base, size = partition_table(guest)
    for each in processes.scan(guest.memory, base, size, missed, guest.progress):
        yield Tree(each.pid, None, each.address, each.entry, each.second)


def of_guests(guest: Guest, missed: Missed | None = None) -> tuple[Tree, ...]:
    """The partition-scoped trees of all KVM guests, by LPID: those of the radix entries from LPID 1 on. None where the
    hypervisor is out of sight; what of the partition table cannot be read is told to ``missed``."""
    if not in_sight(guest) and not made(guest):
        return ()
    return tuple(each for each in entries(guest, missed) if each.lpid and each.entry & PATE0_HR)


def entry_of(guest: Guest, lpid: int) -> Tree | None:
    """The entry of ``lpid``, None where it is empty. Raises UsageError for an LPID beyond the table, and
    MemoryReadError where it cannot be read."""
    if lpid in (besides := made(guest)):
        return besides[lpid]
    base, size = partition_table(guest)
    if not 0 <= lpid < size // ENTRY_BYTES:
        raise UsageError(
            f"LPID {lpid} is beyond the partition table, which has {size // ENTRY_BYTES} entries; try 'lpids'"
        )
    address = base + lpid * ENTRY_BYTES
    first, second = guest.memory.read_u64(address), guest.memory.read_u64(address + 8)
    return Tree(lpid, None, address, first, second) if first or second else None


def partition(guest: Guest, lpid: int) -> Partition:
    """The radix partition ``lpid``. Raises UsageError where there is none."""
    try:
        entry = entry_of(guest, lpid)
    except MemoryReadError as error:
        raise UsageError(f"the partition-table entry of LPID {lpid} cannot be read: {error.why}") from None
    if entry is None:
        raise UsageError(f"the partition-table entry of LPID {lpid} is empty: no guest has this LPID; try 'lpids'")
    if not entry.entry & PATE0_HR:
        raise UsageError(f"LPID {lpid} is a hash guest (HR is 0): it has no radix tree; try 'lpids'")
    return Partition(guest, entry)


def nested(outer: Partition, ptcr: int, lpid: int) -> Partition:
    """The partition ``lpid`` of a guest's own partition table (its L2), which that guest registered with its hypervisor
    as the value ``ptcr``, laid out as PTCR is (Linux 6.1 ``kvmhv_set_ptbl_entry`` and ``kvmhv_set_partition_table``).

    What KVM runs an L2 by is another tree, which it shadows under an LPID of the host's own; this is what the guest
    itself wrote. Raises UsageError where there is none."""
    base, size = ptcr & PTCR_PATB, table_bytes(ptcr & PTCR_PATS)
    who = f"LPID {lpid} of LPID {outer.lpid}'s own partition table"
    if not 0 <= lpid < size // ENTRY_BYTES:
        raise UsageError(f"{who} is beyond it: by {ptcr:#x} it has {size // ENTRY_BYTES} entries; give another")
    address = base + lpid * ENTRY_BYTES
    try:
        first, second = outer.memory.read_u64(address), outer.memory.read_u64(address + 8)
    except MemoryReadError as error:
        raise UsageError(f"the entry of {who} cannot be read: {error.why}; is {ptcr:#x} what it registered?") from None
    if not first & PATE0_HR:
        what = "is a hash guest (HR is 0)" if first or second else "is empty"
        raise UsageError(f"the entry of {who} {what}; is {ptcr:#x} what it registered?")
    return Partition(outer.guest, Tree(lpid, None, address, first, second), outer)
