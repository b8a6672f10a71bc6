"""What a vCPU's registers recorded of faults, held to the tables of a guest as they are now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from inspector.errors import InspectorError, TargetError
from inspector.radix.address import Context, quadrant
from inspector.radix.bits import DSISR_PRTABLE_FAULT, MSR_HV
from inspector.radix.hindsight import Held, Now, elsewhere, held, out_of_a_guest
from inspector.radix.prediction import Record, interrupted, predict, same_page
from inspector.radix.software_walk import variant
from inspector.radix.translation import Access, Translation
from inspector.walkers import hardware, software

if TYPE_CHECKING:
    from inspector.guest import Guest


class Comparison:
    """What a vCPU recorded, held to the tables of the process and partition that were asked about.

    A guest's hypervisor storage interrupts stay in the vCPU's registers while it runs the host, with LPIDR 0 and the
    host's PID; any other record is of the process that it runs."""

    def __init__(
        self,
        guest: Guest,
        cpu: int | None,
        pid: int | None,
        lpid: int | None,
        known: Mapping[str, int],
        nested: tuple[int, int] | None = None,
        within: Context | None = None,
    ) -> None:
        self.guest, self.cpu, self.known, self.within = guest, cpu, known, within
        own = guest.context(cpu)
        self.asked = replace(own, pid=own.pid if pid is None else pid, lpidr=own.lpidr if lpid is None else lpid)
        if nested is not None:
            self.asked = replace(self.asked, ptcr=nested[0], lpidr=nested[1])
        same = (self.asked.pid, self.asked.lpidr or 0) == (own.pid, own.lpidr or 0)
        self.own_process = same and within is None

    def aside(self, found: list[Record]) -> str:
        """That some records were passed over, where they were."""
        if self.own_process or all(record.hypervisor for record in found):
            return ""
        return "this vCPU runs another process, which DAR, DSISR, SRR0 and SRR1 are of; they were not looked at"

    def of(self, answer: Translation, found: list[Record]) -> Iterator[Held]:
        """What was recorded of this page; and of the kind of interrupt that this access raises, if only of another."""
        like_it = (answer.access == "x", (answer.stage or 1) > 1)
        for record in found:
            if not (record.hypervisor or self.own_process):
                continue
            if same_page(record, answer.ea):
                each = self.held(record)
                if each.verdict == "agrees" or not record.doubtful:
                    yield each
            elif (record.access == "x", record.hypervisor) == like_it and not record.doubtful:
                yield elsewhere(record)

    def held(self, record: Record) -> Held:
        """What is to be said of one record, whatever its address."""
        context = self.asked
        srr1 = self.known.get("hsrr1" if record.hypervisor else "srr1")
        if record.hypervisor and srr1 and not (srr1 & MSR_HV or context.lpidr):
            return out_of_a_guest(record)
        accesses: list[Access] = [record.access or "r"]
        if record.hypervisor and record.bits & DSISR_PRTABLE_FAULT:
            accesses += ["w", "x"]  # an older QEMU takes them for loads
        asked = []
        if srr1:  # the record's own state, as the vCPU may be in the interrupt's handler by now
            then = interrupted(context, srr1)
            if then.msr != context.msr:
                state = f"in the state that it was interrupted in ({'HSRR1' if record.hypervisor else 'SRR1'})"
                asked += [self._now(then, record, access, state) for access in accesses]
        asked += [self._now(context, record, access, "as the vCPU is now") for access in accesses]
        if context.pid and quadrant(record.ea) == 0 and not context.problem_state:
            asked.append(self._now(context.as_process(context.pid, record.ea), record, accesses[0], "for user code"))
        return held(record, asked, self._software(record))

    def _now(self, context: Context, record: Record, access: Access, state: str) -> Now:
        answer = hardware(self.guest, context, record.ea, access, self.within)
        return Now(state, answer, predict(answer, context))

    def _software(self, record: Record) -> Translation | None:
        """KVM's walk of the same address; None where it cannot be asked."""
        try:
            return software(self.guest, self.asked, record.ea, variant("kvm"), self.within)
        except TargetError:
            raise
        except InspectorError:
            return None
