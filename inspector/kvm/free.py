"""``kvmppc_free_radix``: the guest is gone, and its tree with it."""

from __future__ import annotations

from inspector.kvm.below import below
from inspector.kvm.machine import Machine, Vm


def free(machine: Machine, vm: Vm) -> None:
    """Clear and free every table, the lowest first, and then the root. No tlbie: nobody runs by it any more. Raises
    MemoryReadError where a table cannot be read; nothing is changed then."""
    tree = vm.tree
    held = list(below(machine, vm, tree.root, 3, pages=False))
    large = 0
    for each in held:
        if each.table is None:
            large += 1
        else:
            if each.level == 1:
                tree.words.clear(each.table, tree.table_bytes(0))
            tree.give_back(each.table, each.level - 1)
        tree.words.write_u64(each.at, 0)
    tree.give_back(tree.root, 3)
    tree.trace.say("freed", len(tree.trace.freed), large)
    machine.vms.pop(vm.lpid, None)
