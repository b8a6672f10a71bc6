"""Which later fixes were missing in the kernel that made a second-level tree: the marks that it left in it.

A mark is data: the changes of :mod:`inspector.kvm.history` of which one must be missing, and a function that finds it.
The MMU takes no notice of an entry without PRESENT, so those are looked for in the tables themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inspector.errors import MemoryReadError
from inspector.kvm.history import BY_SLUG, VERSIONS, Change
from inspector.kvm.shape import HUGE_SHIFT, LARGE_SHIFT, ROOT_SHIFT
from inspector.kvm.slots import LOG_DIRTY_PAGES, READ_ONLY, MemorySlot
from inspector.radix.bits import PTE_ATT, PTE_C, PTE_EXEC, PTE_LEAF, PTE_RPN, PTE_WRITE
from inspector.radix.columns import U8, U64, Bools, Columns, Tables

Kind = Literal["defect", "hint", "fixed"]
"""A mark that only a missing fix leaves, one that other things leave as well, and one that only a fix leaves."""
Needs = Literal["tree", "slots", "vmm"]
"""What must be known to look for it, besides the tree: the memory slots, or what the VMM itself maps."""
SOFTWARE = 0x0E00
"""Of a host's entry: bits that Linux keeps for itself, of which 0x200 is soft dirty (``_RPAGE_SW1`` to ``_RPAGE_SW3``,
Linux 6.1 ``arch/powerpc/include/asm/book3s/64/pgtable.h``)."""
SHIFTS = {3: ROOT_SHIFT, 2: HUGE_SHIFT, 1: LARGE_SHIFT}
"""Log2 of what an entry translates, by its level; of level 0 the table's own size tells."""
AT_ONCE = 1 << 24
"""Bytes of tables that are looked through together."""
FIRST = 4
"""Addresses that are told of each finding."""
ENTRY = 8


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries by guest real address, ascending: what each holds, and log2 of what it translates."""

    gpa: U64
    entry: U64
    shift: U8

    @classmethod
    def of(cls, leaves: Columns) -> Entries:
        """The leaves of one tree."""
        ordered = leaves.in_order()
        return cls(ordered.offset, ordered.entry, ordered.shift)

    def __len__(self) -> int:
        return len(self.gpa)

    @property
    def ra(self) -> U64:
        """Real addresses that they map."""
        return self.entry & np.uint64(PTE_RPN) & (~np.uint64(0) << self.shift.astype(np.uint64))

    def having(self, bits: int) -> Bools:
        """Which of them have any of these bits."""
        found: Bools = (self.entry & np.uint64(bits)) != 0
        return found


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one guest: the leaves of its tree, what lacks PRESENT there and is not 0 (``left``), its slots,
    and what its VMM maps (None where nobody said which process that is)."""

    leaves: Entries
    left: Entries
    slots: tuple[MemorySlot, ...] = ()
    vmm: Entries | None = None

    def in_slots(self, flag: int) -> Bools:
        """Which leaves are in a slot that has this flag."""
        found = np.zeros(len(self.leaves), np.bool_)
        for slot in self.slots:
            if slot.flags & flag:
                found |= (self.leaves.gpa >= slot.base) & (self.leaves.gpa < slot.end)
        return found

    def behind(self) -> tuple[Bools, Entries, U64]:
        """By leaf: whether the VMM maps where it has the leaf's first byte, its own entry there, and the real address
        that it has for that byte."""
        count = len(self.leaves)
        there, hva = np.zeros(count, np.bool_), np.zeros(count, np.uint64)
        for slot in self.slots:
            if slot.hva is not None:
                inside = (self.leaves.gpa >= slot.base) & (self.leaves.gpa < slot.end)
                there |= inside
                hva[inside] = self.leaves.gpa[inside] - np.uint64(slot.base) + np.uint64(slot.hva)
        vmm = self.vmm
        if vmm is None or not len(vmm):
            nothing = np.zeros(count, np.uint64)
            return np.zeros(count, np.bool_), Entries(nothing, nothing, np.zeros(count, np.uint8)), nothing
        row = np.maximum(np.searchsorted(vmm.gpa, hva, side="right").astype(np.intp) - 1, 0)
        own = Entries(vmm.gpa[row], vmm.entry[row], vmm.shift[row])
        offset = hva - own.gpa
        there &= (hva >= own.gpa) & (offset >> own.shift.astype(np.uint64) == 0)
        return there, own, own.ra + offset


