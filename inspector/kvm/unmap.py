"""``kvm_unmap_radix``, ``kvm_age_radix``, ``kvm_test_age_radix`` and the flushing of slots: the host takes pages away,
and asks which were used."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.kvm.below import below
from inspector.kvm.machine import Machine, Vm
from inspector.kvm.second_level import Found
from inspector.kvm.shape import DIRTY, LARGE_SHIFT
from inspector.kvm.slots import LONG, MemorySlot, set_bits
from inspector.kvm.trace import Tlbie, Trace
from inspector.radix.bits import MASK64, PTE_LEAF, PTE_R, PTE_RPN, PTE_VALID

FLUSH_PWC = 1
"""RIC of a tlbie that drops the page-walk cache and no translation (Power ISA 3.0B, book III, 5.9.3.3)."""
IS_LPID = 2 << 10
"""IS of such a tlbie: all of the LPID's."""


def unmap(machine: Machine, vm: Vm, gpa: int) -> int:
    """``kvm_unmap_radix`` of the page at this guest real address: 0."""
    gpa = gpa >> machine.pages.shift << machine.pages.shift
    found = vm.tree.find(gpa)
    if found is None:
        vm.tree.trace.say("nothing-there")
    elif not found.value & PTE_VALID:
        vm.tree.trace.say("not-present", found.value)
    else:
        _unmap_found(machine, vm, found, gpa, vm.slots.at(gpa))
    return 0


def _unmap_found(machine: Machine, vm: Vm, found: Found, gpa: int, slot: MemorySlot | None) -> None:
    one_page = bool(found.shift) and "one-page-logged" in machine.old
    clear_leaf(machine, vm, found.address, gpa, found.shift, machine.clears, slot, one_page)


def clear_leaf(
    machine: Machine,
    vm: Vm,
    at: int,
    gpa: int,
    shift: int,
    clear: int = MASK64,
    slot: MemorySlot | None = None,
    one_page: bool = False,
) -> None:
    """Clear a leaf, have the MMU forget it, and carry its dirty bit into the slot's log (``kvmppc_unmap_pte``).

    ``shift`` is 0 for a page of the host's own size; ``one_page`` is how some kernels logged a large leaf."""
    tree = vm.tree
    previous = tree.update(at, clear, 0, gpa, shift)
    left = previous & ~clear & MASK64
    tree.tlbie(gpa, shift)
    tree.trace.say("unmapped", at, left)
    if left & PTE_LEAF and not left & PTE_VALID and shift:
        tree.trace.say("looks-large" if "large-never-replaced" in machine.old else "looks-large-once")
    if previous & DIRTY:
        carry_dirty(machine, vm, gpa, shift, slot or vm.slots.at(gpa), one_page)


