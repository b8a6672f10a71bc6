"""A KVM guest hung by each strictness of KVM's walk, by what lies behind its code and tables, and not hung at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from inspector.cli import main
from scripts.hang import NIP
from scripts.monitor import REAL, VIRTUAL, outcome
from scripts.scene import CODE, DEVICE, DEVICE_EA, IO, KERNEL, KvmGuest, Layout, Leaf, Scene, Slot, scene

pytestmark = pytest.mark.live

TABLE, MEMORY = 0x40_0000, 0x200_0000
NOWHERE = 0xE000_0000
"""A guest real address that no slot holds."""
DATA_EA, BIG = 0xC000_0000, 1 << 39
READ = 4
RFID, NOP, LOAD_R5, BACK = 0x4C00_0024, 0x6000_0000, 0xE8A4_0000, 0x4BFF_FFFC
LOOP = 0x2F00
"""Where a loop that polls a device is put into the guest's first page."""
LAST = 27
Entries = list[tuple[int, int]]
"""Guest real address and value of the process-table entry, of each directory from the root on, and of the leaf."""


def layout(name: str, pids: int) -> Layout:
    each = (
        leaf for pid in range(1, pids) for leaf in (Leaf(pid, 0, 0, 16, CODE), Leaf(pid, DEVICE_EA, where(pid), 16, IO))
    )
    kernel = (Leaf(0, KERNEL, 0, 21, CODE), Leaf(0, KERNEL | DEVICE_EA, DEVICE, 16, IO))
    return Layout(name, (Slot(0, MEMORY),), TABLE, (*each, *kernel))


def where(pid: int) -> int:
    """What a process has at DEVICE_EA: no two the same."""
    return DEVICE + pid * 0x1_0000


@pytest.fixture(scope="module")
def host() -> Iterator[Scene]:
    with closing(scene((layout("many", LAST), layout("few", 3)))) as host:
        yield host


@dataclass(frozen=True, slots=True)
class Way:
    """A guest's tree made so that the hardware (QEMU 7.2) takes it and KVM's walk (Linux 6.1) does not: what is changed
    of its entries, and what is then said. ``code`` is where the guest's first page is to be found."""

    name: str
    slug: str
    errno: str
    words: str
    change: Callable[[Entries], Entries]
    code: int = 0
    maps: str = ""


def at(number: int, change: Callable[[int], int]) -> Callable[[Entries], Entries]:
    """The one entry changed."""
    return lambda entries: [(entries[number][0], change(entries[number][1]))]


def shifted_root(entries: Entries) -> Entries:
    """A root 0x100 bytes on: QEMU 7.2 takes it as it stands, so that its first entry has to be there."""
    (root, value), (first, directory) = entries[:2]
    return [(root, value | 0x100), (first + 0x100, directory)]


FAILS = "software-walk-fails"
WAYS = (
    Way("stray-64K", FAILS, "EINVAL", "stray-page-bits", at(4, lambda value: value | 0x8000)),
    Way("stray-2M", FAILS, "EINVAL", "stray-page-bits", at(3, lambda value: value | 0x1000), 0x6000_0000, "15"),
    Way("stray-1G", FAILS, "EINVAL", "stray-page-bits", at(2, lambda value: value | 0x1_0000), 0x8000_0000, "1e"),
    Way("misaligned-level-2", FAILS, "EINVAL", "misaligned-base", at(1, lambda value: value | 0x100)),
    Way("misaligned-level-1", FAILS, "EINVAL", "misaligned-base", at(2, lambda value: value | 0x800)),
    Way("misaligned-root", FAILS, "EINVAL", "misaligned-base", shifted_root),
    Way("at-the-root", FAILS, "EINVAL", "leaf-too-large", lambda e: [(e[1][0] + 8, 3 << 62 | CODE)], BIG),
    Way("execute-only", FAILS, "EPERM", "no-read-right", at(4, lambda value: value & ~READ)),
    Way("directory-beyond-52-bits", FAILS, "EFAULT", "table-unreadable", at(2, lambda value: value | 1 << 58)),
    Way("leaf-beyond-52-bits", "software-walk-astray", "EFAULT", "no slot", at(4, lambda value: value | 1 << 55)),
)


def entries(guest: KvmGuest, pid: int, ea: int = 0) -> Entries:
    """The way to ``ea`` through the guest's own tables."""
    found: Entries = []
    place, low, size = TABLE + 16 * pid, 52, 13
    while True:
        value = outcome(guest.monitor.ask(f"peek {place:x}")[-1]).value
        assert value is not None
        found.append((place, value))
        if value >> 62 == 3:
            return found
        if len(found) > 1:
            size = value & 31
        low -= size
        place = (value & 0x0FFF_FFFF_FFFF_FF00) + 8 * ((ea & (1 << 52) - 1) >> low & (1 << size) - 1)


def poke(guest: KvmGuest, changed: Entries) -> None:
    guest.monitor.ask(*(f"poke {place:x} {value:x}" for place, value in changed))


def code(first: int, second: int) -> int:
    """Two instructions of a little-endian guest, as the big-endian doubleword that a monitor is told."""
    return int.from_bytes(first.to_bytes(4, "little") + second.to_bytes(4, "little"), "big")


@contextmanager
def doing(guest: KvmGuest, line: str) -> Iterator[list[str]]:
    """The guest at this, and stopped afterwards; what it said then is in the list."""
    guest.monitor.tell(line)
    said: list[str] = []
    try:
        guest.monitor.computes()
        yield said
    finally:
        said += guest.monitor.stop()


