"""What the monitor and the probes tell, taken apart."""

from __future__ import annotations

from scripts.kprobes import Walked, walks
from scripts.monitor import Outcome, _batches, outcome
from scripts.scene import FIRST, KERNEL

TRACE = """\
# tracer: nop
 vmm-112 [000] ..... 5.1: read: (kvm_read_guest+0xc/0x2e0 [kvm]) gpa=0x9 len=4
 vmm-112 [000] ..... 5.2: walk: (kvmppc_mmu_radix_xlate+0xc/0x190 [kvm_hv]) ea=0x2100
 vmm-112 [000] ..... 5.3: read: (kvm_read_guest+0xc/0x2e0 [kvm]) gpa=0x400050 len=16
 vmm-112 [000] ..... 5.4: read: (kvm_read_guest+0xc/0x2e0 [kvm]) gpa=0x410000 len=8
 vmm-112 [000] .n... 5.5: walked: (kvmppc_mmu_book3s_64_hv_xlate+0x3a0/0x450 [kvm_hv] <- kvmppc_mmu_radix_xlate) ret=-22
 vmm-112 [000] .n... 5.6: read: (kvm_read_guest+0xc/0x2e0 [kvm]) gpa=0x2100 len=4
 vmm-112 [000] ..... 5.7: walk: (kvmppc_mmu_radix_xlate+0xc/0x190 [kvm_hv]) ea=0x2100
"""


def test_a_walk_is_what_lies_between_its_start_and_its_end() -> None:
    assert list(walks(TRACE)) == [Walked(0x2100, [(0x40_0050, 16), (0x41_0000, 8)], -22)]


def test_answers_of_the_monitor() -> None:
    assert outcome("ok 2222") == Outcome("ok", 0x2222, {})
    assert outcome("ok hva 7fff0000") == Outcome("ok", None, {"hva": 0x7FFF_0000})
    told = outcome("interrupt 300 dar 50000000 dsisr 40000000 srr0 2100 srr1 8000000000001033")
    assert (told.word, told.value, told.fields["dsisr"]) == ("interrupt", 0x300, 0x4000_0000)
    assert outcome("mmio read f0000000 8 nip 2104").value == 0xF000_0000
    assert outcome("stopped nip 2404 r5 1").fields == {"nip": 0x2404, "r5": 1}


def test_lines_are_said_in_order_and_in_pieces_that_a_terminal_takes() -> None:
    lines = [f"map {n:x} 0 0 10 18e" for n in range(700)]
    batches = list(_batches(lines))
    assert [line for batch in batches for line in batch] == lines
    assert max(sum(len(line) + 2 for line in batch) for batch in batches) < 4000


def test_the_layout_knows_what_maps_an_address_and_what_holds_it() -> None:
    leaf = FIRST.leaf(7, KERNEL | 0x123)
    assert leaf is not None
    assert (leaf.pid, leaf.shift) == (0, 21)
    assert FIRST.leaf(7, 0x4000_0000) is None
    slot = FIRST.slot(0x4010_0000)
    assert slot is not None
    assert (slot.shift, slot.writable) == (21, True)
