"""The recorded host with KVM guests answers offline, through both stages, as the guests' own CPU, KVM, the host's
kernel and QEMU answered when it was recorded: the checks of tests/live/test_two_stages.py without a machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import pytest

import inspector
from inspector.guest import Guest
from inspector.radix.bits import MSR_DR, MSR_HV, MSR_IR, MSR_LE
from inspector.radix.columns import NO_PID
from inspector.radix.tree import Leaf, walk_tree
from scripts.incontext import COUNTERS
from scripts.monitor import REAL, USER, VIRTUAL
from scripts.oracle import ours
from scripts.recordscene import SHARED_EA, SHARED_GPA, host_real, read
from scripts.scene import DEVICE, DEVICE_EA, KERNEL, KIND
from tests.commands.asking import shown, told
from tests.test_fixtures import FIXTURES

PAGE = 1 << 16
LPIDS = (1, 2, 3)
WITH_TREES = (1, 2)
ORACLE: dict[str, Any] = read(FIXTURES / f"{KIND}.oracle.gz")


@dataclass(frozen=True)
class Stored:
    """What a guest's own CPU stored; ``shift`` is of the smaller of both stages' pages."""

    pid: int
    ea: int
    value: int
    msr: int
    gpa: int
    shift: int


class Said:
    """What others said of one guest."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        self.lpid: int = said["lpid"]
        self.root = int(said["root"], 16)
        self.radix: list[str] = said["radix"]

    @cached_property
    def stored(self) -> list[Stored]:
        return [
            Stored(pid, int(ea, 16), int(value, 16), int(msr, 16), int(gpa, 16), shift)
            for pid, ea, value, msr, gpa, shift in self.said["stored"]
        ]

    @cached_property
    def leaves(self) -> set[tuple[int, int, int, int, int]]:
        """(PID, EA, guest real, log2 of the size, flags) of what was put into its trees."""
        return {
            (pid, int(ea, 16), int(gpa, 16), shift, int(flags, 16))
            for pid, ea, gpa, shift, flags in self.said["leaves"]
        }

    def behind(self, gpa: int) -> int | None:
        """The host real address behind a guest real one, by the kernel's pagemap."""
        return host_real(self.said, gpa)


SAID = {each["lpid"]: Said(each) for each in ORACLE["guests"]}


@pytest.fixture(scope="module")
def host() -> Iterator[Guest]:
    with inspector.open_target(str(FIXTURES / f"{KIND}.core.gz")) as guest:
        yield guest


@pytest.fixture(params=LPIDS, ids=lambda lpid: f"lpid{lpid}")
def said(request: pytest.FixtureRequest) -> Said:
    return SAID[request.param]


@pytest.fixture(params=WITH_TREES, ids=lambda lpid: f"lpid{lpid}")
def treed(request: pytest.FixtureRequest) -> Said:
    """Only guests that have trees of their own."""
    return SAID[request.param]


# --- values -----------------------------------------------------------------------------------------------------------


def test_every_value_lies_where_both_stages_lead(host: Guest, said: Said) -> None:
    assert said.stored
    for stored in said.stored:
        answer = (
            host.translate(stored.ea, lpid=said.lpid, pid=stored.pid)
            if stored.msr & MSR_DR
            else host.translate(stored.ea, lpid=said.lpid, guest_real=True)
        )
        assert answer.ok, (hex(stored.ea), answer.reason)
        assert answer.ra is not None
        assert int.from_bytes(host.memory.read(answer.ra, 8), "little") == stored.value, hex(stored.ea)
        assert (answer.ra, answer.gra) == (said.behind(stored.gpa), stored.gpa)
        assert (answer.page_shift, answer.lpid) == (stored.shift, said.lpid)
        assert host.translate(stored.gpa, lpid=said.lpid, guest_real=True).ra == answer.ra


def test_values_were_stored_in_every_way() -> None:
    kinds = {(stored.msr, stored.shift) for said in SAID.values() for stored in said.stored}
    assert kinds >= {*((msr, shift) for msr in (VIRTUAL, USER) for shift in (12, 16, 21)), (REAL, 16)}
    values = [stored.value for said in SAID.values() for stored in said.stored]
    assert len(set(values)) == len(values) > 25


def test_a_guests_own_memory_reads_back_what_it_stored(host: Guest, said: Said) -> None:
    memory = host.partition(said.lpid).memory
    for stored in said.stored:
        assert int.from_bytes(memory.read(stored.gpa, 8), "little") == stored.value


