"""What if: a guest's memory with a copy-on-write overlay over it, and KVM's second-level life cycle run on that.

Nothing is written to the guest. Whoever looks at the guest while this is on sees the overlay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from inspector.errors import UsageError
from inspector.kvm.free import free
from inspector.kvm.host import HostPage
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.pool import Pool
from inspector.kvm.shape import HostPages
from inspector.kvm.slots import MemorySlot, Slots
from inspector.memory.overlay import Overlay
from inspector.memory.physical import PhysicalMemory, Range
from inspector.radix.bits import PATE0_HR, PTE_ATT, PTE_C, PTE_R, PTE_WRITE
from inspector.trees import Tree

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.vmm import Vmm

POOL = "what-if pool"
POOL_SIZE = 256 << 20
"""Bytes of the pool where none is named. It takes no memory until tables are taken from it."""
FAR = 1 << 40
"""Where none is named it begins at the first multiple of this above all RAM: it may lie where a device is, since a pool
is read here and nowhere else."""
OF_HOST = "LPID 0 is the host itself, which KVM makes no leaves for; name a guest's with --lpid N"
ROOT_DESCRIPTOR = PATE0_HR | 0x4000_0000_0000_00AD
"""PATE0 as KVM writes it, but for the root's address: radix, a tree of 52 bits, a root of 13 (Linux 6.1
``kvmppc_setup_partition_table``)."""


@dataclass
class WhatIf:
    """The overlay over ``guest``, and the hypervisor that works on it. ``pool_range`` is where new tables are laid,
    ``made`` the partitions that no partition table holds, and ``vmms``, by LPID, the radix PID of the host's process
    that is the guest's VMM, where that was said. ``touched`` are the LPIDs whose trees may have been changed, and
    ``epoch`` is that in which the overlay was empty last, ``told`` that of which it was said that it is another.
    ``said`` are the words about kernels that were said once."""

    guest: Guest
    base: PhysicalMemory
    pool_range: Range
    machine: Machine
    overlay: Overlay
    made: dict[int, Tree] = field(default_factory=dict)
    vmms: dict[int, int] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    epoch: int = 0
    told: int | None = None
    said: set[str] = field(default_factory=set)
    _inferred: dict[tuple[int, int], Vmm | None] = field(default_factory=dict, repr=False)

    @classmethod
    def over(
        cls, guest: Guest, base: PhysicalMemory, pool: Range | None = None, pages: HostPages | None = None
    ) -> WhatIf:
        """An empty overlay. Raises UsageError for a pool that no tables can be laid in."""
        from inspector import partitions

        chosen = pool or default_pool(base)
        if chosen.start % 4096 or chosen.size <= 0 or chosen.end > 1 << 52:
            raise UsageError(
                f"a pool of {chosen.size:#x} bytes at {chosen.start:#x} cannot hold tables; it is to begin at a "
                "multiple of 4096, and end below 2**52"
            )
        overlay = Overlay(base, [chosen])
        machine = Machine(overlay, Pool(overlay, chosen.start, chosen.size), pages or HostPages())
        made = dict(partitions.recorded(guest))
        return cls(guest, base, chosen, machine, overlay, made, epoch=guest.target.clock.epoch)

    @property
    def memory(self) -> PhysicalMemory:
        """The guest's RAM as it would be."""
        memory = self.overlay.memory
        memory.ram = self.overlay.ram
        return memory

    @property
    def version(self) -> int:
        """Counts what was written."""
        return self.overlay.version

    def reset(self) -> None:
        """Forget all that was changed: leaves, tables, slots and guests that were made."""
        fresh = WhatIf.over(self.guest, self.base, self.pool_range, self.machine.pages)
        fresh.machine.behave_as(self.machine.version, self.machine.dd1)
        fresh.overlay.version = self.overlay.version + 1
        self.machine, self.overlay, self.made, self.epoch = fresh.machine, fresh.overlay, fresh.made, fresh.epoch
        self.vmms.clear()
        self.touched.clear()

    @property
    def ran(self) -> bool:
        """Whether the guest has run since: what was not written follows it."""
        return self.guest.running or self.guest.target.clock.epoch != self.epoch

    @contextmanager
    def lifted(self) -> Iterator[Guest]:
        """The guest as it is, for a while."""
        guest = self.guest
        guest.whatif = None
        try:
            yield guest
        finally:
            guest.whatif = self

    def as_json(self) -> dict[str, Any]:
        """What a snapshot of it says: where the pool is, and the partitions that no partition table holds."""
        pool, made = self.pool_range, sorted(self.made.items())
        return {
            "pool": f"{pool.start:#x}:{pool.size:#x}",
            "lpids": sorted(self.touched),
            "made": [{"lpid": lpid, "entry": f"{tree.entry:#x}"} for lpid, tree in made],
        }

    def vm(self, lpid: int, *, make: bool = False) -> Vm:
        """The KVM guest ``lpid`` as the life cycle has it: its tree is that of its partition-table entry. With ``make``
        one that is not there is made, with an empty tree. Raises UsageError where there is none."""
        from inspector import partitions

        if lpid == 0:
            raise UsageError(OF_HOST)
        self.touched.add(lpid)
        known = self.machine.vms.get(lpid)
        if lpid in self.made and known is not None:
            return known
        try:
            root = partitions.partition(self.guest, lpid).tree.root
        except UsageError:
            if not make:
                raise
            if self._hashed(lpid):
                raise UsageError(
                    f"LPID {lpid} is a hash guest (HR is 0): KVM runs it by a hashed page table, which no tree is laid "
                    "over; name a radix guest with --lpid N, 'lpids' lists them"
                ) from None
            return self._make(lpid)
        if known is not None and known.tree.root == root:
            return known
        vm = self.machine.adopt(lpid, root)
        if known is not None:
            vm.slots = known.slots
        return vm

    def empty(self, lpid: int) -> Vm:
        """The guest ``lpid`` with an empty tree, whatever is there. One that was laid in the pool is freed; of a
        recorded one nothing is changed. Raises UsageError for LPID 0 and those that the partition table has not."""
        if lpid == 0:
            raise UsageError(OF_HOST)
        self.touched.add(lpid)
        known = self.machine.vms.get(lpid)
        if known is not None and self.pool_range.start <= known.tree.root < self.pool_range.end:
            self.free(known)
        vm = self._make(lpid)
        vm.slots = known.slots if known is not None else Slots()
        return vm

    def _make(self, lpid: int) -> Vm:
        address = self._entry(lpid)
        if address is not None:
            self.overlay.read_u64(address)  # so that what cannot be written to is met before a table is taken
        vm = self.machine.make(lpid)
        entry = ROOT_DESCRIPTOR | vm.tree.root
        if address is None:
            self.made[lpid] = Tree(lpid, None, 0, entry)
        else:
            self.overlay.write_u64(address, entry)
        return vm

    def _hashed(self, lpid: int) -> bool:
        """Whether the partition table has a guest there that has no tree."""
        from inspector import partitions

        if not partitions.in_sight(self.guest):
            return False
        there = partitions.entry_of(self.guest, lpid)
        return there is not None and not there.entry & PATE0_HR

    def _entry(self, lpid: int) -> int | None:
        """Real address of a guest's partition-table entry; None where there is no such table to be seen. Raises
        UsageError for an LPID that it has no entry for."""
        from inspector import partitions

        if not partitions.in_sight(self.guest):
            return None
        base, size = partitions.partition_table(self.guest)
        if not 0 < lpid < size // 16:
            raise UsageError(f"LPID {lpid} is beyond the partition table, which has {size // 16} entries")
        return base + 16 * lpid

    def free(self, vm: Vm) -> None:
        """Free a guest's tree (``kvmppc_free_radix``), and clear its partition-table entry, as Linux does since 5.0."""
        address = None if vm.lpid in self.made else self._entry(vm.lpid)
        if address is not None:
            self.overlay.read(address, 16)  # as in making one
        free(self.machine, vm)
        self.made.pop(vm.lpid, None)
        if address is not None:
            self.overlay.clear(address, 16)

    def inferred(self, lpid: int) -> Vmm | None:
        """The VMM of the KVM guest ``lpid``, and its slots, by what both map below the overlay: that is told of a guest
        whose tree was changed or freed here, too. None where nothing tells, or there is no such guest."""
        from inspector.vmm import vmm_of

        key = (self.guest.target.clock.epoch, lpid)
        if key not in self._inferred:
            with self.lifted() as guest:
                try:
                    self._inferred[key] = vmm_of(guest, lpid)
                except UsageError:
                    self._inferred[key] = None
        return self._inferred[key]

    def host_page(self, slot: MemorySlot, gpa: int, vmm: int) -> HostPage | None:
        """What the host has behind guest real ``gpa`` by the page tables of its process with radix PID ``vmm``, the
        VMM, at the address that the slot gives. None where that maps nothing. Raises UsageError for a slot whose
        address there is not known."""
        if slot.hva is None:
            raise UsageError(
                f"the slot at {slot.base:#x} does not say where the VMM has it; make it anew with BASE:SIZE@HVA"
            )
        if self.guest.roots.flat:
            raise UsageError(
                "this guest's hypervisor is out of sight (pseries), and its processes with it; say what it has there"
            )
        size = self.machine.pages.size
        hva = slot.hva + (gpa - slot.base) & -size
        found = self.guest.translate(hva, pid=vmm, lpid=0)
        leaf, last = found.leaf, found.steps[-1] if found.steps else None
        if last is not None and last.value is None:
            raise UsageError(
                f"the page tables of PID {vmm} cannot be read as far as {hva:#x}: {found.reason}; say what the host "
                "has there"
            )
        if leaf is None or found.ra is None or found.page_shift is None:
            return None
        return HostPage(
            hva,
            found.ra >> found.page_shift << found.page_shift,
            found.page_shift,
            writable=bool(leaf & PTE_WRITE),
            dirty=bool(leaf & PTE_C),
            accessed=bool(leaf & PTE_R),
            io=bool(leaf & PTE_ATT) or not self.base.ram.covers(found.ra, 1),
            entry=leaf,
        )