def carry_dirty(
    machine: Machine, vm: Vm, gpa: int, shift: int, slot: MemorySlot | None, one_page: bool = False
) -> None:
    """Put the pages of a leaf that was dirty into the slot's log."""
    trace = vm.tree.trace
    page = gpa >> machine.pages.shift
    pages = 1 << (shift - machine.pages.shift) if shift else 1
    if slot is None or slot.log is None:
        trace.say("dirty-nowhere")
        return
    if one_page:
        # kvmppc_update_dirty_map takes bytes, and was given a count of pages: 32 bytes are in one page
        logged = -(-pages // machine.pages.size)
        trace.say("one-page-logged", pages, logged)
        slot.mark_pages(page, logged)
        return
    trace.say("carry-dirty", pages, gpa)
    if not shift:
        slot.mark(page)
    elif "log-overrun" in machine.old and pages >= LONG:
        _misplace(trace, slot, page - slot.first, pages)
    elif "bits-one-by-one" in machine.old:
        # mark_page_dirty looks up the slot of each
        for number in range(page, page + pages):
            its = vm.slots.at(number << machine.pages.shift)
            if its is not None:
                its.mark(number)
    else:
        slot.mark_pages(page, pages)


def _misplace(trace: Trace, slot: MemorySlot, number: int, pages: int) -> None:
    """``mark_pages_dirty`` of 64 pages and more from the slot's page ``number`` on: it counts whole longs from the one
    of that number on, not from the one that holds its bit. What goes into the second half of the log's memory is lost,
    for that is emptied whenever the log is read."""
    assert slot.log is not None
    first, bits = LONG * number, 8 * slot.log_bytes
    set_bits(slot.log, first, first + pages)
    if number:
        trace.say("log-misplaced", first, number)
    past = first + pages - max(first, 2 * bits)
    if past > 0:
        trace.say("log-overrun", past // 8)


def age(machine: Machine, vm: Vm, gpa: int) -> int:
    """``kvm_age_radix``: whether the leaf there was referenced; its R is cleared, and no tlbie follows."""
    gpa = gpa >> machine.pages.shift << machine.pages.shift
    tree = vm.tree
    found = tree.find(gpa)
    if found is not None and found.value & PTE_VALID and found.value & PTE_R:
        tree.trace.say("young")
        tree.update(found.address, PTE_R, 0, gpa, found.shift)
        tree.trace.say("aged", found.address)
        return 1
    return _not_young(vm, found)


def test_age(machine: Machine, vm: Vm, gpa: int) -> int:
    """``kvm_test_age_radix``: the same, and nothing is cleared."""
    found = vm.tree.find(gpa >> machine.pages.shift << machine.pages.shift)
    if found is not None and found.value & PTE_VALID and found.value & PTE_R:
        vm.tree.trace.say("young")
        return 1
    return _not_young(vm, found)


def _not_young(vm: Vm, found: Found | None) -> int:
    if found is None:
        vm.tree.trace.say("nothing-there")
    elif not found.value & PTE_VALID:
        vm.tree.trace.say("not-present", found.value)
    else:
        vm.tree.trace.say("old")
    return 0


def flush_slot(machine: Machine, vm: Vm, slot: MemorySlot) -> int:
    """Take away every leaf of a slot, page by page (``kvmppc_radix_flush_memslot``); how many there were."""
    for _ in _present(vm, slot):
        pass  # what cannot be read is met before anything is changed
    taken = 0
    for gpa, found in _present(vm, slot):
        _unmap_found(machine, vm, found, gpa, slot)
        taken += 1
    vm.tree.trace.say("flushed", taken)
    return taken


def _present(vm: Vm, slot: MemorySlot) -> Iterator[tuple[int, Found]]:
    """Every leaf of a slot that is present, and the slot's first guest real address that it maps."""
    gpa = slot.base
    while gpa < slot.end:
        found, span = vm.tree.find_or_skip(gpa)
        if found is not None and found.value & PTE_VALID:
            yield gpa, found
        gpa += span


def drop_table(machine: Machine, vm: Vm, at: int, table: int, level: int) -> None:
    """Clear the entry at ``at``, which leads to ``table`` of ``level``, and free that and all below it, so that a large
    leaf can take its place (``kvmppc_unmap_free_pmd_entry_table`` and its like for 1G; Linux 4.18).

    The leaves' tlbies carry their *host* real addresses, since the kernel takes them from the leaves themselves."""
    tree = vm.tree
    held = list(below(machine, vm, table, level))
    tree.trace.say("replace-table", table)
    tree.words.write_u64(at, 0)
    tree.trace.tlbie.append(Tlbie(IS_LPID, vm.lpid, FLUSH_PWC))
    for each in held:
        if each.table is None:
            clear_leaf(machine, vm, each.at, each.value & PTE_RPN, (0, LARGE_SHIFT)[each.level])
        else:
            tree.give_back(each.table, each.level - 1)
            tree.words.write_u64(each.at, 0)
    if any(each.table is None for each in held):
        tree.trace.say("host-addresses")
    tree.give_back(table, level)