def test_qemus_mmu_said_the_same_in_a_guests_context_and_in_the_hosts(host: Guest) -> None:
    wrong = []
    answered = dict.fromkeys(host.target.cpus, 0)
    for cpu, ea, theirs in ORACLE["gva2gpa"]:
        mine = ours(host, int(ea, 16), cpu)
        answered[cpu] += theirs is not None
        if (None if mine is None else hex(mine)) != theirs:
            wrong.append(f"{ea} on vCPU {cpu}: QEMU said {theirs}, we say {mine}")
    assert wrong == []
    assert min(answered.values()) > 100


def test_a_vcpu_is_in_a_guest(host: Guest) -> None:
    inside = [cpu for cpu in host.target.cpus if not host.registers(cpu).need("msr") & MSR_HV]
    assert len(inside) == 1
    known = host.registers(inside[0])
    assert (known.need("lpidr"), known.need("pid")) == (1, 5)
    assert known.need("msr") & (MSR_IR | MSR_DR | MSR_LE) == MSR_IR | MSR_DR | MSR_LE
    stored = next(each for each in SAID[1].stored if (each.pid, each.msr) == (5, VIRTUAL))
    own = host.translate(stored.ea, cpu=inside[0])  # by its registers alone
    assert (own.lpid, own.pid, own.ra) == (1, 5, SAID[1].behind(stored.gpa))


# --- what the host has behind it --------------------------------------------------------------------------------------


def test_partition_scoped_leaves_are_those_that_kvm_listed(host: Guest, said: Said) -> None:
    tree = host.partition(said.lpid).tree
    assert tree.root == said.root
    walked = [each for each in walk_tree(host.memory.read, tree.entry) if isinstance(each, Leaf)]
    assert [f" {each.offset:x}: {each.entry:x} {each.shift}" for each in walked] == said.radix
    columns = host.spaces(lpid=said.lpid, partition=True).columns
    rows = zip(columns.offset.tolist(), columns.entry.tolist(), columns.shift.tolist(), strict=True)
    assert [f" {offset:x}: {entry:x} {shift}" for offset, entry, shift in rows] == said.radix
    assert set(columns.pid.tolist()) == {NO_PID}


def test_the_listing_of_debugfs_is_told_to_the_letter(host: Guest, said: Said) -> None:
    listing = shown(f"maps --lpid {said.lpid} --partition --format debugfs", host)
    assert listing.splitlines() == [f"pgdir: {KERNEL | said.root:x}", *said.radix]


def test_the_partitions_are_those_that_were_made(host: Guest) -> None:
    radix = [each["lpid"] for each in told("lpids", host) if "lpid" in each]
    assert radix == [0, *LPIDS]


def test_every_page_of_a_slot_is_where_the_kernels_pagemap_had_it(host: Guest, said: Said) -> None:
    """Or nowhere: the host maps a page when the guest first touches it."""
    holes = pages = 0
    for start, size, _ in said.said["slots"]:
        for gpa in range(int(start, 16), int(start, 16) + int(size, 16), PAGE):
            answer = host.translate(gpa, lpid=said.lpid, guest_real=True)
            if answer.ok:
                pages += 1
                assert answer.ra == said.behind(gpa)
            else:
                holes += 1
                assert (answer.stage, answer.cause) == (2, "not-present")
            if said.behind(gpa) is None:
                assert not answer.ok
    assert pages
    assert holes > pages, "there is no overcommitted memory"


def test_two_guests_share_a_page_of_the_hosts(host: Guest) -> None:
    """The second read there what the first had stored."""
    shared = next(each for each in SAID[1].stored if each.gpa >> 16 == SHARED_GPA >> 16)
    other = host.translate(SHARED_EA + shared.gpa - SHARED_GPA, lpid=2, pid=5)
    assert other.ra == host.translate(shared.ea, lpid=1, pid=shared.pid).ra == SAID[1].behind(shared.gpa)
    assert other.gra is not None
    assert SAID[2].behind(other.gra) == other.ra
    first, second = (set(host.spaces(lpid=lpid, partition=True).columns.ra.tolist()) for lpid in WITH_TREES)
    assert first & second == {SAID[1].behind(SHARED_GPA)}


# --- the guests' own trees --------------------------------------------------------------------------------------------


