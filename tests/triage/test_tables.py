"""Which cause a stuck access is a case of, by what is wrong with the tables, and what a finding of it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import inspector.radix
from inspector.radix.bits import (
    AMR_NO_READ,
    AMR_NO_WRITE,
    ATT_NON_IDEMPOTENT,
    IAMR_NO_EXECUTE,
    PDE_NLB,
    PDE_NLS,
    PTE_C,
    PTE_EXEC,
    PTE_READ,
    PTE_WRITE,
)
from inspector.radix.prediction import Record
from inspector.radix.translation import Access, Step, Translation
from inspector.triage.catalogue import CAUSES, diagnosed
from inspector.triage.causes.accesses import slug_of
from inspector.triage.devices import Watch
from inspector.triage.evidence import Evidence, gathered
from inspector.triage.found import Finding, Found
from inspector.triage.samples import Sample, Sampling
from inspector.triage.stuck import Stuck
from tests.fakes import (
    GUEST_LOST_EA,
    IO,
    KERNEL,
    LPID,
    NIP,
    PARTITION_TABLE_AT,
    PID,
    PROCESS_TABLE_AT,
    TIMA,
    USER_DATA_EA,
    USER_MSR,
    USER_TEXT_EA,
    FakeTarget,
    MiB,
    guest,
)
from tests.triage.stuckguests import (
    BAD_SHAPE,
    DATA_EA,
    FORBIDDEN,
    LOAD,
    NO_ENTRY,
    NO_EXECUTE,
    NO_R_OR_C,
    STORE,
    STORED,
    change,
    entry,
    held_up,
    in_handler,
    sampled,
)
from tests.triage.test_stuck import in_hypervisor, under_hypervisor

MISSING = IO + 0x1000_0000
SHUT = AMR_NO_READ | AMR_NO_WRITE


def findings(target: FakeTarget, samples: list[Sample] | None = None) -> list[Finding]:
    """What is diagnosed by nine samples that are all alike, or by these."""
    at = guest(target)
    return list(diagnosed(gathered(at, Sampling(1.0, samples or sampled(target)), Watch(at))))


def the_one(target: FakeTarget, samples: list[Sample] | None = None) -> tuple[str, Found]:
    (finding,) = findings(target, samples)
    return finding.cause.slug, finding.found


def as_user(target: FakeTarget, nip: int = USER_TEXT_EA + 0x100, code: bytes = LOAD) -> FakeTarget:
    """The same access by user code."""
    target.source.put(48 * MiB + 0x100, code)
    target.set(0, nip=nip, srr0=nip, msr=USER_MSR, srr1=target.files[0].need("srr1") & 0xFFFF_0000 | USER_MSR)
    return target


def fetching(ea: int, bits: int, **registers: int) -> FakeTarget:
    """The kernel's NIP there, and the fetch refused."""
    target = held_up(0, 0)
    msr = target.files[0].need("msr")
    target.set(0, **{"nip": ea, "srr0": ea, "srr1": msr | bits, **registers})
    return target


