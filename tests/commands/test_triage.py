"""``triage``: what it finds in what was recorded, and that it finds nothing wrong where nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.commands.notes import Aside
from inspector.commands.triage import triage
from inspector.errors import UsageError
from inspector.radix.bits import MSR_HV
from inspector.radix.prediction import HDSISR_CANARY
from inspector.triage.samples import MOST
from tests.commands.asking import ask, shown, told
from tests.commands.test_examples import too_long
from tests.fakes import (
    GUEST_PID,
    GUEST_TEXT_EA,
    IO,
    KERNEL,
    LPID,
    NIP,
    USER_DATA_EA,
    USER_MSR,
    USER_TEXT_EA,
    FakeControl,
    FakeTarget,
    MiB,
    bare_target,
    broken_target,
    firmware_target,
    guest,
    guest_to_host,
    kvm_host_target,
    linux_target,
)

FIXTURES = Path(__file__).parents[2] / "fixtures"
HANG = str(FIXTURES / "powernv9-hang.core.gz")
OTHERS = ["demo", *(str(each) for each in sorted(FIXTURES.glob("*.core.gz")) if str(each) != HANG)]
KEYS = ["verdict", "confidence", "cpu", "lpid", "pid", "nip", "ea", "ra", "walker", "errno", "device", "evidence"]
LOAD = bytes.fromhex("0000a4e8")
"""``ld r5,0(r4)``, little-endian."""
NO_TRANSLATION, STORE_KEY, READ_PROTECTED = 0x4000_0000, 0x0A00_0000, 0x0800_0000
MISSING = 0xC00A_0000_9000_0000
"""Where Linux maps devices, and none is mapped."""


def findings(target: FakeTarget) -> list[dict[str, Any]]:
    return [each for each in told("triage", target) if "verdict" in each]


# -- what was recorded -------------------------------------------------------------------------------------------------


def test_the_hang_that_was_recorded_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([HANG, "triage", "--json"]) == 1
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(found)[: len(KEYS)] == KEYS
    assert (found["verdict"], found["confidence"]) == ("software-walk-fails", "high"), "its samples are with it"
    assert (found["cpu"], found["lpid"], found["pid"]) == (0, 2, 5)
    assert (found["nip"], found["ea"], found["ra"]) == ("0x2100", "0x50000000", "0xf0000000")
    assert (found["walker"], found["errno"], found["device"]) == ("kvm", "EINVAL", None)
    assert "stray-page-bits" in " ".join(found["evidence"])
    assert "ld r5" in found["evidence"][0]
    assert found["advice"]


def test_a_person_reads_the_verdict_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([HANG, "triage"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("software-walk-fails")
    assert too_long(lines) == []


def test_a_person_reads_which_device_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    masked = str(FIXTURES / "hangs" / "debian-function-masked.core.gz")
    assert main([masked, "triage", "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[0])
    assert main([masked, "triage"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"  {found['device']}"
    assert "virtio-blk, queue" in lines[2]
    assert lines[3] == f"  real {found['ra']}", "not a guest's: it is this machine's"
    assert too_long(lines) == []


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_wrong_is_found_in_the_others(name: str) -> None:
    with inspector.open_target(name) as seen:
        report = triage(seen)
    (found,) = report.findings
    assert (found.cause.slug, found.ok, report.stood, report.samples) == ("healthy", True, None, 1)
    assert found.found.confidence == "low"
    assert "recorded" in found.found.evidence[0]


# -- a KVM guest whose code KVM's walk refuses -------------------------------------------------------------------------

DEVICE_EA, DEVICE = 0x1004_0000, 0x17_0000
"""What PID GUEST_PID of the fake host's guest maps at guest real 0x17_0000; the test takes away what is behind."""


def hanging(**registers: int) -> FakeTarget:
    """The host with the guest's load from a device in vCPU 0's registers, the page behind the address taken away and a
    stray page-number bit in the leaf of its code."""
    target = kvm_host_target()
    memory = target.source
    at = guest(target)
    seen = at.translate(DEVICE_EA, lpid=LPID, pid=GUEST_PID)
    memory.put_word(seen.steps[-1].address, 0)
    code = at.translate(GUEST_TEXT_EA, lpid=LPID, pid=GUEST_PID)
    leaf = next(step for step in code.steps if step.stage == 1 and step.kind == "leaf")
    assert leaf.value is not None
    memory.put_word(leaf.address, leaf.value | 0x8000)
    memory.put(guest_to_host(2 * MiB) + 0x100, LOAD)
    last = {"hsrr0": GUEST_TEXT_EA + 0x100, "hsrr1": USER_MSR, "hdar": DEVICE_EA + 8, "asdr": DEVICE + 8}
    target.set(0, **{**last, "hdsisr": NO_TRANSLATION, **registers})
    return target


