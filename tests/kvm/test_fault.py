"""``kvmppc_book3s_radix_page_fault``: every branch, and who is asked first."""

from __future__ import annotations

import pytest

from inspector.kvm.fault import Fault, dsisr_of_fetch, guest_real
from inspector.kvm.history import VERSIONS
from inspector.kvm.slots import INVALID, READ_ONLY
from tests.kvm.scene import (
    BADACCESS,
    LARGE,
    NOPTE,
    PAGE,
    PGDIR,
    PRESENT,
    PROT,
    RWX,
    RX,
    SET_RC,
    STORE,
    UNSUPP,
    host,
    scene,
)

EARLY, LATE = ("SEED", "4.16"), ("4.18", "4.19", "6.1")
every = pytest.mark.parametrize("version", VERSIONS)


@every
def test_an_unsupported_mmu_is_looked_at_before_all_else(version: str) -> None:
    assert scene(version).fault(0, UNSUPP | BADACCESS) == "EFAULT"


@every
def test_bad_access_is_looked_at_before_the_slots(version: str) -> None:
    made = scene(version)
    assert made.fault(0, BADACCESS) == "DSI"
    made.slot()
    assert made.fault(0, BADACCESS | STORE, host(0)) == "DSI"
    assert made.tree() == {}


@pytest.mark.parametrize(
    ("dsisr", "gpa"), [(NOPTE, 0x123_4567_8ABC), (PGDIR, 0x123_4567_8000), (PGDIR | STORE, 0x123_4567_8000)]
)
def test_the_guest_real_address_is_of_asdr_and_the_low_bits_of_the_ea(dsisr: int, gpa: int) -> None:
    assert guest_real(Fault(0xC000_0000_0000_0ABC, 0xF000_0123_4567_8FED, dsisr)) == gpa


@every
@pytest.mark.parametrize("slot", [None, 0, INVALID])
@pytest.mark.parametrize(
    ("dsisr", "result"), [(NOPTE, "MMIO"), (STORE, "MMIO"), (NOPTE | PGDIR, "DSI"), (SET_RC, "DSI"), (PROT, "MMIO")]
)
def test_outside_of_memory_a_device_is_emulated_or_the_guest_told(
    version: str, slot: int | None, dsisr: int, result: str
) -> None:
    made = scene(version)
    if slot is not None:
        made.slot(0 if slot else LARGE, flags=slot)
    assert made.fault(0, dsisr, host(0)) == result
    assert made.tree() == {}


@every
def test_a_slot_holds_from_its_first_byte_to_its_last(version: str) -> None:
    made = scene(version)
    made.slot(PAGE, PAGE)
    assert made.fault(PAGE - 0x1000, NOPTE, host(0)) == "MMIO"
    assert made.fault(PAGE, NOPTE, host(PAGE)) == "RESUME_GUEST"
    assert made.fault(2 * PAGE - 0x1000, NOPTE, host(PAGE)) == "RESUME_GUEST"
    assert made.fault(2 * PAGE, NOPTE, host(PAGE)) == "MMIO"
    assert set(made.tree()) == {(PAGE, 16)}


@pytest.mark.parametrize(("version", "result"), [*((v, "RESUME_GUEST") for v in EARLY), *((v, "DSI") for v in LATE)])
def test_a_store_to_a_read_only_slot(version: str, result: str) -> None:
    made = scene(version)
    made.slot(flags=READ_ONLY)
    assert made.fault(0, STORE | NOPTE, host(0)) == result
    assert made.tree() == ({(0, 16): RWX | 0x1_0000_0000} if result == "RESUME_GUEST" else {})
    if result == "DSI":
        assert "0x0a000000" in made.trace.sentences[-1], "the kernel's own DSISR: a store that is not allowed"


@pytest.mark.parametrize("version", LATE)
def test_a_read_only_slot_gets_leaves_without_write(version: str) -> None:
    made = scene(version)
    made.slot(flags=READ_ONLY)
    assert made.fault(0, NOPTE, host(0)) == "RESUME_GUEST"
    assert made.tree()[0, 16] & 0xFFF == 0x105


