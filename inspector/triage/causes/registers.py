"""A virtio device's registers that the kernel does not reach: not mapped, mapped elsewhere, or not as I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from inspector.devicemaps import BarAt, Mapped
from inspector.radix.bits import ATT_TOLERANT
from inspector.triage.causes.devices import counted, given_up, healed, held, mappings, place, registers, since
from inspector.triage.devices import DeviceLook, QueueLook
from inspector.triage.evidence import Evidence
from inspector.triage.found import Cause, Confidence, Found
from inspector.virtio.ring import modern


@dataclass(frozen=True, slots=True)
class Lacking:
    """A driven device whose registers at ``at`` are mapped ``count`` times where ``usual`` are usual (None: not known),
    and whether a notification was due at the first stop, or all the while: ``waited`` are the queues that wait for it.
    """

    look: DeviceLook
    at: BarAt
    count: int
    usual: int | None
    waited: tuple[QueueLook, ...]

    @property
    def due(self) -> bool:
        """Whether any queue waits for a notification that it was to have."""
        return bool(self.waited)

    @property
    def real(self) -> int:
        """Where its registers are."""
        return self.at.bar.real or 0


def lacking(evidence: Evidence) -> Iterator[Lacking]:
    """Devices whose registers the kernel does not map at all, or less often than those of others of the same sort."""
    usual: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    driven = []
    for look in evidence.devices.looks:
        at = registers(look)
        if at is None or at.where.count is None or not look.driven or not modern(look.device):
            continue
        count = len(mappings(at))
        driven.append((look, at, count))
        usual[look.device.device_id, at.bar.size][count] += 1
    for look, at, count in driven:
        others = usual[look.device.device_id, at.bar.size] - Counter([count])
        common = max((each for each in others if each), default=None)
        waited = tuple(each for each in look.queues if _waits(evidence, each))
        if not count or (waited and common is not None and count < common):
            yield Lacking(look, at, count, common, waited)


def _waits(evidence: Evidence, queue: QueueLook) -> bool:
    """Whether a notification is due, and has been for long; or was, before the guest was stopped and went on."""
    first = queue.first
    return bool((queue.still and queue.queue.kick_due and held(evidence)) or (first is not None and first.kick_due))


# -- what leads nowhere ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Astray:
    """A lacking device, and the mappings with nothing behind them that are taken for its; ``moved`` is whether they
    lead to where it was, presumably, or to where it never was (None: that cannot be told)."""

    lacking: Lacking
    mapped: tuple[Mapped, ...]
    moved: bool | None


@dataclass(frozen=True, slots=True)
class _Others:
    """What maps the registers of all other devices than one: (EA, real address), by EA; and the real addresses, in
    order."""

    mapped: tuple[tuple[int, int], ...]
    reals: tuple[int, ...]

    def distance(self, ra: int) -> int:
        """Bytes from a real address to the nearest of theirs; 0 where there are none."""
        at = bisect_left(self.reals, ra)
        return min((abs(ra - other) for other in self.reals[max(at - 1, 0) : at + 1]), default=0)

    def has_in_place(self, one: Lacking) -> bool:
        """Whether a device's registers are among theirs, as a bus is laid out."""
        if not self.reals:
            return False
        reach = self.reals[-1] - self.reals[0] + one.at.bar.size
        return self.distance(one.real) <= max(reach, 1 << 20)


def astray(evidence: Evidence) -> tuple[Astray, ...]:
    """The lacking devices that mappings with nothing behind them can be of, each with those that fit it best."""
    left: dict[int, list[Mapped]] = defaultdict(list)
    for each in evidence.devices.nowhere or ():
        left[each.ra].append(each)
    found = []
    for one in lacking(evidence):
        if left:
            others = _others(evidence, one)
            ra = min(left, key=partial(_fit, one, others, left))
            mapped = tuple(left.pop(ra))
            found.append(Astray(one, mapped, _moved(one, others, mapped[0])))
    return tuple(found)


def _others(evidence: Evidence, one: Lacking) -> _Others:
    mapped = sorted(
        (each.ea, each.ra)
        for look in evidence.devices.looks
        if look is not one.look
        for each in mappings(registers(look))
    )
    return _Others(tuple(mapped), tuple(sorted(ra for _, ra in mapped)))


def _fit(one: Lacking, others: _Others, left: Mapping[int, list[Mapped]], ra: int) -> tuple[int, int, int]:
    """How badly the mappings that lead to ``ra`` fit a device, least first: of another number than it lacks; and of
    those where a device that is in its place has them far from all, one that was moved near to where others are."""
    missing = (one.usual or len(left[ra])) - one.count
    there = others.distance(ra)
    return abs(len(left[ra]) - missing), -there if others.has_in_place(one) else there, ra


