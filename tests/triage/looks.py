"""Devices, queues and what maps them, made by a test's own hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from inspector.devicemaps import BarAt, Mapped, Where
from inspector.linux.regions import IO_START
from inspector.mappings.runs import Run
from inspector.radix.bits import ATT_NON_IDEMPOTENT
from inspector.triage.devices import DeviceLook, Devices, QueueLook
from inspector.triage.evidence import Evidence
from inspector.triage.samples import RingMark, Sample, Sampling
from inspector.virtio.bus import Bus
from inspector.virtio.ring import Queue, device_problems, read_queue
from inspector.virtio.state import Bar, DeviceState, Part, QueueState
from tests.virtio.rings import Laid

BAR, SIZE, PAGE, NOWHERE = 0x2100_0000_0000, 0x4000, 0x1_0000, 0x2108_0000_0000
TIMES = 5


def mapped(ea: int, ra: int, attribute: int = ATT_NON_IDEMPOTENT) -> Mapped:
    return Mapped(ea, ra, SIZE, Run(0, 0, ea, ra, 16, attribute, 1))


def bar(real: int | None, eas: tuple[int, ...] = (), attribute: int = ATT_NON_IDEMPOTENT) -> BarAt:
    parts = () if real is None else (Part("virtio-pci-notify-virtio-blk", real + 0x3000, 0x1000),)
    maps = tuple(mapped(ea, real or 0, attribute) for ea in eas)
    return BarAt(Bar(4, real or 0, SIZE, False, real, parts), Where(maps, len(maps)))


def look(
    number: int = 0, *queues: QueueLook, was: bool = True, bars: tuple[BarAt, ...] | None = None, **of: Any
) -> DeviceLook:
    """A driven block device in slot ``number``, whose registers four pages map; ``of`` is what else its state is."""
    known = {"path": f"/machine/{number}", "slot": f"00:{number:02x}.0", **of}
    device: DeviceState = replace(Laid().device(), **known)
    if bars is None:
        first = IO_START + 0x1000_0000 + number * 4 * PAGE
        bars = (bar(BAR + number * PAGE, tuple(first + n * PAGE for n in range(4))),)
    return DeviceLook(device, tuple(device_problems(device)), queues, bars, device if was else None)


def stood(
    laid: Laid, state: QueueState, *, moved: bool = False, first: Queue | None = None, times: int = TIMES, **of: Any
) -> QueueLook:
    """A queue that was the same at each stop; ``moved`` has its last mark be another."""
    device: DeviceState = replace(laid.device(), **of)
    queue = read_queue(laid.memory, Bus(), device, state)
    if queue.available is None or queue.used is None:
        return QueueLook(queue, state, (), first)
    a, u = queue.available, queue.used
    mark = RingMark(device.path, state.index, a.idx, a.flags, a.event, u.idx, u.flags, u.event)
    marks = [mark] * times
    if moved:
        marks[0] = replace(mark, avail=(mark.avail - 1) & 0xFFFF)
    return QueueLook(queue, state, tuple(marks), first)


def evidence(
    *looks: DeviceLook,
    nowhere: tuple[Mapped, ...] | None = (),
    times: int = TIMES,
    seconds: float = 2.0,
    msr: int = 1 << 15,
) -> Evidence:
    samples = [Sample(seconds * n / max(times - 1, 1), {0: {"nip": 0, "msr": msr}}) for n in range(times)]
    io = tuple(each for one in looks for at in one.bars for each in at.where.mapped)
    return Evidence(Sampling(seconds, samples), devices=Devices(looks, io, samples[-1].at, (), nowhere))


def told(found: Evidence) -> list[tuple[str, str]]:
    """(slug, confidence) of every finding about devices."""
    from inspector.triage.catalogue import diagnosed

    return [(each.cause.slug, each.found.confidence) for each in diagnosed(found)]
