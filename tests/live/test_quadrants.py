"""The hypervisor's four quadrants, and its relocation off, against QEMU: the registers of a stopped machine are set
through its gdbstub by gdb itself, and put back. (MSR[HV] cannot be taken away so: guests are in test_guest_context.)"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from inspector.radix.translation import Access
from scripts.guests import Machine
from scripts.incontext import special, state
from scripts.oracle import gva2gpa
from scripts.scene import Scene
from tests.live.image import Image
from tests.live.tables import Tables
from tests.radix.trees import GR, HR, LEAF, PRIV, READ, VALID, WRITE, Bump, C, R, Tree

pytestmark = pytest.mark.live

SF, HV, PR, RELOCATED, LITTLE = 1 << 63, 1 << 60, 0xC000, 0x30, 1
"""Bits of MSR; problem state comes with EE (QEMU 7.2, ``hreg_store_msr``)."""
LPID, PID = 77, 6
ROOM, ROOM_SIZE = 0x2000_0000, 4 << 20
"""Where in the host's RAM the partition of this test is built while the machine stands; put back as it was."""
FIRST_GPA = 1 << 32
ACCESSES: tuple[Access, ...] = ("r", "x")
NAMES = ("msr", "lpidr", "pid", "hrmor")


def set_registers(machine: Machine, values: Mapping[str, int]) -> None:
    """Set registers of vCPU 0 of a stopped machine, which stays stopped. MSR[LE] must stay as it is: gdb sends values
    in the byte order that it goes by."""
    words = [shutil.which("gdb-multiarch") or "gdb-multiarch", "-nx", "-q", "-batch"]
    order = "little" if state(machine, 0) & LITTLE else "big"
    lines = [
        "set architecture powerpc:common64",
        f"set endian {order}",
        f"target remote {machine.gdb_address}",
        *(f"set var ${name} = {value:#x}" for name, value in values.items()),
        "disconnect",  # a detach would let the machine run
    ]
    for line in lines:
        words += ["-ex", line]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
    assert not machine.running
    now = {"msr": state(machine, 0)} | {name: special(machine, name) for name in NAMES[1:]}
    assert {name: now[name] for name in values} == dict(values), done.stderr


@contextmanager
def in_hypervisor(scene: Scene, image: Image) -> Iterator[Machine]:
    """The machine, stopped in the host's context on vCPU 0, whose registers are put back; ``image`` gets its keys."""
    machine = scene.machine
    for _ in range(100):
        machine.pause()
        if state(machine, 0) & (HV | LITTLE) == HV | LITTLE:  # not in firmware, which is big-endian
            break
        machine.cont()
    else:
        raise AssertionError("vCPU 0 was not seen in the host's own code")
    before = {"msr": state(machine, 0)} | {name: special(machine, name) for name in NAMES[1:]}
    for name in ("amr", "iamr"):
        image.guest.overrides[name] = special(machine, name)
    try:
        yield machine
    finally:
        set_registers(machine, before)
        machine.cont()
    assert machine.shell("echo well").strip() == "well"


@contextmanager
def partition(machine: Machine) -> Iterator[dict[int, int]]:
    """A partition of this test's own, LPID 77: EAs of its PID 6 and of its kernel, and the host real address of each.

    Its tables lie at guest real addresses that are the host's too, for QEMU 7.2 reads directories of quadrants 1 and 2
    untranslated where the ISA (5.7.3) translates them; its memory does not."""
    tables = Tables(machine)
    before = tables.map[ROOM : ROOM + ROOM_SIZE]
    ptcr = special(machine, "ptcr")
    entry = (ptcr & 0x0FFF_FFFF_FFFF_F000) + 16 * LPID
    kept = tables.map[entry : entry + 16]

    def put(address: int, value: int) -> None:
        tables.map[address : address + 8] = value.to_bytes(8, "big")

    try:
        tables.map[ROOM : ROOM + ROOM_SIZE] = bytes(ROOM_SIZE)
        space = Bump(ROOM)
        host = Tree(put, space)
        table = space.take(1 << 16)
        trees = {PID: Tree(put, space), 0: Tree(put, space)}
        for at in range(ROOM, ROOM + ROOM_SIZE, 1 << 21):
            host.map(at, VALID | LEAF | R | C | READ | WRITE | at, 21)
        rng = random.Random(9)
        expected = {}
        for number in range(40):
            gpa, ra = FIRST_GPA + (number << 21), rng.randrange(0, 1 << 30, 1 << 21)
            host.map(gpa, VALID | LEAF | R | C | READ | (WRITE if number % 3 else 0) | ra, 21)
            pid = (PID, 0)[number % 2]
            offset = rng.randrange(0, 1 << 51, 1 << 16)
            inside = rng.randrange(0, 1 << 21, 1 << 16)
            trees[pid].map(offset, VALID | LEAF | R | C | READ | WRITE | (0 if pid else PRIV) | gpa + inside, 16)
            expected[(1 if pid else 2) << 62 | offset] = ra + inside
        for pid, tree in trees.items():
            put(table + 16 * pid, tree.descriptor)
        put(entry, HR | host.descriptor)
        put(entry + 8, GR | table | 4)
        yield expected
    finally:
        tables.map[ROOM : ROOM + ROOM_SIZE] = before
        tables.map[entry : entry + 16] = kept
        tables.close()