def _moved(one: Lacking, others: _Others, mapped: Mapped) -> bool | None:
    """Whether a mapping leads to where the device was: by its neighbours in the kernel's addresses, for these were
    mapped in the order of the bus, and else by how far it and the device are from others."""
    at = bisect_left(others.mapped, (mapped.ea, 0))  # which is mapped to one place only, and not to theirs
    if 0 < at < len(others.mapped):
        low, high = sorted((others.mapped[at - 1][1], others.mapped[at][1]))
        between = [low <= ra <= high for ra in (mapped.ra, one.real)]
        if between[0] != between[1]:
            return between[0]
    old, now = others.distance(mapped.ra), others.distance(one.real)
    return None if old == now else old < now


# -- the causes --------------------------------------------------------------------------------------------------------


def _sure(one: Lacking) -> Confidence:
    if one.due:
        return "medium" if one.count else "high"
    return "medium"


def _seen(evidence: Evidence, one: Lacking) -> str:
    bar = one.at.bar
    said = f"BAR {bar.number}, by which the driver notifies it, is at {bar.real:#x}, and the kernel maps it "
    said += f"{one.count} times, others of its sort {one.usual} times" if one.count else "nowhere"
    return said


def _due(evidence: Evidence, one: Lacking) -> Iterator[str]:
    for each in one.waited:
        stands = each.still and each.queue.kick_due
        seen = each.queue if stands or each.first is None else each.first
        if stands:
            waited = f"{counted(seen.pending, 'buffer has', 'buffers have')} waited {since(evidence)},"
        else:
            waited = f"{counted(seen.pending, 'buffer', 'buffers')} waited, when the guest was stopped,"
        yield f"queue {each.queue.state.index}: {waited} for a notification that was due"
        if not stands:
            yield from healed(each)


def not_mapped(evidence: Evidence) -> Iterator[Found]:
    """No mapping leads to a driven device's registers, nor anywhere else that could be meant for them."""
    known = {each.lacking.look.device.path for each in astray(evidence)}
    for one in lacking(evidence):
        if one.look.device.path not in known and not given_up(one.look):
            sure: Confidence = "low" if one.count else _sure(one)
            said = (_seen(evidence, one), *_due(evidence, one))
            yield Found(sure, ra=one.real, device=place(one.look), evidence=said)


def _astray(evidence: Evidence, moved: bool) -> Iterator[Found]:
    for each in astray(evidence):
        if bool(each.moved) is not moved:
            continue
        one, first = each.lacking, each.mapped[0]
        which = f"{first.ea:#x}" + (f" and {len(each.mapped) - 1} more" if len(each.mapped) > 1 else "")
        why = "the devices beside it are where those mappings lead" if moved else "it is beside other devices"
        said = (
            _seen(evidence, one),
            f"the kernel maps {which} as a device's, to {first.ra:#x}, where nothing answers: no RAM, no device",
            *_due(evidence, one),
            why if each.moved is not None else "whether the device was moved cannot be told from where others are",
        )
        yield Found(_sure(one), ea=first.ea, ra=first.ra, device=place(one.look), evidence=said)


def _wrong(evidence: Evidence) -> Iterator[Found]:
    yield from _astray(evidence, False)


def _stale(evidence: Evidence) -> Iterator[Found]:
    yield from _astray(evidence, True)


def _not_io(evidence: Evidence) -> Iterator[Found]:
    for look in evidence.devices.looks:
        at = registers(look)
        plain = [each for each in mappings(at) if not each.io and each.run.attribute != ATT_TOLERANT]
        if look.driven and at is not None and plain:
            first = plain[0]
            yield Found(
                "medium",
                ea=first.ea,
                ra=first.ra,
                device=place(look),
                evidence=(
                    f"BAR {at.bar.number}, by which the driver notifies it, is at {at.bar.real:#x}",
                    f"{first.ea:#x} maps {first.size:#x} bytes of it with ATT {first.run.attribute:#x}, which is not "
                    "I/O, and Linux maps registers as non-idempotent I/O"
                    + (f"; so do {len(plain) - 1} more mappings" if len(plain) > 1 else ""),
                ),
            )


CAUSES: tuple[Cause, ...] = (
    Cause(
        "mmio-wrong-address",
        "a device's registers are mapped to where it is not",
        "The kernel's entry leads to a real address where nothing answers, so that what the driver writes is lost and "
        "what it reads is none of the device's: QEMU 7.2 gives zeros, without a fault.",
        "Look at the entry by 'xlate' and at what is right by 'virtio'; look for who wrote it.",
        _wrong,
    ),
    Cause(
        "mmio-stale",
        "a device was moved, and the kernel's entries lead to its old place",
        "The device's BAR was given another address after its driver had mapped it, and nothing answers at the old "
        "one.",
        "Look for who wrote the BAR ('lspci -v' in the guest shows what the kernel believes); write the old address "
        "back, or unbind the driver and bind it anew.",
        _stale,
    ),
    Cause(
        "mmio-not-io",
        "a device's registers are mapped, but not as I/O",
        "The entry's attribute lets the CPU make accesses ahead of time, twice, together or out of order, which "
        "registers do not stand. QEMU's TCG does not mind; a CPU does.",
        "Look at the entry's ATT by 'xlate': 0b10 is non-idempotent I/O.",
        _not_io,
    ),
)
