"""One KVM guest's second-level tree from its first fault on: what is asked of it, as lines that ``replay`` takes, and
what the kernel did for each.

    life = Life(machine, seen, trace)
    for told in life.run():
        told.line, told.kernel
    life.listing()

What it is asked is in scripts/lifesteps.py.

A line is one operation: a fault that KVM took, with what the host had behind the page, a page that the host took away,
a memory slot set, a dirty log read. What the kernel did, by its own functions' arguments (scripts/faultprobes.py):

    result      what its function returned; of a fault also "dsi", the DSISR that it queued for the guest
    lookup      the host's entry that it found
    create      what kvmppc_create_pte was asked, and what it returned
    unmapped    each leaf taken away: its entry before, and as which address and size
    tlbie       each tlbie: RB as the address and size make it, LPID and RIC
    bitmap      the dirty log"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from inspector.errors import ProtocolError
from inspector.guest import Guest
from inspector.kvm.shape import AP_1G, AP_2M, AP_4K, AP_64K, AP_SHIFT
from inspector.kvm.slots import LOG_DIRTY_PAGES, MemorySlot
from inspector.kvm.unmap import FLUSH_PWC, IS_LPID
from inspector.radix.bits import PTE_C, PTE_R, PTE_RPN, PTE_WRITE
from scripts.faultprobes import Event, FaultTrace
from scripts.guests import Machine
from scripts.hostword import listed
from scripts.lifesteps import PAGE, SET_UP, SLOTS, STEPS, Step
from scripts.monitor import Monitor
from scripts.scene import KERNEL, KvmGuest, Layout

TAKING_AWAY = ("unmapped", "tlbie")
ASKING = ("slot", "log", "unslot", "dirty")
KHUGEPAGED = "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"
NAME = "life"
AP = {1 << 12: AP_4K, 1 << 16: AP_64K, 1 << 21: AP_2M, 1 << 30: AP_1G}


@dataclass(frozen=True, slots=True)
class Told:
    """An operation as ``replay`` takes it, and what the kernel did."""

    line: dict[str, Any]
    kernel: dict[str, Any]
    walked: int | None = None
    """The host's entry of the page by the inspector, after the step."""


