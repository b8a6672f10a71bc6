"""What QEMU's human monitor prints of virtio, read: pure functions of text, recorded with QEMU 7.2.

``info virtio``, ``info virtio-status PATH`` and ``info virtio-queue-status PATH N`` are there from 7.2 on
(hw/virtio/virtio.c and monitor/hmp-cmds.c), ``info pci`` and ``info mtree`` in every version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from inspector.virtio import pci, words
from inspector.virtio.bus import BYPASS, DIRECT_FROM
from inspector.virtio.state import Bar, DeviceState, Part, QueueState, Window

DEVICE = re.compile(r"^(/[\x21-\x7e]+) \[([\w.-]+)\]\s*$", re.MULTILINE)
FIELD = re.compile(r"^ {2,4}(\w+): *(\S+)?", re.MULTILINE)
UNKNOWN = re.compile(r"unknown-\w+\(0x([0-9a-f]{1,16})\)")
NAMED = re.compile(r"^\t(\w+)", re.MULTILINE)
SECTIONS = ("status:", "Guest features:", "Host features:", "Backend features:")
NAMES_OF_STATUS = {name: mask for mask, (name, _) in words.STATUS.items()}


def no_virtio_command(text: str) -> bool:
    """Whether the monitor does not know ``info virtio``: QEMU before 7.2."""
    return "unknown command" in text


def devices(text: str) -> list[tuple[str, str]]:
    """(path, name) of every device in ``info virtio``."""
    return [(found[1], found[2]) for found in DEVICE.finditer(text.replace("\r", ""))]


def status(path: str, text: str) -> DeviceState | None:
    """One device out of ``info virtio-status``; None where the monitor refused, as of one that is gone."""
    text = text.replace("\r", "")
    head, *rest = re.split(rf"^  ({'|'.join(SECTIONS)})$", text, flags=re.MULTILINE)
    fields = {found[1]: found[2] or "" for found in FIELD.finditer(head)}
    if not fields.get("device_id", "").isdigit():
        return None
    said = dict(zip(rest[::2], rest[1::2], strict=False))
    device_id = int(fields["device_id"])
    return made(
        path,
        fields,
        device_id,
        _names(said.get("status:", "")),
        _names(said.get("Guest features:", "")),
        _names(said.get("Host features:", "")),
        vhost="(vhost)" in head,
    )


@dataclass(frozen=True, slots=True)
class Named:
    """Bits by name, and those that QEMU has no name for."""

    names: tuple[str, ...]
    unknown: int = 0


def _names(text: str) -> Named:
    return Named(tuple(NAMED.findall(text)), sum(int(each, 16) for each in UNKNOWN.findall(text)))


def made(
    path: str, fields: dict[str, str], device_id: int, status: Named, guest: Named, host: Named, *, vhost: bool
) -> DeviceState:
    """A device from what was said of it, by the human monitor or by QMP; numbers and flags are words here."""
    bits = status.unknown
    for name in status.names:
        bits |= NAMES_OF_STATUS.get(name.removeprefix("VIRTIO_CONFIG_S_"), 0)
    others: list[str] = []
    return DeviceState(
        path=path,
        name=fields.get("device_name", ""),
        device_id=device_id,
        status=bits & 0xFF,
        features=_features(device_id, guest, others),
        offered=_features(device_id, host, others),
        little=fields.get("endianness", "little") != "big",
        broken=fields.get("broken") == "true",
        disabled=fields.get("disabled") == "true",
        started=fields.get("started") == "true",
        vhost=vhost,
        isr=_integer(fields, "isr") or 0,
        count=_integer(fields, "num_vqs") or 0,
        others=tuple(dict.fromkeys(others)),
    )


def _features(device_id: int, named: Named, others: list[str]) -> int:
    bits = named.unknown
    for name in named.names:
        number = words.feature_number(device_id, name)
        if number is None:
            others.append(name)
        else:
            bits |= 1 << number
    return bits


def _integer(fields: dict[str, str], name: str) -> int | None:
    try:
        return int(fields[name], 0)
    except (KeyError, ValueError):
        return None


def queue(text: str) -> QueueState | None:
    """One queue out of ``info virtio-queue-status``; None where the monitor refused."""
    return queue_of({found[1]: found[2] or "" for found in FIELD.finditer(text.replace("\r", ""))})


def queue_of(fields: dict[str, str]) -> QueueState | None:
    """A queue from what was said of it, numbers as words; None where its place is missing."""
    index, num, *rings = (_integer(fields, name) for name in ("queue_index", "num", "desc", "avail", "used"))
    if index is None or num is None or None in rings:
        return None
    desc, avail, used = (each or 0 for each in rings)
    return QueueState(
        index,
        num,
        desc,
        avail,
        used,
        _integer(fields, "used_idx") or 0,
        _integer(fields, "last_avail_idx"),
        _integer(fields, "shadow_avail_idx"),
        _integer(fields, "inuse") or 0,
        _integer(fields, "signalled_used") or 0,
        fields.get("signalled_used_valid") == "true",
    )


# -- PCI ---------------------------------------------------------------------------------------------------------------

FUNCTION = re.compile(r"^ +Bus +(\d+), device +(\d+), function (\d):$", re.MULTILINE)
IDS = re.compile(r"PCI device ([0-9a-f]{4}):([0-9a-f]{4})")
BAR = re.compile(r"BAR(\d): (I/O|\d\d bit.*? memory) at 0x([0-9a-f]+) \[0x([0-9a-f]+)\]")


@dataclass(frozen=True, slots=True)
class Function:
    """A PCI function in ``info pci``, with its BARs as the bus has them; ``id`` is the user's name for it."""

    bus: int
    device: int
    function: int
    vendor: int
    pci_id: int
    bars: tuple[Bar, ...]
    id: str = ""

    @property
    def slot(self) -> str:
        """Its place, as Linux and lspci write it."""
        return f"{self.bus:02x}:{self.device:02x}.{self.function}"

    @property
    def devfn(self) -> int:
        """Its place on its bus, as QEMU's property ``addr`` has it."""
        return self.device << 3 | self.function