@dataclass(frozen=True, slots=True)
class Mark:
    """How missing one of the changes ``slugs`` shows: ``find`` gives the guest real addresses. ``says`` is what is
    found, in the plural."""

    slugs: tuple[str, ...]
    kind: Kind
    needs: Needs
    says: str
    find: Callable[[Seen], U64]

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes themselves."""
        return tuple(BY_SLUG[slug] for slug in self.slugs)

    @property
    def versions(self) -> tuple[str, ...]:
        """Those of the kernels that are known here which leave it."""
        old = {version for change in self.changes for version in change.old_in}
        return tuple(version for version in VERSIONS if (version in old) != (self.kind == "fixed"))


@dataclass(frozen=True, slots=True)
class Finding:
    """A mark that was found ``count`` times, at ``first`` and other guest real addresses. ``large`` of what was left
    look like large leaves."""

    mark: Mark
    count: int
    first: tuple[int, ...]
    large: int = 0


# -- what is looked for ------------------------------------------------------------------------------------------------


def _left(seen: Seen) -> U64:
    return seen.left.gpa[seen.left.having(PTE_LEAF)]


def _changed_and_read_only(seen: Seen) -> U64:
    return seen.leaves.gpa[seen.leaves.having(PTE_C) & ~seen.leaves.having(PTE_WRITE)]


def _device_without_execute(seen: Seen) -> U64:
    return seen.leaves.gpa[seen.leaves.having(PTE_ATT) & ~seen.leaves.having(PTE_EXEC)]


def _writable_in_read_only(seen: Seen) -> U64:
    return seen.leaves.gpa[seen.leaves.having(PTE_WRITE) & seen.in_slots(READ_ONLY)]


def _large_in_logged(seen: Seen) -> U64:
    return seen.leaves.gpa[(seen.leaves.shift >= LARGE_SHIFT) & seen.in_slots(LOG_DIRTY_PAGES)]


def _host_maps_otherwise(seen: Seen) -> U64:
    """Large leaves that the VMM's own tables do not bear out: smaller pages, or others. Where it maps nothing at all,
    nothing is said."""
    there, own, ra = seen.behind()
    leaves = seen.leaves
    wrong = (own.shift < leaves.shift) | (ra != leaves.ra)
    found: U64 = leaves.gpa[(leaves.shift >= LARGE_SHIFT) & there & wrong]
    return found


def _host_lets_write(seen: Seen) -> U64:
    there, own, ra = seen.behind()
    lacking = there & (ra == seen.leaves.ra) & own.having(PTE_WRITE) & ~seen.leaves.having(PTE_WRITE)
    found: U64 = seen.leaves.gpa[lacking & ~seen.in_slots(READ_ONLY)]
    return found


def _would_be_2m(seen: Seen) -> U64:
    return _whole(seen, LARGE_SHIFT, seen.leaves.shift < LARGE_SHIFT)


def _would_be_1g(seen: Seen) -> U64:
    return _whole(seen, HUGE_SHIFT, seen.leaves.shift == LARGE_SHIFT)


def _whole(seen: Seen, shift: int, small: Bools) -> U64:
    """Where leaves fill 2**``shift`` bytes that lie alike in guest real and real memory, so that one would do. While
    pages are logged small ones are as it should be, and where the VMM is known, so they are where it has small ones."""
    small = small & ~seen.in_slots(LOG_DIRTY_PAGES)
    if seen.vmm is not None:
        there, own, _ = seen.behind()
        small &= there & (own.shift >= shift)
    gpa, ra = seen.leaves.gpa[small], seen.leaves.ra[small]
    if not len(gpa):
        return gpa
    frames, first = np.unique(gpa >> np.uint64(shift), return_index=True)
    size = np.add.reduceat(np.uint64(1) << seen.leaves.shift[small].astype(np.uint64), first)
    away = ra - gpa
    least, most = np.minimum.reduceat(away, first), np.maximum.reduceat(away, first)
    low = np.uint64((1 << shift) - 1)
    whole = (size == np.uint64(1 << shift)) & (least == most) & (least & low == 0)
    found: U64 = frames[whole] << np.uint64(shift)
    return found


def _host_bits(seen: Seen) -> U64:
    return seen.leaves.gpa[seen.leaves.having(SOFTWARE) & ~seen.leaves.having(PTE_ATT)]


MARKS: tuple[Mark, ...] = (
    Mark(
        ("unmap-keeps-entry",), "defect", "tree", "entries that are not 0 and lack PRESENT, and still say leaf", _left
    ),
    Mark(
        ("rc-asks-host",), "defect", "tree", "leaves that are changed (C) and allow no stores", _changed_and_read_only
    ),
    Mark(("io-by-vma",), "defect", "tree", "leaves of devices without execute", _device_without_execute),
    Mark(
        ("read-only-ignored",), "defect", "slots", "leaves in read-only slots that allow stores", _writable_in_read_only
    ),
    Mark(
        ("large-while-logging", "logging-does-not-flush"),
        "defect",
        "slots",
        "large leaves in slots whose dirty pages are logged",
        _large_in_logged,
    ),
    Mark(
        ("compound-size",),
        "defect",
        "vmm",
        "large leaves where the VMM's own tables map smaller pages, or others",
        _host_maps_otherwise,
    ),
    Mark(
        ("hugetlb-only", "whole-address-compared", "table-blocks-large"),
        "hint",
        "tree",
        "tables of small leaves where one leaf of 2M would do",
        _would_be_2m,
    ),
    Mark(("no-1g",), "hint", "tree", "tables of 2M leaves where one leaf of 1G would do", _would_be_1g),
    Mark(
        ("write-needs-dirty",),
        "hint",
        "vmm",
        "leaves that allow no stores, of pages that the VMM may write",
        _host_lets_write,
    ),
    Mark(
        ("compound-size",),
        "fixed",
        "tree",
        "leaves of memory with bits that Linux keeps for itself, taken over from the host's own entry",
        _host_bits,
    ),
)
"""What is looked for, in this order. Other changes show in a log, in tlbies, or while they happen, and in no tree."""


def explain(seen: Seen) -> list[Finding]:
    """The marks that are there, as far as what is known allows them to be looked for."""
    found = []
    for mark in asked(seen):
        at = mark.find(seen)
        if len(at):
            large = 0
            if mark.find is _left:
                large = int(np.count_nonzero(seen.left.having(PTE_LEAF) & (seen.left.shift >= LARGE_SHIFT)))
            found.append(Finding(mark, len(at), tuple(at[:FIRST].tolist()), large))
    return found


def asked(seen: Seen) -> Iterable[Mark]:
    """The marks that can be looked for."""
    known = {"tree", *(["slots"] if seen.slots else []), *(["vmm"] if seen.vmm is not None else [])}
    return (mark for mark in MARKS if mark.needs in known)


def versions(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The kernels known here that leave all of these, hints aside."""
    told = [finding.mark.versions for finding in findings if finding.mark.kind != "hint"]
    return tuple(version for version in VERSIONS if all(version in each for each in told))


