"""Which walk counts, what is said of each of its checks, and what is no hang by it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import inspector.radix.software_walk
from inspector.errors import UsageError
from inspector.radix.software_walk import VARIANTS
from inspector.radix.translation import ALL_RIGHTS, Translation
from inspector.triage.catalogue import diagnosed
from inspector.triage.causes.refusals import BUGS, CHECKS, check, lineage, refusal, whose
from inspector.triage.evidence import Evidence
from inspector.triage.found import Found
from inspector.triage.hostkernel import HostWalk, named, walker_of
from inspector.triage.interrupts import FETCH
from inspector.triage.samples import Sample, Sampling
from inspector.triage.storage import Owner, Storage

NIP, EA, GPA, CODE = 0x2100, 0x5000_0000, 0xF000_0000, 0x2100
MSR = 0x8000_0000_0000_1033
HOLE = Translation(EA, "hardware", "fault", "r", cause="not-present", reason="nothing there", gra=GPA, stage=2)
FETCHED = Translation(NIP, "hardware", "ok", "x", ra=0x777_2100, gra=CODE)
FOUND = Translation(NIP, "kvm", "ok", ra=CODE, rights=ALL_RIGHTS)
REFUSED = Translation(NIP, "kvm", "fault", errno="EINVAL", cause="stray-page-bits", reason="bits below its size")
OWNER = Owner(1, 5, HOLE, FETCHED, REFUSED, HostWalk(), text="ld r5, 0(r4)", loads=True)
LAST = Storage(0, NIP, MSR, EA, GPA, 9, 9, 2, (OWNER,), lpids={1: 4})


def told(last: Storage) -> list[tuple[str, Found]]:
    samples = [Sample(float(at), {0: {"nip": 0x1000 + at}}) for at in range(last.samples)]
    found = diagnosed(Evidence(Sampling(1.0, samples), (last,)))
    return [(each.cause.slug, each.found) for each in found]


def owned(**changes: object) -> Storage:
    return replace(LAST, owners=(replace(OWNER, **changes),))  # type: ignore[arg-type]


def test_a_walk_that_is_refused() -> None:
    ((slug, found),) = told(LAST)
    assert (slug, found.confidence, found.walker, found.errno) == ("software-walk-fails", "high", "kvm", "EINVAL")
    assert (found.lpid, found.pid, found.nip, found.ea, found.ra) == (1, 5, NIP, EA, GPA)
    assert CHECKS["stray-page-bits"] in found.evidence


@pytest.mark.parametrize(
    ("last", "confidence"),
    [
        (replace(LAST, seen=1, samples=1, canaries=0), "medium"),
        (replace(LAST, canaries=9), "medium"),
        (replace(LAST, past=1), "low"),
        (owned(others=2), "medium"),
        (owned(loads=False), "low"),
    ],
    ids=["once", "only about to enter", "gone on", "of several processes", "no access"],
)
def test_how_sure_that_is(last: Storage, confidence: str) -> None:
    ((slug, found),) = told(last)
    assert (slug, found.confidence) == ("software-walk-fails", confidence)


def test_a_walk_that_goes_well_is_no_cause() -> None:
    assert told(owned(walk=FOUND))[0][0] == "unexplained"
    assert told(replace(owned(walk=FOUND), past=1))[0][0] == "healthy"
    assert told(owned(walk=None))[0][0] == "unexplained"


def test_what_has_memory_behind_it_is_no_devices() -> None:
    assert told(owned(data=replace(HOLE, status="ok", stage=None, cause=None)))[0][0] == "healthy"
    assert told(owned(data=replace(HOLE, stage=1)))[0][0] == "healthy"


def test_a_right_that_only_kvm_wants() -> None:
    ((slug, found),) = told(owned(walk=FOUND, refused=("EPERM", "no-read-right", "no reading")))
    assert (slug, found.errno) == ("software-walk-fails", "EPERM")


@pytest.mark.parametrize("refused", [None, ("EFAULT", "code-unreadable", "no slot")])
def test_a_walk_that_ends_elsewhere(refused: tuple[str, str, str] | None) -> None:
    ((slug, found),) = told(owned(walk=replace(FOUND, ra=0x80_0000_2100), refused=refused))
    assert (slug, found.errno) == ("software-walk-astray", refused and refused[0])
    both = "\n".join(found.evidence)
    assert "0x8000002100" in both
    assert f"guest real {CODE:#x}" in both


def test_page_bits_that_the_hardware_drops_are_not_elsewhere_to_it() -> None:
    high = 1 << 55 | CODE
    ((slug, _),) = told(owned(fetch=replace(FETCHED, gra=high), walk=replace(FOUND, ra=high)))
    assert slug == "software-walk-astray"
    assert told(owned(fetch=replace(FETCHED, gra=high), walk=FOUND))[0][0] == "unexplained"


def fetching(**changes: object) -> Storage:
    hole = replace(HOLE, ea=GPA, access="x")
    last = replace(LAST, nip=GPA, ea=GPA, kind=FETCH, bits=1 << 30, owners=(replace(OWNER, data=hole, fetch=hole),))
    return replace(last, **changes)  # type: ignore[arg-type]


def test_code_that_nothing_is_behind() -> None:
    ((slug, found),) = told(fetching())
    assert (slug, found.confidence, found.lpid) == ("second-stage-hole", "high", 1)
    assert told(fetching(seen=4))[0][1].confidence == "medium"


@pytest.mark.parametrize("last", [fetching(seen=2), fetching(lpids={}), fetching(lpids={2: 9})])
def test_a_fetch_that_may_be_served_yet_is_no_cause(last: Storage) -> None:
    assert told(last)[0][0] == "healthy"


# -- the words ---------------------------------------------------------------------------------------------------------


def test_every_check_of_the_walk_has_words() -> None:
    text = Path(inspector.radix.software_walk.__file__).read_text()
    slugs = set(re.findall(r'_Errno\(\s*"E[A-Z]+",\s*"([a-z-]+)"', text))
    assert len(slugs) > 8
    assert slugs <= set(CHECKS)
    assert len({check(slug) for slug in slugs}) == len(slugs)
    assert check("table-unreadable") == check("table-not-ram") != check("table-size")


def test_historic_bugs_are_told_with_their_mend() -> None:
    for name in BUGS:
        bitten = replace(OWNER, by=HostWalk(name), passing=("kvm", "kvm@4.20"))
        said = lineage(bitten)
        assert BUGS[name][1] in said
        assert "kvm@4.20" in said
    assert set(BUGS) < set(VARIANTS)
    assert "none of the 6" in lineage(OWNER)
    assert refusal(OWNER) == ("EINVAL", "stray-page-bits", "bits below its size")


def test_whose_walk_it_is() -> None:
    assert "not known" in whose(OWNER)
    said = whose(replace(OWNER, by=named("6.1")))
    assert "kvm@4.20" in said
    assert "quadrant 1" in said


@pytest.mark.parametrize(
    ("release", "dd1", "walker"),
    [
        ("4.11.0", False, "kvm"),
        ("4.18.0-305.el8.ppc64le", False, "kvm"),
        ("4.18.0", True, "kvm@dd1"),
        ("4.19.0", True, "kvm"),
        ("4.20.1", False, "kvm@4.20"),
        ("6.1.0-50-powerpc64le", False, "kvm@4.20"),
        ("", False, "kvm"),
    ],
)
def test_the_walk_of_a_kernel(release: str, dd1: bool, walker: str) -> None:
    assert walker_of(release, dd1) == walker


def test_the_kernel_that_the_user_names() -> None:
    assert named("SEED").walker == "kvm"
    assert named("4.18").walker == "kvm"
    assert named("kvm@pre-70cd4c10b2:rpdb-mask").walker == "kvm@pre-70cd4c10b2:rpdb-mask"
    assert named("kvm@dd1").how.startswith("the host's kernel"), "it goes on: and its walk is"
    for wrong in ("3.10", "hardware", "x", "", "6", "6.x", "6.1beta", "v6.1", "6.1.0 6.2", f"{'9' * 5000}.1"):
        with pytest.raises(UsageError, match=r"4\.11"):
            named(wrong)


def test_a_kernel_that_is_later_than_any_known_is_said_to_be() -> None:
    for known in ("6.1", "6.12.117", "4.20", "SEED", "kvm@4.20"):
        assert named(known).doubt == ""
    later = named("9.99-rc1")
    assert later.walker == "kvm@4.20"
    assert "newest known walk, kvm@4.20" in later.doubt
    assert "after 6.12" in later.doubt
    assert later.doubt in whose(replace(OWNER, by=later))
    assert "newest known" not in whose(replace(OWNER, by=named("6.1")))