def _misaligned(level: int) -> FakeTarget:
    """The directory of this level half a table too high, and nothing where the MMU looks."""
    target = held_up(USER_DATA_EA, NO_ENTRY)
    above, below = (entry(target, USER_DATA_EA, each, pid=PID) for each in (level, level - 1))
    assert above.value is not None
    size = 8 << (above.value & PDE_NLS)
    target.source.put_word(below.address, 0)
    change(target, above, 0, size // 2)
    return target


def _directory(gone: int, come: int, bits: int) -> FakeTarget:
    target = held_up(USER_DATA_EA, bits)
    change(target, entry(target, USER_DATA_EA, 2, pid=PID), gone, come)
    return target


def _process(value: int, bits: int = BAD_SHAPE) -> FakeTarget:
    target = held_up(USER_DATA_EA, bits)
    del target.files[1]
    target.source.put_word(PROCESS_TABLE_AT + 16 * PID, value)
    return target


def _leaf(ea: int, bits: int, code: bytes = LOAD, *, gone: int = 0, come: int = 0) -> FakeTarget:
    target = held_up(ea, bits, code)
    change(
        target, entry(target, ea, 0 if ea == USER_DATA_EA else 1, pid=PID if ea == USER_DATA_EA else None), gone, come
    )
    return target


def _code(gone: int = 0, come: int = 0) -> FakeTarget:
    target = fetching(DATA_EA, NO_EXECUTE)
    change(target, entry(target, DATA_EA, 1), gone, come)
    return target


def _past() -> FakeTarget:
    return held_up(USER_DATA_EA, NO_ENTRY, pid=0x20_0000)


CASES: dict[str, tuple[str, Callable[[], FakeTarget]]] = {
    "a device": ("mmio-page-not-mapped", lambda: held_up(MISSING, NO_ENTRY)),
    "user memory": ("page-not-mapped", lambda: held_up(0x5000_0000, NO_ENTRY)),
    "code": ("page-not-mapped", lambda: fetching(KERNEL + (1 << 40), NO_ENTRY)),
    "code among devices": ("page-not-mapped", lambda: fetching(MISSING, NO_ENTRY)),
    "KUAP": ("key-closed", lambda: held_up(USER_DATA_EA, FORBIDDEN)),
    "KUAP, storing": ("key-closed", lambda: held_up(USER_DATA_EA, FORBIDDEN | STORED, STORE)),
    "the kernel's": ("privileged-from-user", lambda: as_user(held_up(DATA_EA, FORBIDDEN))),
    "the kernel's code": ("privileged-from-user", lambda: as_user(fetching(NIP, NO_EXECUTE), NIP)),
    "data run": ("execute-protected", _code),
    "a device run": ("execute-protected", lambda: _code(0, ATT_NON_IDEMPOTENT | PTE_EXEC)),
    "KUEP": ("execute-protected", lambda: fetching(USER_TEXT_EA, NO_EXECUTE, iamr=IAMR_NO_EXECUTE)),
    "read only": ("write-protected", lambda: _leaf(DATA_EA, FORBIDDEN | STORED, STORE, gone=PTE_WRITE)),
    "no right": ("access-faults", lambda: _leaf(DATA_EA, FORBIDDEN, gone=PTE_WRITE | PTE_READ)),
    "level 3 askew": ("directory-misaligned", lambda: _misaligned(3)),
    "level 2 askew": ("directory-misaligned", lambda: _misaligned(2)),
    "no table": ("directory-outside-ram", lambda: _directory(PDE_NLB, TIMA & PDE_NLB, NO_ENTRY)),
    "NLS": ("bad-configuration", lambda: _directory(PDE_NLS, 7, BAD_SHAPE)),
    "RTS": ("bad-configuration", lambda: _process(0x2000_0000_0000_00AD | 34 * MiB)),
    "RPDS": ("bad-configuration", lambda: _process(0x4000_0000_0000_00AC | 34 * MiB)),
    "no process": ("process-entry-cleared", lambda: _process(0)),
    "far PID": ("pid-past-table", _past),
    "DSEG": ("ea-out-of-range", lambda: held_up(0xC010_0000_0000_0000, 0)),
    "R": ("rc-not-settable", lambda: _leaf(DATA_EA, NO_R_OR_C, gone=0x100)),
    "C": ("rc-not-settable", lambda: _leaf(DATA_EA, NO_R_OR_C | STORED, STORE, gone=PTE_C)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(name: str) -> None:
    slug, make = CASES[name]
    target = make()
    said, one = the_one(target)
    known = target.files[0].need
    assert (said, one.confidence, one.cpu, one.nip) == (slug, "high", 0, known("nip"))
    assert one.ea == (known("dar") or known("nip"))
    assert one.walker == "hardware"
    assert "in 9 of 9 samples" in one.evidence[0]
    assert (the_one(target, sampled(target, count=1))[1]).confidence == "medium"
    assert the_one(target, sampled(target, in_handler))[0] == slug, "in its handler too"


def test_each_is_named_when_it_lasts_only() -> None:
    for name, (_, make) in CASES.items():
        target = make()
        gone = sampled(target, lambda n: {"nip": NIP + 0x1000 + 4 * n, "srr0": NIP + 0x2000} if n != 3 else {})
        assert [each.cause.slug for each in findings(target, gone)] == ["healthy"], name


# -- what is said ------------------------------------------------------------------------------------------------------


def said(target: FakeTarget) -> str:
    return "\n".join(the_one(target)[1].evidence)


def test_the_entry_at_which_the_walk_ends_is_told() -> None:
    target = held_up(MISSING, NO_ENTRY)
    last = guest(target).translate(MISSING).steps[-1]
    words = said(target)
    assert f"level {last.level} entry at {last.address:#x}" in words
    assert "0x0000000000000000" in words
    assert f"DAR {MISSING:#x} and DSISR {NO_ENTRY:#x}" in words


def test_keys_are_told_by_their_names() -> None:
    assert "KUAP" in said(held_up(USER_DATA_EA, FORBIDDEN))
    assert "KUEP" in said(fetching(USER_TEXT_EA, NO_EXECUTE, iamr=IAMR_NO_EXECUTE))
    assert "guarded" in said(_code(0, ATT_NON_IDEMPOTENT | PTE_EXEC))


def test_a_misaligned_directory_is_told_with_what_it_should_be_a_multiple_of() -> None:
    target = _misaligned(2)
    bad = entry(target, USER_DATA_EA, 2, pid=PID)
    slug, one = the_one(target)
    assert (slug, one.ra) == ("directory-misaligned", bad.address)
    assert any(f"{bad.value:#018x}" in each and "0x1000 bytes" in each for each in one.evidence)


def test_a_misaligned_directory_that_leads_on_is_no_cause() -> None:
    target = held_up(0x5000_0000, NO_ENTRY)
    change(target, entry(target, DATA_EA, 2), 0, 0x800)
    assert the_one(target)[0] == "page-not-mapped", "that one is on another way"


def test_where_no_ram_is() -> None:
    slug, one = the_one(_directory(PDE_NLB, TIMA & PDE_NLB, NO_ENTRY))
    assert slug == "directory-outside-ram"
    assert one.ra is not None
    assert one.ra & ~0xFFF == TIMA & PDE_NLB & ~0xFFF
    assert "no RAM" in "\n".join(one.evidence)


def test_the_process_tables_entry() -> None:
    _, one = the_one(_process(0))
    assert (one.pid, one.ra) == (PID, PROCESS_TABLE_AT + 16 * PID)


@pytest.mark.parametrize("seen", [1, 9])
def test_a_process_that_runs_on_without_an_entry(seen: int) -> None:
    target = held_up(DATA_EA, 0, dar=0, dsisr=0)
    target.source.put_word(PROCESS_TABLE_AT + 16 * PID, 0)
    slug, one = the_one(target, sampled(target, count=seen))
    assert (slug, one.cpu, one.pid, one.ra) == ("process-entry-cleared", 1, PID, PROCESS_TABLE_AT + 16 * PID)
    assert one.confidence == ("high" if seen > 1 else "medium")


def test_one_finding_is_enough_of_a_process_that_two_vcpus_run() -> None:
    target = held_up(USER_DATA_EA, BAD_SHAPE)
    target.source.put_word(PROCESS_TABLE_AT + 16 * PID, 0)
    slug, one = the_one(target)
    assert (slug, one.cpu) == ("process-entry-cleared", 0)


def test_the_process_table_outside_ram() -> None:
    target = held_up(USER_DATA_EA, BAD_SHAPE)
    step = Step("process-table", 1, None, PID, TIMA, None, "unreadable")
    answer = Translation(USER_DATA_EA, "hardware", "fault", "r", cause="table-not-ram", stage=1, steps=(step,))
    record = Record(("DAR", "DSISR"), USER_DATA_EA, BAD_SHAPE, "r")
    evidence = Evidence(Sampling(1.0, sampled(target)), stuck=(Stuck(0, NIP, answer, record, False, "", False, 9),))
    (finding,) = diagnosed(evidence)
    assert (finding.cause.slug, finding.found.ra) == ("process-table-outside-ram", TIMA)


def test_what_may_be_a_program_that_gives_its_pages_back_is_not_sure() -> None:
    target = held_up(0x5000_0000, NO_ENTRY)
    slug, one = the_one(target, sampled(target, in_handler))
    assert (slug, one.confidence) == ("page-not-mapped", "low")
    assert "gives a page back" in one.evidence[-1]


# -- the second stage --------------------------------------------------------------------------------------------------


def test_a_hole_behind_a_guest_real_address() -> None:
    target = under_hypervisor()
    slug, one = the_one(target, sampled(target, in_hypervisor))
    assert (slug, one.ea, one.ra, one.confidence) == ("second-stage-hole", GUEST_LOST_EA, 4 * MiB, "high")
    assert "HSRR0" in one.evidence[0]
    assert "stage 2" in "\n".join(one.evidence)


def test_a_partition_without_tables() -> None:
    target = under_hypervisor(hdsisr=BAD_SHAPE, asdr=GUEST_LOST_EA)
    target.source.put_word(PARTITION_TABLE_AT + 16 * LPID, 0)
    slug, one = the_one(target, sampled(target, in_hypervisor))
    assert (slug, one.ea, one.lpid) == ("partition-entry-bad", GUEST_LOST_EA, LPID)
    assert one.ra == PARTITION_TABLE_AT + 16 * LPID
    assert f"the partition-table entry {LPID}" in "\n".join(one.evidence)


# -- all of them -------------------------------------------------------------------------------------------------------


def walks_causes() -> set[str]:
    """Every cause that the hardware's walk ends with, by the source."""
    folder = Path(inspector.radix.__file__).parent
    text = "\n".join((folder / name).read_text() for name in ("walk.py", "stages.py", "access.py", "outer.py"))
    found = set(re.findall(r'\b(?:Fault|fault|Denial)\(\s*"([a-z-]+)"', text))
    return found | {"table-not-ram"}


@pytest.mark.parametrize("access", ["r", "w", "x"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_way_a_walk_ends_is_of_one_cause(access: Access, stage: int) -> None:
    slugs = {cause.slug for cause in CAUSES}
    assert len(slugs) == len(CAUSES)
    causes = walks_causes()
    unnamed = ("hash-mmu", "table-not-ram", "protection", "guarded")
    assert {"not-present", "key", "protection", "tree-size", "process-entry-empty", "quadrant"} <= causes
    for cause in causes:
        answer = Translation(DATA_EA, "hardware", "fault", access, cause=cause, stage=stage)
        stuck = Stuck(0, NIP, answer, Record(("DAR", "DSISR"), DATA_EA, 0, access), False, "", False)
        assert slug_of(stuck) in slugs, cause
        assert slug_of(stuck) != "access-faults" or cause in unnamed, cause
