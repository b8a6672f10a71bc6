"""A virtio device that was reset, given up, or told to keep its hands off memory."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.devicemaps import NOTIFY, BarAt, Mapped
from inspector.linux.regions import IO_END, IO_START
from inspector.triage.devices import DeviceLook, QueueLook
from inspector.triage.evidence import Evidence
from inspector.triage.found import ENOUGH, Cause, Confidence, Found
from inspector.virtio import words

LONG = 0.5
"""Seconds over which something has to hold in order to be sure: a busy guest sees to its queues in far less."""


def held(evidence: Evidence) -> bool:
    """Whether there are samples enough, over time enough, that what was the same in all of them stands."""
    return evidence.samples >= ENOUGH and evidence.devices.seconds >= LONG


def since(evidence: Evidence) -> str:
    """For how long what was the same in all samples has been so, at least."""
    return f"for at least {evidence.devices.seconds:.1f} s, in each of {evidence.samples} samples"


def counted(number: int | None, one: str, more: str) -> str:
    """So many of something, with the verb that goes with one and with more."""
    return f"{number} {one if number == 1 else more}"


HEALED_BY = "it went on with that queue when the guest was let go: QEMU then looks at its queues without being notified"


def healed(queue: QueueLook) -> tuple[str, ...]:
    """That a queue which had something pending at the first stop was seen to since."""
    first = queue.first
    return (HEALED_BY,) if first is not None and first.state != queue.queue.state else ()


def registers(look: DeviceLook) -> BarAt | None:
    """The BAR in memory space by which its driver notifies it; None where it has none that answers."""
    for each in look.bars:
        if not each.bar.io and any(part.name.startswith(NOTIFY) for part in each.bar.parts):
            return each
    return None


def mappings(at: BarAt | None) -> tuple[Mapped, ...]:
    """What maps a BAR where Linux maps devices."""
    return () if at is None else tuple(each for each in at.where.mapped if IO_START <= each.ea < IO_END)


def place(look: DeviceLook, queue: QueueLook | None = None) -> str:
    """A device, and of it a queue, in words."""
    if queue is None:
        return look.name
    name = queue.queue.name
    return f"{look.name}, queue {queue.queue.state.index}{f' ({name})' if name else ''}"


def found_of_queue(look: DeviceLook, queue: QueueLook, sure: Confidence, part: str, *said: str) -> Found:
    """A finding of a queue, and where this part of it is (desc, avail, used)."""
    real = next((each.real for each in queue.queue.parts if each.name == part), None)
    return Found(sure, ra=real, device=place(look, queue), evidence=said)


def given_up(look: DeviceLook) -> bool:
    """Whether QEMU or the device takes nothing more until it is reset."""
    return look.device.broken or bool(look.device.status & words.NEEDS_RESET)


def usable(look: DeviceLook) -> bool:
    """Whether nothing of the device's own state keeps its queues from being seen to."""
    failed = bool(look.device.status & words.FAILED)
    return look.driven and not (failed or look.device.disabled or given_up(look))


def _status(look: DeviceLook) -> str:
    names = [each.name or f"bit {each.number}" for each in words.status_bits(look.device.status)]
    told = f" ({', '.join(names)})" if names else ""
    return f"its status is {look.device.status:#x}{told}"


def _since_first(evidence: Evidence, as_now: bool) -> str:
    if not as_now or evidence.samples < 2:
        return ""
    return f"; it was so {evidence.devices.seconds:.1f} s before, at the first stop, too"


def _found(
    evidence: Evidence, look: DeviceLook, sure: Confidence, said: str, as_now: bool, *more: str, at: BarAt | None = None
) -> Found:
    mapped = mappings(at)
    return Found(
        sure,
        ea=mapped[0].ea if mapped else None,
        ra=None if at is None else at.bar.real,
        device=place(look),
        evidence=(said + _since_first(evidence, as_now), *more),
    )


