"""``kvmppc_create_pte``: a leaf is put into the second-level tree, and the tables that lead to it are made."""

from __future__ import annotations

from typing import Literal

from inspector.kvm.machine import Machine, Vm
from inspector.kvm.shape import DIRTY, HUGE_SHIFT, LARGE_SHIFT, NEXT
from inspector.kvm.unmap import carry_dirty, clear_leaf, drop_table
from inspector.radix.bits import MASK64, PTE_C, PTE_LEAF, PTE_R, PTE_VALID, PTE_WRITE

Errno = Literal["EAGAIN", "EBUSY", "ENOMEM"]
MUST_MATCH = MASK64 & ~(PTE_WRITE | PTE_C | PTE_R)
"""``PTE_BITS_MUST_MATCH``: all bits but those that two faults on the same page may differ in."""
SHIFT_OF = {1: LARGE_SHIFT, 2: HUGE_SHIFT}
"""Log2 of a large leaf's size, by its level."""
Spare = dict[int, int]
"""Tables that were taken before the lock, by level."""


def create_pte(machine: Machine, vm: Vm, leaf: int, gpa: int, level: int, *, invalidated: bool = False) -> Errno | None:
    """Put ``leaf`` for guest real ``gpa`` into the tree at ``level`` (0: one page, 1: 2M, 2: 1G). None where it is
    there then, else the errno.

    The tables that may be needed are taken before the lock, as the kernel does, and given back where they were not;
    with ``invalidated`` the host took pages away between the look-up and the lock (``mmu_notifier_retry``)."""
    tree = vm.tree
    spare = _ahead(machine, vm, gpa, level)
    try:
        if invalidated:
            tree.trace.say("invalidated")
            return "EAGAIN"
        return _put(machine, vm, leaf, gpa, level, spare)
    finally:
        for of, table in spare.items():
            tree.give_back(table, of)


def _ahead(machine: Machine, vm: Vm, gpa: int, level: int) -> Spare:
    """The tables that may be needed, as far as the pool has them."""
    tree = vm.tree
    read = tree.words.read_u64
    wanted = []
    seed = "large-never-replaced" in machine.old  # which also never looks whether what is there is a leaf
    root = read(tree.root_entry(gpa))
    huge = 0
    if machine.present(root):
        huge = read(tree.huge_entry(root, gpa))
    else:
        wanted.append(2)
    large = 0
    if machine.present(huge) and not huge & PTE_LEAF:
        large = read(tree.large_entry(huge, gpa))
    elif level <= 1:
        wanted.append(1)
    if level == 0 and not (machine.present(large) and (seed or not large & PTE_LEAF)):
        wanted.append(0)
    return {of: table for of in wanted if (table := tree.take(of)) is not None}


def _put(machine: Machine, vm: Vm, leaf: int, gpa: int, level: int, spare: Spare) -> Errno | None:
    """Under the lock: walk again, and change the tree."""
    tree = vm.tree
    read = tree.words.read_u64
    at = tree.root_entry(gpa)
    value = read(at)
    if not value:
        if 2 not in spare:
            return _no_memory(vm, 2)
        value = tree.populate(at, spare.pop(2), 2)
    for of, entry in ((2, tree.huge_entry), (1, tree.large_entry)):
        at = entry(value, gpa)
        value = read(at)
        if value & PTE_LEAF:
            done, errno = _over_leaf(machine, vm, leaf, gpa, level, of, at, value, spare)
            if done:
                return errno
            value = 0
        if level == of:
            return _make_large(machine, vm, leaf, gpa, of, at, value)
        if not value:
            if of - 1 not in spare:
                return _no_memory(vm, of - 1)
            value = tree.populate(at, spare.pop(of - 1), of - 1)
    _make_small(machine, vm, leaf, gpa, tree.leaf_entry(value, gpa))
    return None


def _no_memory(vm: Vm, level: int) -> Errno:
    vm.tree.trace.say("no-memory", level)
    return "ENOMEM"


def _over_leaf(
    machine: Machine, vm: Vm, leaf: int, gpa: int, level: int, of: int, at: int, value: int, spare: Spare
) -> tuple[bool, Errno | None]:
    """A large leaf of level ``of`` is there, whether present or not: (whether that was all, and how it ended). Where
    it was not all, the entry is empty then."""
    trace = vm.tree.trace
    shift = SHIFT_OF[of]
    if "large-never-replaced" in machine.old:
        trace.say("large-there", value)
        return True, "EAGAIN"
    if level == of and "leaf-cleared-first" not in machine.old:
        _add_bits(vm, leaf, gpa >> shift << shift, shift, at, value)
        return True, None
    if level < of and of - 1 not in spare:
        trace.say("raced", of - 1)
        return True, "EAGAIN"
    trace.say("replace-large", value)
    clear_leaf(machine, vm, at, gpa >> shift << shift, shift)
    return False, None


def _make_large(machine: Machine, vm: Vm, leaf: int, gpa: int, of: int, at: int, value: int) -> Errno | None:
    """Put a large leaf where ``value`` is empty or leads to a table."""
    tree = vm.tree
    shift = SHIFT_OF[of]
    if value and "table-blocks-large" in machine.old:
        tree.trace.say("table-there", value & NEXT, shift)
        return "EBUSY"
    if value:
        drop_table(machine, vm, at, value & NEXT, of - 1)
    tree.install(at, leaf, gpa, shift)
    return None


def _make_small(machine: Machine, vm: Vm, leaf: int, gpa: int, at: int) -> None:
    """Put a leaf of one page."""
    tree = vm.tree
    value = tree.words.read_u64(at)
    if value & PTE_VALID:
        if "leaf-cleared-first" not in machine.old:
            _add_bits(vm, leaf, gpa, 0, at, value)
            return
        tree.trace.say("replace", value)
        previous = tree.update(at, PTE_VALID, 0, gpa, 0)
        tree.tlbie(gpa, 0)
        if previous & DIRTY:
            carry_dirty(machine, vm, gpa, 0, vm.slots.at(gpa))
    tree.install(at, leaf, gpa, machine.pages.shift)


def _add_bits(vm: Vm, leaf: int, gpa: int, shift: int, at: int, value: int) -> None:
    """The leaf is there: nothing is to be done, or bits are to be set in it. No tlbie is needed to allow more."""
    tree = vm.tree
    if value == leaf:
        tree.trace.say("same-leaf")
        return
    differing = (value ^ leaf) & MUST_MATCH
    if differing:
        tree.trace.say("must-match", differing)
    tree.trace.say("add-bits", leaf & ~value & MASK64)
    tree.update(at, 0, leaf, gpa, shift)
