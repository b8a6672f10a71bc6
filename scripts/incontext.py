"""A machine that is stopped while one of its vCPUs runs a KVM guest: the registers, and QEMU's MMU, are the guest's."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scripts.guests import Machine
from scripts.monitor import REAL, USER, VIRTUAL
from scripts.qmp import PATIENCE
from scripts.scene import USER_CODE, KvmGuest

HV, PR, RELOCATION = 1 << 60, 1 << 14, 0x30
COUNTERS = {VIRTUAL: 0x2000_0100, USER: 0x2001_0100, REAL: 0xF0_0000}
"""What the guest counts up, by the state that it does so in."""


def special(machine: Machine, name: str, cpu: int = 0) -> int:
    """A special register of a vCPU, as QEMU's own monitor prints it."""
    said = machine.hmp(f"print/x ${name}", cpu=cpu).strip()
    assert re.fullmatch(r"(0x)?[0-9a-f]+", said), said
    return int(said, 16)


def state(machine: Machine, cpu: int) -> int:
    """The MSR of a vCPU."""
    found = re.search(r"^MSR ([0-9a-f]+)", machine.hmp("info registers", cpu=cpu), re.MULTILINE)
    assert found is not None
    return int(found[1], 16)


@contextmanager
def running(machine: Machine, guest: KvmGuest, msr: int) -> Iterator[int]:
    """The machine, stopped while ``guest`` runs in the state of ``msr``; gives the vCPU that runs it."""
    code = USER_CODE if msr & PR else 0
    guest.monitor.tell(f"spin 5 {COUNTERS[msr]:x} 0 {msr:x} {code:x}")
    try:
        guest.monitor.computes()
        yield caught(machine, guest, msr)
    finally:
        machine.cont()
        said = guest.monitor.stop()
    assert said[-1].startswith("stopped"), said


def caught(machine: Machine, guest: KvmGuest, msr: int) -> int:
    """Stop the machine over and over until one of its vCPUs runs the guest in that state."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        machine.pause()
        for cpu in range(machine.kind.cpus):
            now = state(machine, cpu)
            there = not now & HV and now & (PR | RELOCATION) == msr & (PR | RELOCATION)
            if there and special(machine, "lpidr", cpu) == guest.lpid:
                return cpu
        machine.cont()
        time.sleep(0.02)
    raise AssertionError(f"no vCPU was seen in guest {guest.lpid} with MSR {msr:#x}")


def places(guest: KvmGuest, number: int, seed: int, *, real: bool) -> Iterator[int]:
    """Addresses in leaves of every size, just outside them, and anywhere."""
    rng = random.Random(seed)
    spans = (
        [(slot.gpa, slot.size) for slot in guest.layout.slots]
        if real
        else [(leaf.ea, 1 << leaf.shift) for leaf in guest.layout.leaves]
    )
    for _ in range(number):
        start, size = rng.choice(spans)
        match rng.randrange(10):
            case 0 | 1:
                yield (start + rng.choice((-1, size))) % (1 << 64)
            case 2 | 3:
                yield rng.getrandbits(2) << 62 | rng.getrandbits(rng.choice((16, 30, 40, 52, 53, 62)))
            case 4 | 5 | 6:
                yield start + rng.randrange(min(size, 1 << 21))  # where there is memory behind a leaf of 1G
            case _:
                yield start + rng.randrange(size)
