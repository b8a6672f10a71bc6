"""``triage`` on Linux whose tables are changed under a process that computes: what keeps it where it is has a name, and
what the kernel mends or ends itself leaves nothing wrong."""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import inspector
from inspector.cli import main
from inspector.radix.bits import ATT_NON_IDEMPOTENT, MSR_PR, PTE_PRIVILEGED
from inspector.radix.translation import Step
from scripts.guests import Machine, booted
from scripts.qmp import PATIENCE

pytestmark = pytest.mark.live

CPU = 1
LOOP = "while :; do n=0; while [ $n -lt 9999 ]; do n=$((n+1)); done; done"
KINDS = ("pseries-p9", "powernv9")
LOOKS = 40


@pytest.fixture(scope="module", params=KINDS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    made = booted(request.param)
    yield made
    made.close()


class Busy:
    """A process that computes on vCPU CPU; the machine stands, at an instruction of its."""

    def __init__(self, machine: Machine, task: str) -> None:
        self.machine, self.task = machine, task
        self.changed: Step | None = None
        with machine.ram_file.open("r+b") as file:
            self.ram = mmap.mmap(file.fileno(), 0)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            machine.pause()
            with inspector.open_target(machine.target) as seen:
                known = seen.registers(CPU)
                pid, nip = known.need("pid"), known.need("nip")
                if known.need("msr") & MSR_PR:
                    answer = seen.translate(nip, pid=pid, access="x")
                    steps, shift = answer.steps, answer.page_shift
                    assert shift is not None
                    self.pid, self.nip, self.shift = pid, nip, shift
                    self.entry = next(step for step in steps if step.table == "process-table")
                    self.leaf = next(step for step in steps if step.stage == 1 and step.kind == "leaf")
                    return
            machine.cont()
            time.sleep(0.02)
        raise AssertionError("the process was never seen to run")

    def put(self, step: Step, value: int) -> None:
        """Change an entry."""
        self.ram[step.address : step.address + 8] = value.to_bytes(8, "big")


@contextmanager
def computing(machine: Machine) -> Iterator[Busy]:
    """One such process, its leaf put back and itself ended afterwards."""
    line = f"(exec taskset {1 << CPU:x} sh -c '{LOOP}') </dev/null >/dev/null 2>&1 & echo $!"
    task = machine.shell(line).split()[0]
    machine.computes(int(task))  # by then it is in its loop, in a space that it keeps
    busy = Busy(machine, task)
    try:
        yield busy
    finally:
        if busy.changed is not None:
            busy.put(busy.changed, busy.changed.value or 0)
        machine.cont()
        machine.shell(f"kill -9 {busy.task}", check=False)


def findings(machine: Machine, capsys: pytest.CaptureFixture[str], seconds: str) -> list[dict[str, Any]]:
    main([machine.target, "--ram", str(machine.ram_file), "triage", "--json", "--seconds", seconds])
    said = capsys.readouterr()
    assert not said.err
    return [each for each in map(json.loads, said.out.splitlines()) if "verdict" in each]


@pytest.mark.parametrize(
    ("come", "slug"),
    [(ATT_NON_IDEMPOTENT, "execute-protected"), (PTE_PRIVILEGED, "privileged-from-user")],
    ids=["guarded", "privileged"],
)
def test_what_linux_does_not_mend(machine: Machine, capsys: pytest.CaptureFixture[str], come: int, slug: str) -> None:
    with computing(machine) as busy:
        assert busy.leaf.value is not None
        busy.put(busy.leaf, busy.leaf.value | come)
        busy.changed = busy.leaf
        machine.cont()
        for _ in range(LOOKS):
            # another process, at which the CPU forgets translations of this one; it has to come to the page again
            machine.shell(f"taskset {1 << CPU:x} true; sleep 0.3")
            (found,) = findings(machine, capsys, "0.5")
            if found["verdict"] != "healthy":
                break
        assert (found["verdict"], found["confidence"]) == (slug, "high"), found
        assert (found["cpu"], found["pid"]) == (CPU, busy.pid)
        assert int(found["ea"], 16) >> busy.shift == busy.nip >> busy.shift  # some of a program's data is with its code
        assert f"{busy.leaf.address:#x}" in " ".join(found["evidence"])
    assert [each["verdict"] for each in findings(machine, capsys, "0.3")] == ["healthy"]


def test_an_entry_that_is_cleared_under_its_process(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with computing(machine) as busy:
        for at in (0, 8):
            busy.ram[busy.entry.address + at : busy.entry.address + at + 8] = bytes(8)
        (found,) = findings(machine, capsys, "0")
        assert (found["verdict"], found["confidence"]) == ("process-entry-cleared", "medium"), found
        assert (found["cpu"], found["ra"]) == (CPU, f"{busy.entry.address:#x}")
        machine.cont()
        gone = f"n=0; while [ -e /proc/{busy.task} ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n+1)); done; echo $n"
        assert int(machine.shell(gone)) < 600, "Linux ends the process at its next fault"
    assert [each["verdict"] for each in findings(machine, capsys, "0.3")] == ["healthy"]
