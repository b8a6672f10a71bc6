"""What the probes in KVM's fault handler tell, taken apart."""

from __future__ import annotations

from scripts.faultprobes import Event, events
from scripts.lifecycle import flushed

SHOWN = """\
fault ea=0x70000 dsisr=0x42000000 asdr=0x70000
lookup root=0xc000000003f50000 ea=0x7fff83870000
found entry=0x86038f07000000c0
found entry=(fault)
create pte=0x87038f07000000c0 gpa=0x70000 level=0 lpid=1
created ret=-11
faulted ret=0
a line of something else
unmapped pte=0x8703207f000000c0 gpa=0x40050000 shift=21 lpid=1
tlbie lpid=1 address=0x40000000 size=0x200000
tlbie lpid=1 address=0x70000 size=0x10000
pwc lpid=1
"""


def test_entries_are_as_the_mmu_has_them_and_all_else_as_it_is_said() -> None:
    fault, lookup, found, nothing, create, created, faulted, *_ = events(SHOWN)
    assert fault == Event("fault", {"ea": 0x70000, "dsisr": 0x4200_0000, "asdr": 0x70000})
    assert lookup["ea"] == 0x7FFF_8387_0000
    assert found["entry"] == 0xC000_0000_078F_0386
    assert nothing.values == {}
    assert (create["pte"], create["level"]) == (0xC000_0000_078F_0387, 0)
    assert (created["ret"], faulted["ret"]) == (-11, 0)


def test_a_flush_is_told_as_its_rb() -> None:
    told = flushed(list(events(SHOWN)))
    assert told["tlbie"] == [
        {"rb": "0x40000020", "lpid": 1, "ric": 0},
        {"rb": "0x700a0", "lpid": 1, "ric": 0},
        {"rb": "0x800", "lpid": 1, "ric": 1},
    ]
    assert told["unmapped"] == [{"pte": "0xc00000007f200387", "gpa": "0x40050000", "shift": 21}]
