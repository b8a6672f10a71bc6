"""KUAP left open: what may be said of it, and what a kernel that copies looks like."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inspector.radix.bits import AMR_NO_READ, AMR_NO_WRITE
from inspector.triage.catalogue import diagnosed
from inspector.triage.evidence import Evidence
from inspector.triage.found import Finding
from inspector.triage.samples import Sample, Sampling
from tests.fakes import KERNEL_MSR, NIP, USER_MSR, USER_TEXT_EA, FakeTarget, linux_target
from tests.triage.stuckguests import sampled

SHUT, OPEN = AMR_NO_READ | AMR_NO_WRITE, AMR_NO_WRITE


def two_in_the_kernel(amr: int = OPEN) -> FakeTarget:
    """The pseries guest with vCPU 1 in the kernel, its key shut, and vCPU 0 at one place with this AMR."""
    target = linux_target()
    target.set(0, amr=amr)
    target.set(1, amr=SHUT, nip=NIP + 0x2000, msr=KERNEL_MSR)
    return target


def findings(samples: list[Sample]) -> list[Finding]:
    return [each for each in diagnosed(Evidence(Sampling(1.0, samples))) if each.cause.slug == "key-open"]


def loop(number: int) -> dict[str, int]:
    """Two instructions, again and again."""
    return {"nip": NIP + 8 * (number % 2), "r9": number % 2}


@pytest.mark.parametrize("amr", [0, AMR_NO_READ, AMR_NO_WRITE])
@pytest.mark.parametrize("place", [lambda _: {}, loop], ids=["one place", "a loop"])
def test_a_kernel_that_waits_with_the_key_open(amr: int, place: Callable[[int], dict[str, int]]) -> None:
    (finding,) = findings(sampled(two_in_the_kernel(amr), place))
    assert (finding.found.confidence, finding.found.cpu) == ("low", 0)
    assert f"AMR {amr:#x}" in "\n".join(finding.found.evidence)
    assert "vCPU 1" in finding.found.evidence[-1]


def test_interrupts_that_shut_it_for_their_while() -> None:
    target = two_in_the_kernel()
    shut = {"amr": SHUT, "nip": NIP + 0x4000}
    assert findings(sampled(target, lambda n: shut if n in (3, 6) else {}))
    assert not findings(sampled(target, lambda n: shut if n in (2, 4, 6) else {}))


HARMLESS: dict[str, Callable[[int], dict[str, int]]] = {
    "it copies": lambda n: {"r3": n, "ctr": 100 - n},
    "it goes on": lambda n: {"nip": NIP + 4 * n},
    "it is a user's": lambda _: {"msr": USER_MSR, "nip": USER_TEXT_EA},
    "it calls from user code": lambda n: {"msr": USER_MSR, "nip": USER_TEXT_EA} if n == 4 else {},
    "it is shut": lambda _: {"amr": SHUT},
    "an interrupt was just taken": lambda _: {"msr": KERNEL_MSR & ~0x8000},
    "it has translation off": lambda _: {"msr": KERNEL_MSR & ~0x30},
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_busy_kernel_does(name: str) -> None:
    assert not findings(sampled(two_in_the_kernel(), HARMLESS[name]))


def test_too_little_is_known() -> None:
    target = two_in_the_kernel()
    assert not findings(sampled(target, count=2)), "two samples"
    assert not findings(sampled(target, halted=True)), "it idles"
    target.set(0, amr=None)
    assert not findings(sampled(target)), "AMR is not known"
    target = two_in_the_kernel()
    target.set(1, amr=OPEN, msr=USER_MSR)
    assert not findings(sampled(target)), "a kernel that never shuts it"
