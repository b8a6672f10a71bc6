"""``kvmppc_hv_get_dirty_log_radix``: which pages of a slot were written to, and all of them clean from then on.

The kernel asks page after page. What one table translates is asked together here, which comes to the same wherever
pages begin where their leaves do; where they do not, it is done page after page as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from inspector.kvm.machine import Machine, Vm
from inspector.kvm.shape import DIRTY, LARGE_SHIFT
from inspector.kvm.slots import MemorySlot, set_bits
from inspector.radix.bits import PTE_LEAF, PTE_VALID

DIRTY_LEAF = PTE_VALID | DIRTY
WORD = 8


@dataclass(frozen=True, slots=True)
class DirtyLog:
    """What KVM_GET_DIRTY_LOG gives: ``bitmap`` with bit n of byte m for page 8m+n of the slot, and how many are set.
    ``overrun`` counts those past the slot's last page, which a large leaf may give that does not begin in the slot."""

    bitmap: bytes
    pages: int
    overrun: int = 0


def dirty_log(machine: Machine, vm: Vm, slot: MemorySlot, *, clear: bool = True) -> DirtyLog:
    """The slot's own log, which is emptied, and every dirty leaf of it, which is made clean; a large leaf gives all its
    pages, and the walk goes on after it. With ``clear`` False nothing is changed."""
    trace = vm.tree.trace
    walk = _Walk(machine, vm, slot, clear)
    taken = slot.take_log() if clear else slot.log
    if taken is not None:
        walk.bitmap[:] = taken
        trace.say("log-taken", count(taken))
    walk.run()
    trace.say("leaves-cleaned" if clear else "leaves-dirty", walk.leaves)
    return DirtyLog(bytes(walk.bitmap), count(walk.bitmap), walk.overrun)


class _Walk:
    """The walk over a slot."""

    def __init__(self, machine: Machine, vm: Vm, slot: MemorySlot, clear: bool) -> None:
        self.tree = vm.tree
        self.slot = slot
        self.clear = clear
        self.page_shift = machine.pages.shift
        self.one_only = "large-pages-in-log" not in machine.old
        self.bitmap = bytearray(slot.log_bytes)
        self.leaves = 0
        self.overrun = 0

    def run(self) -> None:
        """All of it."""
        shift, number = self.page_shift, 0
        while number < self.slot.pages:
            gpa = self.slot.base + (number << shift)
            found, span = self.tree.find_or_skip(gpa)
            if found is None:
                number += span >> shift
            elif found.shift > LARGE_SHIFT or gpa & (1 << (found.shift or shift)) - 1 or self.tree.clear_first:
                number += self._one(number, gpa, found.address, found.value, found.shift, span)
            else:
                number += self._of_table(number, gpa, found.address, found.shift or shift)

    def _one(self, number: int, gpa: int, at: int, value: int, shift: int, span: int) -> int:
        """One page, as the kernel asks it: how many pages are behind it then."""
        if value & DIRTY_LEAF != DIRTY_LEAF:
            return span >> self.page_shift
        if self.clear:
            self.tree.update(at, DIRTY, 0, gpa, shift)
            self.tree.tlbie(gpa, shift)
        return self._mark(number, shift, span)

    def _mark(self, number: int, shift: int, span: int) -> int:
        many = 1 if self.one_only or not shift else 1 << (shift - self.page_shift)
        pages = self.slot.pages
        set_bits(self.bitmap, number, min(number + many, pages))
        self.overrun += max(number + many - pages, 0)
        self.leaves += 1
        # The kernel meets the rest of a leaf again, and finds it clean
        return max(many, span >> self.page_shift) if self.one_only or not self.clear else many

    def _of_table(self, number: int, gpa: int, at: int, shift: int) -> int:
        """All leaves of the table that holds the entry at ``at``, from there on, up to one that leads to a table: how
        many pages are behind them then."""
        tree, large = self.tree, shift == LARGE_SHIFT
        pages_each = 1 << (shift - self.page_shift)
        size = tree.table_bytes(1 if large else 0)
        here = min((size - at % size) // WORD, (self.slot.end - gpa + (1 << shift) - 1) >> shift)
        words = Struct(f">{here}Q")
        entries = list(words.unpack(tree.words.read(at, words.size)))
        if large:
            here = next((n for n, entry in enumerate(entries) if entry and not entry & PTE_LEAF), here)
        dirty = [n for n in range(here) if entries[n] & DIRTY_LEAF == DIRTY_LEAF]
        of_leaf = LARGE_SHIFT if large else 0
        if len(dirty) == here and not (large and self.one_only) and number + here * pages_each <= self.slot.pages:
            set_bits(self.bitmap, number, number + here * pages_each)
            self.leaves += here
        else:
            for n in dirty:
                self._mark(number + n * pages_each, of_leaf, 1 << shift)
        if self.clear and dirty:
            for n in dirty:
                entries[n] &= ~DIRTY
            tree.tlbies([gpa + (n << shift) for n in dirty], of_leaf)
            first, last = dirty[0], dirty[-1] + 1
            tree.words.write(at + WORD * first, Struct(f">{last - first}Q").pack(*entries[first:last]))
        return max(here, 1) * pages_each


def count(bitmap: bytes | bytearray) -> int:
    """How many bits are set."""
    return int.from_bytes(bitmap, "little").bit_count()
