"""Record what a KVM guest's second-level tree went through from its first fault on (scripts/lifecycle.py):

powernv9-faults.jsonl      an operation a line, as ``replay`` takes them
powernv9-faults.oracle.gz  what the kernel did for each, in the same order, and KVM's own listing of the tree at the
                           end, as packed JSON: {"kernel": […], "radix": [lines]}
powernv9-faults.txt        how it was made"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import inspector
from inspector.guest import Guest
from scripts.faultprobes import FaultTrace
from scripts.guests import Machine
from scripts.incontext import special
from scripts.lifecycle import Life
from scripts.recordscene import write
from scripts.scene import scene

KIND = "powernv9-faults"
LPCR_RADIX = 0x50_0400
"""HR, UPRT and GTSE."""


def record_life(folder: Path, note: Callable[[Machine, Guest, int], str]) -> None:
    """Write the three files; ``note`` says how the run of so many lines was made."""
    with closing(scene(())) as host:
        machine = host.machine
        registers = {"ptcr": special(machine, "ptcr"), "lpcr": LPCR_RADIX, "hrmor": 0, "amr": 0, "iamr": 0}
        registers |= {"msr": 0, "pid": 0, "lpidr": 0}
        with (
            inspector.open_target(f"raw:{machine.ram_file}", overrides=registers) as seen,
            FaultTrace(machine) as trace,
            closing(Life(machine, seen, trace)) as life,
        ):
            told = list(life.run())
            listing = life.listing()
            text = "".join(json.dumps(each.line) + "\n" for each in told)
            (folder / f"{KIND}.txt").write_text(note(machine, seen, len(told)))
    (folder / f"{KIND}.jsonl").write_text(text)
    write(folder / f"{KIND}.oracle.gz", {"kernel": [each.kernel for each in told], "radix": listing})
