"""What a KVM host's own kernel says of its guests: their partition-scoped trees, and the monitor's memory."""

from __future__ import annotations

import base64
import re

from scripts.guests import Machine
from scripts.scene import KERNEL, KvmGuest

PAGE = 1 << 16
"""The host's pages."""


def listed(machine: Machine, guest: KvmGuest) -> tuple[int, list[str]]:
    """KVM's own listing of a partition-scoped tree: its root's real address, and a line a leaf."""
    head, *lines = machine.shell(f"cat {guest.monitor.debugfs}/radix").splitlines()
    found = re.fullmatch(r"pgdir: ([0-9a-f]+)", head)
    assert found is not None
    return int(found[1], 16) & ~KERNEL, [line for line in lines if line]


def resident(machine: Machine, guest: KvmGuest, gpa: int, size: int) -> list[int | None]:
    """The host's page frame behind each 64K of a slot, by the monitor's pagemap; None where there is none
    (Linux, admin-guide/mm/pagemap)."""
    first = guest.hva[gpa] // PAGE
    command = f"dd if=/proc/{guest.monitor.task}/pagemap bs=8 skip={first} count={size // PAGE} 2>/dev/null | base64"
    raw = base64.b64decode(machine.shell(command).replace("\n", ""))
    words = [int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 8)]
    assert len(words) == size // PAGE
    return [word & ((1 << 55) - 1) if word >> 63 else None for word in words]
