"""Effective addresses: which partition and process one belongs to, by quadrant and MSR[HV].

Power ISA 3.0B, book III, 5.7.2 and 5.7.5.1; QEMU 7.2 ``ppc_radix64_get_fully_qualified_addr``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inspector.errors import UnknownRegister
from inspector.radix.bits import EA_VALID_MASK, MSR_DR, MSR_HV, MSR_IR, MSR_PR, QUADRANT_SHIFT
from inspector.radix.translation import Access


@dataclass(frozen=True, slots=True)
class Context:
    """The registers of a vCPU that decide where an address goes. None is unknown, never zero.

    ``flat`` is a machine whose hypervisor is out of sight (pseries): its guest real addresses are all there is, and
    ``process_table`` is the value that the guest registered by hypercall. Else ``ptcr`` leads to everything.
    """

    cpu: int = 0
    msr: int | None = None
    lpcr: int | None = None
    pid: int | None = None
    lpidr: int | None = None
    ptcr: int | None = None
    amr: int | None = None
    iamr: int | None = None
    hrmor: int | None = None
    process_table: int | None = None
    flat: bool = False

    @property
    def hypervisor(self) -> bool:
        """MSR[HV]; where MSR is unknown, whether the tables are a bare machine's."""
        if self.flat:
            return False
        if self.msr is None:
            return not self.lpidr
        return bool(self.msr & MSR_HV)

    @property
    def problem_state(self) -> bool:
        """MSR[PR]: user mode."""
        return bool(self.msr is not None and self.msr & MSR_PR)

    def relocation(self, access: Access | None) -> bool:
        """Whether an access of this kind is translated: MSR[IR] for fetches, MSR[DR] for data."""
        if self.msr is None:
            return True
        return bool(self.msr & (MSR_IR if access == "x" else MSR_DR))

    def need(self, name: str) -> int:
        """A register that the answer depends on. Raises UnknownRegister."""
        value: int | None = getattr(self, name)
        if value is None:
            raise UnknownRegister(name, self.cpu, True)
        return value

    def _msr_or_assumed(self) -> int:
        """MSR, or where it is unknown the state that ``hypervisor`` takes it to be in."""
        if self.msr is not None:
            return self.msr
        return MSR_HV if self.hypervisor else 0

    def as_process(self, pid: int, ea: int) -> Context:
        """The same vCPU as if the process with this PID ran on it and used ``ea``: translation on, and user state for
        an address of the user's quadrant."""
        msr = self._msr_or_assumed() | MSR_IR | MSR_DR
        msr = msr | MSR_PR if pid and quadrant(ea) == 0 else msr & ~MSR_PR
        return replace(self, pid=pid, msr=msr)

    def as_partition(self, lpid: int) -> Context:
        """The same vCPU as if this partition ran on it: translation on, and MSR[HV] for LPID 0 only."""
        msr = (self.msr or 0) | MSR_IR | MSR_DR
        if not self.flat:
            msr = msr & ~MSR_HV if lpid else msr | MSR_HV
        return replace(self, lpidr=lpid, msr=msr)

    def untranslated(self) -> Context:
        """The same vCPU with relocation off, so that its addresses are (guest) real."""
        return replace(self, msr=self._msr_or_assumed() & ~(MSR_IR | MSR_DR))


def quadrant(ea: int) -> int:
    """EA bits 0:1 as IBM counts them: 0 user, 3 kernel; 1 and 2 reach into a guest, with MSR[HV] only."""
    return ea >> QUADRANT_SHIFT


@dataclass(frozen=True, slots=True)
class Qualified:
    """The fully qualified address: whose tree translates it."""

    lpid: int
    pid: int


def in_range(ea: int) -> bool:
    """Whether EA bits 2:11 (IBM) are clear: the tree covers 52 bits, and any other bit is a segment interrupt."""
    return ea & ~EA_VALID_MASK == 0


def qualify(context: Context, ea: int) -> Qualified | None:
    """Whose tree translates ``ea``, or None where its quadrant is not to be had (a segment interrupt).

    Raises UnknownRegister where PID or LPIDR decides and is unknown."""
    q = quadrant(ea)
    if q in (1, 2) and not context.hypervisor:
        return None
    own = context.flat or (context.hypervisor and q in (0, 3))
    lpid = 0 if own else context.need("lpidr")
    return Qualified(lpid, context.need("pid") if q in (0, 1) else 0)
