"""Both stages, on KVM guests in a bare machine: against what the guests' own CPU stored, loaded and ran into, against
KVM's listing of its partition-scoped trees, and against the kernel's word on its process's memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import inspector
from inspector.radix.translation import Access
from inspector.radix.tree import Leaf, walk_tree
from inspector.radix.walk import partition_entry
from scripts.hostword import PAGE, listed, resident
from scripts.monitor import REAL, USER, VIRTUAL, Monitor, Outcome, outcome
from scripts.scene import DEVICE, DEVICE_EA, KERNEL, USER_CODE, KvmGuest, Scene
from tests.live.image import Image

pytestmark = pytest.mark.live

IR, DR = 0x20, 0x10
VECTORS = {"DSI": 0x300, "DSEG": 0x380, "ISI": 0x400, "ISEG": 0x480}
CAUSES = 0x585E_0000
"""The bits of SRR1 that tell why a fetch failed."""
SYSTEM_CALL = 0x2500
"""Where the guest's first page has an instruction that ends the operation."""
ACCESSES: tuple[Access, ...] = ("r", "r", "w", "x")
OPERATION = {"r": ("load", 0x2100), "w": ("store", 0x2200), "x": ("fetch", 0)}


@pytest.fixture
def image(scene: Scene) -> Iterator[Image]:
    image = Image(scene.machine)
    yield image
    image.close()


# --- values ---------------------------------------------------------------------------------------------------------


def test_what_the_guests_stored_lies_where_we_say(scene: Scene) -> None:
    with inspector.open_target(scene.machine.target, ram=str(scene.machine.ram_file)) as seen:
        kinds = set()
        for guest in scene.guests:
            for stored in guest.stored:
                answer = (
                    seen.translate(stored.ea, lpid=guest.lpid, pid=stored.pid)
                    if stored.msr & DR
                    else seen.translate(stored.ea, lpid=guest.lpid, guest_real=True)
                )
                assert answer.ok, (hex(stored.ea), answer.reason)
                assert answer.ra is not None
                assert int.from_bytes(seen.memory.read(answer.ra, 8), "little") == stored.value
                assert (answer.gra, answer.page_shift, answer.lpid) == (stored.gpa, stored.shift, guest.lpid)
                by_real = seen.translate(stored.gpa, lpid=guest.lpid, guest_real=True)
                assert by_real.ra == answer.ra
                kinds.add((stored.msr, stored.shift))
        assert kinds >= {(VIRTUAL, 12), (VIRTUAL, 16), (VIRTUAL, 21), (USER, 12), (USER, 16), (USER, 21), (REAL, 16)}


@dataclass(frozen=True)
class Try:
    """An operation that a guest's CPU is given."""

    access: Access
    pid: int
    ea: int
    msr: int
    code: int = 0

    @property
    def line(self) -> str:
        """As the monitor is told."""
        word = OPERATION[self.access][0]
        code = "" if self.access == "x" else f" {self.code:x}"
        return f"{word} {self.pid:x} {self.ea:x} 5eed {self.msr:x}{code}"

    @property
    def accesses(self) -> list[tuple[Access, int]]:
        """What it comes to, in order: the fetch of its own instruction, then what that does."""
        if self.access == "x":
            return [("x", self.ea)]
        return [("x", self.code + OPERATION[self.access][1]), (self.access, self.ea)]


def tries(guest: KvmGuest, number: int, seed: int) -> Iterator[Try]:
    """Operations of all kinds. None stores where something was stored or where the tables and the code are."""
    rng = random.Random(seed)
    layout = guest.layout
    pids = sorted({leaf.pid for leaf in layout.leaves} - {0}) or [0]
    for _ in range(number):
        pid = rng.choice([*pids, rng.randrange(0x1200)] if layout.table else pids)
        msr = rng.choice((VIRTUAL, VIRTUAL, USER, REAL, REAL | IR, REAL | DR)) if layout.table else REAL
        code = USER_CODE if msr == USER else 0
        access = rng.choice(ACCESSES)
        ea = address(guest, rng, pid, msr & (IR if access == "x" else DR), access)
        if ea is not None:
            yield Try(access, pid, ea, msr, code)


