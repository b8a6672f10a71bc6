"""``kvmppc_hv_get_dirty_log_radix``: which pages of a slot were written to, and all of them clean from then on.

The kernel asks page after page. What one table translates is asked together here, which comes to the same wherever
pages begin where their leaves do; where they do not, it is done page after page as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from inspector.kvm.machine import Machine, Vm
from inspector.kvm.second_level import SecondLevel
from inspector.kvm.shape import DIRTY, LARGE_SHIFT
from inspector.kvm.slots import MemorySlot, set_bits, set_dirty_bits
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
    pages, and the walk goes on after it. With ``clear`` False nothing is changed, and nothing where a table cannot be
    read, which raises MemoryReadError."""
    trace = vm.tree.trace
    walk = _Walk(machine, vm, slot)
    if slot.log is not None:
        walk.bitmap[:] = slot.log
        trace.say("log-taken" if clear else "log-seen", count(slot.log))
    walk.run()
    if clear:
        slot.take_log()
        for each in walk.found:
            each.clean(vm.tree)
    trace.say("leaves-cleaned" if clear else "leaves-dirty", walk.leaves)
    return DirtyLog(bytes(walk.bitmap), count(walk.bitmap), walk.overrun)


class _Dirty(NamedTuple):
    """Dirty leaves of one table: the first one's real address, the clean values from there on, which may be those of
    leaves between them, the guest real address of each dirty one, and the shift that a leaf's size is told with."""

    at: int
    clean_values: bytes
    gpas: list[int]
    shift: int

    def clean(self, tree: SecondLevel) -> None:
        """Clear C in each, and have the MMU forget them."""
        if tree.clear_first:
            tree.update(self.at, DIRTY, 0, self.gpas[0], self.shift)
        else:
            tree.words.write(self.at, self.clean_values)
        tree.tlbies(self.gpas, self.shift)


class _Walk:
    """The walk over a slot, which changes nothing."""

    def __init__(self, machine: Machine, vm: Vm, slot: MemorySlot) -> None:
        self.tree = vm.tree
        self.slot = slot
        self.page_shift = machine.pages.shift
        self.one_only = "large-pages-in-log" not in machine.old
        self.one_by_one = "bits-one-by-one" in machine.old
        self.bitmap = bytearray(slot.log_bytes)
        self.found: list[_Dirty] = []
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
        self.found.append(_Dirty(at, (value & ~DIRTY).to_bytes(WORD, "big"), [gpa], shift))
        # The kernel meets what is left of a leaf again, and finds it clean
        return max(self._mark(number, shift), span >> self.page_shift)

    def _mark(self, number: int, shift: int, leaves: int = 1) -> int:
        """Put leaves that lie one after another into the bitmap: how many pages the kernel takes one for."""
        many = 1 if self.one_only or not shift else 1 << (shift - self.page_shift)
        self.leaves += leaves
        if many == 1 or self.one_by_one:
            set_bits(self.bitmap, number, number + many * leaves)
        else:
            set_dirty_bits(self.bitmap, number, many * leaves)
        self.overrun += max(number + many * leaves - self.slot.pages, 0)
        return many

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
        if not dirty:
            return max(here, 1) * pages_each
        of_leaf = LARGE_SHIFT if large else 0
        if len(dirty) == here and not (large and self.one_only):
            self._mark(number, of_leaf, here)
        else:
            for n in dirty:
                self._mark(number + n * pages_each, of_leaf)
        first, last = dirty[0], dirty[-1] + 1
        for n in dirty:
            entries[n] &= ~DIRTY
        clean = Struct(f">{last - first}Q").pack(*entries[first:last])
        self.found.append(_Dirty(at + WORD * first, clean, [gpa + (n << shift) for n in dirty], of_leaf))
        return max(here, 1) * pages_each


def count(bitmap: bytes | bytearray) -> int:
    """How many bits are set."""
    return int.from_bytes(bitmap, "little").bit_count()
