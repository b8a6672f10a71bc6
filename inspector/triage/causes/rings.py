"""What stands still in a virtio device's queues, and what is in them that cannot be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from inspector.radix.bits import MSR_EE, MSR_HV
from inspector.triage.causes.devices import counted, found_of_queue, healed, held, registers, since, usable
from inspector.triage.causes.registers import astray, lacking
from inspector.triage.causes.sides import by_place, indices, notified_at, noun, silenced, untaken
from inspector.triage.devices import DeviceLook, QueueLook
from inspector.triage.evidence import Evidence
from inspector.triage.found import Cause, Found
from inspector.virtio.ring import Queue, modern
from inspector.virtio.words import BALLOON, BLOCK, CONSOLE, FS, GPU, INPUT, IOMMU, MEM, NET, PMEM, RNG, SCSI, VSOCK

NINE_P = 9
TAKEN_AT_ONCE = {
    BLOCK: ("requests",), SCSI: ("control", "requests"), NET: ("transmit", "control"), NINE_P: ("",),
    BALLOON: ("inflate", "deflate"), CONSOLE: ("control transmit",), GPU: ("control", "cursor"), INPUT: ("status",),
    VSOCK: ("transmit",), IOMMU: ("requests",), MEM: ("requests",), FS: ("high priority", "requests"),
    PMEM: ("requests",),
}  # fmt: skip
"""Queues whose buffers a device takes as soon as it is notified, by how their names begin. The others hold theirs until
there is something to put into them, rightly for ever."""
TAKEN_AS_IT_CAN = {RNG: ("requests",), CONSOLE: ("transmit",)}
"""Queues whose buffers wait where an entropy source has given what it may, or nobody reads what a console says."""
LOOKED_AT_ONCE = {
    BLOCK: ("requests",), SCSI: ("control", "requests"), RNG: ("requests",), BALLOON: ("inflate", "deflate"),
    GPU: ("control", "cursor"), FS: ("high priority", "requests"), PMEM: ("requests",), NINE_P: ("",),
}  # fmt: skip
"""Queues whose used buffers Linux 6.1 takes in the interrupt's handler. Of a network card or a console it may leave
them until somebody sends or reads again, and it has no interrupt at all for a network card's control queue."""
LONGER = 1.0
"""Seconds after which what is slow now and then may be told, without being sure."""


def _of(kinds: Mapping[int, tuple[str, ...]], look: DeviceLook, queue: QueueLook) -> bool:
    names = kinds.get(look.device.device_id, ())
    return any(queue.queue.name.startswith(name) and bool(name) == bool(queue.queue.name) for name in names)


def _queues(evidence: Evidence) -> Iterator[tuple[DeviceLook, QueueLook]]:
    """Every queue that a driver has set up of a device that nothing else keeps from seeing to it."""
    for look in evidence.devices.looks:
        if usable(look):
            yield from ((look, each) for each in look.queues if each.queue.set_up)


def _standing(evidence: Evidence) -> Iterator[tuple[DeviceLook, QueueLook]]:
    """Those of which nothing moved, for long enough."""
    if held(evidence):
        yield from ((look, each) for look, each in _queues(evidence) if each.still)


# -- used, and not taken by the driver ---------------------------------------------------------------------------------


def _interrupts(evidence: Evidence) -> str:
    """Whether the vCPUs would have taken an interrupt, as far as the samples show. On the bare machine Linux idles with
    MSR[EE] clear, and is woken by one (Linux 6.1, ``power9_idle_stop``)."""
    known = [
        (cpu, bool(registers["msr"] & MSR_EE or (registers["msr"] & MSR_HV and sample.halted.get(cpu))))
        for sample in evidence.sampling.samples
        for cpu, registers in sample.cpus.items()
        if "msr" in registers
    ]
    if not known:
        return "whether vCPUs take interrupts is not known"
    open_ones = sorted({cpu for cpu, on in known if on})
    if not open_ones:
        return "MSR[EE] was 0 on every vCPU in every sample: none takes an interrupt"
    which = ", ".join(f"vCPU {cpu}" for cpu in open_ones)
    return f"{which} would have taken an interrupt in some sample, so that it is masked, or was lost"


def _signalled(look: DeviceLook, queue: QueueLook) -> bool:
    state = queue.queue.state
    return not look.device.vhost and state.signalled_used_valid and state.signalled_used == state.used_idx


