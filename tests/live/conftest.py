"""Real guests for live tests.

    @pytest.mark.live
    @pytest.mark.guests("pseries-p9", "powernv9")      # without it: pseries-p9
    def test_something(guest: Machine) -> None: ...

A guest of each kind is booted once and handed from test to test: alive, ready, and running (or, for
a kind that stands still, stopped). pytest sorts the tests by kind, so that one QEMU runs at a time. A test
that wants a guest of its own, to kill it for one, takes ``boot``; one that wants KVM guests takes ``scene``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from scripts.guests import Machine, booted
from scripts.scene import KIND as SCENE
from scripts.scene import Scene
from scripts.scene import scene as set_up

Boot = Callable[..., Machine]
TIMEOUT = 600
"""Seconds for a test, with the guests that it boots: no test takes a tenth of that on a machine that is not busy. Every
wait within has a shorter limit, by which it says what did not come."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(pytest.mark.timeout(TIMEOUT))


class Kept:
    """The guest of one kind, booted when first asked for and again if a test has killed it; the KVM host with its
    scene."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.machine: Machine | None = None
        self.scene: Scene | None = None

    def ready(self) -> Machine:
        """The guest as every test may expect it."""
        if self.machine is None or not self.machine.alive:
            self.close()
            self.scene = set_up() if self.kind == SCENE else None
            self.machine = self.scene.machine if self.scene else booted(self.kind)
        stands = self.machine.paused or self.machine.kind.stop_when_ready
        if self.machine.running and stands:
            self.machine.pause()
        elif not self.machine.running and not stands:
            self.machine.cont()
        return self.machine

    def close(self) -> None:
        """Stop it."""
        if self.machine is not None:
            self.machine.close()
            self.machine = None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kept" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("guests")
        usual = SCENE if "scene" in metafunc.fixturenames else "pseries-p9"
        kinds = mark.args if mark else (usual,)
        metafunc.parametrize("kept", kinds, indirect=True, scope="session")


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    """The holder of the guest; tests take ``guest``."""
    holder = Kept(request.param)
    yield holder
    holder.close()


@pytest.fixture
def guest(kept: Kept) -> Machine:
    """A guest of the kind that the test's mark names, ready to be looked at."""
    return kept.ready()


@pytest.fixture
def scene(kept: Kept) -> Scene:
    """KVM guests in a bare machine that runs, none of them running itself."""
    kept.ready()
    assert kept.scene is not None, "only the KVM host has a scene"
    return kept.scene


@pytest.fixture
def boot() -> Iterator[Boot]:
    """Boots guests of the test's own: ``boot(kind, **options of Machine)``, stopped when the test ends."""
    with ExitStack() as stack:

        def make(kind: str = "pseries-p9", **options: Any) -> Machine:
            machine = booted(kind, **options)
            stack.callback(machine.close)
            return machine

        yield make