def default_pool(base: PhysicalMemory) -> Range:
    """Where tables are laid if nobody says where: above all RAM."""
    top = max((end for _, end in base.ram.spans()), default=0)
    return Range(-(-top // FAR) * FAR or FAR, POOL_SIZE, POOL)


def refuse_used(guest: Guest, pool: Range) -> None:
    """Raises UsageError for a pool that lies over a table in use, which whoever walks that would find empty. What lies
    in RAM besides, nobody can tell."""
    if not any(True for _ in guest.memory.ram.within(pool.start, pool.size)):
        return
    import numpy as np

    try:
        tables = guest.spaces(guests=not guest.roots.flat).sweep.tables()
    except UsageError:  # none are known
        return
    used = list(_of_processes_and_partitions(guest))
    over = np.flatnonzero((tables.address < pool.end) & (tables.address + tables.length > pool.start))
    used += zip(tables.address[over].tolist(), tables.length[over].tolist(), strict=True)
    for start, size in sorted(used):
        if start < pool.end and pool.start < start + size:
            raise UsageError(
                f"a pool at {pool.start:#x} lies over a table in use, at {start:#x}; name memory that nobody uses, or "
                "leave --pool out, and it lies above all RAM"
            )


def _of_processes_and_partitions(guest: Guest) -> Iterator[tuple[int, int]]:
    """(real address, bytes) of the tables that trees hang on."""
    from inspector import partitions

    if partitions.in_sight(guest):
        yield partitions.partition_table(guest)
    with suppress(UsageError):
        yield guest.process_table()
