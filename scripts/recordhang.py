"""Record the guest that hangs (scripts/hang.py): a snapshot of its host, stopped in KVM's own code with the guest's
last storage interrupt still in a vCPU's registers, and a note of how it was made.

In it are page tables, registers, and the 4K of the guest's memory that hold its operations, which are this project's
own code (fixtures/guests/guest.S)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import inspector
from inspector.capture import PAGE
from inspector.guest import Guest
from inspector.recording import recording_of
from inspector.snapshot.write import Summary, write_snapshot
from scripts.guests import Machine
from scripts.hang import CANARY, NIP, PID, Hung, hang
from scripts.incontext import HV, special, state

KIND = "powernv9-hang"
TRIES = 200


def record_hang(folder: Path, note: Callable[[Machine, Guest, Summary], str]) -> None:
    """Write the snapshot, and a ``note`` of how it was made."""
    with hang() as hung:
        machine, cpu = hung.machine, stopped_in_host(hung)
        files = {"ram": str(machine.ram_file), "vmlinux": str(machine.vmlinux)}
        with inspector.open_target(machine.target, cpu=cpu, **files) as seen:
            code = seen.translate(NIP, lpid=hung.guest.lpid, pid=PID).ra
            assert code is not None
            recording = recording_of(seen, also=[(code // PAGE * PAGE, PAGE)])
            summary = write_snapshot(str(folder / f"{KIND}.core.gz"), recording, force=True)
            (folder / f"{KIND}.txt").write_text(note(machine, seen, summary))


def stopped_in_host(hung: Hung) -> int:
    """Stop the host while all of its vCPUs run its own code, LPIDR 0, and HDSISR is the guest's as well; the vCPU that
    has it."""
    machine = hung.machine
    for _ in range(TRIES):
        cpu = hung.stopped()
        cpus = range(machine.kind.cpus)
        away = all(state(machine, each) & HV and not special(machine, "lpidr", each) for each in cpus)
        if away and special(machine, "hdsisr", cpu) != CANARY:
            return cpu
        machine.cont()
    raise AssertionError("no stop was in the host alone")
