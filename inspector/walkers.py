"""One guest's walkers, asked as if a process or a partition of it ran: the hardware's walk and KVM's software walks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from inspector.errors import UsageError
from inspector.radix import software_walk, walk
from inspector.radix.address import Context
from inspector.radix.bits import PATE1_GR
from inspector.radix.translation import Access, Translation

if TYPE_CHECKING:
    from inspector.guest import Guest


def as_whom(
    context: Context, ea: int, pid: int | None, lpid: int | None, nested: tuple[int, int] | None
) -> tuple[Context, Context | None]:
    """A vCPU's context as if this process and partition ran, and the context of the hypervisor that the partition lies
    within where it is a guest's guest, as :func:`inspector.radix.walk.translate` takes both.

    Raises UsageError for a partition that there cannot be."""
    within = None
    if lpid is not None:
        if context.flat and lpid:
            from inspector.partitions import out_of_sight

            raise out_of_sight(lpid)
        context = context.as_partition(lpid)
    if nested is not None:
        if not (lpid and nested[1]):
            raise UsageError("only a KVM guest has guests of its own, and LPID 0 is none of them; name both")
        within = context
        context = replace(context.as_partition(nested[1]), ptcr=nested[0])
    if pid is not None:
        context = context.as_process(pid, ea)
    return context, within


def hardware(guest: Guest, context: Context, ea: int, access: Access | None, within: Context | None) -> Translation:
    """The hardware's walk; a fault where there are no radix tables for it."""
    roots = guest.roots
    if context.relocation(access) and roots.state != "radix":
        return Translation(
            ea=ea,
            walker=walk.WALKER,
            status="fault",
            access=access,
            cause=roots.state if roots.state == "hash-mmu" else "no-root",
            reason=roots.explanation,
        )
    return walk.translate(guest.memory.read_u64, context, ea, access, within)


def software(
    guest: Guest, context: Context, ea: int, which: software_walk.Variant, within: Context | None
) -> Translation:
    """KVM's software walk, or a variant of it; EINVAL where KVM would have no radix tables to begin with."""
    if guest.roots.state != "radix":
        return _no_root(ea, which, guest.roots.explanation)
    lpid = 0 if context.flat or context.hypervisor else context.lpidr or 0
    if not context.flat:
        table = process_table_of(guest, context, lpid, within)
        if table is None:
            why = f"the partition-table entry of LPID {lpid} cannot be read or describes no radix tree"
            return _no_root(ea, which, why)
        context = replace(context, process_table=table)
    read = walk.guest_reader(guest.memory.read_u64, replace(context, process_table=None), lpid, within)
    answer = software_walk.translate(read, context, ea, which)
    return replace(answer, lpid=lpid, outer_lpid=within.lpidr if within else None)


def _no_root(ea: int, which: software_walk.Variant, why: str) -> Translation:
    return Translation(ea=ea, walker=which.name, status="fault", errno="EINVAL", cause="no-root", reason=why)


def process_table_of(guest: Guest, context: Context, lpid: int, within: Context | None = None) -> int | None:
    """PATE1 of ``lpid``: what KVM keeps as ``arch.process_table`` of that guest (Linux 6.1). None where it has no entry
    of a radix partition, or that cannot be read."""
    entry = walk.partition_entry(guest.memory.read_u64, context.as_partition(lpid), lpid, within)
    return None if entry is None else entry[1] | PATE1_GR
