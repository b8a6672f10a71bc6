"""KVM's software walk of a guest's process-scoped tree, with its very checks, order and errno.

``kvmppc_mmu_radix_xlate`` of Linux ``arch/powerpc/kvm/book3s_64_mmu_radix.c`` as of 70cd4c10b2 (2017), which KVM uses
to find the instruction that an MMIO exit stopped at. Where this walk fails, emulation is retried for ever and the
guest hangs on its first virtio access, so its differences from the hardware's walk matter. What changed before and
after that commit is data: one :class:`Variant` each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from inspector.errors import MemoryReadError, UsageError
from inspector.radix.access import key_rights, unknown_keys
from inspector.radix.address import Context
from inspector.radix.bits import (
    ENTRY_BYTES,
    LEVEL_BITS,
    MASK64,
    PDE_NLB,
    PDE_NLS,
    PRTB_MASK,
    PRTS_MASK,
    PTE_EXEC,
    PTE_LEAF,
    PTE_PRIVILEGED,
    PTE_READ,
    PTE_RPN,
    PTE_VALID,
    PTE_WRITE,
    QUADRANT_SHIFT,
    RPDB_MASK,
    RPDB_MASK_BEFORE_FIX,
    RPDS_MASK,
    TREE_BITS,
    tree_bits,
)
from inspector.radix.geometry import psize_index
from inspector.radix.translation import NO_RIGHTS, ReadWord, Rights, Step, Translation

MASK32 = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Variant:
    """The software walk as it stood at one time.

    ``process_table_mask`` is applied to ``arch.process_table`` for its base; ``root_mask`` to the process-table entry
    (RPDB_MASK); ``rts_bias`` is added to the tree's size; ``wide`` is whether sizes are computed in 64 bits;
    ``largest_prts`` bounds the table's size field; ``entry_bytes`` of the process-table entry are read."""

    name: str
    commit: str
    meaning: str
    process_table_mask: int = PRTB_MASK
    root_mask: int = RPDB_MASK
    rts_bias: int = 0
    wide: bool = False
    largest_prts: int | None = None
    entry_bytes: int = 8


_SEED = Variant("kvm", "70cd4c10b2", "KVM's software walk as mended in 4.11: both bugs gone")
_BOTH = "kvm@pre-70cd4c10b2"

VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        v.name: v
        for v in (
            _SEED,
            replace(
                _SEED,
                name=_BOTH,
                commit="e99833448c, 9e04ba69be",
                meaning="before the mend: both bugs, the whole of process_table as a base and a wrong RPDB_MASK",
                process_table_mask=MASK64,
                root_mask=RPDB_MASK_BEFORE_FIX,
            ),
            replace(
                _SEED,
                name=f"{_BOTH}:process-table",
                commit="9e04ba69be",
                meaning="the first bug alone: the whole of arch.process_table used as the table's base",
                process_table_mask=MASK64,
            ),
            replace(
                _SEED,
                name=f"{_BOTH}:rpdb-mask",
                commit="e99833448c",
                meaning="the second bug alone: RPDB_MASK 0x0ffffffffffff00f keeps the size field, loses bits 4..11",
                root_mask=RPDB_MASK_BEFORE_FIX,
            ),
            replace(
                _SEED,
                name="kvm@dd1",
                meaning="on a POWER9 DD1, which reads RTS as 3 more than it is",
                rts_bias=-3,
            ),
            replace(
                _SEED,
                name="kvm@4.20",
                commit="9811c78e96bc",
                meaning="as split in 4.20: 64-bit sizes, PRTS above 24 refused, 16 bytes of the entry read",
                wide=True,
                largest_prts=24,
                entry_bytes=16,
            ),
        )
    }
)


def variant(name: str) -> Variant:
    """The variant of this name. Raises UsageError, naming those there are."""
    try:
        return VARIANTS[name]
    except KeyError:
        raise UsageError(f"there is no walker {name!r}; there are: hardware, {', '.join(VARIANTS)}") from None


class _Errno(Exception):
    """The walk's return code, and which check gave it."""

    def __init__(self, errno: str, cause: str, reason: str) -> None:
        self.errno = errno
        self.cause = cause
        self.reason = reason
        super().__init__(reason)


def translate(read: ReadWord, context: Context, ea: int, which: Variant = _SEED) -> Translation:
    """Walk for ``ea`` as KVM would for this vCPU. ``context.process_table`` is ``arch.process_table``.

    ``read`` is ``kvm_read_guest`` of a doubleword: it takes guest real addresses and raises MemoryReadError (-EFAULT).
    Status is "ok" wherever KVM returns 0, even where no right is left. Raises UnknownRegister for an unknown PID."""
    steps: list[Step] = []
    pid: int | None = None
    try:
        pid = _effective_pid(context, ea)
        leaf, shift = _walk(read, context, ea, pid, which, steps)
        ra = _real_address(leaf, ea, shift)
    except _Errno as stop:
        return Translation(
            ea=ea,
            walker=which.name,
            status="fault",
            errno=stop.errno,
            cause=stop.cause,
            reason=stop.reason,
            pid=pid,
            stage=1,
            steps=tuple(steps),
        )
    return Translation(
        ea=ea,
        walker=which.name,
        status="ok",
        pid=pid,
        ra=ra,
        page_shift=shift,
        page_size_index=psize_index(shift),
        rights=_rights(leaf, context),
        leaf=leaf,
        steps=tuple(steps),
        notes=_assumptions(leaf, context),
    )