def test_a_guests_own_trees_hold_what_was_put_into_them(host: Guest, treed: Said) -> None:
    spaces = host.spaces(lpid=treed.lpid, composed=False)
    columns = spaces.columns
    found = {
        (pid, ea, ra, shift, entry & ~(3 << 62 | 0x01FF_FFFF_FFFF_F000))
        for pid, ea, ra, shift, entry in zip(
            columns.pid.tolist(),
            columns.ea.tolist(),
            columns.ra.tolist(),
            columns.shift.tolist(),
            columns.entry.tolist(),
            strict=True,
        )
    }
    assert found == treed.leaves
    assert not [each for each in spaces.sweep.oddities if not each.cause.startswith("shared")]
    assert spaces.missed.length == 0
    assert {each.pid for each in host.partition(treed.lpid).processes()} == {0, *(leaf[0] for leaf in treed.leaves)}


def worth_asking(host: Guest, lpid: int, rng: Random) -> Iterator[tuple[int, int]]:
    """(PID, EA): both ends of every page of both stages and the byte after it, both ends of what has nothing behind it,
    and addresses of any kind."""
    spaces = host.spaces(lpid=lpid)
    columns, holes = spaces.columns, spaces.holes
    assert holes is not None
    for pid, ea, size in zip(columns.pid.tolist(), columns.ea.tolist(), columns.size.tolist(), strict=True):
        yield from ((pid, (ea + inside) % (1 << 64)) for inside in (0, size - 1, size, rng.randrange(size)))
    for pid, ea, size in zip(holes.pid.tolist(), holes.ea.tolist(), holes.size.tolist(), strict=True):
        yield from ((pid, ea + inside) for inside in (0, size - 1, rng.randrange(size)))
    for root in spaces.roots:
        for _ in range(200):
            assert root.pid is not None
            yield root.pid, root.base | rng.getrandbits(rng.choice((29, 31, 33, 47, 52)))


def test_a_composed_sweep_is_what_address_by_address_is_found(host: Guest, treed: Said) -> None:
    spaces = host.spaces(lpid=treed.lpid)
    columns, holes = spaces.columns, spaces.holes
    assert holes is not None
    assert columns.gra is not None
    rows = list(
        zip(
            *(each.tolist() for each in (columns.pid, columns.ea, columns.size, columns.ra, columns.gra)),
            columns.shift.tolist(),
            strict=True,
        )
    )
    gaps = list(zip(*(each.tolist() for each in (holes.pid, holes.ea, holes.size, holes.ra)), strict=True))
    ended: dict[tuple[int | None, str | None], int] = {}
    for pid, ea in worth_asking(host, treed.lpid, Random(treed.lpid)):
        answer = host.translate(ea, lpid=treed.lpid, pid=pid)
        # The kernel's quadrant is PID 0's whoever asks.
        owner = 0 if ea >> 62 == 3 else pid
        mine = [row for row in rows if row[0] == owner and row[1] <= ea < row[1] + row[2]]
        hole = [row for row in gaps if row[0] == owner and row[1] <= ea < row[1] + row[2]]
        assert len(mine) + len(hole) <= 1
        if mine:
            _, start, _, ra, gra, shift = mine[0]
            inside = ea - start
            assert (answer.ra, answer.gra, answer.page_shift) == (ra + inside, gra + inside, shift), hex(ea)
            assert answer.ra == (treed.behind(gra + inside))
        else:
            assert not answer.ok, hex(ea)
            if hole:
                assert (answer.stage, answer.gra) == (2, hole[0][3] + ea - hole[0][1]), hex(ea)
            else:
                assert answer.stage == 1, hex(ea)
        ended[answer.stage, answer.cause] = ended.get((answer.stage, answer.cause), 0) + 1
    assert set(ended) >= {(None, None), (1, "not-present"), (2, "not-present")}
    assert min(ended.values()) > 10


def test_kvms_walk_and_the_hardwares_come_to_the_same(host: Guest, treed: Said) -> None:
    """KVM's ends at the guest's real address; what is behind that is the second stage's affair."""
    both = ahead = 0
    for pid, ea in worth_asking(host, treed.lpid, Random(treed.lpid + 10)):
        hardware, kvm = host.compare(ea, lpid=treed.lpid, pid=pid)[:2]
        assert kvm.walker == "kvm"
        if hardware.ok:
            both += 1
            assert (kvm.ok, kvm.ra) == (True, hardware.gra), hex(ea)
        elif hardware.stage == 2:
            ahead += 1
            assert (kvm.ok, kvm.ra) == (True, hardware.gra), hex(ea)
        else:
            assert not kvm.ok, hex(ea)
        own = [(step.guest_address, step.value) for step in hardware.steps if step.stage == 1]
        assert [(step.address, step.value) for step in kvm.steps] == own, hex(ea)
    assert both > 40
    assert ahead > 20