@dataclass
class Life:
    """A guest of its own in the host ``machine``, whose RAM ``seen`` looks at, while ``trace`` is set."""

    machine: Machine
    seen: Guest
    trace: FaultTrace
    guest: KvmGuest = field(init=False)
    slots: dict[int, MemorySlot] = field(default_factory=dict)
    process: int = 0
    """Radix PID of the monitor in the host."""

    def __post_init__(self) -> None:
        self.machine.shell(f"echo 4000000000 > {KHUGEPAGED}")  # what it makes into 2M by itself comes when it likes
        before = self._lpids()
        self.guest = KvmGuest(Monitor.start(self.machine, NAME), 0, Layout(NAME, SLOTS))
        (self.guest.lpid,) = self._lpids() - before
        self.trace.forget()

    def close(self) -> None:
        """End the guest."""
        self.guest.monitor.end()

    def _lpids(self) -> set[int]:
        from inspector import partitions

        self.seen.target.clock.tick()
        return {tree.lpid for tree in partitions.of_guests(self.seen)}

    @property
    def lpid(self) -> int:
        """Whose tree it is."""
        return self.guest.lpid

    def listing(self) -> list[str]:
        """KVM's own of the tree."""
        return listed(self.machine, self.guest)[1]

    def run(self, steps: Sequence[Step] = (SET_UP, *STEPS)) -> Iterator[Told]:
        """What comes of these steps."""
        for step in steps:
            yield from self.step(*step)

    def step(self, *lines: str) -> Iterator[Told]:
        """What comes of one; a line that asks something of KVM itself is a step of its own, but for new slots."""
        try:
            said = self.guest.monitor.ask(*lines)
        except ProtocolError:
            said = [""]  # KVM_RUN's EFAULT is told by the probes
        happened = self.trace.taken()
        self.seen.target.clock.tick()
        if lines[0].split()[0] not in ASKING:
            yield from self._faults(happened)
            return
        for text, answer in zip(lines, said, strict=True):
            word, *rest = text.split()
            assert len(lines) == 1 or word == "slot"
            line, kernel = self._asked(word, rest, answer)
            yield Told({**line, "lpid": self.lpid}, {"result": 0, **kernel, **flushed(happened)})

    def _asked(self, word: str, rest: list[str], said: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the monitor asked of KVM, and the log where it asked for that."""
        base = int(rest[0], 16)
        if word == "dirty":
            size = self.slots[base].size
            return {"op": "dirty-log", "base": hex(base), "size": hex(size)}, {"bitmap": said.split()[1]}
        if word == "slot":
            hva = int(said.split()[2], 16)
            self.slots[base] = MemorySlot(base, int(rest[1], 16), LOG_DIRTY_PAGES if "logged" in rest else 0, hva)
        slot = self.slots[base]
        if word == "log":
            slot.flags = LOG_DIRTY_PAGES if rest[1] == "1" else 0
        line = {"op": "slot", "base": hex(base), "size": hex(slot.size), "flags": slot.flags, "hva": hex(slot.hva or 0)}
        if word == "unslot":
            del self.slots[base]
            line = {"op": "slot", "base": hex(base), "size": "0x0"}
        return line, {}

    # -- what the probes saw ---------------------------------------------------------------------------------------

    def _faults(self, happened: Sequence[Event]) -> Iterator[Told]:
        """The faults, and the pages that the host took away.

        What it took away while a fault was handled comes before that fault, which then finds itself outrun."""
        at = 0
        while at < len(happened):
            start = happened[at]
            at += 1
            if start.name == "unmap":
                end = at + _length(happened[at:], (*TAKING_AWAY, "lookup", "found"))
                yield self._unmap(start, happened[at:end])
                at = end
            elif start.name == "fault":
                end = next((n for n in range(at, len(happened)) if happened[n].name == "faulted"), len(happened))
                assert end < len(happened), "a fault's end is not in the trace; give it more room"
                made = next((n for n in range(at, end) if happened[n].name == "create"), end)
                before = [each for each in happened[at:made] if each.name in ("unmap", *TAKING_AWAY)]
                own = [each for each in happened[at:made] if each not in before] + list(happened[made : end + 1])
                yield from self._faults(before)
                yield self._fault(start, own, outrun=bool(before) and made == end)
                at = end + 1

    def _unmap(self, start: Event, inside: Sequence[Event]) -> Told:
        line = {"op": "unmap", "lpid": self.lpid, "gpa": hex(start["gfn"] * PAGE)}
        return Told(line, {"result": 0, **flushed(inside)})

    def _fault(self, start: Event, inside: Sequence[Event], outrun: bool) -> Told:
        gpa = start["asdr"] & 0x0FFF_FFFF_FFFF_F000
        slot = next((each for each in self.slots.values() if each.base <= gpa < each.end), None)
        asked = {"ea": hex(start["ea"]), "gpa": hex(start["asdr"]), "dsisr": hex(start["dsisr"])}
        line: dict[str, Any] = {"op": "fault", "lpid": self.lpid, **asked, "host": None}
        kernel: dict[str, Any] = {"result": inside[-1]["ret"]}
        walked = None
        if slot is not None and slot.hva is not None:
            hva = slot.hva + (gpa - slot.base) // PAGE * PAGE
            entry = self._looked_up(inside, hva)
            if entry is not None:
                kernel["lookup"] = hex(entry)
            walked = self._host(hva)
            if walked is not None:
                line["host"] = as_line(hva, walked[1], walked[0] if entry is None else entry)
        create = next((each for each in inside if each.name == "create"), None)
        if create is not None:
            words = {"pte": hex(create["pte"]), "gpa": hex(create["gpa"]), "level": create["level"]}
            returned = next(each["ret"] for each in inside if each.name == "created")
            kernel["create"] = {**words, "lpid": create["lpid"], "returned": returned}
        for each in inside:
            if each.name == "dsi":
                kernel["dsi"] = hex(each["dsisr"])
        if outrun:
            line["invalidated"] = True
        return Told(line, {**kernel, **flushed(inside)}, None if walked is None else walked[0])

    def _looked_up(self, inside: Sequence[Event], hva: int) -> int | None:
        """The host's entry that the handler found for this page; None where it did not look."""
        entry = None
        for lookup, found in pairwise(inside):
            if (lookup.name, lookup.values.get("ea"), found.name) == ("lookup", hva, "found"):
                if not self.process:
                    self.process = self._process(lookup["root"])
                entry = found.values.get("entry")  # the last: hugetlbfs looks there as well, before it has its page
        return entry

    def _process(self, root: int) -> int:
        """Radix PID of the host's process with this root."""
        return next(each.pid for each in self.seen.processes() if each.root == root & ~KERNEL)

    def _host(self, hva: int) -> tuple[int, int] | None:
        """The host's entry for this page and the log of its size, by the inspector's own walk of its tables."""
        if not self.process:
            return None
        found = self.seen.translate(hva, pid=self.process, lpid=0)
        if found.ra is None or found.page_shift is None or found.steps[-1].value is None:
            return None
        return found.steps[-1].value, found.page_shift


def _length(some: Sequence[Event], names: Sequence[str]) -> int:
    """How many of them at the start have such a name."""
    return next((n for n, each in enumerate(some) if each.name not in names), len(some))


def flushed(happened: Sequence[Event]) -> dict[str, Any]:
    """What was taken away and flushed among these events."""
    away = [each for each in happened if each.name == "unmapped"]
    tlbie = [
        {"rb": hex(IS_LPID), "lpid": each["lpid"], "ric": FLUSH_PWC}
        if each.name == "pwc"
        else {"rb": hex(each["address"] | AP[each["size"]] << AP_SHIFT), "lpid": each["lpid"], "ric": 0}
        for each in happened
        if each.name in ("tlbie", "pwc")
    ]
    return {
        "unmapped": [{"pte": hex(each["pte"]), "gpa": hex(each["gpa"]), "shift": each["shift"]} for each in away],
        "tlbie": tlbie,
    }


def as_line(hva: int, shift: int, entry: int) -> dict[str, Any]:
    """The host's page at ``hva`` as a line has it; ``entry`` is the host's own, which maps 2**``shift`` bytes."""
    return {
        "hva": hex(hva),
        "base": hex(entry & PTE_RPN & -(1 << shift)),
        "shift": shift,
        "writable": bool(entry & PTE_WRITE),
        "dirty": bool(entry & PTE_C),
        "accessed": bool(entry & PTE_R),
        "io": False,
        "entry": hex(entry),
    }
