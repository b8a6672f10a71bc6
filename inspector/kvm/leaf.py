"""The leaf that KVM makes for a host page: which size, and which bits."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.kvm.host import HostPage
from inspector.kvm.machine import Machine
from inspector.kvm.shape import DIRTY, HUGE, HUGE_SHIFT, LARGE, LARGE_SHIFT, PRESENT_LEAF, READ_EXECUTE
from inspector.kvm.slots import LOG_DIRTY_PAGES, READ_ONLY, MemorySlot
from inspector.kvm.trace import Trace
from inspector.radix.bits import PTE_EXEC, PTE_R, PTE_WRITE

SIZES = ((2, HUGE_SHIFT, HUGE), (1, LARGE_SHIFT, LARGE))
"""(level, shift, bytes) of large leaves, the largest first."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The entry to be made, its level (0: one page, 1: 2M, 2: 1G), and ``small``, the same as a leaf of one page."""

    value: int
    level: int
    small: int


def leaf_for(
    machine: Machine, trace: Trace, host: HostPage | None, gpa: int, slot: MemorySlot, writing: bool
) -> Leaf | None:
    """The leaf for guest real ``gpa``, backed by ``host``; None where there is none to be had, which is EFAULT."""
    if host is None:
        trace.say("host-none")
        return None
    if writing and not host.writable and not (host.io and "io-by-vma" in machine.old):
        trace.say("host-not-writable")
        return None
    page = host.page & -machine.pages.size
    trace.say("host-io" if host.io else "host-page", page)
    if "io-by-vma" in machine.old:
        return _by_gup(machine, trace, host, page, gpa, slot, writing)
    return _by_host_entry(machine, trace, host, page, gpa, slot, writing)


def _by_gup(
    machine: Machine, trace: Trace, host: HostPage, page: int, gpa: int, slot: MemorySlot, writing: bool
) -> Leaf | None:
    """Up to 4.17: flags of its own for memory, those of the VMA for a device, and 2M at most."""
    level = 0
    if host.io:
        if not page:
            trace.say("host-io-zero")
            return None
        flags = host.flags & ~DIRTY
        trace.say("leaf-small")
    else:
        flags = READ_EXECUTE
        level = _level_of_compound(machine, trace, host, gpa)
        if writing:
            flags |= PTE_WRITE
        elif host.writable and (host.dirty or "write-needs-dirty" not in machine.old):
            trace.say("grant-write" if "write-needs-dirty" in machine.old else "grant-write-host")
            flags |= PTE_WRITE
        else:
            trace.say("no-write" if "write-needs-dirty" in machine.old else "no-write-host")
    flags |= PRESENT_LEAF
    if flags & PTE_WRITE:
        flags |= DIRTY
    head = page & -LARGE if level else page
    # The fall-back to one page takes the low bits from the guest's address
    small = head | (gpa & LARGE - machine.pages.size) if level else head
    return Leaf(head | flags, level, small | flags)


def _by_host_entry(
    machine: Machine, trace: Trace, host: HostPage, page: int, gpa: int, slot: MemorySlot, writing: bool
) -> Leaf:
    """From 4.18 on: always asked for with leave to write, and with the bits of the host's own entry: those of a device
    alone in 4.18, of memory as well from 4.19 on."""
    read_only = bool(slot.flags & READ_ONLY) and "read-only-ignored" not in machine.old
    upgrade = host.writable and not read_only
    own_flags = "compound-size" in machine.old and not host.io
    if own_flags:
        level = _level_of_compound(machine, trace, host, gpa)
        flags = READ_EXECUTE | PRESENT_LEAF
        if writing or upgrade:
            flags |= PTE_WRITE | DIRTY
    else:
        level = _level_of_mapping(machine, trace, host, gpa, slot)
        flags = host.flags | PTE_EXEC | PTE_R
        if writing or upgrade:
            flags |= DIRTY if flags & PTE_WRITE else 0
        else:
            flags &= ~(PTE_WRITE | DIRTY)
    if not writing:
        refused = "no-write-slot" if read_only else "no-write-host"
        trace.say("grant-write-host" if flags & PTE_WRITE else refused)
    size = {of: size for of, _, size in SIZES}.get(level, machine.pages.size)
    return Leaf(page & -size | flags, level, page | flags)


def _level_of_compound(machine: Machine, trace: Trace, host: HostPage, gpa: int) -> int:
    """The level of the leaf by the size of the page behind, whatever the host's tables map of it."""
    if host.transparent and "hugetlb-only" in machine.old:
        trace.say("thp-overlooked")
    else:
        for level, shift, size in SIZES:
            if (
                not (level == 2 and "no-1g" in machine.old)
                and host.compound >= shift
                and _alike(machine, trace, host, gpa, size)
            ):
                return _large(trace, level, gpa, size)
        if host.compound < LARGE_SHIFT:
            trace.say("host-small", host.compound)
    trace.say("leaf-small")
    return 0


def _level_of_mapping(machine: Machine, trace: Trace, host: HostPage, gpa: int, slot: MemorySlot) -> int:
    """The level of the leaf by the size of the host's own mapping, neither more nor less."""
    for level, shift, size in SIZES:
        if host.shift != shift:
            continue
        if slot.flags & LOG_DIRTY_PAGES and "large-while-logging" not in machine.old:
            trace.say("logging-small")
        elif _alike(machine, trace, host, gpa, size):
            return _large(trace, level, gpa, size)
        trace.say("leaf-small")
        return 0
    trace.say("host-small", host.shift)
    trace.say("leaf-small")
    return 0


def _large(trace: Trace, level: int, gpa: int, size: int) -> int:
    trace.say("leaf-2m" if level == 1 else "leaf-1g", gpa & -size)
    return level


def _alike(machine: Machine, trace: Trace, host: HostPage, gpa: int, size: int) -> bool:
    """Whether guest real and host virtual address lie alike in ``size`` bytes, as the version asks it."""
    pages = -machine.pages.size
    if "whole-address-compared" in machine.old:
        # PMD_MASK keeps what lies above 2M, so that this asks whether the two are in one 2M frame
        if (gpa ^ host.hva) & -size & pages:
            trace.say("misaligned-seed", gpa, host.hva)
            return False
        return True
    if (gpa ^ host.hva) & (size - 1) & pages:
        trace.say("misaligned", gpa, host.hva, size >> LARGE_SHIFT << 1)
        return False
    return True