def test_the_process_whose_tables_lead_there_is_found() -> None:
    (found,) = findings(hanging())
    assert (found["verdict"], found["lpid"], found["pid"], found["errno"]) == (
        "software-walk-fails",
        LPID,
        GUEST_PID,
        "EINVAL",
    )
    assert found["ea"] == f"{DEVICE_EA + 8:#x}"
    assert not all(each.ok for each in ask("triage", hanging()))
    assert too_long(shown("triage", hanging()).splitlines()) == []


def test_kvms_canary_does_not_hide_it() -> None:
    (found,) = findings(hanging(hdsisr=HDSISR_CANARY))
    assert (found["verdict"], found["confidence"]) == ("software-walk-fails", "medium")
    assert "about to enter" in found["evidence"][0]


@pytest.mark.parametrize(
    "registers",
    [
        {"hsrr1": USER_MSR | MSR_HV},
        {"asdr": DEVICE + 0x1_0000},
        {"hdar": DEVICE_EA + 0x1_0000},
        {"hdsisr": 0},
        {"hsrr1": 0x8000_0000_0000_1003},
        {"hsrr0": GUEST_TEXT_EA + 0x100_0000},
    ],
    ids=["the host's own", "another page", "another EA", "none taken", "no relocation", "no code there"],
)
def test_what_is_not_this_guests_is_not_taken_for_it(registers: dict[str, int]) -> None:
    assert [each["verdict"] for each in findings(hanging(**registers))] == ["healthy"]


def test_a_page_that_is_there_by_now_is_none_of_it() -> None:
    target = hanging(hdar=GUEST_TEXT_EA + 0x100, asdr=2 * MiB + 0x100)
    assert [each["verdict"] for each in findings(target)] == ["healthy"]


def test_code_that_kvm_finds_is_none_of_it() -> None:
    target = hanging()
    code = guest(target).translate(GUEST_TEXT_EA, lpid=LPID, pid=GUEST_PID)
    leaf = next(step for step in code.steps if step.stage == 1 and step.kind == "leaf")
    assert leaf.value is not None
    target.source.put_word(leaf.address, leaf.value & ~0x8000)
    assert [each["verdict"] for each in findings(target)] == ["healthy"]


# -- the access at NIP -------------------------------------------------------------------------------------------------


def faulting(**registers: int) -> FakeTarget:
    """The pseries guest, its kernel about to load by r4 what it was interrupted at."""
    target = linux_target()
    target.source.put(NIP - KERNEL, LOAD)
    target.set(0, **{"srr0": NIP, "srr1": target.files[0].need("msr"), **registers})
    return target


def verdict(target: FakeTarget) -> str:
    (found,) = findings(target)
    verdict: str = found["verdict"]
    return verdict


def test_each_cause_by_its_access() -> None:
    def at(ea: int, dsisr: int) -> FakeTarget:
        return faulting(r4=ea, dar=ea, dsisr=dsisr)

    assert verdict(at(MISSING, NO_TRANSLATION)) == "mmio-page-not-mapped"
    assert verdict(at(0x5000_0000, NO_TRANSLATION)) == "page-not-mapped"
    assert verdict(at(USER_DATA_EA, READ_PROTECTED)) == "key-closed"
    assert verdict(at(KERNEL + 8 * MiB, READ_PROTECTED)) == "healthy", "the tables allow it now"
    assert verdict(at(MISSING, STORE_KEY)) == "healthy", "it recorded something else"
    target = at(MISSING, NO_TRANSLATION)
    target.set(0, dar=MISSING + (1 << 16))
    assert verdict(target) == "healthy", "it recorded another address"
    target.set(0, dar=MISSING, srr0=NIP + 4)
    assert verdict(target) == "healthy", "it was interrupted elsewhere"


def test_user_code_that_reaches_for_the_kernel() -> None:
    target = linux_target()
    target.source.put(48 * MiB + 0x100, LOAD)
    nip, ea = USER_TEXT_EA + 0x100, KERNEL + 40 * MiB
    target.set(0, nip=nip, msr=USER_MSR, srr0=nip, srr1=USER_MSR, r4=ea, dar=ea, dsisr=READ_PROTECTED)
    assert verdict(target) == "privileged-from-user"


def test_code_that_may_not_be_executed() -> None:
    target = linux_target()
    at = guest(target)
    msr = target.files[0].need("msr")
    target.set(0, nip=IO, srr0=IO, srr1=msr | 0x1000_0000, dsisr=0, dar=0)
    assert at.translate(IO, access="x").cause == "guarded"
    assert verdict(target) == "execute-protected"


@pytest.mark.parametrize("make", [linux_target, bare_target, kvm_host_target, broken_target, firmware_target])
def test_the_fakes_are_healthy(make: Any) -> None:
    assert verdict(make()) == "healthy"


