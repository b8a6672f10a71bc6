"""Record the scene of KVM guests: a snapshot of the host, taken while one of them runs, and what others say of it.

What others say, as JSON, packed; addresses and values are hexadecimal text:

    gva2gpa     [[vCPU, effective address, where QEMU's monitor said that it goes, or null]]; one vCPU is in a guest
    guests      of each:
      lpid
      leaves    what the monitor put into its trees, [[PID, EA, guest real, log2 of the size, rights]]
      stored    what its own CPU stored, [[PID, EA, value, MSR, guest real, log2 of the page's size]]
      root      host real address of the partition-scoped root, by KVM's listing in debugfs
      radix     the other lines of that listing
      slots     its memory, [[guest real, size, [host real or null, for each 64K, by the kernel's pagemap]]]"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import inspector
from inspector.capture import PAGE as GRAIN
from inspector.guest import Guest
from inspector.recording import recording_of
from inspector.snapshot.write import Summary, write_snapshot
from scripts.guests import Machine
from scripts.hostword import PAGE, listed, resident
from scripts.incontext import COUNTERS, places, running
from scripts.monitor import VIRTUAL
from scripts.oracle import addresses, gva2gpa
from scripts.scene import KIND, KvmGuest, scene

IN_GUEST, IN_HOST = 1500, 500
"""Addresses asked about on the vCPU that runs a guest, and on the others."""
SHARED_GPA, SHARED_EA = 0x6000_0000, 0x2900_0000
"""A page in the first guest, and where the second, which shares it, maps it; the latter reads what the first stored."""


def record_scene(folder: Path, note: Callable[[Machine, Guest, Summary], str]) -> None:
    """Write the scene's snapshot, what others say of it, and a ``note`` of how it was made."""
    with closing(scene()) as host:
        machine, (first, second, *_) = host.machine, host.guests
        shared = next(each for each in first.stored if each.gpa >> 16 == SHARED_GPA >> 16)
        inside = shared.gpa - SHARED_GPA
        assert second.monitor.ask(f"load 5 {SHARED_EA + inside:x} 0 {VIRTUAL:x}") == [f"ok {shared.value:x}"]
        said = [told(machine, each) for each in host.guests]
        also = sorted({(page, GRAIN) for each in said for page in data_pages(each)})
        files = {"ram": str(machine.ram_file), "vmlinux": str(machine.vmlinux)}
        with (
            running(machine, first, VIRTUAL) as cpu,
            inspector.open_target(machine.target, cpu=cpu, **files) as seen,
        ):
            summary = write_snapshot(str(folder / f"{KIND}.core.gz"), recording_of(seen, also=also), force=True)
            asked = list(answers(machine, seen, first, cpu))
            (folder / f"{KIND}.txt").write_text(note(machine, seen, summary))
        write(folder / f"{KIND}.oracle.gz", {"gva2gpa": asked, "guests": said})


def told(machine: Machine, guest: KvmGuest) -> dict[str, Any]:
    """What a guest was made of and stored, and what the host's kernel says of it."""
    root, lines = listed(machine, guest)
    slots = []
    for slot in guest.layout.slots:
        frames = resident(machine, guest, slot.gpa, slot.size)
        behind = [None if frame is None else hex(frame * PAGE) for frame in frames]
        slots.append([hex(slot.gpa), hex(slot.size), behind])
    return {
        "lpid": guest.lpid,
        "leaves": [
            [each.pid, hex(each.ea), hex(each.gpa), each.shift, hex(each.flags)] for each in guest.layout.leaves
        ],
        "stored": [
            [each.pid, hex(each.ea), hex(each.value), hex(each.msr), hex(each.gpa), each.shift] for each in guest.stored
        ],
        "root": hex(root),
        "radix": lines,
        "slots": slots,
    }


def host_real(said: dict[str, Any], gpa: int) -> int | None:
    """The host real address behind a guest real one, by the kernel's pagemap; None where there is nothing."""
    for start, size, behind in said["slots"]:
        inside = gpa - int(start, 16)
        if 0 <= inside < int(size, 16):
            page = behind[inside // PAGE]
            return None if page is None else int(page, 16) + inside % PAGE
    return None


def data_pages(said: dict[str, Any]) -> Iterator[int]:
    """The pages of the host's memory that the stored values lie in. Nothing else is in them."""
    for *_, gpa, _shift in said["stored"]:
        at = host_real(said, int(gpa, 16))
        assert at is not None, f"nothing is behind {gpa}, where something was stored"
        yield at // GRAIN * GRAIN


def answers(machine: Machine, seen: Guest, guest: KvmGuest, cpu: int) -> Iterator[tuple[int, str, str | None]]:
    """QEMU's own word on where addresses go, on every vCPU as it is."""

    def on(which: int, eas: Iterable[int]) -> Iterator[tuple[int, str, str | None]]:
        for ea in eas:
            at = gva2gpa(machine, ea, which)
            yield which, hex(ea), None if at is None else hex(at)

    yield from on(cpu, [COUNTERS[VIRTUAL], *places(guest, IN_GUEST, seed=cpu, real=False)])
    for other in seen.target.cpus:
        if other != cpu:
            yield from on(other, addresses(seen, IN_HOST, seed=other))


def write(path: Path, value: dict[str, Any]) -> None:
    """JSON, packed: the same bytes for the same value."""
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        file.write(json.dumps(value, separators=(",", ":")).encode())


def read(path: Path) -> Any:
    """What was written there."""
    with gzip.open(path) as file:
        return json.load(file)