@every
def test_why_a_leaf_allows_no_stores_is_told_as_the_version_has_it(version: str) -> None:
    def why(flags: int, **what: bool) -> str:
        made = scene(version)
        made.slot(flags=flags)
        made.fault(0, NOPTE, host(0, **what))
        (slug,) = (slug for slug in made.trace.slugs if slug.startswith(("no-write", "grant-write")))
        return slug

    assert why(0, writable=False, dirty=False) == ("no-write" if version == "SEED" else "no-write-host")
    assert why(0, dirty=False) == ("no-write" if version == "SEED" else "grant-write-host")
    if version in LATE:
        assert why(READ_ONLY) == "no-write-slot"


@every
@pytest.mark.parametrize("dsisr", [NOPTE, STORE | NOPTE])
def test_no_host_page_is_efault(version: str, dsisr: int) -> None:
    made = scene(version)
    made.slot()
    assert made.fault(0, dsisr, None) == "EFAULT"
    assert made.machine.pool.tables == 1


@every
def test_a_store_to_what_the_host_may_not_write_is_efault(version: str) -> None:
    made = scene(version)
    made.slot()
    assert made.fault(0, STORE, host(0, writable=False)) == "EFAULT"
    assert made.fault(0, NOPTE, host(0, writable=False)) == "RESUME_GUEST"
    assert made.tree()[0, 16] & 0xFFF == 0x105


@every
def test_a_pool_that_is_used_up_is_enomem(version: str) -> None:
    made = scene(version, pool=64 << 10)
    made.slot()
    assert made.fault(0, STORE, host(0)) == "ENOMEM"


@every
def test_an_invalidation_meanwhile_lets_the_guest_try_again(version: str) -> None:
    made = scene(version)
    made.slot()
    assert made.fault(0, STORE, host(0), invalidated=True) == "RESUME_GUEST"
    assert made.tree() == {}
    assert made.machine.pool.tables == 1


def test_ebusy_falls_back_to_one_page_with_the_guests_own_low_bits() -> None:
    made = scene("4.16")
    made.slot()
    made.create(RX, 0)
    assert made.fault(5 * PAGE, STORE, host(5 * PAGE, 21)) == "RESUME_GUEST"
    assert "fall-back" in made.trace.slugs
    assert made.tree() == {(0, 16): RX, (5 * PAGE, 16): RWX | 0x1_0000_0000 | 5 * PAGE}


def test_the_seeds_eagain_resumes_the_guest_for_ever() -> None:
    made = scene("SEED")
    made.slot()
    made.create(RX, 0, 1)
    for _ in range(3):
        assert made.fault(0, STORE, host(0)) == "RESUME_GUEST"
        assert made.trace.slugs[-1] == "large-there"
    assert made.tree() == {(0, 21): RX}


# -- reference and change bits -----------------------------------------------------------------------------------------

BARE = 0xC000_0000_0000_0007
"""A leaf with all rights and neither R nor C."""


@every
@pytest.mark.parametrize(("dsisr", "bits"), [(SET_RC, 0x100), (SET_RC | STORE, 0x180)])
@pytest.mark.parametrize(("level", "shift"), [(0, 16), (1, 21)])
def test_r_and_c_alone_are_set_without_a_tlbie(version: str, dsisr: int, bits: int, level: int, shift: int) -> None:
    made = scene(version)
    made.slot()
    made.create(BARE, 0, level)
    assert made.fault(0, dsisr, host(0)) == "RESUME_GUEST"
    assert made.tree() == {(0, shift): BARE | bits}
    assert not made.rbs
    assert made.trace.slugs[-1] == "set-rc-done"


@pytest.mark.parametrize("version", ["SEED", "4.16", "4.18"])
def test_r_and_c_on_dd1_take_a_tlbie(version: str) -> None:
    made = scene(version, dd1=True)
    made.slot()
    made.create(BARE, PAGE)
    made.fault(PAGE, SET_RC | STORE, host(PAGE))
    assert made.tree() == {(PAGE, 16): BARE | 0x180}
    assert made.rbs == [PAGE | 5 << 5]


@pytest.mark.parametrize("version", EARLY)
@pytest.mark.parametrize(
    ("dsisr", "what"), [(SET_RC, {"accessed": False}), (SET_RC | STORE, {"dirty": False}), (SET_RC, None)]
)
def test_the_seed_asks_the_hosts_own_entry(version: str, dsisr: int, what: dict[str, bool] | None) -> None:
    made = scene(version)
    made.slot()
    made.create(BARE, 0)
    page = None if what is None else host(0, real=0, **what)
    result = made.fault(0, dsisr, page)
    assert "host-lacks-rc" in made.trace.slugs
    assert result == ("EFAULT" if page is None else "RESUME_GUEST")
    if page is not None:
        assert "installed" in made.trace.slugs, "the page is looked up, and its leaf made anew"


