"""Each difference between kernels, shown: the same scene on a machine that has the old way alone, and on one that has
not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from inspector.errors import UsageError
from inspector.kvm import history, operations
from inspector.kvm.free import free
from inspector.kvm.history import BY_SLUG, CHANGES, VERSIONS, Change
from inspector.kvm.host import HostPage
from inspector.kvm.slots import LOG_DIRTY_PAGES, READ_ONLY
from tests.kvm.scene import (
    HVA,
    LARGE,
    NOPTE,
    PAGE,
    PGDIR,
    PRESENT,
    RWX,
    RX,
    SET_RC,
    STORE,
    Scene,
    host,
    pages_of,
    scene,
)
from tests.kvm.test_create import entry_of

HOUSE = Path(history.__file__).parent


@dataclass(frozen=True)
class Shown:
    """What is done and looked at, and what is seen of it in the old and in the new way. ``besides`` are old ways that
    have to be there for this one to be met."""

    see: Callable[[Scene], object]
    was: object
    now: object
    besides: tuple[str, ...] = ()
    page_shift: int = 16
    dd1: bool = False


def leaf_of(page: HostPage, gpa: int = 0, dsisr: int = STORE, flags: int = 0) -> Callable[[Scene], object]:
    """The leaf that a fault makes: its shift and its low 12 bits."""

    def see(made: Scene) -> object:
        made.slot(flags=flags)
        made.fault(gpa, dsisr, page)
        return sorted((shift, value & 0xFFF) for (_, shift), value in made.tree().items())

    return see


def unmapped_log(gpa: int, base: int = 0) -> Callable[[Scene], object]:
    """The log of a slot after a dirty 2M leaf was unmapped: its first page, and how many."""

    def see(made: Scene) -> object:
        slot = made.slot(base, 1 << 30, LOG_DIRTY_PAGES)
        made.create(RWX, gpa, 1)
        operations.unmap(made.machine, made.vm, gpa)
        pages = pages_of(slot.log)
        return min(pages), len(pages)

    return see


def over_a_leaf(made: Scene) -> object:
    made.create(RX, 0, 1)
    return made.create(RWX, 0, 1), made.tree()[0, 21] & 0xFFF


def over_a_table(made: Scene) -> object:
    made.create(RX, 0)
    return made.create(RX, 0, 1), [shift for _, shift in made.tree()]


def rc_on_a_read_only_leaf(made: Scene) -> object:
    made.slot()
    made.create(RX, 0)
    made.fault(0, SET_RC | STORE, host(0, real=0))
    return made.tree()[0, 16] & 0xFFF


def in_a_read_only_slot(made: Scene) -> object:
    made.slot(flags=READ_ONLY)
    return made.fault(0, STORE, host(0)), len(made.tree())


def bits_added(made: Scene) -> object:
    made.create(RX, PAGE)
    made.create(RWX, PAGE)
    return made.rbs


def word_after_unmap(made: Scene) -> object:
    made.create(RX, 0)
    operations.unmap(made.machine, made.vm, 0)
    return made.tree()


def flush_within_2m(made: Scene) -> object:
    made.create(RX, 0, 1)
    operations.unmap(made.machine, made.vm, 5 * PAGE)
    return made.rbs


def aged(made: Scene) -> object:
    made.create(RX, PAGE)
    operations.age(made.machine, made.vm, PAGE)
    return made.rbs


def fetch_from_tables_outside(made: Scene) -> object:
    return made.fault(0, PGDIR | NOPTE, fetch=True)


def freed_with_a_stale_leaf(made: Scene) -> object:
    made.create(RX & ~PRESENT, 0, 1)
    at = entry_of(made, 0)
    free(made.machine, made.vm)
    return made.word(at)


def logging_turned_on(made: Scene) -> object:
    made.slot(0, LARGE)
    made.create(RWX, 0, 1)
    operations.set_slot(made.machine, made.vm, 0, LARGE, LOG_DIRTY_PAGES)
    return len(made.tree()), len(made.rbs)


def log_of_a_2m_leaf(made: Scene) -> object:
    slot = made.slot(0, LARGE, LOG_DIRTY_PAGES)
    made.create(RWX, 0, 1)
    log = operations.read_log(made.machine, made.vm, slot).log
    return log.pages if log else None


SHOWN: Mapping[str, Shown] = {
    "log-overrun": Shown(unmapped_log(LARGE), (64 * 512, 512), (512, 512), page_shift=12),
    "bits-one-by-one": Shown(unmapped_log(LARGE, PAGE), (31, 32), (24, 32)),
    "hugetlb-only": Shown(
        leaf_of(host(0, 21, transparent=True)), [(16, 0x187)], [(21, 0x187)], besides=("compound-size",)
    ),
    "whole-address-compared": Shown(leaf_of(host(0, 21)), [(16, 0x187)], [(21, 0x187)]),
    "large-never-replaced": Shown(over_a_leaf, ("EAGAIN", 0x105), (None, 0x187)),
    "write-needs-dirty": Shown(
        leaf_of(host(0, dirty=False), dsisr=NOPTE), [(16, 0x105)], [(16, 0x187)], besides=("io-by-vma",)
    ),
    "table-blocks-large": Shown(over_a_table, ("EBUSY", [16]), (None, [21])),
    "rc-asks-host": Shown(rc_on_a_read_only_leaf, 0x185, 0x187),
    "no-1g": Shown(leaf_of(host(0, 30)), [(21, 0x187)], [(30, 0x187)], besides=("compound-size",)),
    "read-only-ignored": Shown(in_a_read_only_slot, ("RESUME_GUEST", 1), ("DSI", 0)),
    "io-by-vma": Shown(leaf_of(host(0, io=True)), [(16, 0x1A6)], [(16, 0x1A7)]),
    "leaf-cleared-first": Shown(bits_added, [PAGE | 5 << 5], []),
    "unmap-keeps-entry": Shown(word_after_unmap, {(0, 16): RX & ~PRESENT}, {}),
    "tlbie-not-rounded": Shown(flush_within_2m, [5 * PAGE | 1 << 5], [1 << 5]),
    "one-page-logged": Shown(unmapped_log(LARGE), (32, 1), (32, 32)),
    "compound-size": Shown(leaf_of(host(0, 16, compound_shift=21)), [(21, 0x187)], [(16, 0x187)]),
    "dd1-cleared-first": Shown(aged, [PAGE | 5 << 5], [], dd1=True),
    "fetch-without-reason": Shown(fetch_from_tables_outside, "MMIO", "DSI"),
    "nonzero-is-present": Shown(freed_with_a_stale_leaf, 0, RX & ~PRESENT),
    "large-while-logging": Shown(
        leaf_of(HostPage(HVA, 1 << 32, 21), flags=LOG_DIRTY_PAGES), [(21, 0x187)], [(16, 0x187)]
    ),
    "logging-does-not-flush": Shown(logging_turned_on, (1, 0), (0, 1)),
    "large-pages-in-log": Shown(log_of_a_2m_leaf, 32, 1),
}


@pytest.mark.parametrize("slug", BY_SLUG)
def test_every_difference_shows(slug: str) -> None:
    shown = SHOWN[slug]
    besides = frozenset(shown.besides)

    def seen(old: frozenset[str]) -> object:
        return shown.see(scene(page_shift=shown.page_shift, dd1=shown.dd1, old=old))

    assert shown.was != shown.now
    assert seen(besides | {slug}) == shown.was
    assert seen(besides) == shown.now


@pytest.mark.parametrize("slug", BY_SLUG)
def test_every_difference_is_looked_at_by_the_code(slug: str) -> None:
    code = "".join(path.read_text() for path in HOUSE.glob("*.py") if path.name not in ("history.py", "explain.py"))
    assert re.search(f'"{slug}" (not )?in (machine|self).old', code)


def test_no_scene_is_of_a_difference_that_is_gone() -> None:
    assert set(SHOWN) == set(BY_SLUG)
    assert len(BY_SLUG) == len(CHANGES), "a slug names one difference"


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.slug)
def test_the_data_are_whole(change: Change) -> None:
    assert change.old_in, "there is a version that shows it"
    first = VERSIONS.index(change.old_in[0])
    assert change.old_in == VERSIONS[first : first + len(change.old_in)], "versions without a gap"
    assert "6.1" not in change.old_in
    assert all((change.title, change.was, change.symptom, change.shows))
    assert re.fullmatch(r"([0-9a-f]{12})?", change.commit)
    numbers = [tuple(map(int, each.split("."))) for each in (*VERSIONS[1:], change.fixed)]
    *others, fixed = numbers
    for version, number in zip(VERSIONS[1:], others, strict=True):
        assert (version in change.old_in) <= (number < fixed), "what is mended is not old any more"
        assert number >= fixed or version in change.old_in or first > VERSIONS.index(version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_has_what_was_not_yet_mended(version: str) -> None:
    assert history.old(version) == {each.slug for each in CHANGES if version in each.old_in}
    assert scene(version).machine.old == history.old(version)


def test_the_newest_has_no_old_way_and_an_unknown_one_is_refused() -> None:
    assert history.old("6.1") == frozenset()
    with pytest.raises(UsageError, match=r"4\.17.*there are: SEED"):
        history.old("4.17")


@pytest.mark.parametrize(
    ("version", "near"),
    [
        ("5.10", "6.1 does the same, and there are: SEED, 4.16, 4.18, 4.19, 6.1"),
        ("4.14.98", "SEED does the same, and"),
        ("4.17", "4.18 does most as it does, and"),
        ("4.2", "is known; there are"),
        ("next", "is known; there are"),
        ("", "is known; there are"),
    ],
)
def test_an_unknown_version_is_told_the_nearest(version: str, near: str) -> None:
    assert near in history.unknown(version)
    assert version not in VERSIONS
    assert len(history.unknown(version * 1000)) < 200


@pytest.mark.parametrize(
    ("release", "version"),
    [
        ("4.10.0", None),
        ("4.11", ("SEED", True)),
        ("4.14.98-v8+", ("SEED", True)),
        ("4.16.0", ("4.16", True)),
        ("4.17.19", ("4.18", False)),
        ("4.18.0-80.el8.ppc64le", ("4.18", True)),
        ("4.19.0-27-powerpc64le", ("4.19", True)),
        ("5.4.0", ("6.1", False)),
        ("5.10.0", ("6.1", True)),
        ("6.12.3", ("6.1", True)),
        ("", None),
        ("next", None),
    ],
)
def test_the_version_nearest_to_a_release(release: str, version: tuple[str, bool] | None) -> None:
    assert history.nearest(release) == version
