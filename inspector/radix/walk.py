"""The hardware's walk: what the POWER9 and POWER10 radix MMU does with one effective address.

Follows Power ISA 3.0B/3.1, book III, 5.7, as QEMU 7.2 ``ppc_radix64_xlate`` implements it, and says in ``notes`` where
the processors' manuals are stricter than QEMU. One :class:`Step` for every entry read. A second stage, where there is
one, is a function that the first stage sends each of its addresses through, so that there is one tree walk for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inspector.errors import MemoryReadError, NotRam, Unreadable
from inspector.radix.access import (
    Denial,
    deny,
    encoded_rights,
    interrupt_for,
    process_rights,
    segment_interrupt,
    unknown_keys,
)
from inspector.radix.address import Context, Qualified, in_range, quadrant, qualify
from inspector.radix.bits import (
    DSISR_BADCONFIG,
    DSISR_NOPTE,
    DSISR_PRTABLE_FAULT,
    EA_MASK,
    ENTRY_BYTES,
    LEVEL_BITS,
    LPCR_HR,
    LPCR_UPRT,
    PATE0_HR,
    PDE_NLB,
    PDE_NLS,
    PRTB_MASK,
    PRTS_MASK,
    PTCR_PATB,
    PTCR_PATS,
    PTE_C,
    PTE_LEAF,
    PTE_R,
    PTE_RPN,
    PTE_VALID,
    REAL_MODE_MASK,
    RPDB_MASK,
    RPDS_MASK,
    TREE_BITS,
    table_bytes,
    tree_bits,
)
from inspector.radix.translation import ALL_RIGHTS, Access, Interrupt, ReadWord, Rights, Step, Translation

WALKER = "hardware"
REAL_MODE_SHIFT = 12


class _Fault(Exception):
    """Where a walk ended early. ``bits`` go to DSISR, HDSISR or SRR1; None where only this walk ended, because what
    the guest itself would find there is not known."""

    def __init__(self, cause: str, reason: str, bits: int | None, stage: int) -> None:
        self.cause = cause
        self.reason = reason
        self.bits = bits
        self.stage = stage
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf reached: its entry, the real address it gives, and log2 of its page size."""

    entry: int
    ra: int
    shift: int


@dataclass(frozen=True, slots=True)
class _Partition:
    """The two doublewords of a partition-table entry; those of a flat machine are made up from its process table."""

    dw0: int
    dw1: int


Resolve = Callable[[int, str], int]
"""Guest real address and purpose in, host real address out."""