def functions(text: str) -> list[Function]:
    """Every function in ``info pci``. A BAR that has no address yet is left out."""
    _, *rest = FUNCTION.split(text.replace("\r", ""))
    found = []
    for bus, device, function, body in zip(*(rest[n::4] for n in range(4)), strict=True):
        ids = IDS.search(body)
        if ids is None:
            continue
        bars = []
        for number, kind, first, last in BAR.findall(body):
            start, end = int(first, 16), int(last, 16)
            if end >= start and not (end - start + 1).bit_length() > 64:
                bars.append(Bar(int(number), start, end - start + 1, kind == "I/O"))
        name = re.search(r'^ +id "([^"]*)"', body, re.MULTILINE)
        place = (int(bus), int(device), int(function))
        found.append(Function(*place, int(ids[1], 16), int(ids[2], 16), tuple(bars), name[1] if name else ""))
    return found


def function_of(device: DeviceState, devfn: int | None, among: Sequence[Function]) -> Function | None:
    """The PCI function that a device is behind: of its type, at ``devfn`` where that is known, and of its name where it
    has one. None where none is, or several could be."""
    fitting = [
        each
        for each in among
        if each.vendor == pci.VENDOR and pci.virtio_id(each.pci_id) == device.device_id and devfn in (None, each.devfn)
    ]
    named = re.match(r"/machine/peripheral/([^/]+)/", device.path)
    if named:
        fitting = [each for each in fitting if each.id == named[1]] or fitting
    elif len(fitting) > 1:
        fitting = [each for each in fitting if not each.id]
    return fitting[0] if len(fitting) == 1 else None


# -- where the bus is in the CPU's addresses ---------------------------------------------------------------------------

