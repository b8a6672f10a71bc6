"""The rules about one leaf at a time, asked of blocks of leaves that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from inspector.mappings.audit.stretches import Stretches
from inspector.radix.bits import (
    ATT_NON_IDEMPOTENT,
    KERNEL_PID,
    PTE_ATT,
    PTE_C,
    PTE_EXEC,
    PTE_PRIVILEGED,
    PTE_R,
    PTE_READ,
    PTE_RPN,
    PTE_WRITE,
)
from inspector.radix.columns import U64, Bools, Columns
from inspector.radix.formats import PTE

BLOCK = 1 << 16
"""Leaves of a block."""
RIGHTS = PTE_READ | PTE_WRITE | PTE_EXEC
IO = 0x20
"""The bit of ATT that both kinds of I/O have, and memory has not."""
RESERVED = ~PTE.mask & ((1 << 64) - 1)
NO_STRETCHES = Stretches.spans(())


@dataclass(frozen=True, slots=True)
class Places:
    """Real addresses that rules ask about. ``text`` is the kernel's code; ``known_text`` the same where symbols say it;
    ``tables`` are those of the MMU, the process table and partition table included; ``shared`` what several KVM
    guests have."""

    ram: Stretches
    text: Stretches = NO_STRETCHES
    known_text: Stretches = NO_STRETCHES
    tables: Stretches = NO_STRETCHES
    shared: Stretches = NO_STRETCHES


class Block:
    """Some leaves, and what rules ask about them, each worked out once and only where it is asked."""

    def __init__(self, columns: Columns, kernel_roots: Bools) -> None:
        self.columns = columns
        self.entry = columns.entry
        self.kernel_roots = kernel_roots

    def any(self, mask: int) -> Bools:
        """Whose entry has any of these bits set."""
        found: Bools = self.entry & np.uint64(mask) != 0
        return found

    @cached_property
    def kernel(self) -> Bools:
        """Whose tree is the kernel's, PID 0."""
        return self.kernel_roots[self.columns.root]

    @cached_property
    def page(self) -> U64:
        """Bytes, less 1."""
        return self.columns.size - np.uint64(1)

    @cached_property
    def rpn(self) -> U64:
        """Real page number, in place."""
        return self.entry & np.uint64(PTE_RPN)

    @cached_property
    def ra(self) -> U64:
        """Real address of the page."""
        return self.rpn & ~self.page

    @cached_property
    def end(self) -> U64:
        """One past its last byte."""
        return self.ra + self.page + np.uint64(1)

    @cached_property
    def written(self) -> Bools:
        """Which may be written."""
        return self.any(PTE_WRITE)

    @cached_property
    def executed(self) -> Bools:
        """Which may be executed: what is non-idempotent never is."""
        found: Bools = self.entry & np.uint64(PTE_ATT) != np.uint64(ATT_NON_IDEMPOTENT)
        return found & self.any(PTE_EXEC)

    @cached_property
    def privileged(self) -> Bools:
        """Which are for privileged code only."""
        return self.any(PTE_PRIVILEGED)

    @cached_property
    def useful(self) -> Bools:
        """Which allow anything."""
        return self.any(RIGHTS)

    @cached_property
    def users(self) -> Bools:
        """Which allow user mode anything."""
        return self.useful & ~self.privileged

    @cached_property
    def io(self) -> Bools:
        """Which are I/O."""
        return self.any(IO)

    @cached_property
    def linear(self) -> Bools:
        """Which are of the kernel's linear map: what lies there has its real address in its effective one."""
        found: Bools = self.columns.offset == self.ra
        return found & self.kernel


Check = Callable[[Block, Places], Bools]

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "wx-mapping": lambda each, _: each.written & each.executed & each.privileged,
        "wx-user": lambda each, _: each.written & each.executed & ~each.privileged,
        "kernel-user": lambda each, _: each.kernel & each.users,
        "privileged-in-user-half": lambda each, _: ~each.kernel & each.privileged & each.useful,
        "kernel-text-user": lambda each, at: ~each.kernel & each.users & at.text.touched(each.ra, each.end),
        "kernel-text-writable": lambda each, at: (
            each.linear & each.written & ~each.executed & at.known_text.touched(each.ra, each.end)
        ),
        "tables-user": lambda each, at: each.users & at.tables.touched(each.ra, each.end),
        "tables-guest": lambda each, at: each.useful & at.tables.touched(each.ra, each.end),
        "host-page-shared": lambda each, at: at.shared.touched(each.ra, each.end),
        "tables-alias": lambda each, at: (
            each.written & each.privileged & ~each.linear & at.tables.touched(each.ra, each.end)
        ),
        "normal-outside-ram": lambda each, at: ~each.io & ~at.ram.holds(each.ra, each.end),
        "io-on-ram": lambda each, at: each.io & at.ram.touched(each.ra, each.end),
        "executable-io": lambda each, _: each.io & each.any(PTE_EXEC),
        "stray-rpn": lambda each, _: each.rpn & each.page != 0,
        "leaf-512g": lambda each, _: each.columns.level == 3,
        "reserved-leaf": lambda each, _: each.any(RESERVED),
        "changed-unreferenced": lambda each, _: each.kernel & each.any(PTE_C) & ~each.any(PTE_R),
        "aged": lambda each, _: ~each.kernel & each.any(PTE_C) & ~each.any(PTE_R),
        "changed-read-only": lambda each, _: each.any(PTE_C) & ~each.written,
        "unreferenced": lambda each, _: ~each.any(PTE_R | PTE_C),
        "no-rights": lambda each, _: ~each.useful,
    }
)
"""Which leaves of a block a rule finds."""


def block_of(columns: Columns) -> Block:
    """These leaves as one block."""
    return Block(columns, np.array([root.pid == KERNEL_PID for root in columns.roots], np.bool_))


def all_blocks(columns: Columns) -> Iterator[tuple[int, Block]]:
    """All leaves in blocks, each after the number of its first."""
    for first in range(0, len(columns), BLOCK):
        yield first, block_of(columns.take(slice(first, first + BLOCK)))