@dataclass
class _Walk:
    """One translation under way."""

    read: ReadWord
    context: Context
    access: Access | None
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    depth: int = 0

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    # -- reading ---------------------------------------------------------------------------------------------------

    def unreadable(self, address: int, error: MemoryReadError, came_from: str, if_zero: int, stage: int) -> _Fault:
        """The fault of an entry that cannot be read.

        Where there is no RAM the guest finds zeros under QEMU, which makes ``if_zero`` of the fault; where there is but
        the target cannot give it, nothing is said of what the guest finds."""
        return _Fault(
            f"table-{error.slug}",
            f"{came_from} leads to {address:#x}, which cannot be read: {error.why}",
            if_zero if isinstance(error, NotRam) else None,
            stage,
        )

    def word(self, step: Step, came_from: str, if_zero: int = DSISR_NOPTE) -> int:
        """Read the entry of ``step``, which gets its value; an address that cannot be read is a fault, not an error."""
        try:
            value = self.read(step.address)
        except MemoryReadError as error:
            self.steps.append(replace(step, kind="unreadable"))
            raise self.unreadable(step.address, error, came_from, if_zero, step.stage) from None
        self.steps.append(replace(step, value=value))
        return value

    def tree(self, root: int, target: int, stage: int, owner: str, resolve: Resolve | None) -> _Leaf:
        """Walk the tree that ``root`` describes for the low 52 bits of ``target``."""
        covered = tree_bits(root)
        size, base = root & RPDS_MASK, root & RPDB_MASK
        if covered != TREE_BITS:
            raise _Fault(
                "tree-size",
                f"{owner} describes a tree of {covered} bits, and only {TREE_BITS} are supported",
                DSISR_BADCONFIG,
                stage,
            )
        entry, address = root, -1

        def came_from() -> str:
            """The entry that gave the table at hand; put into words only where it went wrong."""
            if address < 0:
                return f"{owner} {root:#018x}"
            return f"the level {level + 1} entry {entry:#018x} at {address:#x}"

        for level in (3, 2, 1, 0):
            if size not in LEVEL_BITS[level]:
                wanted = " or ".join(str(bits) for bits in LEVEL_BITS[level])
                raise _Fault(
                    "table-size",
                    f"{came_from()} gives its next table 2^{size} entries, and level {level} takes 2^{wanted}",
                    DSISR_BADCONFIG,
                    stage,
                )
            stray = base & ((8 << size) - 1)
            if stray:
                base &= ~stray
                self.note(
                    f"{came_from()} has a table base that is not aligned to the table's size: QEMU drops the low bits "
                    f"({stray:#x}), the ISA wants them zero and KVM's software walk refuses them"
                )
            covered -= size
            index = target >> covered & ((1 << size) - 1)
            guest_address = base + 8 * index
            real = guest_address if resolve is None else resolve(guest_address, f"level {level} entry")
            nested = None if resolve is None else guest_address
            try:
                found = self.read(real)
            except MemoryReadError as error:
                self.steps.append(
                    Step("radix", stage, level, index, real, None, "unreadable", None, nested, covered, self.depth)
                )
                raise self.unreadable(real, error, came_from(), DSISR_NOPTE, stage) from None
            entry, address = found, real
            kind = "invalid" if not entry & PTE_VALID else "leaf" if entry & PTE_LEAF else "directory"
            self.steps.append(
                Step("radix", stage, level, index, address, entry, kind, None, nested, covered, self.depth)
            )
            if kind == "invalid":
                raise _Fault(
                    "not-present",
                    f"the level {level} entry at {address:#x} is not valid ({entry:#018x})",
                    DSISR_NOPTE,
                    stage,
                )
            if kind == "leaf":
                return self.leaf(entry, target, covered, level)
            size, base = entry & PDE_NLS, entry & PDE_NLB
        level = -1
        raise _Fault("no-leaf", f"{came_from()} is a directory where only a leaf may stand", DSISR_BADCONFIG, stage)

    def leaf(self, entry: int, target: int, shift: int, level: int) -> _Leaf:
        inside = (1 << shift) - 1
        number = entry & PTE_RPN
        if level == 3:
            self.note(
                "the leaf stands at the root level (512 GiB): QEMU takes it, POWER9 and POWER10 do not support it and "
                "KVM's software walk refuses it"
            )
        if number & inside:
            self.note(
                f"the leaf's page number has bits set below its page size ({number & inside:#x}): the hardware ignores "
                "them, KVM's software walk refuses them"
            )
        return _Leaf(entry, (number & ~inside) | (target & inside), shift)

    # -- the tables above the tree ---------------------------------------------------------------------------------

    def partition(self, lpid: int) -> _Partition:
        """The partition-table entry of ``lpid`` (Power ISA 3.0B, book III, 5.7.6.1)."""
        if self.context.flat:
            return _Partition(0, self.context.need("process_table"))
        ptcr = self.context.need("ptcr")
        base, size = ptcr & PTCR_PATB, table_bytes(ptcr & PTCR_PATS)
        if base & (size - 1):
            raise _Fault(
                "partition-table-misaligned",
                f"PTCR {ptcr:#x} gives a partition table at {base:#x} that is not aligned to its size ({size:#x})",
                DSISR_BADCONFIG,
                2,
            )
        if lpid * ENTRY_BYTES >= size:
            raise _Fault(
                "lpid-beyond-table",
                f"LPID {lpid} lies past the partition table, which holds {size // ENTRY_BYTES} entries",
                DSISR_BADCONFIG,
                2,
            )
        address = base + lpid * ENTRY_BYTES
        step = Step("partition-table", 2, None, lpid, address, None, "partition-entry", depth=self.depth)
        dw0 = self.word(step, f"PTCR {ptcr:#x}", DSISR_BADCONFIG)
        at = len(self.steps) - 1
        dw1 = self.word(replace(step, address=address + 8), f"PTCR {ptcr:#x}", DSISR_BADCONFIG)
        self.steps[at:] = [replace(step, value=dw0, second=dw1)]
        if not dw0 & PATE0_HR:
            raise _Fault(
                "partition-not-radix",
                f"the partition-table entry of LPID {lpid} ({dw0:#018x}) has HR clear: "
                + ("it is empty" if not dw0 else "it describes a hashed page table"),
                DSISR_BADCONFIG,
                2,
            )
        if lpid == 0 and not self.context.hypervisor:
            raise _Fault(
                "lpid-zero",
                "LPID 0 is the hypervisor's own, and MSR[HV] is 0: no translation is made",
                DSISR_BADCONFIG,
                2,
            )
        return _Partition(dw0, dw1)

    def second_stage(self, partition: _Partition, lpid: int, purpose: str, guest_real: int) -> _Leaf:
        """Guest real to host real through the partition-scoped tree, each step a level deeper in the trace."""
        self.depth += 1
        before = len(self.steps)
        try:
            return self.tree(partition.dw0, guest_real, 2, f"the partition-table entry of LPID {lpid}", None)
        finally:
            self.depth -= 1
            self.steps[before:] = [replace(step, purpose=purpose) for step in self.steps[before:]]

    def resolver(self, partition: _Partition, lpid: int) -> Resolve:
        """Sends the first stage's own addresses through the second."""

        def resolve(guest_real: int, purpose: str) -> int:
            try:
                leaf = self.second_stage(partition, lpid, purpose, guest_real)
                denial = deny(leaf.entry, "r", self.context, partition_scoped=True)
                if denial:
                    raise _Fault(denial.cause, f"reading the {purpose}: {denial.reason}", denial.bits, 2)
            except _Fault as fault:
                raise _Fault(
                    fault.cause,
                    f"the {purpose} at guest real {guest_real:#x} cannot be reached: {fault.reason}",
                    None if fault.bits is None else fault.bits | DSISR_PRTABLE_FAULT,
                    2,
                ) from None
            return leaf.ra

        return resolve

    def process_entry(self, partition: _Partition, pid: int, resolve: Resolve | None) -> int:
        """The first doubleword of the process-table entry of ``pid`` (5.7.6.2)."""
        base, size = partition.dw1 & PRTB_MASK, table_bytes(partition.dw1 & PRTS_MASK)
        if base & (size - 1):
            raise _Fault(
                "process-table-misaligned",
                f"the process table at {base:#x} is not aligned to its size ({size:#x})",
                DSISR_BADCONFIG,
                1,
            )
        if pid * ENTRY_BYTES >= size:
            raise _Fault(
                "pid-beyond-table",
                f"PID {pid} lies past the process table, which holds {size // ENTRY_BYTES} entries",
                DSISR_NOPTE,
                1,
            )
        guest_address = base + pid * ENTRY_BYTES
        address = guest_address if resolve is None else resolve(guest_address, "process-table entry")
        step = Step(
            "process-table",
            1,
            None,
            pid,
            address,
            None,
            "process-entry",
            guest_address=None if resolve is None else guest_address,
            depth=self.depth,
        )
        entry = self.word(step, f"the process table at {base:#x}", DSISR_BADCONFIG)
        if entry == 0:
            raise _Fault(
                "process-entry-empty",
                f"the process-table entry of PID {pid} at {address:#x} is empty: no process has this PID",
                DSISR_BADCONFIG,
                1,
            )
        return entry

    # -- the whole -------------------------------------------------------------------------------------------------

    def assumptions(self) -> None:
        """Say what was taken for granted because a register is not known."""
        known = self.context
        if known.msr is None:
            state = "hypervisor" if known.hypervisor else "privileged"
            self.note(f"MSR is not known: translation on and {state} state are assumed")
        if known.lpcr is None:
            self.note("LPCR is not known: the radix MMU is assumed")
        elif not known.lpcr & LPCR_UPRT:
            self.note("LPCR[UPRT] is 0: the radix MMU wants it 1; QEMU goes on, the hardware may not")

    def first_stage(self, partition: _Partition, qualified: Qualified, ea: int) -> tuple[_Leaf, Rights]:
        """EA to (guest) real through the process-scoped tree.

        QEMU 7.2 reads the directories of quadrants 1 and 2 as host real addresses; the ISA (5.7.3) translates them, as
        this does. On a bare machine's LPID 0 only the process-table entry's own address is translated."""
        nested = None if self.context.flat else self.resolver(partition, qualified.lpid)
        root = self.process_entry(partition, qualified.pid, nested)
        leaf = self.tree(
            root,
            ea & EA_MASK,
            1,
            f"the process-table entry of PID {qualified.pid}",
            nested if qualified.lpid else None,
        )
        keys = unknown_keys(leaf.entry, self.context)
        if keys:
            self.note(keys)
        if self.access:
            self.refuse(deny(leaf.entry, self.access, self.context), 1)
            self.reference_and_change(leaf.entry)
        return leaf, process_rights(leaf.entry, self.context)

    def refuse(self, denial: Denial | None, stage: int) -> None:
        if denial:
            raise _Fault(denial.cause, denial.reason, denial.bits, stage)

    def reference_and_change(self, entry: int) -> None:
        missing = [name for name, bit in (("R", PTE_R), ("C", PTE_C if self.access == "w" else 0)) if bit & ~entry]
        if missing:
            self.note(
                f"{' and '.join(missing)} clear in the leaf: the hardware sets them, or raises DSISR_SET_RC "
                "(QEMU sets them up to 9.x, and raises from 10.0)"
            )