def told(host: Scene, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    """The findings."""
    status = main(
        [host.machine.target, "--ram", str(host.machine.ram_file), "triage", "--json", "--seconds", "0.6", *words]
    )
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [each for each in found if "verdict" in each]
    assert status == (0 if found[0]["verdict"] == "healthy" else 1)
    return found


def load(pid: int, base: int = 0, ea: int = DEVICE_EA, msr: int = VIRTUAL) -> str:
    return f"load {pid:x} {ea:x} 0 {msr:x} {base:x}"


@pytest.mark.parametrize("number", range(len(WAYS)), ids=[way.name for way in WAYS])
def test_each_strictness_is_named(host: Scene, capsys: pytest.CaptureFixture[str], number: int) -> None:
    guest, way, pid = host.guests[0], WAYS[number], number + 2
    if way.maps:
        guest.monitor.ask(f"map {pid:x} {way.code:x} 0 {way.maps} {CODE:x}")
    base = 0 if way.code == BIG else way.code
    assert guest.monitor.ask(load(pid, base))[-1].startswith("ok")  # by the tree as it should be
    poke(guest, way.change(entries(guest, pid, base)))
    with doing(guest, load(pid, way.code)) as said:
        (found, *_) = told(host, capsys)
    assert said == [f"stopped nip {way.code + NIP:x} r5 0"]  # it did hang
    assert (found["verdict"], found["errno"], found["walker"]) == (way.slug, way.errno, "kvm")
    assert (found["lpid"], found["pid"]) == (guest.lpid, pid)
    # how many of the stops find the guest's interrupt, and not one of the host's own, is chance
    assert found["confidence"] in ("high", "medium")
    assert (found["nip"], found["ea"]) == (f"{way.code + NIP:#x}", f"{DEVICE_EA:#x}")
    assert found["ra"] == f"{where(pid):#x}"
    evidence = "\n".join(found["evidence"])
    assert way.words in evidence
    assert "6.1" in evidence


def test_the_kernels_quadrant(host: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    guest = host.guests[1]
    ea = KERNEL | DEVICE_EA
    assert guest.monitor.ask(load(1, KERNEL, ea))[-1].startswith("ok")
    leaf = entries(guest, 0, KERNEL)[-1]
    poke(guest, [(leaf[0], leaf[1] | 0x1_0000)])
    try:
        with doing(guest, load(1, KERNEL, ea)) as said:
            (found, *_) = told(host, capsys)
    finally:
        poke(guest, [leaf])
    assert said == [f"stopped nip {KERNEL + NIP:x} r5 0"]
    assert (found["verdict"], found["lpid"], found["pid"]) == (FAILS, guest.lpid, 0)
    assert found["confidence"] == "high"  # though KVM's reading of its code has the interrupt gone at half of the stops
    assert "stray-page-bits" in "\n".join(found["evidence"])


def test_code_that_nothing_is_behind(host: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    guest = host.guests[0]
    with doing(guest, f"fetch 0 {DEVICE:x} 0 {REAL:x}") as said:
        (found, *_) = told(host, capsys)
    assert said == [f"stopped nip {DEVICE:x} r5 0"]
    assert (found["verdict"], found["lpid"], found["pid"]) == ("second-stage-hole", guest.lpid, None)
    assert (found["nip"], found["ra"]) == (f"{DEVICE:#x}", f"{DEVICE:#x}")


def test_a_table_that_nothing_is_behind(host: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Linux gives the guest a data storage interrupt, and its handler, put there for this, goes back."""
    guest, pid, vector = host.guests[0], LAST - 1, 0x300
    guest.monitor.ask(f"map {pid:x} {DATA_EA:x} 0 10 {CODE:x}")
    directory = entries(guest, pid, DATA_EA)[2]
    before = outcome(guest.monitor.ask(f"peek {vector:x}")[-1]).value
    poke(guest, [(directory[0], directory[1] & 0xF000_0000_0000_00FF | NOWHERE), (vector, code(RFID, NOP))])
    try:
        with doing(guest, load(pid, ea=DATA_EA)) as said:
            (found, *_) = told(host, capsys)
    finally:
        poke(guest, [(vector, before or 0)])
    assert said[-1].startswith("stopped")
    assert (found["verdict"], found["lpid"], found["pid"]) == ("second-stage-hole", guest.lpid, pid)
    assert (found["ea"], found["ra"]) == (f"{DATA_EA:#x}", f"{NOWHERE:#x}")


@pytest.mark.parametrize(
    ("base", "ea", "msr"),
    [(0, DEVICE_EA, VIRTUAL), (KERNEL, KERNEL | DEVICE_EA, VIRTUAL), (0, DEVICE, REAL)],
    ids=["by a process", "by its kernel", "with relocation off"],
)
def test_a_device_that_is_polled_is_no_hang(
    host: Scene, capsys: pytest.CaptureFixture[str], base: int, ea: int, msr: int
) -> None:
    guest = host.guests[0]
    poke(guest, [(LOOP, code(LOAD_R5, BACK))])
    with doing(guest, load(1, base + LOOP - NIP, ea, msr)) as said:
        found = told(host, capsys)
        guest.monitor.accesses(11)
    assert sum(each.startswith("mmio read") for each in said) > 10
    assert {(each["verdict"], each["confidence"]) for each in found} <= {
        ("healthy", "medium"),
        ("healthy", "low"),
        ("unexplained", "low"),
    }


def test_a_guest_at_rest_is_no_hang_however_odd_its_trees(host: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    guest = host.guests[0]
    number = len(WAYS) + 3
    found = entries(guest, number)
    poke(guest, [(found[1][0], found[1][1] | 3 << 60 | 0xE0)])  # reserved bits, which every walk passes over
    assert guest.monitor.ask(load(number))[-1].startswith("ok")
    assert [each["verdict"] for each in told(host, capsys)] == ["healthy"]