def _not_taken(evidence: Evidence, signalled: bool) -> Iterator[Found]:
    """Used buffers that the driver asked to be interrupted for, and did not take."""
    for look, queue in _standing(evidence):
        late = untaken(look, queue) if _of(LOOKED_AT_ONCE, look, queue) else None
        if late is None or _signalled(look, queue) is not signalled:
            continue
        told = "and the device has told of them" if signalled else "and the device's last interrupt was before them"
        yield found_of_queue(
            look,
            queue,
            "high" if late.sure and signalled else "low",
            "used",
            f"{counted(late.count, f'{late.unit} has', f'{late.unit}s have')} not been taken {since(evidence)}: "
            f"{late.asked}, {told}",
            indices(queue),
            _interrupts(evidence),
        )


def _interrupt_not_taken(evidence: Evidence) -> Iterator[Found]:
    yield from _not_taken(evidence, True)


def _used_not_taken(evidence: Evidence) -> Iterator[Found]:
    yield from _not_taken(evidence, False)
    for look, queue in _standing(evidence):
        quiet = silenced(look, queue) if _of(LOOKED_AT_ONCE, look, queue) else None
        if quiet is not None:
            yield found_of_queue(
                look,
                queue,
                quiet.sure,
                "used",
                f"{quiet.given}, and nothing moved {since(evidence)}",
                f"the driver wants no interrupt for them, {quiet.way}; Linux asks for the next as soon as it has taken "
                "one",
            )


# -- available, and not taken by the device ----------------------------------------------------------------------------


def _elsewhere(evidence: Evidence) -> set[str]:
    """Devices whose notifications are lost for a reason that is told apart from this."""
    return {each.look.device.path for each in lacking(evidence)} | {
        each.lacking.look.device.path for each in astray(evidence)
    }


def _impossible(queue: QueueLook) -> bool:
    return bool(queue.queue.problems)


def _pending(evidence: Evidence, due: bool) -> Iterator[tuple[DeviceLook, QueueLook, bool]]:
    """Queues whose buffers wait for a device that would take them; whether it would do so at once."""
    elsewhere = _elsewhere(evidence)
    for look, queue in _standing(evidence):
        found = queue.queue
        if not found.pending or found.kick_due is not due or _impossible(queue) or look.device.path in elsewhere:
            continue
        if _of(TAKEN_AT_ONCE, look, queue):
            yield look, queue, True
        elif _of(TAKEN_AS_IT_CAN, look, queue) and evidence.devices.seconds >= LONGER:
            yield look, queue, False


UNANSWERED = (
    "nothing answers at any of its memory BARs, so that notifications are lost: the PCI command register may have "
    "them off"
)


def _unanswered(evidence: Evidence, look: DeviceLook) -> bool:
    """Whether nothing answers where a device is notified; a legacy one is by the bus's I/O space. It is told only where
    what answers is known, of any device."""
    known = any(at.bar.parts for each in evidence.devices.looks for at in each.bars)
    known = known or any(state.answers for state in evidence.devices.state)
    return known and bool(look.device.slot) and modern(look.device) and registers(look) is None


def _available_not_taken(evidence: Evidence) -> Iterator[Found]:
    yield from _lost_before(evidence)
    for look, queue, at_once in _pending(evidence, True):
        found = queue.queue
        if found.packed is not None:
            asked = f"the device asked to be notified {notified_at(look, found)}, so that a notification was due"
        elif by_place(look) and found.used is not None:
            asked = f"the device asked to be notified after {found.used.event}, so that a notification was due"
        else:
            asked = "the device does not ask to be left alone, so that a notification was due"
        said = [
            f"{counted(found.pending, 'buffer has', 'buffers have')} been pending {since(evidence)}",
            indices(queue),
            asked,
        ]
        if _unanswered(evidence, look):
            said.append(UNANSWERED)
        if not at_once:
            said.append("such a device may rightly leave them: its source, or who reads it, may have it wait")
        busy = bool(found.taken)
        yield found_of_queue(look, queue, "low" if not at_once else "medium" if busy else "high", "avail", *said)