def partition_entry(read: ReadWord, context: Context, lpid: int) -> tuple[int, int] | None:
    """The two doublewords of a radix partition's entry, or None where there is no such entry or it cannot be read."""
    try:
        entry = _Walk(read, context, None).partition(lpid)
    except _Fault:
        return None
    return entry.dw0, entry.dw1


def guest_reader(read: ReadWord, context: Context, lpid: int) -> ReadWord:
    """A reader of guest real memory of ``lpid``: what ``kvm_read_guest`` is to KVM.

    It raises Unreadable where the partition-scoped tree has nothing behind the address."""
    if context.flat or lpid == 0:
        return read

    def read_guest(address: int) -> int:
        walk = _Walk(read, context, None)
        try:
            return read(walk.second_stage(walk.partition(lpid), lpid, "guest memory", address).ra)
        except _Fault as fault:
            raise Unreadable(address, 8, fault.reason) from None

    return read_guest


def translate(read: ReadWord, context: Context, ea: int, access: Access | None = None) -> Translation:
    """Translate ``ea`` as the hardware would on a vCPU in this ``context``.

    ``read`` gives the big-endian doubleword at a host real address and raises MemoryReadError, which ends the walk in a
    fault that names the entry that led there. With ``access`` the answer is a fault where that access may not proceed;
    without it, the answer is the mapping and ``rights`` says what may be done. Raises UnknownRegister where the answer
    hangs on a register that is not known."""
    walk = _Walk(read, context, access)
    qualified: Qualified | None = None
    relocation = context.relocation(access)
    if relocation:
        walk.assumptions()
    answer = Translation(ea=ea, walker=WALKER, status="ok", access=access, relocation=relocation)

    def done(result: Translation) -> Translation:
        return replace(
            result,
            lpid=qualified.lpid if qualified else None,
            pid=qualified.pid if qualified and relocation else None,
            steps=tuple(walk.steps),
            notes=tuple(walk.notes),
        )

    def fault(cause: str, reason: str, stage: int | None, interrupt: Interrupt | None) -> Translation:
        return done(replace(answer, status="fault", cause=cause, reason=reason, stage=stage, interrupt=interrupt))

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
        partition = walk.partition(qualified.lpid)
        leaf: _Leaf | None = None
        rights = ALL_RIGHTS
        ra, shift = ea & EA_MASK, TREE_BITS
        if relocation:
            leaf, rights = walk.first_stage(partition, qualified, ea)
            ra, shift = leaf.ra, leaf.shift
        gra = None
        if not context.flat and (qualified.lpid or not context.hypervisor):
            gra = ra
            host = walk.second_stage(partition, qualified.lpid, "the access itself", gra)
            if access:
                walk.refuse(deny(host.entry, access, context, partition_scoped=True), 2)
            rights &= encoded_rights(host.entry)
            ra, shift = host.ra, min(shift, host.shift)
            leaf = leaf or host
    except _Fault as stop:
        raised = None
        if stop.bits is not None:
            raised = interrupt_for(access, stop.bits, partition_scoped=stop.stage == 2)
        return fault(stop.cause, stop.reason, stop.stage, raised)
    return done(replace(answer, ra=ra, gra=gra, page_shift=shift, rights=rights, leaf=leaf.entry if leaf else None))