def address(guest: KvmGuest, rng: random.Random, pid: int, relocated: int, access: Access) -> int | None:
    """An EA for an access of this kind."""
    low = 0xFF8 if access == "w" else rng.randrange(0, PAGE, 8)
    choice = rng.random()
    if not relocated:
        within = rng.choice(guest.layout.slots)
        real = within.gpa + rng.randrange(0, within.size, PAGE) | low
        if access == "x":
            real = SYSTEM_CALL
        elif access == "w" and (real < 0x100_0000 or not within.writable):
            return None
        elif choice < 0.2:
            real = DEVICE | low
        return real | rng.choice((0, 0, KERNEL, 1 << 62, 1 << 63))
    leaves = [leaf for leaf in guest.layout.leaves if leaf.pid in (pid, 0)]
    if choice < 0.25 or not leaves:
        return rng.getrandbits(2) << 62 | rng.getrandbits(rng.choice((30, 40, 52, 54))) & ~0xFFF | low
    leaf = rng.choice(leaves)
    inside = rng.randrange(0, 1 << leaf.shift, min(PAGE, 1 << leaf.shift)) | low & ((1 << leaf.shift) - 1)
    slot = guest.layout.slot(leaf.gpa + inside)
    if access == "x" and leaf.flags & 1:
        return leaf.ea + SYSTEM_CALL - leaf.gpa if leaf.gpa <= SYSTEM_CALL < leaf.gpa + (1 << leaf.shift) else None
    if access == "w" and leaf.flags & 2 and (slot is None or leaf.gpa + inside < 0x100_0000 or not slot.writable):
        return None
    return leaf.ea + inside


def forecast(image: Image, guest: KvmGuest, one: Try) -> tuple[str, int | None, int]:
    """What the inspector says comes of it: "ok", "interrupt" or "mmio"; the vector or guest real address; the bits."""
    for access, ea in one.accesses:
        answer = image.translate(ea, one.msr, pid=one.pid, lpidr=guest.lpid, access=access)
        if answer.ok:
            continue
        assert answer.interrupt is not None
        if answer.stage == 2:  # the host's affair; that no slot is behind it makes it a device
            return "mmio", answer.gra, 0
        return "interrupt", VECTORS[answer.interrupt.name], answer.interrupt.bits
    return "ok", None, 0


def happened(said: list[str]) -> tuple[str, int | None, int]:
    """The same of what the guest's CPU told."""
    first, last = outcome(said[0]), outcome(said[-1])
    if first.word == "mmio":
        assert last.word == "ok", said
        return "mmio", first.value, 0
    if last.word == "interrupt":
        return "interrupt", last.value, bits_of(last)
    return last.word, None, 0


def bits_of(told: Outcome) -> int:
    """Why, from DSISR or SRR1."""
    if told.value == 0x300:
        return told.fields["dsisr"]
    return told.fields["srr1"] & CAUSES if told.value == 0x400 else 0


def split(said: list[str]) -> Iterator[list[str]]:
    """The answers of one operation after the other: device accesses come before their operation's end."""
    some: list[str] = []
    for line in said:
        some.append(line)
        if not line.startswith("mmio"):
            yield some
            some = []


def test_every_access_ends_as_the_guests_own_cpu_found(scene: Scene, image: Image) -> None:
    ended: dict[tuple[str, int | None], int] = {}
    wrong = []
    for guest in scene.guests:
        asked = list(tries(guest, 400, seed=guest.lpid))
        said = list(split(guest.monitor.ask(*(one.line for one in asked))))
        assert len(said) == len(asked)
        for one, answer in zip(asked, said, strict=True):
            # Told afterwards: the host gives a page to whatever memory is touched.
            mine, theirs = forecast(image, guest, one), happened(answer)
            ended[theirs[0], theirs[1] if theirs[0] == "interrupt" else None] = 1
            if mine != theirs:
                wrong.append(f"guest {guest.lpid}, {one.line!r}: its CPU {answer}, we {mine}")
            if one.access == "r" and theirs[0] == "ok":
                ra = image.translate(one.ea, one.msr, pid=one.pid, lpidr=guest.lpid).ra
                assert ra is not None
                if image.word(ra) != outcome(answer[-1]).value:
                    wrong.append(f"guest {guest.lpid}, {one.line!r}: loaded {answer}, we see {image.word(ra):#x}")
    assert wrong == []
    assert set(ended) == {("ok", None), ("mmio", None), *(("interrupt", vector) for vector in VECTORS.values())}


# --- what the host has behind it ------------------------------------------------------------------------------------


def ours(image: Image, lpid: int) -> tuple[int, list[Leaf]]:
    """The same by the inspector."""
    seen = image.guest
    image.translate(0, VIRTUAL, lpidr=lpid)
    entry = partition_entry(seen.memory.read_u64, seen.context(), lpid)
    assert entry is not None
    return entry[0], [each for each in walk_tree(seen.memory.read, entry[0]) if isinstance(each, Leaf)]


def test_partition_scoped_leaves_are_those_that_kvm_lists(scene: Scene, image: Image) -> None:
    shifts = set()
    for guest in scene.guests:
        root, lines = listed(scene.machine, guest)
        entry, leaves = ours(image, guest.lpid)
        assert entry & 0x0FFF_FFFF_FFFF_FF00 == root
        assert [f" {leaf.offset:x}: {leaf.entry:x} {leaf.shift}" for leaf in leaves] == lines
        shifts |= {leaf.shift for leaf in leaves}
    assert shifts == {16, 21}


