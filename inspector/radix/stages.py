"""The two stages of the hardware's walk: the tables above a tree, the tree itself, and what was met on the way.

One :class:`Step` for every entry read. The second stage, where there is one, is a function that the first sends each
of its addresses through, so that there is one tree walk for both; and so is the third, the host's behind a hypervisor
that is a guest itself (:mod:`inspector.radix.outer`). :mod:`inspector.radix.walk` makes a translation of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inspector.errors import MemoryReadError, NotRam
from inspector.radix.access import (
    Denial,
    deny,
    process_rights,
    unknown_keys,
)
from inspector.radix.address import Context, Qualified
from inspector.radix.bits import (
    DSISR_BADCONFIG,
    DSISR_NOPTE,
    DSISR_PRTABLE_FAULT,
    EA_MASK,
    ENTRY_BYTES,
    LEVEL_BITS,
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
    RPDB_MASK,
    RPDS_MASK,
    TREE_BITS,
    table_bytes,
    tree_bits,
)
from inspector.radix.translation import Access, ReadWord, Rights, Step, Table


class Fault(Exception):
    """Where a walk ended early. ``bits`` go to DSISR, HDSISR or SRR1; None where only this walk ended, because what
    the guest itself would find there is not known."""

    def __init__(self, cause: str, reason: str, bits: int | None, stage: int, guest_real: int | None = None) -> None:
        self.guest_real = guest_real
        """What was to be led on by the partition-scoped tree; None where that is the access itself, or nothing was."""
        self.cause = cause
        self.reason = reason
        self.bits = bits
        self.stage = stage
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Reached:
    """A leaf reached: its entry, the real address it gives, and log2 of its page size."""

    entry: int
    ra: int
    shift: int


@dataclass(frozen=True, slots=True)
class Partition:
    """The two doublewords of a partition-table entry; those of a flat machine are made up from its process table."""

    dw0: int
    dw1: int


Resolve = Callable[[int, str], int]
"""Guest real address and purpose in, host real address out."""


@dataclass
class Walk:
    """One translation under way: the steps taken so far, and what should be known besides.

    Every part of it raises Fault where the walk ends early, and UnknownRegister where it hangs on an unknown one."""

    read: ReadWord
    context: Context
    access: Access | None
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    depth: int = 0
    purpose: str | None = None
    """What the second stage is walked for, while it is."""
    stage: int = 2
    """The number of the partition-scoped stage: 3 for the host's behind an L1."""
    real: str = "guest real"
    """What the addresses are called that go into it."""
    outer: Resolve | None = None
    """For an L2: sends what the L1 calls real through the host's tree, to read it."""

    def note(self, text: str) -> None:
        """Keep a sentence that should be known besides, once."""
        if text not in self.notes:
            self.notes.append(text)

    # -- reading ---------------------------------------------------------------------------------------------------

    def unreadable(self, address: int, error: MemoryReadError, came_from: str, if_zero: int, stage: int) -> Fault:
        """The fault of an entry that cannot be read.

        Where there is no RAM the guest finds zeros under QEMU, which makes ``if_zero`` of the fault; where there is but
        the target cannot give it, nothing is said of what the guest finds."""
        return Fault(
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

    def tree(self, root: int, target: int, stage: int, owner: str, resolve: Resolve | None) -> Reached:
        """Walk the tree that ``root`` describes for the low 52 bits of ``target``."""
        covered = tree_bits(root)
        size, base = root & RPDS_MASK, root & RPDB_MASK
        if covered != TREE_BITS:
            raise Fault(
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
                raise Fault(
                    "table-size",
                    f"{came_from()} gives its next table 2^{size} entries, and level {level} takes 2^{wanted}",
                    DSISR_BADCONFIG,
                    stage,
                )
            stray = base & ((8 << size) - 1)
            if stray:
                base &= ~stray
                qemu = "QEMU drops the low bits"
                # ppc_radix64_process_scoped_xlate, where MSR[HV] is 0
                if address < 0 and stage == 1 and resolve is not None:
                    qemu = "QEMU 7.2 drops the low bits of every other table but takes a guest's root as it stands"
                self.note(
                    f"{came_from()} has a table base that is not aligned to the table's size: {qemu} ({stray:#x}), the "
                    "ISA wants them zero and KVM's software walk refuses them"
                )
            covered -= size
            index = target >> covered & ((1 << size) - 1)
            guest_address = base + 8 * index
            whose = "" if stage == 1 else "L1's "
            real = guest_address if resolve is None else resolve(guest_address, f"{whose}level {level} entry")
            nested = None if resolve is None else guest_address
            of: tuple[Table, int, int, int] = ("radix", stage, level, index)
            try:
                found = self.read(real)
            except MemoryReadError as error:
                self.steps.append(Step(*of, real, None, "unreadable", None, nested, covered, self.depth, self.purpose))
                raise self.unreadable(real, error, came_from(), DSISR_NOPTE, stage) from None
            entry, address = found, real
            kind = "invalid" if not entry & PTE_VALID else "leaf" if entry & PTE_LEAF else "directory"
            self.steps.append(Step(*of, address, entry, kind, None, nested, covered, self.depth, self.purpose))
            if kind == "invalid":
                raise Fault(
                    "not-present",
                    f"the level {level} entry at {address:#x} is not valid ({entry:#018x})",
                    DSISR_NOPTE,
                    stage,
                )
            if kind == "leaf":
                return self.leaf(entry, target, covered, level)
            size, base = entry & PDE_NLS, entry & PDE_NLB
        level = -1
        raise Fault("no-leaf", f"{came_from()} is a directory where only a leaf may stand", DSISR_BADCONFIG, stage)

    def leaf(self, entry: int, target: int, shift: int, level: int) -> Reached:
        """Where a leaf of 2**``shift`` bytes leads; notes what QEMU and KVM see differently."""
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
        return Reached(entry, (number & ~inside) | (target & inside), shift)

    # -- the tables above the tree ---------------------------------------------------------------------------------

    def partition(self, lpid: int) -> Partition:
        """The partition-table entry of ``lpid`` (Power ISA 3.0B, book III, 5.7.6.1)."""
        if self.context.flat:
            return Partition(0, self.context.need("process_table"))
        ptcr = self.context.need("ptcr")
        base, size = ptcr & PTCR_PATB, table_bytes(ptcr & PTCR_PATS)
        if base & (size - 1):
            raise Fault(
                "partition-table-misaligned",
                f"PTCR {ptcr:#x} gives a partition table at {base:#x} that is not aligned to its size ({size:#x})",
                DSISR_BADCONFIG,
                self.stage,
            )
        if lpid * ENTRY_BYTES >= size:
            raise Fault(
                "lpid-beyond-table",
                f"LPID {lpid} lies past the partition table, which holds {size // ENTRY_BYTES} entries",
                DSISR_BADCONFIG,
                self.stage,
            )
        address = base + lpid * ENTRY_BYTES
        of: tuple[Table, int, None, int] = ("partition-table", self.stage, None, lpid)
        own = None if self.outer is None else address
        if self.outer is not None:
            address = self.outer(address, "L1's partition-table entry")
        step = Step(*of, address, None, "partition-entry", guest_address=own, depth=self.depth)
        dw0 = self.word(step, f"PTCR {ptcr:#x}", DSISR_BADCONFIG)
        at = len(self.steps) - 1
        dw1 = self.word(replace(step, address=address + 8), f"PTCR {ptcr:#x}", DSISR_BADCONFIG)
        self.steps[at:] = [replace(step, value=dw0, second=dw1)]
        if not dw0 & PATE0_HR:
            listed = "; try 'lpids'" if self.outer is None else ""
            raise Fault(
                "partition-not-radix",
                f"the partition-table entry of LPID {lpid} ({dw0:#018x}) has HR clear: "
                + ("it describes a hashed page table" if dw0 else f"it is empty{listed}"),
                DSISR_BADCONFIG,
                self.stage,
            )
        if lpid == 0 and not self.context.hypervisor:
            raise Fault(
                "lpid-zero",
                "LPID 0 is the hypervisor's own, and MSR[HV] is 0: no translation is made",
                DSISR_BADCONFIG,
                self.stage,
            )
        return Partition(dw0, dw1)

    def second_stage(self, partition: Partition, lpid: int, purpose: str, guest_real: int) -> Reached:
        """Guest real to host real through the partition-scoped tree, each step a level deeper in the trace."""
        self.depth += 1
        self.purpose = purpose
        try:
            owner = f"the partition-table entry of LPID {lpid}"
            return self.tree(partition.dw0, guest_real, self.stage, owner, self.outer)
        finally:
            self.depth -= 1
            self.purpose = None

    def resolver(self, partition: Partition, lpid: int) -> Resolve:
        """Sends the first stage's own addresses through the second."""

        def resolve(guest_real: int, purpose: str) -> int:
            try:
                leaf = self.second_stage(partition, lpid, purpose, guest_real)
                denial = deny(leaf.entry, "r", self.context, partition_scoped=True)
                if denial:
                    raise Fault(denial.cause, f"reading the {purpose}: {denial.reason}", denial.bits, self.stage)
                return leaf.ra if self.outer is None else self.outer(leaf.ra, purpose)
            except Fault as fault:
                raise Fault(
                    fault.cause,
                    f"the {purpose} at {self.real} {guest_real:#x} cannot be reached: {fault.reason}",
                    None if fault.bits is None else fault.bits | DSISR_PRTABLE_FAULT,
                    fault.stage,
                    guest_real,
                ) from None

        return resolve

    def process_entry(self, partition: Partition, pid: int, resolve: Resolve | None) -> int:
        """The first doubleword of the process-table entry of ``pid`` (5.7.6.2)."""
        base, size = partition.dw1 & PRTB_MASK, table_bytes(partition.dw1 & PRTS_MASK)
        if base & (size - 1):
            raise Fault(
                "process-table-misaligned",
                f"the process table at {base:#x} is not aligned to its size ({size:#x})",
                DSISR_BADCONFIG,
                1,
            )
        if pid * ENTRY_BYTES >= size:
            raise Fault(
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
            raise Fault(
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

    def first_stage(self, partition: Partition, qualified: Qualified, ea: int) -> tuple[Reached, Rights]:
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
        """End the walk where there is a denial."""
        if denial:
            raise Fault(denial.cause, denial.reason, denial.bits, stage)

    def reference_and_change(self, entry: int) -> None:
        """Note that the access would have to set R, or C, in this leaf."""
        missing = [name for name, bit in (("R", PTE_R), ("C", PTE_C if self.access == "w" else 0)) if bit & ~entry]
        if missing:
            self.note(
                f"{' and '.join(missing)} clear in the leaf: the hardware sets them, or raises DSISR_SET_RC "
                "(QEMU sets them up to 9.x, and raises from 10.0)"
            )
