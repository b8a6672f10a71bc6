"""``virtio``: the virtio devices, what each of them says of itself, and where its registers and rings are."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import EVERY_PROCESS, Beside, looked_at
from inspector.devicemaps import BarAt, Where, bar_problems, bars_at, what_maps
from inspector.errors import UsageError
from inspector.virtio.bus import Bus, bus_of_device
from inspector.virtio.ring import CHAINS, Part, Problem, Queue, device_problems, read_queue
from inspector.virtio.state import DeviceState, VirtioState
from inspector.virtio.waiting import Waits

if TYPE_CHECKING:
    from inspector.spaces import Spaces


@dataclass(frozen=True, slots=True)
class QueueAt:
    """A queue, and what maps each of its parts, by the part's name. ``waited`` is for how many seconds at least its
    oldest pending buffer has been: 0 at the first look that saw it, None where nothing is known to be pending."""

    queue: Queue
    where: dict[str, Where]
    waited: float | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """One device. ``wide`` is that all of it is to be told, ``problems`` are those of the device and its BARs (a
    queue's are the queue's), ``remarks`` what should be known of the answer."""

    topic: ClassVar[str] = "virtio"
    state: DeviceState
    source: str
    bars: tuple[BarAt, ...]
    queues: tuple[QueueAt, ...]
    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]
    wide: bool
    only: int | None = None

    @property
    def ok(self) -> bool:
        """False where something of it cannot be right."""
        return not self.problems and not any(each.queue.problems for each in self.queues)


@dataclass(frozen=True, slots=True)
class Nothing(Answered):
    """That there are no devices to tell, and why."""

    topic: ClassVar[str] = "virtio"
    reason: str


Answer = Device | Nothing | Beside


def _virtio(session: Session, arguments: Namespace) -> Iterator[Answer]:
    state = _asked(session, arguments.qmp)
    if state is None:
        yield Nothing(
            f"{session.at.target.name} was recorded without its virtio devices, which 'record FILE --triage' takes "
            "too; a live guest is asked for them, as in: inspector gdb:HOST:PORT virtio"
        )
        return
    if not state.devices:
        yield Nothing("there are no virtio devices")
        return
    devices = _chosen(state, arguments.device)
    number = _at_most_16_bits(session, "queue", arguments.queue)
    chains = _at_most_16_bits(session, "chains", arguments.chains)
    if number is not None:
        most = max((each.count for each in devices), default=0)
        devices = [each for each in devices if any(queue.index == number for queue in each.queues)]
        if not devices:
            raise UsageError(f"no device that was asked for has a queue {number}; there are {most} at most, from 0")
    spaces = yield from looked_at(session, EVERY_PROCESS)
    for each in devices:
        wide = arguments.device is not None or number is not None
        yield _device(session, spaces, state, each, number, CHAINS if chains is None else chains, wide)


def _at_most_16_bits(session: Session, name: str, text: str | None) -> int | None:
    """What an option says of queues, of which neither the number nor the size has more bits in virtio."""
    value = None if text is None else session.value(text)
    if value is not None and value > 0xFFFF:
        raise UsageError(f"--{name} takes a number from 0 to {0xFFFF}, not {text!r}")
    return value


def _asked(session: Session, qmp: str | None) -> VirtioState | None:
    from inspector import devices

    if qmp is None:
        return devices.of_guest(session.at)
    if session.at.target.control is None:
        raise UsageError(
            f"{session.at.target.name} is recorded, and what a QEMU says now is not of its rings; leave --qmp out"
        )
    from inspector.qmp import Qmp

    with Qmp(qmp) as client:
        return devices.of_qmp(client)


def _chosen(state: VirtioState, word: str | None) -> Sequence[DeviceState]:
    """The devices that a word means: all, or those of a place on PCI, a name or a part of QEMU's path."""
    if word is None:
        return state.devices
    fitting = [each for each in state.devices if word in (each.slot, each.slot.partition(":")[2], each.path)]
    fitting = fitting or [
        each for each in state.devices if word in (each.name, each.name.removeprefix("virtio-"), *each.path.split("/"))
    ]
    if not fitting:
        there = ", ".join(dict.fromkeys(each.slot or each.path for each in state.devices))
        raise UsageError(f"there is no virtio device {word!r}; there are {there}")
    return fitting


