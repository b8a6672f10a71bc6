"""KVM's own software walk, watched with kprobes in the host: what it is asked, each read it makes, how it ends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from scripts.guests import Machine

TRACING = "/sys/kernel/tracing"
PROBES = (
    "p:walk kvmppc_mmu_radix_xlate ea=%gpr4:x64",
    "p:read kvm_read_guest gpa=%gpr4:x64 len=%gpr6:u64",
    "r:walked kvmppc_mmu_radix_xlate ret=$retval:s64",
)
"""Linux 6.1: ``kvmppc_mmu_radix_xlate(vcpu, eaddr, …)`` and ``kvm_read_guest(kvm, gpa, data, len)``."""
AT_ONCE = 6
"""Probes told in one line, which is to be one that a terminal takes."""
EVENT = re.compile(r": (walk|read|walked): .* (?:ea|gpa|ret)=(\S+)(?: len=(\d+))?$")


@dataclass
class Walked:
    """One walk: the effective address, (guest real address, bytes) of each read in order, and what it returned
    (0, or -errno), None where that is not in the trace."""

    ea: int
    reads: list[tuple[int, int]] = field(default_factory=list)
    returned: int | None = None


class Probes:
    """Probes in the host, as tracefs takes them, set while the ``with`` lasts; ``room_kib`` is what the trace may take
    for each CPU."""

    def __init__(self, machine: Machine, probes: Sequence[str], room_kib: int) -> None:
        self.machine = machine
        self.probes = probes
        self.room_kib = room_kib

    def __enter__(self) -> Self:
        # What is done over and over fills the trace: the first are kept, not the last.
        self._tell(f"echo 0 > options/overwrite; echo {self.room_kib} > buffer_size_kb")
        for start in range(0, len(self.probes), AT_ONCE):
            self._tell("; ".join(f"echo '{probe}' >> kprobe_events" for probe in self.probes[start : start + AT_ONCE]))
        self._tell("echo > trace; echo 1 > events/kprobes/enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._tell("echo 0 > events/kprobes/enable; echo > kprobe_events; echo 1 > options/overwrite; echo > trace")

    def forget(self) -> None:
        """Let go of what was traced so far."""
        self._tell("echo > trace")

    def _tell(self, command: str) -> str:
        return self.machine.shell(f"cd {TRACING}; {command}")


class WalkTrace(Probes):
    """Those of walks."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, PROBES, 32)

    def wait(self) -> None:
        """Until there is a walk that has ended. Raises ReplyTimeout."""
        self._tell("until grep -q ' walked: ' trace; do sleep 0.1; done")

    def taken(self, most: int = 200) -> list[Walked]:
        """The walks since the last time, of the first ``most`` lines of the trace."""
        said = self._tell(f"head -n {most} trace; echo > trace")  # the kernel writes no more lines than are read
        return list(walks(said))


def walks(trace: str) -> Iterator[Walked]:
    """The walks in the text of a trace; reads outside of any, and one that is cut off, are passed over."""
    now: Walked | None = None
    for line in trace.splitlines():
        found = EVENT.search(line)
        if found is None:
            continue
        event, value, length = found[1], int(found[2], 0), found[3]
        if event == "walk":
            now = Walked(value)
        elif now is not None and event == "read":
            now.reads.append((value, int(length)))
        elif now is not None:
            now.returned = value
            yield now
            now = None
