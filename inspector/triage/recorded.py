"""What triage goes by, to JSON and back, so that a snapshot answers as the guest did: all samples, and the virtio
devices as they were asked for at the first stop (as they were at the last is what a snapshot holds anyway).

What is read may be from a stranger: it is made from the fields that these classes have, by their types, and nothing
else; sizes are bounded, and words are made safe to print. ::

    {"version": 1, "sampling": {"asked": 2.0, "samples": [{"at": 0.0, "cpus": {"0": {"nip": "0x100", ...}}, ...}]},
     "virtio_before": {"version": 1, ...}, "why_no_devices": ""}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from inspector import devices
from inspector.errors import FormatError
from inspector.guest import Guest
from inspector.snapshot import jsonsafe
from inspector.targets.base import Target
from inspector.triage.samples import WANTED, Sample, Sampling
from inspector.virtio.ring import Queue
from inspector.virtio.state import VirtioState

VERSION = 1
MOST_SAMPLES = 64
MOST_RINGS = 1 << 14
"""Of one sample."""
PLAIN = 1 << 32
"""Numbers from here on are written as hex strings, as not every reader of JSON keeps all bits of them."""


@dataclass(frozen=True, slots=True)
class First:
    """A queue of a device, by QEMU's name for that, as it was at the first stop: its rings went on since."""

    device: str
    queue: Queue


@dataclass(frozen=True, slots=True)
class Kept:
    """What a snapshot holds of a triage: its samples, the devices at the first stop (None: not asked, as
    ``why_no_devices`` says where it says anything), and the queues that had something pending then."""

    sampling: Sampling
    before: VirtioState | None = None
    why_no_devices: str = ""
    firsts: tuple[First, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What JSON can carry."""
        return {
            "version": VERSION,
            "sampling": _plain(self.sampling),
            "virtio_before": None if self.before is None else self.before.to_json(),
            "why_no_devices": self.why_no_devices,
            "firsts": _plain(self.firsts),
        }

    @classmethod
    def from_json(cls, value: object) -> Kept:
        """The same back. Raises ValueError, its words fit to follow "what triage sampled is wrong: "."""
        if not isinstance(value, dict):
            raise ValueError("it is not an object")
        if value.get("version") != VERSION:
            raise ValueError(f"its version is {value.get('version')!r:.20}, and {VERSION} is what is known here")
        sampling: Sampling = _built(Sampling, value.get("sampling"), "sampling")
        if not 1 <= len(sampling.samples) <= MOST_SAMPLES:
            raise ValueError(f"it has {len(sampling.samples)} samples, and 1 to {MOST_SAMPLES} are possible")
        if any(len(each.marks) > MOST_RINGS for each in sampling.samples):
            raise ValueError(f"a sample has more than {MOST_RINGS} rings")
        given = value.get("virtio_before")
        before = None if given is None else VirtioState.from_json(given)
        firsts: tuple[First, ...] = _built(tuple[First, ...], value.get("firsts", []), "firsts")
        return cls(sampling, before, jsonsafe.text(value.get("why_no_devices")) or "", firsts)


def of_target(target: Target) -> Kept | None:
    """What a recorded target holds of a triage; None where it holds nothing. Raises FormatError where it is wrong."""
    found: object = getattr(target, "triage", None)
    if found is None:
        return None
    try:
        kept = Kept.from_json(found)
    except ValueError as error:
        raise FormatError(target.name, f"what triage sampled is wrong: {error}; record it again") from None
    for sample in kept.sampling.samples:
        strange = set(sample.cpus) - set(target.cpus)
        if strange or not sample.cpus:
            of = f"vCPU {min(strange)}, which there is not" if strange else "no vCPU"
            raise FormatError(target.name, f"what triage sampled is wrong: it is of {of}; record it again")
    return kept


def sampling_of(guest: Guest) -> Sampling | None:
    """The samples that a recorded guest holds, with what was set by hand over them; None where there are none."""
    kept = None if guest.target.control is not None else of_target(guest.target)
    if kept is None:
        return None
    samples = [_with(each, guest.overrides) for each in kept.sampling.samples]
    return replace(kept.sampling, samples=samples, stood=None)


def _with(sample: Sample, overrides: Mapping[str, int]) -> Sample:
    by_hand = {name: value for name, value in overrides.items() if name in WANTED}
    return replace(sample, cpus={cpu: {**known, **by_hand} for cpu, known in sample.cpus.items()})


def states_of(target: Target) -> tuple[list[VirtioState], str]:
    """The devices of a recorded target, at the first stop and at the last, and why there are none. Raises FormatError
    where they are wrong."""
    last, kept = devices.recorded(target), of_target(target)
    if last is None:
        return [], kept.why_no_devices if kept is not None else ""
    return [last] if kept is None or kept.before is None else [kept.before, last], ""


def firsts_of(target: Target) -> dict[tuple[str, int], Queue]:
    """The queues of a recorded target that had something pending at the first stop, by their device's path and index.
    Raises FormatError where they are wrong."""
    kept = of_target(target)
    return {} if kept is None else {(each.device, each.queue.state.index): each.queue for each in kept.firsts}


# -- by the fields of a class ------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A value of these classes as JSON can carry it."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and value >= PLAIN:
        return hex(value)
    return value


def _built(kind: Any, value: object, name: str) -> Any:
    """The value of this type that JSON holds. Raises ValueError, naming what is wrong."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (some,) = (each for each in inner if each is not NoneType)
        return None if value is None else _built(some, value, name)
    if is_dataclass(kind):
        return _dataclass(kind, value, name)
    if origin is tuple and Ellipsis not in inner:
        if isinstance(value, list) and len(value) == len(inner):
            return tuple(_built(kind, each, name) for kind, each in zip(inner, value, strict=True))
    elif origin in (list, tuple):
        if isinstance(value, list):
            return origin(_built(inner[0], each, name) for each in value)
    elif origin is not None and issubclass(origin, Mapping):
        if isinstance(value, dict):
            return {_key(inner[0], key, name): _built(inner[1], each, name) for key, each in value.items()}
    else:
        found = _scalar(kind, value)
        if found is not None:
            return found
    raise ValueError(f"{name} is not as it should be")


def _dataclass(kind: Any, value: object, name: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")
    hints, known = get_type_hints(kind), {}
    for each in fields(kind):
        if each.name in value:
            known[each.name] = _built(hints[each.name], value[each.name], each.name)
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{name} lacks {each.name}")
    return kind(**known)


def _key(kind: Any, key: str, name: str) -> Any:
    found = _scalar(kind, key)
    if found is None:
        raise ValueError(f"{name} is of {jsonsafe.text(key)!r:.40}, which cannot be")
    return found


def _scalar(kind: Any, value: object) -> Any:
    """A number, a word or a flag; None where it is none."""
    if kind is bool:
        return value if isinstance(value, bool) else None
    if kind is str:
        return jsonsafe.text(value)
    if kind is int:
        return jsonsafe.number(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if abs(value) < PLAIN and math.isfinite(value) else None
    return None
