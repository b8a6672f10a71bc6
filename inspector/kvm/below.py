"""What a table holds and leads to, looked at before any of it is freed: what cannot be read is met before anything
changes."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from inspector.kvm.machine import Machine, Vm
from inspector.kvm.shape import NEXT
from inspector.radix.bits import PTE_LEAF

WORD = 8


class Held(NamedTuple):
    """An entry: its real address, its value, the level of the table that it lies in (0: of leaves), and where it leads;
    None for a leaf."""

    at: int
    value: int
    level: int
    table: int | None


def below(machine: Machine, vm: Vm, table: int, level: int, *, pages: bool = True) -> Iterator[Held]:
    """Every entry that the kernel finds when it frees a table: what is below an entry comes before it. Leaves of one
    page, left out without ``pages``, are those that are not 0, all others those that are present as the version takes
    it. Raises MemoryReadError."""
    tree = vm.tree
    entries = Struct(f">{tree.table_bytes(level) // WORD}Q")
    held = tree.words.read(table, entries.size)
    if not level and not pages:
        return
    for number, value in enumerate(entries.unpack(held)):
        if not value or (level and not machine.present(value)):
            continue
        leads = None if not level or value & PTE_LEAF else value & NEXT
        if leads is not None:
            yield from below(machine, vm, leads, level - 1, pages=pages)
        yield Held(table + WORD * number, value, level, leads)
