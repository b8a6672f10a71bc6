"""The hardware's walk: what the POWER9 and POWER10 radix MMU does with one effective address.

Follows Power ISA 3.0B/3.1, book III, 5.7, as QEMU 7.2 ``ppc_radix64_xlate`` implements it, and says in ``notes`` where
the processors' manuals are stricter than QEMU. How entries are read is in :mod:`inspector.radix.stages`.
"""

from __future__ import annotations

from dataclasses import replace

from inspector.errors import Unreadable
from inspector.radix.access import (
    deny,
    encoded_rights,
    interrupt_for,
    segment_interrupt,
)
from inspector.radix.address import Context, Qualified, in_range, quadrant, qualify
from inspector.radix.bits import (
    EA_MASK,
    LPCR_HR,
    REAL_MODE_MASK,
    TREE_BITS,
)
from inspector.radix.outer import STAGE, Outer
from inspector.radix.stages import Fault, Reached, Walk
from inspector.radix.translation import ALL_RIGHTS, Access, Interrupt, ReadWord, Translation

WALKER = "hardware"
REAL_MODE_SHIFT = 12


def _walk(read: ReadWord, context: Context, access: Access | None, within: Context | None) -> Walk:
    """A walk in the host's memory, or in that of the guest that LPIDR of ``within`` is. Raises Fault."""
    walk = Walk(read, context, access)
    if within is not None:
        Outer(walk, within)
    return walk


def partition_entry(
    read: ReadWord, context: Context, lpid: int, within: Context | None = None
) -> tuple[int, int] | None:
    """The two doublewords of a radix partition's entry, or None where there is no such entry or it cannot be read.
    ``within`` is as :func:`translate` has it."""
    try:
        entry = _walk(read, context, None, within).partition(lpid)
    except Fault:
        return None
    return entry.dw0, entry.dw1


def guest_reader(read: ReadWord, context: Context, lpid: int, within: Context | None = None) -> ReadWord:
    """A reader of guest real memory of ``lpid``: what ``kvm_read_guest`` is to KVM.

    It raises Unreadable where the partition-scoped tree has nothing behind the address, and for one of more than 52
    bits, which is in no slot (the hardware's walk leaves the upper bits out). KVM reads its slots, of which the tree
    holds what was touched: memory of a slot that never was reads as zeros to KVM, and here not at all. ``within`` is as
    :func:`translate` has it: the KVM meant is then the one that runs in that guest."""
    if context.flat or lpid == 0:
        return read

    def read_guest(address: int) -> int:
        if address >> TREE_BITS:
            why = f"a guest real address has {TREE_BITS} bits and KVM has no memory slot there"
            raise Unreadable(address, 8, why)
        try:
            walk = _walk(read, context, None, within)
            found = walk.second_stage(walk.partition(lpid), lpid, "guest memory", address).ra
            return read(found if walk.outer is None else walk.outer(found, "guest memory"))
        except Fault as fault:
            raise Unreadable(address, 8, fault.reason) from None

    return read_guest


def translate(
    read: ReadWord, context: Context, ea: int, access: Access | None = None, within: Context | None = None
) -> Translation:
    """Translate ``ea`` as the hardware would on a vCPU in this ``context``.

    ``read`` gives the big-endian doubleword at a host real address and raises MemoryReadError, which ends the walk in a
    fault that names the entry that led there. With ``access`` the answer is a fault where that access may not proceed;
    without it, the answer is the mapping and ``rights`` says what may be done.

    ``within`` is for a guest's guest (L2): the context of the guest that is its hypervisor (L1), by the host's tables.
    PTCR of ``context`` is then what the L1 registered, and every address that the L1 calls real goes through a third
    stage. Raises UnknownRegister where the answer hangs on a register that is not known."""
    walk = Walk(read, context, access)
    qualified: Qualified | None = None
    gra: int | None = None
    outer_gra: int | None = None
    relocation = context.relocation(access)
    if relocation:
        walk.assumptions()
    answer = Translation(ea=ea, walker=WALKER, status="ok", access=access, relocation=relocation)

    def done(result: Translation) -> Translation:
        return replace(
            result,
            lpid=qualified.lpid if qualified else None,
            outer_lpid=within.lpidr if within else None,
            pid=qualified.pid if qualified and relocation else None,
            steps=tuple(walk.steps),
            notes=tuple(walk.notes),
        )

    def fault(cause: str, reason: str, stage: int | None, interrupt: Interrupt | None) -> Translation:
        ended = replace(answer, status="fault", cause=cause, reason=reason, stage=stage, interrupt=interrupt)
        return done(replace(ended, gra=gra, outer_gra=outer_gra))

    if not relocation and (context.flat or context.hypervisor):
        ra = ea & REAL_MODE_MASK
        reason = "translation is off: the address is real, less its top 4 bits"
        if not context.flat and not ea >> 63:
            if context.hrmor is None:
                walk.note("HRMOR is not known: 0 is assumed")
            ra |= context.hrmor or 0
            reason += f", with HRMOR ({context.hrmor or 0:#x}) in"
        return done(replace(answer, ra=ra, page_shift=REAL_MODE_SHIFT, rights=ALL_RIGHTS, reason=reason))
    if context.lpcr is not None and not context.lpcr & LPCR_HR:
        return fault(
            "hash-mmu", "LPCR[HR] is 0: this vCPU translates with the hashed page table, not with radix", None, None
        )
    if not in_range(ea):
        return fault(
            "ea-out-of-range",
            f"EA bits above the {TREE_BITS} that a tree covers are set: a segment interrupt",
            None,
            segment_interrupt(access),
        )
    qualified = qualify(context, ea)
    if qualified is None:
        return fault(
            "quadrant",
            f"the EA lies in quadrant {quadrant(ea)}, which only a hypervisor (MSR[HV]=1) may use: a segment interrupt",
            None,
            segment_interrupt(access),
        )
    try:
        outer = None if within is None else Outer(walk, within)
        partition = walk.partition(qualified.lpid)
        leaf: Reached | None = None
        rights = ALL_RIGHTS
        ra, shift = ea & EA_MASK, TREE_BITS
        if relocation:
            leaf, rights = walk.first_stage(partition, qualified, ea)
            ra, shift = leaf.ra, leaf.shift
        if not context.flat and (qualified.lpid or not context.hypervisor):
            gra = ra
            host = walk.second_stage(partition, qualified.lpid, "access itself", gra)
            if access:
                walk.refuse(deny(host.entry, access, context, partition_scoped=True), 2)
            rights &= encoded_rights(host.entry)
            ra, shift = host.ra, min(shift, host.shift)
            leaf = leaf or host
            if outer is not None:
                outer_gra = ra
                last = outer.reached(outer_gra, "access itself")
                if access:
                    walk.refuse(deny(last.entry, access, context, partition_scoped=True), STAGE)
                rights &= encoded_rights(last.entry)
                ra, shift = last.ra, min(shift, last.shift)
    except Fault as stop:
        raised = None
        if stop.bits is not None:
            raised = interrupt_for(access, stop.bits, partition_scoped=stop.stage >= 2)
        return replace(fault(stop.cause, stop.reason, stop.stage, raised), table_gra=stop.guest_real)
    where = replace(answer, ra=ra, gra=gra, outer_gra=outer_gra, page_shift=shift, rights=rights)
    return done(replace(where, leaf=leaf.entry if leaf else None))
