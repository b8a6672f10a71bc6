"""What a device is at one moment, as QEMU says it: plain data, to JSON and back, so that a recording can carry it.

Numbers are as the device has them: ring addresses are what the driver wrote, which behind an IOMMU are bus addresses;
indices are free-running and 16 bits wide (virtio 1.2, 2.7.6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

VERSION = 1
MAX_DEVICES, MAX_QUEUES, MAX_BARS, MAX_PARTS, MAX_WINDOWS = 512, 1024, 6, 64, 64
MAX_ANSWERS = 8192
MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue, of ``num`` entries, with its three rings' addresses (0: not set up).

    ``used_idx`` is the next index that the device will write into the used ring, ``last_avail_idx`` the next that it
    will take from the available ring and ``shadow_avail_idx`` the driver's index as it last saw it (None where QEMU
    cannot say, as of vhost-user); ``inuse`` counts buffers that it has taken and not given back, their descriptors in
    a packed ring (QEMU 7.2, ``virtqueue_packed_pop``). ``signalled_used`` is the used index of its last interrupt,
    where ``signalled_used_valid``."""

    index: int
    num: int
    desc: int
    avail: int
    used: int
    used_idx: int = 0
    last_avail_idx: int | None = None
    shadow_avail_idx: int | None = None
    inuse: int = 0
    signalled_used: int = 0
    signalled_used_valid: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """``size`` bytes from real address ``start`` that one part of a device answers to, by QEMU's name for it."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register: ``address`` as the PCI bus has it, ``real`` as a CPU does (None: not known).

    ``io`` is whether it is in the bus's I/O space. ``parts`` are what QEMU has there, in order."""

    number: int
    address: int
    size: int
    io: bool = False
    real: int | None = None
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One virtio device. ``path`` is QEMU's name for it (QOM), ``device_id`` its type (words.DEVICES).

    ``status`` and the features are bits (words.STATUS, words.COMMON and words.OWN). ``broken`` is that QEMU gave it up
    until it is reset. ``little`` is the byte order of its rings. ``slot`` is its place on PCI ("00:02.0"), empty where
    that is not known; ``others`` are names of features that QEMU gave and nobody here knows."""

    path: str
    name: str
    device_id: int
    status: int
    features: int
    offered: int
    little: bool = True
    broken: bool = False
    disabled: bool = False
    started: bool = False
    vhost: bool = False
    isr: int = 0
    count: int = 0
    queues: tuple[QueueState, ...] = ()
    slot: str = ""
    bars: tuple[Bar, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """Bus addresses from ``start`` on that an IOMMU's table leads on, by QEMU's name for that."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class VirtioState:
    """Every virtio device of a machine, and the DMA windows that QEMU shows. ``source`` is who said so. ``answers`` is
    all that answers in the CPUs' addresses besides memory, in order; empty where that is not known."""

    devices: tuple[DeviceState, ...]
    windows: tuple[Window, ...] = ()
    source: str = "monitor"
    answers: tuple[Part, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What JSON can carry: numbers are numbers, and the version is in it."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, value: object) -> VirtioState:
        """The same back. It may be from a stranger: sizes are bounded, and words are made safe to print.

        Raises ValueError, its words fit to follow "the virtio state is wrong: "."""
        known = _mapping(value)
        if known.get("version") != VERSION:
            raise ValueError(f"its version is {known.get('version')!r}, and {VERSION} is what is known here")
        return cls(
            tuple(_device(each) for each in _list(known, "devices", MAX_DEVICES)),
            tuple(
                Window(_text(each, "name"), _number(each, "start", 64), _number(each, "size", 65))
                for each in _list(known, "windows", MAX_WINDOWS)
            ),
            _text(known, "source"),
            tuple(_part(each) for each in _list(known, "answers", MAX_ANSWERS)),
        )


def _device(known: Mapping[str, Any]) -> DeviceState:
    return DeviceState(
        path=_text(known, "path"),
        name=_text(known, "name"),
        device_id=_number(known, "device_id", 16),
        status=_number(known, "status", 8),
        features=_number(known, "features", 64),
        offered=_number(known, "offered", 64),
        little=_flag(known, "little"),
        broken=_flag(known, "broken"),
        disabled=_flag(known, "disabled"),
        started=_flag(known, "started"),
        vhost=_flag(known, "vhost"),
        isr=_number(known, "isr", 8),
        count=_number(known, "count", 16),
        queues=tuple(_queue(each) for each in _list(known, "queues", MAX_QUEUES)),
        slot=_text(known, "slot"),
        bars=tuple(_bar(each) for each in _list(known, "bars", MAX_BARS)),
        others=tuple(_word(each) for each in _items(known, "others", 64)),
    )


def _queue(known: Mapping[str, Any]) -> QueueState:
    widths = {"desc": 64, "avail": 64, "used": 64, "num": 17, "inuse": 32}
    optional = ("last_avail_idx", "shadow_avail_idx")
    values: dict[str, Any] = {
        field.name: None
        if field.name in optional and known.get(field.name) is None
        else _number(known, field.name, widths.get(field.name, 16))
        for field in fields(QueueState)
        if field.name != "signalled_used_valid"
    }
    return QueueState(**values, signalled_used_valid=_flag(known, "signalled_used_valid"))


def _part(known: Mapping[str, Any]) -> Part:
    return Part(_text(known, "name"), _number(known, "start", 64), _number(known, "size", 65))


def _bar(known: Mapping[str, Any]) -> Bar:
    parts = tuple(_part(each) for each in _list(known, "parts", MAX_PARTS))
    real = None if known.get("real") is None else _number(known, "real", 64)
    number, address, size = (
        _number(known, name, bits) for name, bits in (("number", 3), ("address", 64), ("size", 64))
    )
    return Bar(number, address, size, _flag(known, "io"), real, parts)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"an object was expected where {type(value).__name__} stands")
    return value


def _items(known: Mapping[str, Any], name: str, most: int) -> list[Any]:
    found = known.get(name, [])
    if not isinstance(found, list | tuple) or len(found) > most:
        raise ValueError(f"{name} is no list of at most {most}")
    return list(found)


def _list(known: Mapping[str, Any], name: str, most: int) -> list[Mapping[str, Any]]:
    return [_mapping(each) for each in _items(known, name, most)]


def _number(known: Mapping[str, Any], name: str, bits: int) -> int:
    found = known.get(name)
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 1 << bits:
        raise ValueError(f"{name} is no number of {bits} bits")
    return found


def _flag(known: Mapping[str, Any], name: str) -> bool:
    found = known.get(name)
    if not isinstance(found, bool):
        raise ValueError(f"{name} is neither true nor false")
    return found


def _text(known: Mapping[str, Any], name: str) -> str:
    return _word(known.get(name))


def _word(found: object) -> str:
    if not isinstance(found, str):
        raise ValueError(f"a word was expected where {type(found).__name__} stands")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in found[:MAX_NAME])