def _assumptions(leaf: int, context: Context) -> tuple[str, ...]:
    """What the rights took for granted because a register is not known."""
    state = "MSR is not known: privileged state is assumed" if context.msr is None else None
    return tuple(note for note in (state, unknown_keys(leaf, context)) if note)


def _effective_pid(context: Context, ea: int) -> int:
    match ea >> QUADRANT_SHIFT:
        case 0:
            return context.need("pid") & MASK32
        case 3:
            return 0
        case other:
            raise _Errno("EINVAL", "quadrant", f"the EA lies in quadrant {other}; KVM walks 0 and 3 only")


def _table_size(prts: int, which: Variant) -> int:
    """Bytes of the process table, as C computed them.

    The seed shifts an ``int``: 1 << 31 is negative and widens to 64 bits with its sign; past that C says nothing, and
    powerpc's ``slw`` gives 0."""
    if which.wide:
        return 1 << (prts + 12)
    shift = prts + 12
    if shift < 31:
        return 1 << shift
    return 0xFFFF_FFFF_8000_0000 if shift == 31 else 0


def _read(read: ReadWord, step: Step, steps: list[Step], came_from: str) -> int:
    try:
        value = read(step.address)
    except MemoryReadError as error:
        steps.append(replace(step, kind="unreadable"))
        raise _Errno(
            "EFAULT",
            f"table-{error.slug}",
            f"{came_from} leads to {step.address:#x}, which cannot be read: {error.why}",
        ) from None
    steps.append(replace(step, value=value))
    return value


def _process_entry(read: ReadWord, context: Context, pid: int, which: Variant, steps: list[Step]) -> int:
    table = context.need("process_table")
    prts = table & PRTS_MASK
    if which.largest_prts is not None and prts > which.largest_prts:
        raise _Errno(
            "EINVAL", "process-table-size", f"the process table's size field is {prts}, above {which.largest_prts}"
        )
    size = _table_size(prts, which)
    offset = pid * ENTRY_BYTES if which.wide else pid * ENTRY_BYTES & MASK32
    if offset >= size:
        raise _Errno("EINVAL", "pid-beyond-table", f"PID {pid} lies past the process table of {size:#x} bytes")
    address = (table & which.process_table_mask) + offset & MASK64
    step = Step("process-table", 1, None, pid, address, None, "process-entry")
    came_from = f"the process table value {table:#x}"
    entry = _read(read, step, steps, came_from)
    if which.entry_bytes == 16:
        first = steps.pop()
        second = _read(read, replace(step, address=address + 8), steps, came_from)
        steps[-1] = replace(first, second=second)
    return entry


def _walk(read: ReadWord, context: Context, ea: int, pid: int, which: Variant, steps: list[Step]) -> tuple[int, int]:
    """The leaf and log2 of its page size."""
    root = _process_entry(read, context, pid, which, steps)
    offset = tree_bits(root) + which.rts_bias
    bits, base = root & RPDS_MASK, root & which.root_mask
    if offset != TREE_BITS:
        raise _Errno(
            "EINVAL",
            "tree-size",
            f"the process-table entry {root:#018x} describes a tree of {offset} bits, not {TREE_BITS}"
            + ("; it is empty, so no process has this PID" if root == 0 else ""),
        )
    came_from = f"the process-table entry {root:#018x}"
    entry = level = 0
    for level in (3, 2, 1, 0):
        if bits not in LEVEL_BITS[level]:
            wanted = " or ".join(str(n) for n in LEVEL_BITS[level])
            raise _Errno(
                "EINVAL", "table-size", f"{came_from} gives its table 2^{bits} entries; level {level} takes 2^{wanted}"
            )
        offset -= bits
        index = ea >> offset & ((1 << bits) - 1)
        if base & ((1 << (bits + 3)) - 1):
            raise _Errno(
                "EINVAL",
                "misaligned-base",
                f"{came_from} gives a table base, {base:#x}, that is not aligned to its size",
            )
        address = base + index * 8
        step = Step("radix", 1, level, index, address, None, "invalid", shift=offset)
        entry = _read(read, step, steps, came_from)
        if not entry & PTE_VALID:
            raise _Errno(
                "ENOENT", "not-present", f"the level {level} entry at {address:#x} is not valid ({entry:#018x})"
            )
        if entry & PTE_LEAF:
            steps[-1] = replace(steps[-1], kind="leaf")
            break
        steps[-1] = replace(steps[-1], kind="directory")
        bits, base = entry & PDE_NLS, entry & PDE_NLB
        came_from = f"the level {level} entry {entry:#018x} at {address:#x}"
    else:
        raise _Errno("EINVAL", "no-leaf", f"{came_from} is a directory where only a leaf may stand")
    if level == 3:
        raise _Errno(
            "EINVAL", "leaf-too-large", f"the leaf {entry:#018x} stands at the root: 512 GiB pages are refused"
        )
    return entry, offset


def _real_address(leaf: int, ea: int, shift: int) -> int:
    inside = (1 << shift) - 1
    page = leaf & PTE_RPN
    if page & inside:
        raise _Errno(
            "EINVAL",
            "stray-page-bits",
            f"the leaf {leaf:#018x} has page-number bits below its page size ({page & inside:#x})",
        )
    return page + (ea & inside)


def _rights(leaf: int, context: Context) -> Rights:
    """The three rights: write does not imply read here, attributes are not looked at, nor AMR in user state."""
    rights = Rights(bool(leaf & PTE_READ), bool(leaf & PTE_WRITE), bool(leaf & PTE_EXEC))
    if context.problem_state:
        return NO_RIGHTS if leaf & PTE_PRIVILEGED else rights
    if leaf & PTE_PRIVILEGED:
        return rights
    return rights & key_rights(context)
