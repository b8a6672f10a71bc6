"""The third stage of a guest's guest (L2): what its hypervisor (L1), a guest itself, calls real, in the host's memory.

No CPU walks three stages. KVM makes one tree of the last two, page by page as the L2 touches them (Linux 6.1,
``__kvmhv_nested_page_fault_radix``), which comes to what a walk through all three does."""

from __future__ import annotations

from inspector.radix.address import Context
from inspector.radix.stages import Reached, Walk

STAGE = 3


class Outer:
    """The host's tree behind the L1 that LPIDR of ``context`` is, for ``walk``, which takes the L1's memory for real.

    Its steps and notes are among those of ``walk``, a level deeper than what they serve. Raises Fault."""

    def __init__(self, walk: Walk, context: Context) -> None:
        self.walk = walk
        self.lpid = context.need("lpidr")
        self.host = Walk(walk.read, context, None, walk.steps, walk.notes, stage=STAGE, real="L1 real")
        self.partition = self.host.partition(self.lpid)
        self._resolve = self.host.resolver(self.partition, self.lpid)
        walk.outer, walk.real = self.resolve, "L2 real"

    def resolve(self, real: int, purpose: str) -> int:
        """L1 real to host real, for an entry of a table that is to be read."""
        self.host.depth = self.walk.depth
        return self._resolve(real, purpose)

    def reached(self, real: int, purpose: str) -> Reached:
        """The same for the access itself: its rights are for the caller to judge."""
        self.host.depth = self.walk.depth
        return self.host.second_stage(self.partition, self.lpid, purpose, real)
