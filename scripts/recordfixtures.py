"""Record the guests in ``fixtures/``: what scripts/record-fixtures runs.

Of each kind: a snapshot (page tables and registers, no code), what QEMU itself said of where some thousand addresses
go at that very moment, and a note of how it was made. The demo guest of the package is the POWER9 pseries one. The
host with KVM guests is the scene of :mod:`scripts.scene`, of which more is told (:mod:`scripts.recordscene`); what one
guest's second-level tree went through is recorded by itself (:mod:`scripts.recordlife`), and so is a guest that hangs
(:mod:`scripts.recordhang`).
"""

from __future__ import annotations

import gzip
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import inspector
from inspector.guest import Guest
from inspector.opening import DEMO_FILE
from inspector.recording import LASTING, recording_of
from inspector.snapshot.write import Summary, write_snapshot
from scripts.guests import Machine
from scripts.oracle import addresses, gva2gpa
from scripts.recordhang import KIND as HANG
from scripts.recordhang import record_hang
from scripts.recordlife import KIND as LIFE
from scripts.recordlife import record_life
from scripts.recordscene import record_scene
from scripts.scene import KIND as SCENE

KINDS = ("pseries-p9", "pseries-p10", "powernv9", "pseries-firmware", SCENE, LIFE, HANG)
DEMO_KIND = "pseries-p9"
ADDRESSES = 1500


def main(words: Sequence[str]) -> int:
    """Record the kinds named, or all of them."""
    root, kinds = Path(words[0]), words[1:] or KINDS
    for kind in kinds:
        print(f"recording {kind}", file=sys.stderr)
        if kind == SCENE:
            record_scene(root / "fixtures", scene_note)
            continue
        if kind == HANG:
            record_hang(root / "fixtures", hang_note)
            continue
        if kind == LIFE:
            record_life(root / "fixtures", life_note)
            continue
        with Machine(kind) as machine:
            machine.wait_ready()
            record(machine, root / "fixtures", kind)
        if kind == DEMO_KIND:
            shutil.copy(root / "fixtures" / f"{kind}.core.gz", root / "inspector" / "demo" / DEMO_FILE)
    return 0


def record(machine: Machine, folder: Path, kind: str) -> None:
    """One kind's three files."""
    vmlinux = str(machine.vmlinux) if machine.kind.linux else None
    with inspector.open_target(machine.target, ram=str(machine.ram_file), vmlinux=vmlinux) as guest:
        path = folder / f"{kind}.core.gz"
        summary = write_snapshot(str(path), recording_of(guest), force=True)
        with gzip.GzipFile(folder / f"{kind}.oracle.gz", "wb", mtime=0) as oracle:
            for cpu in guest.target.cpus:
                for ea in addresses(guest, ADDRESSES, seed=cpu):
                    said = gva2gpa(machine, ea, cpu)
                    oracle.write(f"{cpu} {ea:#x} {'-' if said is None else hex(said)}\n".encode())
        lines = [
            f"{summary.captured} bytes of page tables of {guest.memory.ram.total} of RAM, {summary.cpus} vCPUs",
            "",
            f"{kind}.core.gz holds the page tables and registers, no code.",
            f"{kind}.oracle.gz holds QEMU's own answers: vCPU, effective address, and where its monitor's",
            "gva2gpa said that it goes ('-': nowhere), asked at the moment of the recording.",
        ]
        (folder / f"{kind}.txt").write_text(note(machine, guest, kind, lines))


def scene_note(machine: Machine, guest: Guest, summary: Summary) -> str:
    """How the scene's were made."""
    lines = [
        f"vCPU {guest.cpu} was stopped while it ran the guest of LPID {guest.registers().need('lpidr')}",
        f"{summary.captured} bytes of page tables and data of {guest.memory.ram.total} of RAM, {summary.cpus} vCPUs",
        "",
        f"{SCENE}.core.gz holds the host's and the guests' page tables, registers, and the 4K pages",
        "that hold what the guests stored (scripts/scene.py), no code.",
        f"{SCENE}.oracle.gz holds what was stored, KVM's own listing of its trees in debugfs, the kernel's",
        "pagemap of the guests' memory, and QEMU's own answers (scripts/recordscene.py says how).",
    ]
    return note(machine, guest, SCENE, lines)


def hang_note(machine: Machine, guest: Guest, summary: Summary) -> str:
    """How that of the hang was made."""
    last = guest.registers()
    lines = [
        f"vCPU {guest.cpu} was stopped in the host, with the last hypervisor storage interrupt of the guest that hangs",
        f"in its registers: HSRR0 {last.need('hsrr0'):#x}, HDAR {last.need('hdar'):#x}, ASDR {last.need('asdr'):#x}",
        f"{summary.captured} bytes of page tables and code of {guest.memory.ram.total} of RAM, {summary.cpus} vCPUs",
        "",
        f"{HANG}.core.gz holds the host's and the guests' page tables, registers at several moments, and the 4K of",
        "the guest's memory that hold its operations, which are of this project's own (fixtures/guests/guest.S,",
        "scripts/hang.py); no code of the host, and no stacks. 'info' tells what is in it.",
    ]
    return note(machine, guest, HANG, lines)


def life_note(machine: Machine, guest: Guest, count: int) -> str:
    """How a life cycle's were made."""
    release = machine.shell("uname -rv").strip()
    lines = [
        f"kernel: {release}",
        f"{count} operations on the second-level tree of one guest, from its first fault on",
        "",
        f"{LIFE}.jsonl holds them, a line each, as 'replay' takes them.",
        f"{LIFE}.oracle.gz holds what the kernel did for each, by kprobes, and KVM's own listing of the tree",
        "in debugfs at the end (scripts/recordlife.py and scripts/lifecycle.py say how).",
    ]
    return note(machine, guest, LIFE, lines)


def note(machine: Machine, guest: Guest, kind: str, more: Sequence[str]) -> str:
    """How it was made."""
    command = machine.command
    first = next(at for at, word in enumerate(command) if Path(word).name == machine.kind.emulator)
    words = [word.replace(str(machine.directory), "FOLDER") for word in command[first + 1 :]]
    if machine.kind.linux:
        words = [word.replace(str(machine.vmlinux), "VMLINUX") for word in words]
    lines = [
        f"{kind}: {machine.kind.what}",
        "",
        f"Recorded by scripts/record-fixtures {kind}",
        f"with {machine.kind.emulator} {' '.join(words)}",
        *(f"{name}: {value}" for name, value in guest.target.machine.items() if name in LASTING),
        f"roots: {guest.roots.explanation} ({guest.roots.how or 'none'})",
        *more,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