# -- what lacks PRESENT ------------------------------------------------------------------------------------------------

Reader = Callable[[Sequence[tuple[int, int]]], list["bytes | MemoryReadError"]]
"""Many (real address, bytes) at once (:meth:`inspector.memory.physical.PhysicalMemory.read_runs`)."""


def half_cleared(tables: Tables, read_runs: Reader) -> tuple[Entries, int]:
    """Every entry of these tables that is not 0 and lacks PRESENT, and how many tables could not be read."""
    parts: list[tuple[U64, U64, U8]] = []
    unread = 0
    for length, level in sorted({*zip(tables.length.tolist(), tables.level.tolist(), strict=True)}):
        rows = np.flatnonzero((tables.length == length) & (tables.level == level))
        shift = SHIFTS.get(level, LARGE_SHIFT - (length // ENTRY).bit_length() + 1)
        many = max(AT_ONCE // length, 1)
        for start in range(0, len(rows), many):
            some = rows[start : start + many]
            answers = read_runs([(address, length) for address in tables.address[some].tolist()])
            there = np.array([isinstance(each, bytes) for each in answers], np.bool_)
            unread += int(np.count_nonzero(~there))
            data = b"".join(each for each in answers if isinstance(each, bytes))
            entries = np.frombuffer(data, ">u8").astype(np.uint64).reshape(-1, length // ENTRY)
            table, index = np.nonzero((entries != 0) & (entries >> np.uint64(63) == 0))
            gpa = tables.offset[some][there][table] + (index.astype(np.uint64) << np.uint64(shift))
            parts.append((gpa, entries[table, index], np.full(len(table), shift, np.uint8)))
    gpa, entry, shifts = (
        np.concatenate([np.zeros(0, kind), *(part[number] for part in parts)])
        for number, kind in enumerate((np.uint64, np.uint64, np.uint8))
    )
    order = np.argsort(gpa, kind="stable")
    return Entries(gpa[order], entry[order], shifts[order]), unread