# -- over time ---------------------------------------------------------------------------------------------------------


class Live(FakeTarget):
    """One whose stub can tell how it was found, and since when it stands."""

    found_running: bool | None = True
    standing_since: float | None = None


def live(target: FakeTarget, found: bool | None = True) -> tuple[Live, FakeControl]:
    made = Live(target.source, target.ram, target.files, target.known_roots)
    made.found_running = found
    return made, FakeControl(made)


def test_a_guest_that_ran_is_let_run_between_samples_and_left_stopped_as_it_was() -> None:
    target, control = live(linux_target())
    (found,) = told("triage --seconds 0.01", target)
    runs = [each for each in control.calls if each in ("resume", "interrupt")]
    assert runs == ["resume", "interrupt"] * (MOST - 1)
    assert control.glances == [True] * (MOST - 2) + [False], "what is judged is looked at with all that there is"
    assert (found["verdict"], found["confidence"]) == ("healthy", "medium")
    assert f"{MOST} samples" in found["evidence"][0]
    assert found["samples"] == MOST
    assert 0 <= found["stood_ms"] <= 1000 * found["seconds"] + 1000


def test_one_that_was_stopped_is_not_let_run() -> None:
    for found in (False, None):
        target, control = live(linux_target(), found)
        (verdict,) = told("triage", target)
        assert [call for call in control.calls if not call.startswith("monitor info")] == []
        assert "stopped" in verdict["evidence"][0]
    told("triage --seconds 0.01", target)
    assert "resume" in control.calls, "it is not known how it was found, and it was asked for"


def test_one_that_runs_runs_on() -> None:
    target, control = live(linux_target())
    control.resume()
    told("triage --seconds 0", target)
    assert control.calls[-1] == "resume"
    assert guest(target).running


def test_what_stays_the_same_is_surer() -> None:
    target, _ = live(hanging())
    (found,) = told("triage --seconds 0.01", target)
    assert (found["verdict"], found["confidence"]) == ("software-walk-fails", "high")
    assert f"in {MOST} of {MOST} samples" in found["evidence"][0]


def test_the_walk_that_counts_is_that_of_the_kernel_that_is_named() -> None:
    (found,) = told("triage", hanging())
    assert "the host's kernel is not known" in "\n".join(found["evidence"])
    (found,) = told("triage --as 6.1", hanging())
    assert "kvm@4.20, which goes here as kvm does" in "\n".join(found["evidence"])
    (found,) = told("triage --as kvm@pre-70cd4c10b2:process-table", hanging())
    assert (found["walker"], found["errno"]) == ("kvm@pre-70cd4c10b2:process-table", "EFAULT")
    with pytest.raises(UsageError, match=r"4\.11"):
        ask("triage --as 3.10")


def test_a_kernel_that_nobody_knows_is_said_to_be_taken_for_the_newest() -> None:
    """Whatever is found: that nothing is wrong may rest on that walk too."""
    for target in (hanging(), linux_target()):
        notes = [each for each in ask("triage --as 9.99", target) if isinstance(each, Aside)]
        assert ["newest known walk" in str(each.said) for each in notes] == [True]
        assert not [each for each in ask("triage --as 6.1", target) if isinstance(each, Aside)]


def test_a_historic_bug_is_told_with_its_mend() -> None:
    made = hanging()
    code = guest(made).translate(GUEST_TEXT_EA, lpid=LPID, pid=GUEST_PID)
    leaf = next(step for step in code.steps if step.stage == 1 and step.kind == "leaf")
    assert leaf.value is not None
    made.source.put_word(leaf.address, leaf.value & ~0x8000)
    (found,) = told("triage --as kvm@pre-70cd4c10b2:rpdb-mask", made)
    assert (found["verdict"], found["errno"]) == ("software-walk-fails", "EINVAL")
    assert "mended by 70cd4c10b2, first in Linux 4.11" in "\n".join(found["evidence"])


def test_what_comes_back_and_is_found_by_kvm_is_unexplained() -> None:
    made = hanging()
    code = guest(made).translate(GUEST_TEXT_EA, lpid=LPID, pid=GUEST_PID)
    leaf = next(step for step in code.steps if step.stage == 1 and step.kind == "leaf")
    assert leaf.value is not None
    made.source.put_word(leaf.address, leaf.value & ~0x8000)
    target, control = live(made)
    control.on_wait = lambda: target.set(0, hdsisr=HDSISR_CANARY ^ NO_TRANSLATION ^ target.files[0].need("hdsisr"))
    (found,) = told("triage --seconds 0.01", target)
    assert (found["verdict"], found["confidence"]) == ("unexplained", "low")


def test_wrong_seconds_are_told() -> None:
    for text in ("-1", "61", "nan", "soon"):
        with pytest.raises(UsageError, match="from 0 to 60"):
            ask(f"triage --seconds={text}")
