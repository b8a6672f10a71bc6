"""A tree that is looked at, and the entry of a table that it hangs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.radix.bits import (
    KERNEL_PID,
    PRTB_MASK,
    PRTS_MASK,
    QUADRANT_SHIFT,
    RPDB_MASK,
    table_bytes,
    tree_bits,
)
from inspector.radix.descriptors import PATE0, PRTE0
from inspector.radix.oddities import tree_name

if TYPE_CHECKING:
    from inspector.processes import Process
    from inspector.radix.columns import Root


def base_of(pid: int | None) -> int:
    """What is added to offsets in the tree of this PID to make effective addresses: the kernel's, PID 0, are in
    quadrant 3. A partition-scoped tree (None) translates guest real addresses, to which nothing is added."""
    return 3 << QUADRANT_SHIFT if pid == KERNEL_PID else 0


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree, and the entry that leads to it: of the process table of partition ``lpid`` where it is that of a ``pid``
    (a radix PID), and of the partition table where ``pid`` is None: then it is the partition-scoped tree of ``lpid``.

    ``address`` is the real address of the entry, ``entry`` and ``second`` are its two doublewords."""

    lpid: int
    pid: int | None
    address: int
    entry: int
    second: int = 0

    @classmethod
    def of(cls, process: Process, lpid: int = 0) -> Tree:
        """That of a live entry of the process table of ``lpid``."""
        return cls(lpid, process.pid, process.address, process.entry, process.second)

    @property
    def name(self) -> str:
        """Whose it is, in words: ``PID 4``, or ``LPID 1``."""
        return tree_name(self.lpid, self.pid)

    @property
    def base(self) -> int:
        """What is added to offsets in it to make the addresses that it translates."""
        return base_of(self.pid)

    @property
    def root(self) -> int:
        """Real address of the root directory."""
        return self.entry & RPDB_MASK

    @property
    def bits(self) -> int:
        """Bits of address space that it covers."""
        return tree_bits(self.entry)

    @property
    def process_table(self) -> tuple[int, int]:
        """Address (guest real, but for LPID 0) and size in bytes of the process table that a partition's entry tells
        of (PATE1: Power ISA 3.0B, book III, 5.7.6.1)."""
        return self.second & PRTB_MASK, table_bytes(self.second & PRTS_MASK)

    @property
    def registered(self) -> bool:
        """Whether a partition's entry tells of a process table. KVM makes a guest with none, which is an address and a
        size of 0: exception vectors are there, and no table (Linux 6.1, ``kvmppc_setup_partition_table``)."""
        return bool(self.second & (PRTB_MASK | PRTS_MASK))

    @property
    def meaning(self) -> str:
        """What the first doubleword of its entry says."""
        return (PATE0 if self.pid is None else PRTE0).decode(self.entry).meaning

    def to_sweep(self) -> Root:
        """As a sweep takes it."""
        from inspector.radix.columns import Root

        return Root(self.pid, self.entry, self.base, self.lpid)