def _available_not_notified(evidence: Evidence) -> Iterator[Found]:
    yield from _untold_before(evidence)
    for look, queue, at_once in _pending(evidence, False):
        busy = bool(queue.queue.taken)
        yield found_of_queue(
            look,
            queue,
            "low" if busy or not at_once else "high",
            "used",
            f"{counted(queue.queue.pending, 'buffer has', 'buffers have')} been pending {since(evidence)}",
            indices(queue),
            f"the device asked to be notified {notified_at(look, queue.queue)}, so that the driver did not send one"
            + ("; it holds others" if busy else ", and holds no other"),
        )


def _before(evidence: Evidence) -> Iterator[tuple[DeviceLook, QueueLook, Queue]]:
    """Queues that had something pending before the guest went on, and were seen to as it did: QEMU looks at a queue
    then without being notified, so that what was lost before is found now."""
    elsewhere = _elsewhere(evidence)
    for look, queue in _queues(evidence):
        first = queue.first
        if first is None or not first.pending or first.problems or queue.still or look.device.path in elsewhere:
            continue
        if _of(TAKEN_AT_ONCE, look, queue) and look.device.device_id != NET:
            yield look, queue, first


def _lost_before(evidence: Evidence) -> Iterator[Found]:
    for look, queue, first in _before(evidence):
        if first.kick_due and _unanswered(evidence, look):
            yield found_of_queue(
                look,
                queue,
                "medium",
                "avail",
                f"{counted(first.pending, 'buffer was', 'buffers were')} pending when the guest was stopped, and a "
                "notification was due",
                UNANSWERED,
                *healed(queue),
            )


def _untold_before(evidence: Evidence) -> Iterator[Found]:
    for look, queue, first in _before(evidence):
        # The host's kernel may have been in the midst of its queue; QEMU asks for the next at each buffer that it takes
        # (virtio.c of 7.2, virtqueue_split_pop).
        if first.kick_due is False and not first.taken and not look.device.vhost:
            yield found_of_queue(
                look,
                queue,
                "medium",
                "used",
                f"{counted(first.pending, 'buffer was', 'buffers were')} pending when the guest was stopped; the "
                f"device held no other, and asked to be notified {notified_at(look, first)}, so that the driver did "
                "not",
                *healed(queue),
            )


def _not_finished(evidence: Evidence) -> Iterator[Found]:
    for look, queue in _standing(evidence):
        taken = queue.queue.taken
        slow = look.device.device_id == BLOCK and evidence.devices.seconds >= LONGER
        if slow and taken and not queue.queue.pending and not _impossible(queue):
            yield found_of_queue(
                look,
                queue,
                "low",
                "avail",
                f"the device has held {counted(taken, noun(queue, 'request'), noun(queue, 'request') + 's')} "
                f"{since(evidence)}, and gave none back meanwhile",
                indices(queue),
            )


CAUSES: tuple[Cause, ...] = (
    Cause(
        "interrupt-not-taken",
        "a driver waits for an interrupt that the device has raised",
        "The device has used buffers and told of it, and the driver does not take them: the interrupt is masked, "
        "pending and not taken, or was lost.",
        "Look at the counts in the guest's /proc/interrupts, at the mask bits of its MSI-X table and capability, and "
        "at 'info pic' in QEMU's monitor.",
        _interrupt_not_taken,
    ),
    Cause(
        "used-not-taken",
        "a driver does not take what the device has used, and is not interrupted for it",
        "The driver has said that it wants no interrupt for these buffers, and does not look for them by itself.",
        "Look at the driver: it should have asked for the next interrupt, or poll.",
        _used_not_taken,
    ),
    Cause(
        "available-not-taken",
        "a device does not take what it was given, although it is to be notified",
        "The driver has made buffers available and had to notify the device, and they are not taken: the notification "
        "was lost or never sent, or the device stands still.",
        "Look at whether notifications reach it (QEMU's trace events virtio_queue_notify), and what it waits for.",
        _available_not_taken,
    ),
    Cause(
        "available-not-notified",
        "a device does not take what it was given, and asked not to be notified",
        "The driver has made buffers available and rightly did not notify the device, which does not look by itself.",
        "Look at who wrote avail_event, the used ring's flags, or a packed ring's event area; a notification by hand "
        "would set it going.",
        _available_not_notified,
    ),
    Cause(
        "request-not-finished",
        "a disk holds requests and does not finish them",
        "The device has taken requests and given none back all the while: it may only be slow, as over a network.",
        "Look at what is behind the disk, on the host: 'info block' and 'info blockstats' in QEMU's monitor.",
        _not_finished,
    ),
)
