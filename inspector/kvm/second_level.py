"""One guest's second-level tree as KVM's own helpers see and change it: Linux's page-table macros, not the MMU's rules.

Linux tells an empty entry (0) from a leaf (``_PAGE_PTE``) and from a table (anything else), whether it is present or
not: that is how an entry that was cleared by half can still look like a large page.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import NamedTuple

from inspector.kvm.pool import Pool, Words
from inspector.kvm.shape import (
    AP_1G,
    AP_2M,
    AP_SHIFT,
    HUGE_SHIFT,
    LARGE_SHIFT,
    MIDDLE_BITS,
    MIDDLE_BYTES,
    MIDDLE_MASK,
    NEXT,
    ROOT_BYTES,
    ROOT_MASK,
    ROOT_SHIFT,
    TABLE,
    HostPages,
)
from inspector.kvm.trace import Installed, Table, Tlbie, Trace
from inspector.radix.bits import MASK64, PTE_LEAF, PTE_VALID


class Found(NamedTuple):
    """A leaf's entry, or where one would be: its real address and value, and 0 or the size of the large page it is."""

    address: int
    value: int
    shift: int


class SecondLevel:
    """The tree at real address ``root``. ``words`` is the memory that it lies in, ``pool`` where new tables come from,
    ``trace`` what is told of an operation. ``clear_first`` is a POWER9 DD1, whose entries must be invalid before they
    change; ``rounds`` that a tlbie's address is rounded down to its page; ``huge_ap`` the size that a tlbie of 1G
    names."""

    __slots__ = ("clear_first", "huge_ap", "leaf_mask", "lpid", "pages", "pool", "root", "rounds", "trace", "words")

    def __init__(self, words: Words, pool: Pool, root: int, lpid: int, pages: HostPages) -> None:
        self.words = words
        self.pool = pool
        self.root = root
        self.lpid = lpid
        self.pages = pages
        self.clear_first = False
        self.rounds = True
        self.huge_ap = AP_1G
        self.leaf_mask = (1 << pages.leaf_bits) - 1
        self.trace = Trace()

    # -- where entries are -----------------------------------------------------------------------------------------

    def root_entry(self, gpa: int) -> int:
        """Real address of the root's entry for this guest real address."""
        return self.root + 8 * (gpa >> ROOT_SHIFT & ROOT_MASK)

    @staticmethod
    def huge_entry(table: int, gpa: int) -> int:
        """That of the entry of 1G, ``table`` being what the root's entry holds."""
        return (table & NEXT) + 8 * (gpa >> HUGE_SHIFT & MIDDLE_MASK)

    @staticmethod
    def large_entry(table: int, gpa: int) -> int:
        """That of the entry of 2M."""
        return (table & NEXT) + 8 * (gpa >> LARGE_SHIFT & MIDDLE_MASK)

    def leaf_entry(self, table: int, gpa: int) -> int:
        """That of the entry of one page."""
        return (table & NEXT) + 8 * (gpa >> self.pages.shift & self.leaf_mask)

    def find(self, gpa: int) -> Found | None:
        """The leaf for a guest real address, present or not, as ``__find_linux_pte_or_hugepte`` finds it; None where
        the tree ends above."""
        return self.find_or_skip(gpa)[0]

    def find_or_skip(self, gpa: int) -> tuple[Found | None, int]:
        """The same, and how many bytes from ``gpa`` on have the same answer: one entry translates them all."""
        read = self.words.read_u64
        at = self.root_entry(gpa)
        value = read(at)
        shift = ROOT_SHIFT
        if value and not value & PTE_LEAF:
            at, shift = self.huge_entry(value, gpa), HUGE_SHIFT
            value = read(at)
            if value and not value & PTE_LEAF:
                at, shift = self.large_entry(value, gpa), LARGE_SHIFT
                value = read(at)
                if value and not value & PTE_LEAF:
                    at = self.leaf_entry(value, gpa)
                    return Found(at, read(at), 0), self.pages.size
        span = (1 << shift) - (gpa & (1 << shift) - 1)
        return (Found(at, value, shift) if value else None), span

    # -- changing --------------------------------------------------------------------------------------------------

    def update(self, at: int, clear: int, bits: int, gpa: int, shift: int) -> int:
        """``kvmppc_radix_update_pte``: the entry's old value. On DD1 an entry that stays present is invalidated first,
        and the value that it then gives is what it was, PRESENT included."""
        old = self.words.read_u64(at)
        if self.clear_first and not clear & PTE_VALID and old & PTE_VALID:
            self.words.write_u64(at, old & ~PTE_VALID)
            self.tlbie(gpa, shift)
        self.words.write_u64(at, old & ~clear & MASK64 | bits)
        return old

    def tlbie(self, gpa: int, shift: int) -> None:
        """``kvmppc_radix_tlbie_page``: RB holds the address, less its low 12 bits or rounded down to the page as the
        version has it, and the page size in AP."""
        low, keep = self._page_size(shift)
        self.trace.tlbie.append(Tlbie(gpa & keep | low, self.lpid))

    def tlbies(self, gpas: Iterable[int], shift: int) -> None:
        """One for each of these addresses, in order."""
        low, keep = self._page_size(shift)
        values = zip([gpa & keep | low for gpa in gpas], repeat(self.lpid), repeat(0))
        self.trace.tlbie += map(tuple.__new__, repeat(Tlbie), values)  # a log of half a million: no call for each

    def _page_size(self, shift: int) -> tuple[int, int]:
        """What of RB names the page's size, and the mask of what names its address."""
        ap = self.pages.ap if shift < LARGE_SHIFT else AP_2M if shift < HUGE_SHIFT else self.huge_ap
        return ap << AP_SHIFT, -(1 << (shift or self.pages.shift)) if self.rounds else ~0xFFF

    def install(self, at: int, leaf: int, gpa: int, shift: int) -> None:
        """``kvmppc_radix_set_pte_at``; ``shift`` is of the leaf's size."""
        self.words.write_u64(at, leaf)
        self.trace.installed = Installed(gpa >> shift << shift, leaf, shift, at)
        self.trace.say("installed", leaf, at)

    # -- tables ----------------------------------------------------------------------------------------------------

    def take(self, level: int) -> int | None:
        """A zeroed table of ``level``, 0 being of leaves; None where the pool has no room."""
        address = self.pool.take(self.table_bytes(level))
        if address is not None:
            self.trace.taken.append(Table(address, level))
        return address

    def give_back(self, address: int, level: int) -> None:
        """Free a table that was linked, or was taken and is not needed."""
        table = Table(address, level)
        if table in self.trace.taken:
            self.trace.taken.remove(table)
        else:
            self.trace.freed.append(table)
        self.pool.give_back(address)

    def table_bytes(self, level: int) -> int:
        """Bytes of a table."""
        return ROOT_BYTES if level == 3 else MIDDLE_BYTES if level else self.pages.leaf_bytes

    def populate(self, at: int, table: int, level: int) -> int:
        """Make the entry at ``at`` lead to a table of ``level``. Its value."""
        value = TABLE | table | (MIDDLE_BITS if level else self.pages.leaf_bits)
        self.words.write_u64(at, value)
        self.trace.say("new-table", level, table)
        return value
