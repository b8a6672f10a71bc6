"""``lpids``: the partitions of a bare machine, which are its KVM guests and the host itself."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.notes import Note, if_changing
from inspector.commands.registry import Answered, Command, Example, Session, no_arguments
from inspector.commands.roots import RootsFound, Unlisted, unlisted
from inspector.guest import Guest
from inspector.partitions import OUT_OF_SIGHT, PARTITION_TABLE, entries, made, partition_table
from inspector.processes import Missed
from inspector.radix.bits import ENTRY_BYTES, PATE0_HR
from inspector.trees import Tree


@dataclass(frozen=True, slots=True)
class PartitionTable(Answered):
    """The partition table that 'lpids' lists: its real address and how many entries it has."""

    topic: ClassVar[str] = "partitions"
    address: int
    entries: int


@dataclass(frozen=True, slots=True)
class LivePartition(Answered):
    """One live entry, radix or hash, and the vCPUs that run in it: those whose LPIDR it is."""

    topic: ClassVar[str] = "partitions"
    tree: Tree
    current_on: tuple[int, ...]

    @property
    def radix(self) -> bool:
        """HR: whether its tree is a radix tree."""
        return bool(self.tree.entry & PATE0_HR)


def current_lpids(guest: Guest) -> dict[int, tuple[int, ...]]:
    """The LPIDs that vCPUs have in LPIDR, and which vCPUs those are; none while the machine runs."""
    current: dict[int, tuple[int, ...]] = {}
    if guest.running:
        return current
    for cpu in guest.target.cpus:
        lpid = guest.registers(cpu, ("lpidr",)).get("lpidr")
        if lpid is not None:
            current[lpid] = (*current.get(lpid, ()), cpu)
    return current


def _lpids(
    session: Session, _arguments: Namespace
) -> Iterator[PartitionTable | LivePartition | Unlisted | RootsFound | Note]:
    guest = session.at
    yield from if_changing(guest)
    found = guest.roots
    if found.state != "radix" or found.flat:
        yield RootsFound(found, ()) if found.state != "radix" else Note(OUT_OF_SIGHT)
        if besides := made(guest):
            yield Note("what follows was made by a what-if, and is in no partition table")
        for lpid in sorted(besides):
            yield LivePartition(besides[lpid], ())
        return
    address, size = partition_table(guest)
    yield PartitionTable(address, size // ENTRY_BYTES)
    current = current_lpids(guest)
    seen = set()
    missed = Missed(table=PARTITION_TABLE)
    for tree in entries(guest, missed):
        seen.add(tree.lpid)
        yield LivePartition(tree, current.get(tree.lpid, ()))
    yield from unlisted(missed)
    for lpid, cpus in current.items():
        if lpid not in seen and missed.first is None:
            who = ", ".join(map(str, cpus))
            yield Note(f"LPID {lpid}, which vCPU {who} has in LPIDR, has no live entry in this table")


COMMANDS = (
    Command(
        "lpids",
        "the live entries of the partition table: a host's guests",
        _lpids,
        no_arguments,
        (Example("lpids", "every partition there is, and which of them vCPUs run in"),),
        "LPID 0 is the host itself. Of each this tells the root of its partition-scoped tree, or that it is a hash "
        "guest, and where its process table is: a guest's is at a guest real address. A guest's own guests (L2) are "
        "not here by the tables that it wrote: KVM shadows those under further LPIDs, which are what runs. With the "
        "value that the guest registered (H_SET_PARTITION_TABLE), --nested PTCR:N follows what it wrote. "
        "On a pseries guest the hypervisor is out of sight, and there is no such table to "
        "tell. 'pids', 'xlate', 'maps' and others take --lpid N; 'maps --lpid N --partition' tells what the host has "
        "behind that guest's memory.",
    ),
)
