"""What maps the registers of a virtio device, and its rings."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector.linux.regions import IO_END, IO_START
from inspector.radix.bits import ATT_NON_IDEMPOTENT
from inspector.virtio import words
from inspector.virtio.ring import Problem, modern
from inspector.virtio.state import Bar, DeviceState, VirtioState

if TYPE_CHECKING:
    from inspector.mappings.runs import Run
    from inspector.memory.physical import RamMap
    from inspector.spaces import Spaces

MOST_MAPPINGS = 64
"""Mappings of one BAR or ring that are kept; all are counted."""
MOST_IO = 4096
"""Mappings in the kernel's regions of devices that are kept."""
NOTIFY = "virtio-pci-notify"
"""How QEMU's name for the registers begins by which a driver notifies the device."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """``size`` bytes from effective address ``ea`` on that reach real address ``ra``; ``run`` are the pages."""

    ea: int
    ra: int
    size: int
    run: Run

    @property
    def io(self) -> bool:
        """Marked as I/O: non-idempotent, so that no access is made twice, ahead of time or out of order."""
        return self.run.attribute == ATT_NON_IDEMPOTENT


@dataclass(frozen=True, slots=True)
class Where:
    """What maps some bytes: the first of the mappings, and how many there are; None: the tables could not be read."""

    mapped: tuple[Mapped, ...] = ()
    count: int | None = None


@dataclass(frozen=True, slots=True)
class BarAt:
    """A BAR, and what maps it."""

    bar: Bar
    where: Where


def bars_at(spaces: Spaces | None, device: DeviceState) -> tuple[BarAt, ...]:
    """Every BAR of a device with what maps it; of one in the bus's I/O space that is not told."""
    return tuple(
        BarAt(each, Where() if each.real is None or each.io else what_maps(spaces, each.real, each.size))
        for each in device.bars
    )


def what_maps(spaces: Spaces | None, start: int, size: int) -> Where:
    """All that maps any of ``size`` bytes at a real address, cut to them."""
    if spaces is None:
        return Where()
    from inspector.mappings.ranges import coalesce
    from inspector.mappings.runs import runs_of

    leaves = spaces.columns.take(spaces.index.lookup(start, start + size))
    if not len(leaves):
        return Where((), 0)
    found = coalesce(leaves)
    return Where(tuple(_cut(run, start, start + size) for run in runs_of(found.take(slice(MOST_MAPPINGS)))), len(found))


def _cut(run: Run, start: int, end: int) -> Mapped:
    first, last = max(run.ra, start), min(run.ra + run.size, end)
    return Mapped(run.ea + first - run.ra, first, last - first, run)


def mapped_io(spaces: Spaces) -> tuple[Mapped, ...]:
    """All that the kernel maps where Linux maps devices, in order."""
    import numpy as np

    from inspector.mappings.ranges import coalesce
    from inspector.mappings.runs import runs_of

    ea = spaces.columns.ea
    leaves = spaces.columns.take((ea >= np.uint64(IO_START)) & (ea < np.uint64(IO_END)))
    if not len(leaves):
        return ()
    found = coalesce(leaves).take(slice(MOST_IO))
    return tuple(Mapped(run.ea, run.ra, run.size, run) for run in runs_of(found))


def bars_among(io: Sequence[Mapped] | None, device: DeviceState) -> tuple[BarAt, ...]:
    """Every BAR of a device with which of these mappings lead to it; None: they could not be read."""
    found = []
    for each in device.bars:
        if io is None or each.real is None or each.io:
            found.append(BarAt(each, Where()))
            continue
        start, end = each.real, each.real + each.size
        there = [_cut(one.run, start, end) for one in io if one.ra < end and start < one.ra + one.size]
        found.append(BarAt(each, Where(tuple(there[:MOST_MAPPINGS]), len(there))))
    return tuple(found)


def nowhere(io: Sequence[Mapped], state: VirtioState, ram: RamMap) -> tuple[Mapped, ...] | None:
    """Those of these mappings with nothing behind them at all; None where it is not known what answers."""
    if not state.answers:
        return None
    spans = sorted((each.start, each.start + each.size) for each in state.answers)
    starts, ends, furthest = [start for start, _ in spans], [], 0
    for _, end in spans:
        furthest = max(furthest, end)
        ends.append(furthest)

    def answered(one: Mapped) -> bool:
        before = bisect_left(starts, one.ra + one.size)
        return bool(before) and ends[before - 1] > one.ra

    return tuple(one for one in io if not answered(one) and not any(True for _ in ram.within(one.ra, one.size)))


def bar_problems(device: DeviceState, bars: Sequence[BarAt]) -> Iterator[Problem]:
    """What of the registers' mappings cannot work: only of a device that a driver drives."""
    if not device.status & words.DRIVER_OK:
        return
    for each in bars:
        bar, where = each.bar, each.where
        if where.count is None:
            continue
        notify = any(part.name.startswith(NOTIFY) for part in bar.parts)
        if not where.count and notify and modern(device):
            yield Problem(
                "mmio-not-mapped",
                f"nothing maps BAR {bar.number} at {bar.real:#x}, by which the driver notifies the device",
            )
        wrong = next((mapped for mapped in where.mapped if not mapped.io), None)
        if wrong is not None:
            yield Problem(
                "mmio-not-io",
                f"BAR {bar.number} is mapped at {wrong.ea:#x} without the attribute of I/O (non-idempotent)",
            )
