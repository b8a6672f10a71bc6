"""Every way of scripts/hangs.py does hang the guest, or breaks what it is done to; ``triage`` names it and nothing
else; and it is undone where it can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from inspector.cli import main
from inspector.triage.causes.devices import HEALED_BY
from inspector.triage.found import Confidence
from scripts.hangs import WAYS, Way, hung_guest
from scripts.hangsguest import SPARE, HungGuest
from scripts.hangspacked import PACKED_WAYS
from scripts.kinds import KINDS

pytestmark = pytest.mark.live
SECONDS, LONGER = "0.7", "1.1"
"""For triage to look on; of a generator that gives nothing it says nothing earlier than after a second."""
EVERY = {**WAYS, **PACKED_WAYS}
TOGETHER = {
    name: EVERY[name] for name in sorted(EVERY, key=lambda name: EVERY[name].undo is None) if not EVERY[name].alone
}
"""What is undone again first, so that nothing else is the matter with the guest."""
ALONE = {name: way for name, way in EVERY.items() if way.alone}
HEALED: dict[str, Confidence] = {
    "wrong-address": "high",
    "stale": "high",
    "memory-off": "medium",
    "deaf": "medium",
    "stray-buffer": "medium",
}
"""The ways of which nothing is left in the queue once QEMU has looked at it by itself, and how sure triage then is."""

BARE = ("wrong-address", "vector-masked", "memory-off", "reset")
"""On the bare machine: its bus is at other addresses, behind bridges, and its vCPUs idle with interrupts off."""


@dataclass
class Hung:
    """A guest, and the ways that it still hangs in by their device's place on PCI."""

    guest: HungGuest
    standing: dict[str, Way] = field(default_factory=dict)

    def told(self, way: Way, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        """What triage tells a user with no symbols."""
        machine = self.guest.machine
        seconds = LONGER if way.of == "generator" else SECONDS
        capsys.readouterr()
        main([machine.target, "--ram", str(machine.ram_file), "triage", "--json", "--seconds", seconds])
        return [each for each in map(json.loads, capsys.readouterr().out.splitlines()) if "verdict" in each]

    def named(self, way: Way, sure: Confidence, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """What triage tells of a way: that before all else, of its very device, and of the other devices only what is
        the matter with them."""
        found = self.told(way, capsys)
        mine = []
        for each in found:
            other = self.standing.get((each["device"] or "").split(" ")[0])
            if other is None:
                mine.append(each)
            else:
                assert each["verdict"] in (other.slug, *other.beside)
        slot = "" if way.of == "process" else self.guest.disks[way.device].slot
        assert mine[0]["verdict"] == way.slug, mine
        # how often a process's access could be seen to be refused depends on how fast the machine is
        assert mine[0]["confidence"] in ((sure, "medium", "low") if way.of == "process" else (sure,)), mine
        assert {(each["device"] or "").split(" ")[0] for each in mine} == {slot}, mine
        assert {each["verdict"] for each in mine[1:]} <= set(way.beside), mine
        first: dict[str, Any] = mine[0]
        return first

    def undone(self, way: Way, mark: str) -> None:
        """Have it end, where that can be."""
        if way.undo is None:
            self.standing[self.guest.disks[way.device].slot] = way
            return
        way.restore(self.guest)
        assert self.guest.until(lambda: self.guest.outcome(mark) is not None)
        # a process's kernel has put tables of its own where it found none, and may end it once the old ones are back
        assert self.guest.outcome(mark) == 0 or way.of == "process"
        assert way.of != "disk" or self.guest.answers(way.device)


@pytest.fixture(scope="module")
def hung() -> Iterator[Hung]:
    """One guest for all: what cannot be undone stays as it is beside the others."""
    with hung_guest(EVERY.values()) as guest:
        yield Hung(guest)


@pytest.fixture(scope="module")
def healing() -> Iterator[Hung]:
    """One whose QEMU looks for kicks that were lost when it goes on, as it does by default."""
    with hung_guest([WAYS[name] for name in HEALED], healing=True) as guest:
        yield Hung(guest)


@pytest.fixture(scope="module")
def bare() -> Iterator[Hung]:
    """One on the bare machine."""
    with hung_guest([WAYS[name] for name in BARE], kind=KINDS["powernv9"]) as guest:
        yield Hung(guest)


@pytest.mark.parametrize("way", TOGETHER.values(), ids=TOGETHER)
def test_what_is_asked_for_does_not_come_and_triage_says_why(
    hung: Hung, way: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    does_not_come(hung, way, capsys)


def test_what_nothing_is_done_to_goes_on(hung: Hung) -> None:
    assert hung.guest.answers(SPARE)
    assert hung.guest.machine.running


@pytest.mark.parametrize("way", ALONE.values(), ids=ALONE)
def test_nor_where_the_guest_is_good_for_nothing_else(way: Way, capsys: pytest.CaptureFixture[str]) -> None:
    with hung_guest([way]) as guest:
        does_not_come(Hung(guest), way, capsys)


def does_not_come(hung: Hung, way: Way, capsys: pytest.CaptureFixture[str]) -> None:
    guest = hung.guest
    if way.of == "process" and way.ends:  # only while the machine stands in it: it is killed as soon as it goes on
        way.how(guest, way.device)
        hung.named(way, way.sure, capsys)
        ends(guest, way, way.ask(guest, way.device))
        return
    mark = way.apply(guest)
    if way.ends:
        ends(guest, way, mark)
    else:
        assert guest.comes_not(mark, 1)
    assert not way.says or guest.has_said(way.says)
    sees = way.sees
    assert sees is None or guest.until(lambda: sees(guest, way.device))
    try:
        hung.named(way, way.sure, capsys)
        assert way.ends or guest.comes_not(mark, 1)
    finally:
        hung.undone(way, mark)


def ends(guest: HungGuest, way: Way, mark: str) -> None:
    assert guest.until(lambda: guest.outcome(mark) is not None)
    assert guest.outcome(mark) in way.ends


@pytest.mark.parametrize("name", BARE)
def test_on_the_bare_machine_it_is_told_just_so(bare: Hung, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    does_not_come(bare, WAYS[name], capsys)


@pytest.mark.parametrize("name", HEALED)
def test_what_is_mended_by_looking_is_told_by_the_first_stop(
    healing: Hung, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    guest, way = healing.guest, WAYS[name]
    mark = way.apply(guest)
    assert guest.comes_not(mark, 1)
    found = healing.named(way, HEALED[name], capsys)
    assert HEALED_BY in found["evidence"]
    if way.undo is not None:
        way.restore(guest)
        assert guest.answers(way.device)