# --- how it is told ---------------------------------------------------------------------------------------------------

UNTOUCHED_EA, NOWHERE_EA = 0x4420_0000, 0x5F00_0000


@pytest.mark.parametrize(
    ("ea", "stage", "cause", "gra"),
    [(DEVICE_EA, 2, "not-present", DEVICE), (UNTOUCHED_EA, 2, "not-present", 0x5020_0000), (NOWHERE_EA, 1, None, None)],
)
def test_json_says_which_stage_failed(host: Guest, ea: int, stage: int, cause: str | None, gra: int | None) -> None:
    (told_of,) = [each for each in told(f"xlate {ea:#x} --lpid 1 --pid 5", host) if "stage" in each]
    assert (told_of["status"], told_of["stage"]) == ("fault", stage)
    assert told_of["gra"] == (None if gra is None else hex(gra))
    assert told_of["cause"] == (cause or "not-present")
    assert told_of["interrupt"]["name"] == {1: "DSI", 2: "HDSI"}[stage]
    assert told_of["steps"][-1]["stage"] == stage


def test_a_trace_shows_both_stages(host: Guest) -> None:
    stored = next(each for each in SAID[1].stored if (each.pid, each.shift) == (5, 12))
    (answer,) = [each for each in told(f"xlate {stored.ea:#x} --lpid 1 --pid 5", host) if "steps" in each]
    own = [step for step in answer["steps"] if step["stage"] == 1]
    assert [step["kind"] for step in own][-1] == "leaf"
    assert all(step["guest_address"] for step in own)
    purposes = {step["purpose"] for step in answer["steps"] if step["stage"] == 2} - {None}
    assert purposes >= {"process-table entry", "access itself"}
    leaf = own[-1]
    assert SAID[1].behind(int(leaf["guest_address"], 16)) == int(leaf["address"], 16)
    text = shown(f"xlate {stored.ea:#x} --lpid 1 --pid 5", host)
    for step in answer["steps"]:
        assert f"{step['address']}: {int(step['value'], 16):016x}" in text
    assert "for the process-table entry" in text
    assert "for the access itself" in text


# --- the files --------------------------------------------------------------------------------------------------------


def test_no_code_and_no_other_data_are_in_it(host: Guest) -> None:
    for cpu in host.target.cpus:
        answer = host.translate(host.registers(cpu).need("nip"), cpu=cpu)
        assert answer.ra is not None
        with pytest.raises(inspector.MemoryReadError):
            host.memory.read(answer.ra & ~3, 4)
    for lpid in LPIDS:
        code = host.translate(0x2000, lpid=lpid, guest_real=True).ra
        assert code is not None
        with pytest.raises(inspector.MemoryReadError):
            host.memory.read(code, 4)


def test_data_pages_hold_nothing_but_what_was_stored(host: Guest) -> None:
    """And the counter of the guest that was running."""
    stored = {said.behind(each.gpa): each.value for said in SAID.values() for each in said.stored}
    counter = host.translate(COUNTERS[VIRTUAL], lpid=1, pid=5).ra
    for page in {at >> 12 << 12 for at in stored if at is not None}:
        words = {at: int.from_bytes(host.memory.read(at, 8), "little") for at in range(page, page + 4096, 8)}
        assert {at: word for at, word in words.items() if word and at != counter} == {
            at: value for at, value in stored.items() if at is not None and at >> 12 << 12 == page
        }
    assert counter is not None


def test_it_is_small_and_its_note_names_no_folder() -> None:
    sizes = [(FIXTURES / f"{KIND}.{end}").stat().st_size for end in ("core.gz", "oracle.gz", "txt")]
    assert sum(sizes) < 300 << 10
    note = (FIXTURES / f"{KIND}.txt").read_text()
    assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work|usr)/", note)
    assert f"scripts/record-fixtures {KIND}" in note
    assert "LPID 1" in note


def test_the_kernels_quadrant_is_that_of_pid_0_whoever_asks(host: Guest) -> None:
    stored = next(each for each in SAID[1].stored if each.ea >> 62 == 3)
    assert stored.ea >= KERNEL
    for pid in (0, 5, 7):
        assert host.translate(stored.ea, lpid=1, pid=pid).ra == SAID[1].behind(stored.gpa)
