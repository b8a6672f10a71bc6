"""The host's side of a page: what KVM finds when it looks up a guest page in the VMM's address space."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.kvm.shape import IO_PROTECTION
from inspector.radix.bits import PTE_C, PTE_LEAF, PTE_R, PTE_READ, PTE_RPN, PTE_VALID, PTE_WRITE


@dataclass(frozen=True, slots=True)
class HostPage:
    """The host's mapping of one guest page: ``hva`` is the page's host virtual address, ``base`` the real address where
    the mapping begins that covers it, of 2**``shift`` bytes. ``writable`` and ``dirty`` are of the host's own entry,
    ``accessed`` too; ``io`` is a device's mapping (VM_PFNMAP). ``entry`` is the host's own entry where it is known: its
    flags then are those that a leaf takes over.

    ``compound`` is the size of the page behind the mapping as the host's allocator has it, which may be larger than
    what the mapping covers; ``transparent`` that it is a transparent huge page and no hugetlb one."""

    hva: int
    base: int
    shift: int = 16
    writable: bool = True
    dirty: bool = True
    io: bool = False
    accessed: bool = True
    compound_shift: int | None = None
    transparent: bool = False
    entry: int | None = None

    @property
    def page(self) -> int:
        """Real address that ``hva`` is at."""
        return self.base + (self.hva & (1 << self.shift) - 1)

    @property
    def compound(self) -> int:
        """The page's size as the allocator has it: the mapping's where nothing else is known."""
        return self.shift if self.compound_shift is None else self.compound_shift

    @property
    def flags(self) -> int:
        """All of the host's own entry but its real page number."""
        if self.entry is not None:
            return self.entry & ~PTE_RPN
        flags = IO_PROTECTION | PTE_LEAF if self.io else PTE_VALID | PTE_LEAF | PTE_READ
        flags |= PTE_WRITE if self.writable else 0
        return flags | (PTE_R if self.accessed else 0) | (PTE_C if self.dirty and self.writable else 0)