def _reset(evidence: Evidence) -> Iterator[Found]:
    """A driver holds it, and it is not ready. One whose driver left is acknowledged again by the kernel, so that its
    status is not 0 (Linux 6.1, drivers/virtio/virtio.c, ``virtio_dev_remove``)."""
    for look in evidence.devices.looks:
        device, was = look.device, look.was
        if look.driven or device.disabled or given_up(look) or device.status & words.FAILED:
            continue
        at = registers(look)
        mapped = mappings(at)
        as_now = was is not None and was.status == device.status
        if device.status == 0 and any(each.io for each in mapped):
            yield _found(
                evidence,
                look,
                "high" if as_now and held(evidence) else "medium",
                f"{_status(look)}: it is as after a reset, and no queue of it is set up",
                as_now,
                f"the kernel maps its registers, at {mapped[0].ea:#x}{_and_more(mapped)}, as a driver has it do",
                at=at,
            )
        elif was is not None and was.status & words.DRIVER_OK and mapped:
            yield _found(
                evidence,
                look,
                "low",
                f"{_status(look)}, and at the first stop it was {was.status:#x}: it was reset meanwhile",
                False,
                "a driver may have done so, as when it is bound anew",
                at=at,
            )
        elif any(each.still and each.given for each in look.queues) and held(evidence):
            yield _found(
                evidence,
                look,
                "medium",
                f"{_status(look)} without DRIVER_OK, and its driver has given it buffers",
                as_now,
                at=at,
            )


def _and_more(mapped: tuple[Mapped, ...]) -> str:
    return f" and {len(mapped) - 1} more" if len(mapped) > 1 else ""


def _failed(evidence: Evidence) -> Iterator[Found]:
    for look in evidence.devices.looks:
        if look.device.status & words.FAILED:
            as_now = look.was is not None and bool(look.was.status & words.FAILED)
            yield _found(evidence, look, "medium", _status(look), as_now)


def _needs_reset(evidence: Evidence) -> Iterator[Found]:
    for look in evidence.devices.looks:
        device, was = look.device, look.was
        if not given_up(look):
            continue
        as_now = was is not None and (was.broken or bool(was.status & words.NEEDS_RESET))
        said = _status(look)
        if device.broken:
            said += "; QEMU has given it up as broken, as it does with what a driver must not do"
        yield _found(evidence, look, "high" if as_now and held(evidence) else "medium", said, as_now, *_last(look))


def _last(look: DeviceLook) -> Iterator[str]:
    """What may have led there: of each queue that holds what cannot be, or what was taken last."""
    for each in look.queues:
        for problem in each.queue.problems:
            yield f"queue {each.queue.state.index}: {problem.reason}"


def _disabled(evidence: Evidence) -> Iterator[Found]:
    """QEMU's word for a PCI device whose command register has bus mastering off; one that no driver has set queues up
    for is so from the start."""
    for look in evidence.devices.looks:
        if not look.device.disabled or not any(each.queue.set_up for each in look.queues):
            continue
        as_now = look.was is not None and look.was.disabled
        yield _found(
            evidence,
            look,
            "high" if as_now and held(evidence) else "medium",
            f"bus mastering is off in its PCI command register, so that it may not reach memory; {_status(look)}",
            as_now,
            "its driver has set queues up, so it is meant to work",
        )


CAUSES: tuple[Cause, ...] = (
    Cause(
        "device-needs-reset",
        "a device has given up and needs a reset",
        "The device met what it cannot go on from, as a ring or a descriptor that cannot be, says NEEDS_RESET or is "
        "broken, and takes nothing more. Linux's drivers do not look at that bit.",
        "Look at the queue that it stumbled over by 'virtio' and at QEMU's own messages; unbind the driver in the "
        "guest's sysfs and bind it anew to reset the device.",
        _needs_reset,
    ),
    Cause(
        "device-reset",
        "a device was reset under its driver",
        "The driver believes the device ready, and the device has forgotten its queues and features.",
        "Look for who wrote 0 to its status, as a second driver or a reset of the bus; unbind the driver and bind it "
        "anew.",
        _reset,
    ),
    Cause(
        "device-disabled",
        "a device may not reach memory: bus mastering is off",
        "Bit 2 of the PCI command register is clear, so that the device can neither read its rings nor write them.",
        "Look for who cleared it ('setpci -s SLOT COMMAND' in the guest shows it); set it again, and reset the device.",
        _disabled,
    ),
    Cause(
        "device-failed",
        "a driver has given its device up",
        "FAILED is set in the device's status: its driver met what it could not go on from, as when it was bound.",
        "Look at the guest's kernel messages of that driver.",
        _failed,
    ),
)