@pytest.mark.parametrize("version", EARLY)
def test_the_seed_does_not_ask_whether_the_leaf_may_be_written(version: str) -> None:
    made = scene(version)
    made.slot()
    made.create(RX, 0)
    assert made.fault(0, SET_RC | STORE | PROT, host(0)) == "RESUME_GUEST"
    assert made.tree() == {(0, 16): RX | 0x80}


@pytest.mark.parametrize("version", EARLY)
def test_the_seed_heeds_an_invalidation_before_it_sets_them(version: str) -> None:
    made = scene(version)
    made.slot()
    made.create(BARE, 0)
    assert made.fault(0, SET_RC, host(0), invalidated=True) == "RESUME_GUEST"
    assert made.tree() == {(0, 16): BARE}


@pytest.mark.parametrize("version", EARLY)
@pytest.mark.parametrize("there", [None, BARE & ~PRESENT])
def test_the_seed_inserts_where_no_leaf_is_present(version: str, there: int | None) -> None:
    made = scene(version)
    made.slot()
    if there is not None:
        made.create(there, 0)
    assert made.fault(0, SET_RC, host(0)) == "RESUME_GUEST"
    assert made.tree() == {(0, 16): RWX | 0x1_0000_0000}


@pytest.mark.parametrize("version", LATE)
def test_later_the_leaf_alone_is_asked(version: str) -> None:
    made = scene(version)
    made.slot()
    made.create(BARE, 0)
    assert made.fault(0, SET_RC | STORE, None) == "RESUME_GUEST"
    assert made.tree() == {(0, 16): BARE | 0x180}


@pytest.mark.parametrize("version", LATE)
def test_later_a_leaf_without_write_is_looked_up(version: str) -> None:
    made = scene(version)
    made.slot()
    made.create(RX, 0)
    assert made.fault(0, SET_RC | STORE, host(0, real=0)) == "RESUME_GUEST"
    assert "set-rc-read-only" in made.trace.slugs
    assert made.tree() == {(0, 16): RWX}


@pytest.mark.parametrize("version", LATE)
@pytest.mark.parametrize(("other", "goes_on"), [(NOPTE, True), (PROT, True), (0x2000_0000, True), (0x0020_0000, False)])
def test_later_other_reasons_are_seen_to_as_well(version: str, other: int, goes_on: bool) -> None:
    made = scene(version)
    made.slot()
    made.create(BARE, 0)
    made.fault(0, SET_RC | other, host(0, real=0))
    assert ("host-page" in made.trace.slugs) is goes_on


# -- fetches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hsrr1", "dsisr"),
    [
        (0x8000_0000_4000_3000, 0x4000_0000),
        (0xFFFF_FFFF_FFFF_FFFF, 0x582E_0000 | STORE),
        (0x0001_0000 | SET_RC, SET_RC | STORE),
        (BADACCESS | STORE, 0),
    ],
)
def test_what_a_fetch_hands_on_of_hsrr1(hsrr1: int, dsisr: int) -> None:
    assert dsisr_of_fetch(hsrr1) == dsisr


@pytest.mark.parametrize("version", VERSIONS[:-1])
def test_before_420_a_fetch_is_a_plain_read(version: str) -> None:
    made = scene(version)
    assert made.fault(0, UNSUPP | PGDIR, fetch=True) == "MMIO"
    made.slot()
    assert made.fault(0, STORE | SET_RC, host(0, writable=False), fetch=True) == "RESUME_GUEST"
    assert made.tree()[0, 16] & 0xFFF == 0x105


def test_now_a_fetch_has_its_reasons() -> None:
    made = scene("6.1")
    assert made.fault(0, UNSUPP, fetch=True) == "EFAULT"
    assert made.fault(0, PGDIR, fetch=True) == "DSI"
    made.slot()
    assert made.fault(0, STORE | SET_RC, host(0, writable=False), fetch=True) == "EFAULT"