def ours(image: Image, ea: int, registers: Mapping[str, int]) -> int | None:
    """What gva2gpa asks: may it be loaded, or else fetched?"""
    known = registers
    image.guest.overrides["hrmor"] = known.get("hrmor", 0)
    for access in ACCESSES:
        answer = image.translate(ea, known["msr"], pid=known["pid"], lpidr=known["lpidr"], access=access)
        if answer.ok:
            return answer.ra
    return None


@pytest.fixture
def image(scene: Scene) -> Iterator[Image]:
    image = Image(scene.machine)
    yield image
    image.close()


@pytest.mark.parametrize("problem", [0, PR])
def test_the_hypervisors_quadrants_1_and_2_are_its_guests(scene: Scene, image: Image, problem: int) -> None:
    with in_hypervisor(scene, image) as machine, partition(machine) as expected:
        registers = {"msr": SF | HV | RELOCATED | LITTLE | problem, "lpidr": LPID, "pid": PID}
        set_registers(machine, registers)
        reached = 0
        for ea, ra in expected.items():
            answer = image.translate(ea, registers["msr"], pid=PID, lpidr=LPID)
            assert (answer.lpid, answer.pid) == (LPID, PID if ea >> 62 == 1 else 0)
            assert (answer.ok, answer.ra) == (True, ra)
            assert ours(image, ea, registers) == gva2gpa(machine, ea)
            reached += gva2gpa(machine, ea) == ra
        assert reached >= len(expected) // 2, "AMR or privilege shut more than they may"
        rng = random.Random(problem)
        some = list(expected)
        for _ in range(1500):
            ea = rng.choice(some) ^ rng.choice((0, 1 << 62, 1 << 63, 3 << 62)) ^ rng.choice((0, 1 << rng.randrange(62)))
            assert ours(image, ea, registers) == gva2gpa(machine, ea), hex(ea)


def test_the_hypervisor_reaches_through_quadrants_1_and_2_what_a_guest_has_stored(scene: Scene, image: Image) -> None:
    """Real guests' directories are translated: QEMU 7.2 would go astray here, and is not asked."""
    image.guest.overrides.update(amr=0, iamr=0)
    for guest in scene.guests:
        for stored in guest.stored:
            if stored.msr & RELOCATED:
                ea = stored.ea & (1 << 62) - 1 | (2 if stored.ea >> 62 else 1) << 62
                answer = image.translate(ea, SF | HV | RELOCATED | stored.msr & PR, pid=stored.pid, lpidr=guest.lpid)
                assert (answer.ok, answer.gra, answer.lpid) == (True, stored.gpa, guest.lpid)
                assert answer.ra is not None
                assert image.word(answer.ra) == stored.value


def test_quadrants_0_and_3_are_the_hypervisors_own_whatever_lpidr_says(scene: Scene, image: Image) -> None:
    with in_hypervisor(scene, image) as machine:
        kernel = 0xC000_0000_0000_0000
        for lpidr in (0, 1, LPID):
            registers = {"msr": SF | HV | RELOCATED | LITTLE, "lpidr": lpidr, "pid": special(machine, "pid")}
            set_registers(machine, registers)
            rng = random.Random(lpidr)
            asked = [kernel | rng.randrange(1 << 31) for _ in range(300)] + [rng.getrandbits(51) for _ in range(100)]
            assert sum(gva2gpa(machine, ea) is not None for ea in asked) > 200
            assert [hex(ea) for ea in asked if ours(image, ea, registers) != gva2gpa(machine, ea)] == []


@pytest.mark.parametrize("hrmor", [0, 0x1000_0000])
def test_relocation_off_in_the_hypervisor(scene: Scene, image: Image, hrmor: int) -> None:
    with in_hypervisor(scene, image) as machine:
        registers = {"msr": SF | HV | LITTLE, "lpidr": 1, "pid": 5, "hrmor": hrmor}
        set_registers(machine, registers)
        rng = random.Random(hrmor)
        asked = [rng.getrandbits(rng.choice((31, 60, 64))) for _ in range(500)]
        assert [hex(ea) for ea in asked if ours(image, ea, registers) != gva2gpa(machine, ea)] == []
