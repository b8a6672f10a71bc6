"""QEMU's own word on where an address goes, and addresses worth asking about."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from inspector.guest import Guest
from inspector.radix.tree import Leaf, walk_tree
from scripts.guests import Machine

KERNEL = 0xC000_0000_0000_0000


def gva2gpa(machine: Machine, ea: int, cpu: int = 0) -> int | None:
    """Where QEMU says that ``ea`` goes on this vCPU as it is, None where it says nowhere.

    ``ppc_cpu_get_phys_page_debug`` (QEMU 7.2) tries a load and then a fetch, with the vCPU's MSR, AMR and IAMR."""
    said = str(machine.qmp("human-monitor-command", **{"command-line": f"gva2gpa {ea:#x}", "cpu-index": cpu})).strip()
    if said == "Unmapped":
        return None
    assert said.startswith("gpa: "), said
    return int(said.removeprefix("gpa: "), 16)


def ours(guest: Guest, ea: int, cpu: int = 0) -> int | None:
    """The hardware walker's answer to the very question that gva2gpa asks: may it be loaded, or else fetched?"""
    for access in ("r", "x"):
        answer = guest.translate(ea, access=access, cpu=cpu)
        if answer.ok:
            return answer.ra
    return None


def leaves(guest: Guest) -> Iterator[tuple[int, Leaf]]:
    """Every (PID, leaf) of every process and the kernel."""
    for process in guest.processes():
        for found in walk_tree(guest.memory.read, process.entry):
            if isinstance(found, Leaf):
                yield process.pid, found


def effective(pid: int, leaf: Leaf) -> int:
    """The EA of a leaf's first byte: quadrant 3 for the kernel (PID 0), else quadrant 0."""
    return leaf.offset | (KERNEL if pid == 0 else 0)


def addresses(guest: Guest, number: int, seed: int) -> Iterator[int]:
    """Addresses of all kinds: inside leaves of every size, just outside them, and anywhere in any quadrant."""
    rng = random.Random(seed)
    by_kind: dict[tuple[bool, int], list[int]] = {}
    for pid, leaf in leaves(guest) if guest.roots.state == "radix" else ():
        by_kind.setdefault((pid == 0, leaf.shift), []).append(effective(pid, leaf))
    kinds = sorted(by_kind)
    for _ in range(number):
        choice = rng.random()
        if kinds and choice < 0.6:
            kind = rng.choice(kinds)
            yield rng.choice(by_kind[kind]) | rng.getrandbits(kind[1])
        elif kinds and choice < 0.8:
            kind = rng.choice(kinds)
            yield (rng.choice(by_kind[kind]) + rng.choice((-1, 1 << kind[1]))) % (1 << 64)
        else:
            yield rng.getrandbits(2) << 62 | rng.getrandbits(rng.choice((16, 30, 40, 52, 53, 62)))


def disagreements(machine: Machine, guest: Guest, eas: Iterable[int], cpu: int = 0) -> list[str]:
    """Every address on which QEMU and the hardware walker differ, in words."""
    return [
        f"{ea:#x} on vCPU {cpu}: QEMU says {_words(theirs)}, we say {_words(mine)}"
        for ea in eas
        if (theirs := gva2gpa(machine, ea, cpu)) != (mine := ours(guest, ea, cpu))
    ]


def _words(address: int | None) -> str:
    return "nowhere" if address is None else f"{address:#x}"
