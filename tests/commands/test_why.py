"""why: the prediction in words and in JSON, who is asked about, and what the vCPU's own record is held to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import inspector
import inspector.cli
from inspector.commands import why as module
from inspector.errors import UsageError
from tests.commands.asking import ask, shown, told
from tests.commands.test_nested import (
    HOST_READ_ONLY,
    L2,
    L2_PID,
    LOST_BY_HOST,
    LOST_BY_L1,
    MORE,
    TABLE_AT,
    nested_target,
)
from tests.fakes import (
    BROKEN_EA,
    BROKEN_PID,
    IO,
    KERNEL,
    LPID,
    NIP,
    PID,
    USER_DATA_EA,
    USER_MSR,
    USER_TEXT_EA,
    FakeControl,
    FakeTarget,
    MiB,
    bare_target,
    broken_target,
    guest,
    kvm_host_target,
    linux_target,
)

FIXTURES = Path(__file__).parent.parent.parent / "fixtures"
DATA = KERNEL + 40 * MiB
"""The kernel's data, which cannot be executed."""
RECORDED = USER_DATA_EA + 0x40
"""In DAR of the fakes: a store that found no translation."""


def why(words: str, target: FakeTarget | None = None) -> dict[str, Any]:
    (answer,) = told(f"why {words}", target)
    return answer


def test_kuap_and_kuep_are_named() -> None:
    data = why(f"{USER_DATA_EA:#x} --access w")
    assert (data["cause"], data["interrupt"]["name"], data["interrupt"]["bits"]) == ("key", "DSI", "0xa000000")
    assert "KUAP" in data["reason"]
    code = why(f"{USER_TEXT_EA:#x} --access x")
    assert (code["cause"], code["interrupt"]["vector"]) == ("key", "0x400")
    assert "KUEP" in code["reason"]
    assert int(code["interrupt"]["registers"]["srr1"], 0) & 0x1000_0000


def test_in_a_handler_it_can_be_asked_as_the_code_that_was_interrupted() -> None:
    """The handler runs with relocation off, in which every address is real."""
    target = linux_target()
    then = target.files[0].need("msr")
    target.set(0, nip=0x300, msr=then & ~0x30, srr0=NIP, srr1=then, dar=DATA + (1 << 40), dsisr=0x4000_0000)
    assert why("$dar", target)["interrupt"] is None
    data = why("$dar --as-of srr1", target)
    assert (data["interrupt"]["name"], data["interrupt"]["bits"]) == ("DSI", "0x40000000")
    assert [each["verdict"] for each in data["recorded"]] == ["agrees"]
    with pytest.raises(UsageError, match="--as-of"):
        ask(f"why {DATA:#x} --as-of srr1 --pid 0", target)
    target.set(0, hsrr1=0)
    with pytest.raises(UsageError, match="HSRR1 is 0"):
        ask(f"why {DATA:#x} --as-of hsrr1", target)


def test_back_in_the_host_it_can_be_asked_as_the_guest_that_was_interrupted() -> None:
    """The host has LPIDR and PIDR for itself again, and HSRR1 still says that the guest was privileged."""
    with inspector.open_target(FIXTURES / "powernv9-hang.core.gz") as host:
        alone = module.why(host, 0x50000008, lpid=2, pid=5)
        then = module.why(host, 0x50000008, lpid=2, pid=5, as_of="hsrr1")
    assert (alone.answer.cause, alone.user) == ("privilege", True)
    assert (then.answer.cause, then.user) == ("not-present", False)
    assert then.prediction is not None
    assert (then.prediction.name, then.prediction.bits) == ("HDSI", 0x4000_0000)


