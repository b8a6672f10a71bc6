"""``kvmppc_free_radix``: the guest is gone, and its tree with it."""

from __future__ import annotations

from inspector.kvm.machine import Machine, Vm
from inspector.kvm.shape import NEXT, ROOT_BYTES
from inspector.radix.bits import PTE_LEAF


def free(machine: Machine, vm: Vm) -> None:
    """Clear and free every table, the lowest first, and then the root. No tlbie: nobody runs by it any more."""
    tree = vm.tree
    large = 0
    for at in range(tree.root, tree.root + ROOT_BYTES, 8):
        value = tree.words.read_u64(at)
        if value:
            large += _free_table(machine, vm, value, 2)
            tree.words.write_u64(at, 0)
    tree.give_back(tree.root, 3)
    tree.trace.say("freed", len(tree.trace.freed), large)
    machine.vms.pop(vm.lpid, None)


def _free_table(machine: Machine, vm: Vm, entry: int, level: int) -> int:
    """Free the table of ``level`` that ``entry`` leads to; how many large leaves there were."""
    tree = vm.tree
    if entry & PTE_LEAF:
        return 1
    table = entry & NEXT
    large = 0
    if level == 0:
        tree.words.clear(table, tree.table_bytes(0))
    else:
        for at in range(table, table + tree.table_bytes(level), 8):
            value = tree.words.read_u64(at)
            if value:
                large += _free_table(machine, vm, value, level - 1)
                tree.words.write_u64(at, 0)
    tree.give_back(table, level)
    return large