def test_the_host_real_addresses_are_those_of_the_monitors_own_memory(scene: Scene, image: Image) -> None:
    for guest in scene.guests:
        _, leaves = ours(image, guest.lpid)
        for slot in guest.layout.slots:
            frames = resident(scene.machine, guest, slot.gpa, slot.size)
            inside = [leaf for leaf in leaves if slot.gpa <= leaf.offset < slot.gpa + slot.size]
            assert {leaf.shift for leaf in inside} <= {slot.shift}
            for leaf in inside:
                at = (leaf.offset - slot.gpa) // PAGE
                for page in range(1 << (leaf.shift - 16)):
                    frame = frames[at + page]
                    assert frame is not None, (hex(leaf.offset), "the monitor has no page there")
                    assert frame * PAGE == leaf.ra + page * PAGE


def test_memory_that_was_never_touched_has_nothing_behind_it(scene: Scene, image: Image) -> None:
    first = scene.guests[0]
    slot = first.layout.slot(0x5080_0000)
    assert slot is not None
    frames = resident(scene.machine, first, slot.gpa, slot.size)
    for page, frame in enumerate(frames):
        answer = image.translate(slot.gpa + page * PAGE, REAL, lpidr=first.lpid)
        if frame is None:
            assert (answer.status, answer.stage, answer.cause) == ("fault", 2, "not-present")
    assert frames.count(None) > len(frames) // 2, "there is no overcommitted memory"


def test_memory_given_back_to_the_host_has_nothing_behind_it(scene: Scene, image: Image) -> None:
    first = scene.guests[0]
    gpa = 0x18F_0000
    assert first.monitor.ask(f"store 0 {gpa:x} 77 {REAL:x}") == ["ok 77"]
    held = image.translate(gpa, REAL, lpidr=first.lpid)
    assert held.ok
    assert held.ra is not None
    assert image.word(held.ra) == 0x77
    first.monitor.ask(f"drop {gpa:x} 10000")
    gone = image.translate(gpa, REAL, lpidr=first.lpid)
    assert (gone.status, gone.stage, gone.cause) == ("fault", 2, "not-present")
    assert first.monitor.ask(f"load 0 {gpa:x} 0 {REAL:x}") == ["ok 0"]
    assert image.translate(gpa, REAL, lpidr=first.lpid).ok


def test_two_guests_share_a_page_of_the_hosts(scene: Scene, image: Image) -> None:
    first, second = scene.guests[:2]
    stored = next(each for each in first.stored if each.gpa >> 16 == 0x6000)
    inside = stored.gpa & 0xFFFF
    assert second.monitor.ask(f"load 5 {0x2900_0000 + inside:x} 0 {VIRTUAL:x}") == [f"ok {stored.value:x}"]
    one = image.translate(stored.ea, stored.msr, pid=5, lpidr=first.lpid)
    other = image.translate(0x2900_0000 + inside, VIRTUAL, pid=5, lpidr=second.lpid)
    assert one.ok
    assert one.ra == other.ra
    assert one.gra != other.gra


def test_what_the_host_may_only_read_the_guest_may_not_write(scene: Scene, image: Image) -> None:
    first = scene.guests[0]
    assert first.monitor.ask(f"load 5 28010000 0 {VIRTUAL:x}") == ["ok 0"]
    answer = image.translate(0x2801_0000, VIRTUAL, pid=5, lpidr=first.lpid)
    assert (answer.ok, answer.rights.read, answer.rights.write) == (True, True, False)
    refused = image.translate(0x2801_0000, VIRTUAL, pid=5, lpidr=first.lpid, access="w")
    assert (refused.status, refused.stage, refused.cause) == ("fault", 2, "protection")


def test_a_device_is_the_second_stages_fault_and_an_empty_entry_the_firsts(scene: Scene, image: Image) -> None:
    first = scene.guests[0]
    answer = image.translate(DEVICE_EA, VIRTUAL, pid=5, lpidr=first.lpid, access="r")
    assert (answer.stage, answer.interrupt and answer.interrupt.name) == (2, "HDSI")
    said = first.monitor.ask(f"load 5 {DEVICE_EA:x} 0 {VIRTUAL:x}")
    assert outcome(said[0]).value == DEVICE
    answer = image.translate(0x5F00_0000, VIRTUAL, pid=5, lpidr=first.lpid, access="r")
    assert (answer.stage, answer.interrupt and answer.interrupt.name) == (1, "DSI")


def test_a_guest_that_ended_leaves_no_partition_behind(scene: Scene, image: Image) -> None:
    monitor = Monitor.start(scene.machine, "brief")
    lpid = len(scene.guests) + 1
    monitor.ask("slot 0 100000 small", f"store 0 80000 1 {REAL:x}")
    assert image.translate(0x8_0000, REAL, lpidr=lpid).ok
    monitor.end()
    gone = image.translate(0x8_0000, REAL, lpidr=lpid)
    assert (gone.status, gone.stage, gone.cause) == ("fault", 2, "partition-not-radix")