def test_what_a_guest_was_at_is_asked_by_its_own_msr(capsys: pytest.CaptureFixture[str]) -> None:
    """The host has the vCPU again: its own MSR says nothing of the guest, and HSRR1 still has the guest's."""
    hang = str(FIXTURES / "powernv9-hang.core.gz")
    for words in ("0x50000000", "0x50000000 --access r", "0x50000000 --as-of hsrr1"):
        assert inspector.cli.main([hang, "why", *words.split(), "--lpid", "2", "--pid", "5", "--json"]) == 1
        data = json.loads(capsys.readouterr().out)
        assert data["interrupt"]["name"] == "HDSI", words
        assert [each["verdict"] for each in data["recorded"]] == ["agrees"]
    assert inspector.cli.main([hang, "why", "0x50000000", "--access", "w", "--lpid", "2", "--pid", "5", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["interrupt"]["name"] == "DSI", "another access, of user code"


L2_WORDS = f"--lpid {LPID} --nested {TABLE_AT:#x}:{L2} --pid {L2_PID}"


@pytest.mark.parametrize(
    ("ea", "access", "bits"),
    [(LOST_BY_L1, "r", 0x4000_0000), (LOST_BY_HOST, "r", 0x4000_0000), (HOST_READ_ONLY, "w", 0x0A00_0000)],
)
def test_a_guests_guest_is_asked_through_all_three_stages(ea: int, access: str, bits: int) -> None:
    """The host's CPU meets a guest's guest's faults, whichever of the two hypervisors has to mend them: ASDR is what
    the guest's guest calls real."""
    target = nested_target(more=True)
    gra = MORE[ea][0]
    target.set(0, hdar=ea, hdsisr=bits, asdr=gra, hsrr0=0x100, hsrr1=USER_MSR)
    data = why(f"{L2_WORDS} --access {access} {ea:#x}", target)
    assert (data["interrupt"]["name"], data["interrupt"]["bits"]) == ("HDSI", f"{bits:#x}")
    assert data["interrupt"]["registers"]["asdr"] == f"{gra:#x}"
    assert [each["verdict"] for each in data["recorded"]] == ["agrees"]
    assert f"a guest of LPID {LPID}'s" in " ".join(shown(f"why {L2_WORDS} {ea:#x}", target).split())


def test_each_reason_has_its_interrupt() -> None:
    assert why(f"{DATA:#x} --access x")["cause"] == "protection"
    assert why(f"{IO:#x} --access x")["cause"] == "guarded"
    segment = why(f"{KERNEL + (1 << 52):#x}")["interrupt"]
    assert (segment["name"], segment["vector"], segment["registers"].keys()) == ("DSEG", "0x380", {"dar"})
    target = linux_target()
    target.set(0, msr=USER_MSR)
    assert why(f"{DATA:#x} --access r", target)["cause"] == "privilege"
    broken = broken_target()
    causes = {why(f"{BROKEN_EA + n * 2 * MiB:#x} --pid {BROKEN_PID} --access r", broken)["cause"] for n in range(0, 5)}
    assert len(causes) >= 3


def test_the_second_stage_is_told_apart() -> None:
    host = kvm_host_target()
    answer = why("0x1234560000 --access r --lpid 1 --pid 5", host)
    assert answer["faults"]
    assert answer["interrupt"]["name"] in ("DSI", "HDSI")
    empty = why(f"{KERNEL:#x} --access r --lpid 2", host)
    assert (empty["interrupt"]["vector"], empty["stage"]) == ("0xe00", 2)
    assert {"hdar", "hdsisr", "asdr"} == empty["interrupt"]["registers"].keys()


def test_the_access_is_the_recorded_one_or_a_fetch_at_nip_or_a_load() -> None:
    assert why(f"{RECORDED:#x}")["access"] == "w"
    assert why(f"{NIP:#x}")["access"] == "x"
    assert why(f"{DATA:#x}")["access"] == "r"
    assert why(f"{RECORDED:#x} --access r")["chosen"] is None


def test_what_the_vcpu_recorded_is_held_to_the_tables() -> None:
    (record,) = why(f"{RECORDED:#x}")["recorded"]
    assert (record["verdict"], record["bits"], record["registers"]) == ("changed-since", "0x42000000", ["dar", "dsisr"])
    assert "goes well in the state that it was interrupted in" in record["says"], "the kernel may not, but the user may"
    target = linux_target()
    target.set(0, srr1=None)
    (record,) = why(f"{RECORDED:#x}", target)["recorded"]
    assert "goes well for user code" in record["says"]
    missing = 0x5000_0000
    target.set(0, dar=missing, dsisr=0x4000_0000)
    (record,) = why(f"{missing:#x}", target)["recorded"]
    assert (record["verdict"], record["access"]) == ("agrees", "r")
    (record,) = why(f"{DATA:#x}", target)["recorded"]
    assert record["verdict"] == "other-address"


def test_it_is_held_in_the_state_that_was_interrupted() -> None:
    """A user's store to the kernel's page is recorded; the handler, which runs now, may store there."""
    target = linux_target()
    target.set(0, dar=DATA, dsisr=0x0A00_0000, srr1=USER_MSR)
    answer = why(f"{DATA:#x}", target)
    assert not answer["faults"]
    assert answer["recorded"][0]["verdict"] == "agrees"
    assert "interrupted" in answer["recorded"][0]["says"]


def test_of_another_process_nothing_is_compared() -> None:
    answer = why(f"{RECORDED:#x} --pid {BROKEN_PID}", broken_target())
    assert answer["recorded"] == []
    assert "another process" in answer["not_compared"]
    assert why(f"{RECORDED:#x} --pid {PID}")["recorded"]
    target = linux_target()
    at = guest(target)
    control = FakeControl(target)
    at.resume()
    assert control.calls == ["resume"]
    assert "running" in told(f"why {KERNEL:#x} --access r", at)[0]["not_compared"]


def test_what_a_guest_met_is_held_to_the_guest_that_is_named() -> None:
    """The guest that hangs for ever at its MMIO address, while its vCPU is in the host: LPIDR is 0 there."""
    with inspector.open_target(str(FIXTURES / "powernv9-hang.core.gz")) as host:
        *_, unnamed = told("why $hdar", host)[0]["recorded"]
        assert (unnamed["registers"], unnamed["verdict"]) == (["hdar", "hdsisr"], "other-partition")
        assert "--lpid" in unnamed["says"]
        (answer,) = told("why $hdar --access r --lpid 2 --pid 5", host)
        (record,) = answer["recorded"]
        assert (record["registers"], record["verdict"]) == (["hdar", "hdsisr"], "agrees")
        assert "another process" in answer["not_compared"]
        (wrong,) = told("why $hdar --access r --lpid 1 --pid 5", host)[0]["recorded"]
        assert wrong["verdict"] == "changed-since", "ASDR is not where this guest's tables lead"


def test_another_vcpu_is_asked_for_once() -> None:
    target = linux_target()
    assert why(f"{USER_DATA_EA:#x} --access r")["faults"]
    answer = why(f"{USER_DATA_EA:#x} --access r --cpu 1", target)
    assert not answer["faults"], "its AMR is not its own business in user state"
    assert answer["user"]
    with pytest.raises(UsageError, match="there are: 0, 1"):
        ask("why 0 --cpu 7", target)
    with pytest.raises(UsageError, match="32 bits"):
        ask("why 0 --pid 0x100000000", target)


def test_real_mode_is_not_translated() -> None:
    target = bare_target()
    target.set(0, msr=0x9000_0000_0000_0000)
    text = shown("why 0x1000 --access r", target)
    assert "goes well" in text
    assert "in real mode" in text
    assert "translation is off" in text


def test_a_person_reads_the_reason_and_the_registers() -> None:
    text = shown(f"why {RECORDED:#x}")
    assert "raises DSI (0x300): key" in text
    assert "DSISR  0x000000000a000000" in text
    assert "recorded: DAR 0x10040040, DSISR 0x42000000: changed-since" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_record_of_another_address_is_no_noise() -> None:
    """The last fault was nearly always elsewhere: a few words where this access faults, none where it goes well."""
    target = linux_target()
    target.set(0, srr1=None)
    for words in (f"{KERNEL:#x} --access r", f"{DATA:#x} --access r"):
        assert [each["verdict"] for each in why(words, target)["recorded"]] == ["other-address"]
        text = shown(f"why {words}", target)
        assert "DAR" not in text
        assert "recorded" not in text
    faulting = shown(f"why {KERNEL + (1 << 52):#x} --access r", target)
    assert "DAR: of another address" in faulting.splitlines()[-1]
    assert f"{RECORDED:#x}" not in faulting
    same_page = shown(f"why {RECORDED + 8:#x} --access r", target)
    assert f"recorded: DAR {RECORDED:#x}" in same_page
    assert "another address" not in same_page


def test_real_mode_points_to_the_state_that_was_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    handler = FIXTURES / "hangs" / "bringup-key-closed.core.gz"
    assert inspector.cli.main([str(handler), "why", "$dar"]) == 0
    assert "'--as-of srr1' asks by that state" in capsys.readouterr().out
    assert inspector.cli.main([str(handler), "why", "$dar", "--as-of", "srr1"]) == 1
    assert "--as-of" not in capsys.readouterr().out
