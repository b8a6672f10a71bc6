"""The chain of descriptors behind a head, followed as a device follows it (virtio 1.2, 2.7.5).

Whatever a ring says, following it ends: a descriptor is visited once, tables and lengths are bounded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from inspector.errors import MemoryReadError
from inspector.memory.physical import PhysicalMemory
from inspector.virtio.bus import Bus
from inspector.virtio.layout import DESCRIPTOR_BYTES, MOST_ENTRIES, Descriptor, descriptor

MOST_FOLLOWED = 1024
"""Descriptors of one chain that are followed. QEMU 7.2 gives up beyond the queue's size, 1024 at most
(VIRTQUEUE_MAX_SIZE)."""
MOST_LINKS = 1 << 14
"""Descriptors of all chains of a queue, after which no other chain of it is followed."""


@dataclass(frozen=True, slots=True)
class Link:
    """One descriptor of a chain. ``indirect`` is that it is of an indirect table; ``real`` is where its buffer starts
    in RAM (None: not RAM as a whole, or not known), ``why`` why not."""

    descriptor: Descriptor
    indirect: bool
    real: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """What a head leads to. ``problem`` is a slug and ``reason`` its sentence where it cannot be right, else empty."""

    head: int
    links: tuple[Link, ...]
    problem: str = ""
    reason: str = ""

    @property
    def length(self) -> int:
        """Bytes of all its buffers, tables of descriptors left out."""
        return sum(each.descriptor.length for each in self.links if not each.descriptor.indirect)


def bounded(chains: Iterable[Chain]) -> Iterator[Chain]:
    """The first of these chains, which are followed as they are asked for: until they have MOST_LINKS descriptors."""
    links = 0
    for each in chains:
        yield each
        links += len(each.links)
        if links >= MOST_LINKS:
            return


def follow(memory: PhysicalMemory, bus: Bus, table: int, num: int, head: int, little: bool = True) -> Chain:
    """The chain from ``head`` on, in the table of ``num`` descriptors at bus address ``table``. Reads RAM alone."""
    links: list[Link] = []

    def done(problem: str = "", reason: str = "") -> Chain:
        return Chain(head, tuple(links), problem, reason)

    at, inside, seen, index = table, False, set[int](), head
    while len(links) < MOST_FOLLOWED:
        if index >= num:
            kind = "descriptor-impossible" if links else "head-impossible"
            return done(kind, f"descriptor {index} is named, and the {'indirect ' * inside}table has {num}")
        if index in seen:
            return done("chain-cycle", f"descriptor {index} is reached again, so the chain has no end")
        seen.add(index)
        real, why = bus.real(memory.ram, at + index * DESCRIPTOR_BYTES, DESCRIPTOR_BYTES)
        if real is None:
            return done("table-not-ram", f"descriptor {index} at {at + index * DESCRIPTOR_BYTES:#x}: {why}")
        try:
            raw = memory.read(real, DESCRIPTOR_BYTES)
        except MemoryReadError as error:
            return done("table-unreadable", f"descriptor {index} could not be read ({error})")
        one = descriptor(raw, 0, little)
        one = Descriptor(index, one.address, one.length, one.flags, one.next)
        buffer, why = bus.real(memory.ram, one.address, max(one.length, 1))
        links.append(Link(one, inside, buffer, why))
        if one.indirect:
            if inside:
                return done("indirect-nested", "an indirect table holds an indirect descriptor, which none may")
            if one.more:
                return done("indirect-more", f"descriptor {index} is indirect and names a next one, which none may")
            if not one.length or one.length % DESCRIPTOR_BYTES or one.length // DESCRIPTOR_BYTES > MOST_ENTRIES:
                return done(
                    "indirect-length", f"an indirect table of {one.length} bytes holds no number of descriptors"
                )
            if buffer is None:
                return done("table-not-ram", f"the indirect table at {one.address:#x}: {why}")
            at, num, inside, index = one.address, one.length // DESCRIPTOR_BYTES, True, 0
            seen.clear()
            continue
        if not one.more:
            bad = next((each for each in links if each.real is None), None)
            if bad is not None:
                return done("buffer-not-ram", f"the buffer of descriptor {bad.descriptor.index}: {bad.why}")
            return done()
        index = one.next
    return done("chain-long", f"after {MOST_FOLLOWED} descriptors the chain goes on, and a device gives up before")