SPAN = r"([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, [a-z/-]+\): "
ALIAS = re.compile(rf"^ +{SPAN}alias (.+?) @(\S.*?) ([0-9a-f]{{16}})-([0-9a-f]{{16}})\s*$")
FLAT = re.compile(r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, i/o\): (.*?)(?: @[0-9a-f]{16})?\s*$")
MEMORY = re.compile(r'^ AS "(?:memory|cpu-memory-0)"', re.MULTILINE)
TCE = re.compile(r"^tce-iommu-[0-9a-f]+$")
BRIDGE = re.compile(r"^(phb\d+-[\d.]+)-regs$")


@dataclass(frozen=True, slots=True)
class Aperture:
    """``size`` bytes of a bus from ``bus`` on that a CPU has at ``real``. ``io`` is the bus's I/O space."""

    real: int
    bus: int
    size: int
    io: bool


def apertures(text: str) -> list[Aperture]:
    """What of PCI's spaces is in the CPU's, out of ``info mtree``: aliases in its address space ``memory``."""
    found, inside = [], False
    for line in text.replace("\r", "").split("\n"):
        if line.startswith(("address-space:", "memory-region:")):
            inside = line == "address-space: memory" or (inside and line.startswith("address-space: cpu-memory-"))
        elif inside and (alias := ALIAS.match(line)):
            start, last, bus = int(alias[1], 16), int(alias[2], 16), int(alias[5], 16)
            if last >= start and re.search(r"pci|phb", alias[4], re.IGNORECASE):
                found.append(Aperture(start, bus, last - start + 1, bool(re.search(r"\bio$|-io\b", alias[4]))))
    return found


def flat_parts(text: str) -> list[Part]:
    """What is I/O in the CPU's addresses, out of ``info mtree -f``, in order."""
    views = re.split(r"^FlatView", text.replace("\r", ""), flags=re.MULTILINE)
    view = next((each for each in views if MEMORY.search(each)), "")
    return [_part(found) for line in view.split("\n") if (found := FLAT.match(line))]


def _part(found: re.Match[str]) -> Part:
    start, last = int(found[1], 16), int(found[2], 16)
    return Part(found[3], start, max(last - start + 1, 0))


def windows(text: str) -> list[Window]:
    """The windows that a bus has into memory, out of ``info mtree -f``: on pseries those of IOMMU tables, I/O ranges
    called tce-iommu-…; on powernv, where a bridge has registers, the one that it may pass through."""
    found: dict[tuple[str, int], Window] = {}
    for line in text.replace("\r", "").split("\n"):
        if not (flat := FLAT.match(line)):
            continue
        part = _part(flat)
        if TCE.match(part.name):
            found.setdefault((part.name, part.start), Window(part.name, part.start, part.size))
        elif bridge := BRIDGE.match(part.name):
            name = f"{bridge[1]} {BYPASS}"
            found.setdefault((name, DIRECT_FROM), Window(name, DIRECT_FROM, DIRECT_FROM))
    return list(found.values())


def placed(
    device: DeviceState, function: Function | None, over: Iterable[Aperture], parts: Sequence[Part]
) -> DeviceState:
    """A device with its place on PCI, its BARs where a CPU has them, and what QEMU has there."""
    if function is None:
        return device
    openings = list(over)
    return replace(device, slot=function.slot, bars=tuple(_placed(each, openings, parts) for each in function.bars))


def _placed(bar: Bar, over: Sequence[Aperture], parts: Sequence[Part]) -> Bar:
    """Where something of the BAR's answers in the CPU's addresses, that is where it is."""
    for each in over:
        if each.io == bar.io and each.bus <= bar.address and bar.address + bar.size <= each.bus + each.size:
            real = each.real + bar.address - each.bus
            inside = tuple(part for part in parts if real <= part.start and part.start + part.size <= real + bar.size)
            if inside:
                return replace(bar, real=real, parts=inside)
    return bar
