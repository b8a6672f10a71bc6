"""Record the guest that hangs (scripts/hang.py): a snapshot of its host with all that triage goes by, stopped in KVM's
own code with the guest's last storage interrupt still in a vCPU's registers, and a note of how it was made.

In it are page tables, registers over time, and of code only what this project's own guests were at
(fixtures/guests/guest.S)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import inspector
from inspector.guest import Guest
from inspector.recording import recording_of
from inspector.snapshot.write import Summary, write_snapshot
from inspector.triage.keeping import kept
from scripts.guests import Machine
from scripts.hang import CANARY, LAST_FAULT, NIP, hang
from scripts.incontext import HV
from scripts.scene import DEVICE, DEVICE_EA

KIND = "powernv9-hang"
SECONDS = 1.0
TRIES = 40


def record_hang(folder: Path, note: Callable[[Machine, Guest, Summary], str]) -> None:
    """Write the snapshot, with all that triage goes by, and a ``note`` of how it was made."""
    with hang() as hung:
        machine, ours = hung.machine, (hung.guest.lpid, hung.healthy.lpid)
        files = {"ram": str(machine.ram_file), "vmlinux": str(machine.vmlinux)}
        for _ in range(TRIES):
            with inspector.open_target(machine.target, **files) as seen:
                keeping = kept(seen, SECONDS, lambda code: code.lpid in ours)
                cpu = holder(seen)
                if cpu is None or keeping.found[0].found.confidence != "high":
                    continue
                seen.choose_cpu(cpu)
                recording = recording_of(seen, more=keeping.more)
                summary = write_snapshot(str(folder / f"{KIND}.core.gz"), recording, force=True)
                (folder / f"{KIND}.txt").write_text(note(machine, seen, summary))
                return
        raise AssertionError("no last stop was in the host alone")


def holder(seen: Guest) -> int | None:
    """The vCPU with the guest's last storage interrupt, where all of them run the host's own code, LPIDR 0, HDSISR is
    the guest's as well, and DSISR is of the host's own; None where it is not so."""
    known = {cpu: seen.registers(cpu) for cpu in seen.target.cpus}
    if not all(each.need("msr") & HV and not each.need("lpidr") for each in known.values()):
        return None
    for cpu, each in known.items():
        where, state, ea, why, at = (each.need(name) for name in LAST_FAULT)
        if (where, ea, at) == (NIP, DEVICE_EA, DEVICE) and not state & HV and why != CANARY and each.need("dsisr"):
            return cpu
    return None
