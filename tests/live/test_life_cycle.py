"""KVM's second-level life cycle as this project runs it, held against what the kernel did with a guest of its own from
its first fault on: every leaf, every ``tlbie`` and every log, by kprobes, debugfs and the monitor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from random import Random

import pytest

from inspector.kvm import operations
from inspector.kvm.slots import LOG_DIRTY_PAGES, MemorySlot
from scripts.faultprobes import FaultTrace
from scripts.guests import Machine
from scripts.lifecycle import Life, Told
from scripts.lifesteps import GOING, LOGGED, PAGE, SET_UP, STEPS, Step, at_random, load, store
from scripts.scene import Scene
from tests.live.conftest import Kept
from tests.live.image import Image
from tests.playing import covered, differences, empty, played, tree

pytestmark = pytest.mark.live


@dataclass
class Lived:
    """What a guest went through, and its tree at the end: as KVM lists it, as the inspector finds it, and as it comes
    of running the same lines on an empty tree, with what came out otherwise on the way."""

    told: list[Told]
    kernel: list[str]
    found: list[str]
    replayed: list[str]
    wrong: list[str]
    last: list[str]
    """What the probes saw of its end."""


def live(machine: Machine, steps: Iterable[Step]) -> Lived:
    """What a fresh guest with its memory set up goes through with these steps."""
    with (
        closing(Image(machine)) as image,
        FaultTrace(machine) as trace,
        closing(Life(machine, image.guest, trace)) as life,
    ):
        told = list(life.run((SET_UP, *steps)))
        kernel, found = life.listing(), tree(image.guest, life.lpid)
        whatif = empty(image.guest, life.lpid)
        wrong = [f"{each.line}: {one}" for each in told for one in differences(played(whatif, each.line), each.kernel)]
        replayed = tree(image.guest, life.lpid)
        life.close()
        return Lived(told, kernel, found, replayed, wrong, [event.name for event in trace.taken()])


@pytest.fixture(scope="module")
def lived(kept: Kept) -> Lived:
    return live(kept.ready(), STEPS)


@pytest.mark.usefixtures("scene")
def test_every_operation_came_out_as_in_the_kernel(lived: Lived) -> None:
    assert lived.wrong == []
    covered([(each.line, each.kernel) for each in lived.told])


@pytest.mark.usefixtures("scene")
def test_the_tree_ends_as_kvm_lists_it_flags_included(lived: Lived) -> None:
    assert lived.replayed == lived.kernel
    assert lived.found == lived.kernel
    assert {line.split()[-1] for line in lived.kernel} == {"16", "21"}


@pytest.mark.usefixtures("scene")
def test_the_host_s_entries_are_those_that_the_handler_found(lived: Lived) -> None:
    looked = [each for each in lived.told if "lookup" in each.kernel]
    assert len(looked) > 30
    for each in looked:
        assert each.walked is not None
        assert hex(each.walked) == each.kernel["lookup"], each.line


@pytest.mark.usefixtures("scene")
def test_nothing_is_flushed_when_the_guest_is_gone(lived: Lived) -> None:
    assert not {"unmapped", "tlbie", "pwc"} & set(lived.last)


def test_what_a_guest_does_at_random_comes_out_as_in_the_kernel(scene: Scene) -> None:
    found = live(scene.machine, at_random(Random(5), 25))
    assert found.wrong == []
    assert found.replayed == found.found == found.kernel


@pytest.fixture
def logging(scene: Scene) -> Iterator[tuple[Life, Image]]:
    """A guest with a slot of 64K pages and one of 2M, both logged."""
    slots = ("slot 0 200000 small", f"slot {GOING:x} 200000 small logged", f"slot {LOGGED:x} 400000 huge logged")
    with (
        closing(Image(scene.machine)) as image,
        FaultTrace(scene.machine) as trace,
        closing(Life(scene.machine, image.guest, trace)) as life,
    ):
        assert len(list(life.step(*slots))) == len(slots)
        yield life, image


def test_a_log_read_on_the_tree_just_before_is_kvm_s_and_so_is_the_tree_after(logging: tuple[Life, Image]) -> None:
    life, image = logging
    for base, size in ((GOING, 0x20_0000), (LOGGED, 0x40_0000)):
        every = [base + at for at in range(0, size, PAGE)]
        rounds: tuple[tuple[list[int], list[int]], ...] = (
            ([], []),
            (every[3:5], []),
            ([every[0], every[-1]], every[3:5]),  # only read, of leaves that are clean by now
            (every[::7], []),
            (every, []),
        )
        for number, (written, only_read) in enumerate(rounds):
            list(life.step(*map(store, written), *map(load, [*only_read, 0])))
            whatif = image.guest.lay_over()
            whatif.machine.behave_as("6.1")
            vm = whatif.vm(life.lpid)
            slot = MemorySlot(base, size, LOG_DIRTY_PAGES)
            vm.slots.add(slot)
            before = tree(image.guest, life.lpid)
            looked = operations.read_log(whatif.machine, vm, slot, clear=False)
            assert tree(image.guest, life.lpid) == before == life.listing()
            answer = operations.read_log(whatif.machine, vm, slot).as_json()
            after = tree(image.guest, life.lpid)
            image.guest.lift()
            (told,) = life.step(f"dirty {base:x}")
            assert answer["bitmap"] == looked.as_json()["bitmap"] == told.kernel["bitmap"], f"in round {number}"
            assert answer["tlbie"] == told.kernel["tlbie"], f"in round {number}"
            bits = int.from_bytes(bytes.fromhex(answer["bitmap"]), "little")
            assert [gpa for at, gpa in enumerate(every) if bits >> at & 1] == written
            assert after == tree(image.guest, life.lpid) == life.listing()