def _device(
    session: Session,
    spaces: Spaces | None,
    state: VirtioState,
    device: DeviceState,
    number: int | None,
    chains: int,
    wide: bool,
) -> Device:
    memory = session.at.memory
    bus = bus_of_device(device, state)
    bars = bars_at(spaces, device)
    queues = tuple(
        QueueAt(queue, {part.name: _of_part(spaces, part) for part in queue.parts}, _waited(session, device, queue))
        for each in device.queues
        if number is None or each.index == number
        for queue in (read_queue(memory, bus, device, each, chains),)
    )
    problems = (*device_problems(device), *bar_problems(device, bars))
    return Device(state=device, source=state.source, bars=bars, queues=queues, problems=problems,
                  remarks=tuple(_remarks(device, bus, queues)), wide=wide, only=number)  # fmt: skip


def _waited(session: Session, device: DeviceState, queue: Queue) -> float | None:
    taken = queue.state.last_avail_idx
    if queue.available is None or taken is None or session.at.target.control is None:
        return None
    session.waits = session.waits or Waits()
    return session.waits.since(device.path, queue.state.index, queue.available.idx, taken)


def _of_part(spaces: Spaces | None, part: Part) -> Where:
    return Where() if part.real is None else what_maps(spaces, part.real, part.size)


def _remarks(device: DeviceState, bus: Bus, queues: Sequence[QueueAt]) -> Iterator[str]:
    if bus.translated:
        if bus.direct is None:
            yield "its addresses go through the IOMMU, whose table cannot be followed from here: rings are not read"
        else:
            said = [each.queue for each in queues if each.queue.used and each.queue.state.used_idx]
            fits = all(each.used and each.used.idx == each.state.used_idx for each in said)
            sure = "; the used indices in it are the device's own" if said and fits else ""
            yield f"{bus.presumed} ({bus.direct.name} at {bus.direct.start:#x}){sure}"
    if device.vhost:
        yield (
            "vhost works on its queues, so they were not asked for: vhost-user stops a ring that it is asked about; "
            "stop the guest, and vhost hands them back"
        )
    if not device.bars:
        yield "which PCI function it is behind, if any, could not be told"


def _virtio_arguments(parser: Parser) -> None:
    parser.add_argument(
        "device", nargs="?", metavar="DEVICE", help="a place on PCI (00:02.0), a kind (blk), an id; all where none is"
    )
    parser.add_argument("--queue", metavar="N", help="of this queue only")
    parser.add_argument("--chains", metavar="N", help=f"follow so many pending chains of a queue ({CHAINS})")
    parser.add_argument("--qmp", metavar="unix:PATH", help="ask through this QMP socket instead of the gdbstub")


COMMANDS = (
    Command(
        "virtio",
        "the virtio devices, their registers' mappings, queues and rings",
        _virtio,
        _virtio_arguments,
        (Example("virtio", "every device in a few lines: status, features, queues"),),
        "Devices and what they say of themselves come from QEMU's monitor, 7.2 or later; rings are read from RAM, and "
        "nothing else is read. Pending are buffers that the driver made available and the device has not taken; "
        "untaken, used ones that the driver may not have looked at (at most so many, by the index at which it wants "
        "the next interrupt; without EVENT_IDX nothing says that). At a prompt, asking again tells how long the oldest "
        "pending one has waited at least; 'triage' tells it in one go. A DEVICE or --queue tells all: each bit in "
        "words, each mapping, the chains behind pending heads. What cannot be right makes exit status 1. "
        "Behind an IOMMU rings are read through Linux's 64-bit window, which is presumed to have all RAM "
        "in order: the table itself is the hypervisor's on pseries, and only the bridge says where it is on powernv.",
    ),
)
