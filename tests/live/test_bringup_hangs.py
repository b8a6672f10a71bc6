"""The bring-up guest, hung: a vCPU makes one access for ever, forbidden in one of many ways. It stays there with the
registers that the ISA gives the cause, ``why`` finds the tables to agree with them, and ``triage`` names the cause."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.commands.why import why
from inspector.guest import Guest
from inspector.radix.address import quadrant
from inspector.radix.prediction import LEAST_PAGE
from inspector.radix.translation import Access
from scripts.bringup import LEFT_AT, ROUNDS, Bringup, MachineName
from scripts.bringuphangs import DEVICE, DSI, GOES_WELL, HDSI, HISI, Placed, places, set_up

pytestmark = pytest.mark.live

SECONDS = 0.15
"""For triage to look on; the handlers go round some thousand times meanwhile."""
RECORDING = ("dar", "dsisr", "srr0", "srr1", "hdar", "hdsisr", "hsrr0", "hsrr1", "asdr")
STATE = ("pid", "lpidr", "amr", "iamr", "r4", "r5")
MACHINES: tuple[MachineName, ...] = ("pseries", "powernv9")
CHOICES = [
    pytest.param((machine, number), id=f"{where}-{hang.name.replace(' ', '-')}")
    for machine in MACHINES
    for number, (hang, where) in enumerate(places(machine))
]


class Series:
    """A machine that is let go from one hang to the next; another where that does not lead to the one asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.at: tuple[MachineName, int] | None = None
        self.bringup: Bringup
        self.placed: list[Placed] = []

    def hang(self, machine: MachineName, number: int) -> None:
        """Hang it there; it runs."""
        if self.at is None or self.at[0] != machine or self.at[1] > number:
            self.stack.close()
            self.bringup = self.stack.enter_context(Bringup(machine))
            self.placed = set_up(self.bringup, machine)
            self.bringup.begin([each.access for each in self.placed])
        self.at = (machine, number)
        self.bringup.hang_at(number)


class Hung:
    """One hang."""

    def __init__(self, series: Series, machine: MachineName, number: int) -> None:
        self.bringup, self.placed = series.bringup, series.placed[number]
        self.table = self.placed.access.table if machine == "pseries" else None

    def stopped(self) -> Guest:
        """The inspector at it; it stands until that is closed."""
        machine = self.bringup.machine
        guest: Guest = inspector.open_target(machine.target, ram=machine.ram_file, process_table=self.table)
        return guest

    def findings(self, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
        """What triage finds, for a user with no symbols."""
        machine = self.bringup.machine
        words = [machine.target, "--ram", str(machine.ram_file)]
        if self.table is not None:
            words += ["--process-table", f"{self.table:#x}"]
        status = main([*words, "triage", "--json", "--seconds", str(SECONDS)])
        said = capsys.readouterr()
        assert not said.err
        found = list(map(json.loads, said.out.splitlines()))
        assert found[0]["stood_ms"] > 0
        assert status == (found[0]["verdict"] != "healthy")
        return found

    @property
    def way(self) -> Access:
        """What kind of access it is."""
        made = self.placed.access
        return "x" if made.start == made.ea else "r"


@pytest.fixture(scope="module")
def series() -> Iterator[Series]:
    with ExitStack() as stack:
        yield Series(stack)


@pytest.fixture(scope="module", params=CHOICES)
def hung(request: pytest.FixtureRequest, series: Series) -> Hung:
    series.hang(*request.param)
    return Hung(series, *request.param)


def recorded(placed: Placed) -> dict[str, int]:
    """What the registers hold then; those that no interrupt has set are 0, as they were before the access."""
    hang, made = placed.hang, placed.access
    told = dict.fromkeys(RECORDING, 0) | {"srr0": made.start, "srr1": made.msr}
    prefix = "h" if hang.vector in (HDSI, HISI) else ""
    if prefix:
        told |= {"hsrr0": made.start, "hsrr1": made.msr}
    if hang.vector in (DSI, HDSI):
        told |= {f"{prefix}dar": made.ea, f"{prefix}dsisr": hang.bits}
    else:
        told[f"{prefix}srr1"] |= hang.bits
    return told


def test_it_stays_with_what_the_cpu_records(hung: Hung) -> None:
    placed, bringup = hung.placed, hung.bringup
    before, rounds = bringup.registers((*RECORDING, *STATE)), bringup.rounds()
    with hung.stopped() as guest:
        known = guest.registers(0)
        last = {name: known.need(name) for name in (*RECORDING, *STATE)}
        assert known.need(ROUNDS) > rounds, "it comes back to it again and again"
        found = why(guest, placed.access.ea, hung.way).recorded
    if placed.hang.vector == GOES_WELL:
        assert bool(found) == (placed.access.start & 0xFFFF == LEFT_AT)
        return
    assert last == before
    assert last["asdr"] & ~LEAST_PAGE == placed.asdr & ~LEAST_PAGE
    assert {name: last[name] for name in RECORDING} == recorded(placed) | {"asdr": last["asdr"]}
    assert (last["r4"], last["r5"]) == (placed.access.ea, placed.access.value)
    assert [(each.record.ea, each.verdict) for each in found] == [(placed.access.ea, "agrees")]


def test_triage_names_the_cause(hung: Hung, capsys: pytest.CaptureFixture[str]) -> None:
    made, slug = hung.placed.access, hung.placed.hang.slug
    (found,) = hung.findings(capsys)
    assert found["verdict"] == slug, found
    if slug == "healthy":
        return
    assert (found["cpu"], found["nip"], found["ea"]) == (0, f"{made.start:#x}", f"{made.ea:#x}")
    # how often a user's page could be seen to be refused depends on how fast the machine is
    fetchable = slug in ("page-not-mapped", "write-protected") and not quadrant(made.ea)
    assert found["confidence"] in (("high", "medium", "low") if fetchable else ("high",))


@pytest.mark.parametrize("machine", MACHINES)
def test_what_was_mended_is_no_cause_any_more(machine: MachineName, capsys: pytest.CaptureFixture[str]) -> None:
    number = next(n for n, (hang, _) in enumerate(places(machine)) if hang.slug == "mmio-page-not-mapped")
    with ExitStack() as stack:
        series = Series(stack)
        series.hang(machine, number)
        hung = Hung(series, machine, number)
        assert [each["verdict"] for each in hung.findings(capsys)] == ["mmio-page-not-mapped"]
        made = hung.placed.access
        with hung.stopped() as guest:
            guest.overrides.update(msr=made.msr)
            missing = guest.translate(made.ea, access="r").steps[-1]
            neighbour = guest.translate(DEVICE, access="r").steps[-1]
            assert (missing.kind, neighbour.kind) == ("invalid", "leaf")
            assert neighbour.value is not None
            hung.bringup.put(missing.address, neighbour.value)
        assert [each["verdict"] for each in hung.findings(capsys)] == ["healthy"]
        with hung.stopped() as guest:
            assert guest.registers(0).need("dar") == made.ea, "what was recorded stays there"
            assert [each.verdict for each in why(guest, made.ea).recorded] == ["changed-since"]
