"""Every way of scripts/hangs.py does hang the guest, or breaks what it is done to, and is undone where it can be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scripts.hangs import WAYS, Way, hung_guest
from scripts.hangsguest import SPARE, HungGuest

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def guest() -> Iterator[HungGuest]:
    """One guest for all: what cannot be undone stays as it is beside the others."""
    with hung_guest() as guest:
        yield guest


TOGETHER = {name: way for name, way in WAYS.items() if not way.alone}
ALONE = {name: way for name, way in WAYS.items() if way.alone}


@pytest.mark.parametrize("way", TOGETHER.values(), ids=TOGETHER)
def test_what_is_asked_for_does_not_come(guest: HungGuest, way: Way) -> None:
    does_not_come(guest, way)


def test_what_nothing_is_done_to_goes_on(guest: HungGuest) -> None:
    assert guest.answers(SPARE)
    assert guest.machine.running


@pytest.mark.parametrize("way", ALONE.values(), ids=ALONE)
def test_nor_where_the_guest_is_good_for_nothing_else(way: Way) -> None:
    with hung_guest([way.name]) as guest:
        does_not_come(guest, way)


def does_not_come(guest: HungGuest, way: Way) -> None:
    mark = way.apply(guest)
    if way.ends:
        assert guest.until(lambda: guest.outcome(mark) is not None)
        assert guest.outcome(mark) in way.ends
    else:
        assert guest.comes_not(mark)
    assert not way.says or guest.has_said(way.says)
    assert way.sees is None or way.sees(guest, way.device)
    if way.undo is not None:
        way.restore(guest)
        assert guest.until(lambda: guest.outcome(mark) is not None)
        assert guest.outcome(mark) == 0
        assert way.of != "disk" or guest.answers(way.device)
