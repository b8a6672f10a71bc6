"""What QEMU's monitor prints, read: pure functions of text, recorded with QEMU 7.2.

The monitor is reached through the stub (``monitor …`` in gdb, ``qRcmd`` on the wire); its lines end
in CR LF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from inspector.memory.physical import RamMap, Range

CPU_SPACE = re.compile(r'^\s*AS "(cpu-memory-\d+|memory)"')
RANGE = re.compile(
    r"^\s+([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (nv-)?([a-z/]+)\): (.*?)(?: @[0-9a-f]{16})?(?: KVM)?\s*$"
)

TICKS = re.compile(r"CPU#(\d+)$\n(?:MSR .*\n)?TB (\d{1,20}) (\d{1,20}) +DECR (\d{1,20})", re.MULTILINE)


def parse_mtree(text: str) -> RamMap:
    """The RAM that a read through the stub reaches, out of ``info mtree -f``.

    Only the flat view of the address space ``memory`` counts: in physical mode the stub reads
    ``address_space_memory`` (``target_memory_rw_debug`` in QEMU's gdbstub), whatever a vCPU's own view is.
    Older or other builds that name only ``cpu-memory-0`` are read from that. Of a flat view, only ranges of
    type ``ram`` count (``nv-ram``: the same, non-volatile). ``rom`` is read as memory too, but is no RAM;
    ``romd`` can turn into a device between two reads; ``ramd`` is a device's own memory passed through, where
    a read may act; ``i/o`` is a device (softmmu/memory.c, ``memory_region_type``). Touching ranges of one
    name are joined, so that aliases and the pieces around a hole that was filled again are one."""
    views: list[tuple[set[str], list[Range]]] = []
    for line in text.replace("\r", "").split("\n"):
        if line.startswith("FlatView"):
            views.append((set(), []))
            continue
        if not views:
            continue
        names, ranges = views[-1]
        if space := CPU_SPACE.match(line):
            names.add(space[1])
        elif (found := RANGE.match(line)) and found[4] == "ram":
            start, last = int(found[1], 16), int(found[2], 16)
            if last >= start:
                ranges.append(Range(start, last - start + 1, found[5].strip()))
    for wanted in ("memory", "cpu-memory-0"):
        for names, ranges in views:
            if wanted in names:
                return RamMap(_join(ranges))
    return RamMap(())


def _join(ranges: list[Range]) -> list[Range]:
    """Ranges in order, those of one name that touch made one."""
    joined: list[Range] = []
    for r in sorted(ranges, key=lambda r: r.start):
        last = joined[-1] if joined else None
        if last is not None and last.name == r.name and last.end == r.start:
            joined[-1] = Range(last.start, last.size + r.size, r.name)
        else:
            joined.append(r)
    return joined


def parse_status(text: str) -> str:
    """``paused``, ``running``, ``paused (prelaunch)`` …, out of ``info status``; empty where it says nothing."""
    found = re.search(r"VM status: (.*)", text)
    return found[1].strip() if found else ""


def version_words(text: str) -> str:
    """``info version`` with the package's name parted from the number that it is run together with."""
    return re.sub(r"^([\d.]*\d)(?=[^\d.\s])", r"\1 ", text.strip())


def parse_machine(text: str) -> str:
    """``pseries-7.2`` out of ``qom-get /machine type``, which prints it as a JSON string; empty where it does not."""
    found = re.fullmatch(r'\s*"([\w.+-]{1,64}?)(?:-machine)?"\s*', text)
    return found[1] if found else ""


def parse_version(text: str) -> tuple[int, int] | None:
    """QEMU's (major, minor) out of ``info version``, whose text is ``7.2.22`` and a package's name run together."""
    found = re.match(r"\s*(\d{1,3})\.(\d{1,3})", text)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Ticks:
    """A vCPU's time base, and its decrementer as QEMU has it: what is left until the next tick is due."""

    time_base: int
    decrementer: int


def parse_ticks(text: str) -> dict[int, Ticks]:
    """Of every vCPU in ``info registers -a``, by its number (QEMU 7.2, ``ppc_cpu_dump_state``: TBU, TBL and DECR in
    decimal, and of TBL all 64 bits). What it does not say is absent."""
    found = {}
    for number, high, low, left in TICKS.findall(text.replace("\r", "")):
        found[int(number)] = Ticks(int(high) << 32 | int(low) & 0xFFFF_FFFF, int(left))
    return found


def parse_value(text: str) -> int | None:
    """The number that ``print/x`` prints (zero without ``0x``), or None for a register the monitor does not know."""
    found = re.fullmatch(r"\s*(?:0x)?([0-9a-f]{1,16})\s*", text)
    return int(found[1], 16) if found else None


def parse_host_address(text: str) -> int | None:
    """Where QEMU keeps a byte of RAM in its own address space, out of ``gpa2hva``; None where it does not say."""
    found = re.search(r"Host virtual address for .* is 0x([0-9a-f]{1,16})\s*$", text)
    return int(found[1], 16) if found else None


@dataclass(frozen=True, slots=True)
class Backend:
    """A memory backend of QEMU's: its ``id`` as an object, its size in bytes, and whether its pages are shared."""

    id: str
    size: int
    shared: bool


def parse_memdevs(text: str) -> list[Backend]:
    """The memory backends in ``info memdev``. Names that could not be an object's are left out."""
    found = []
    for block in re.split(r"^memory backend:", text.replace("\r", ""), flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        values = dict(re.findall(r"^\s+(\w+):\s*(\S+)\s*$", rest, flags=re.MULTILINE))
        if re.fullmatch(r"[A-Za-z][\w.-]*", name.strip()) and values.get("size", "").isdigit():
            found.append(Backend(name.strip(), int(values["size"]), values.get("share") == "true"))
    return found


def parse_string(text: str) -> str | None:
    """The string that ``qom-get`` prints as JSON; None where it prints anything else."""
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, str) else None
