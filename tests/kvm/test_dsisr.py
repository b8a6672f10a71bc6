"""DSISR by name, and what the handler makes of it, held to the handler itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.kvm.dsisr import BITS, CANARY, handling, named
from inspector.kvm.fault import Fault, page_fault
from inspector.kvm.history import VERSIONS
from inspector.kvm.machine import Machine
from inspector.kvm.pool import Pool
from inspector.memory.overlay import Overlay
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.radix.registers import HDSISR
from tests.fakes import SparseMemory

POOL = 1 << 40


@pytest.mark.parametrize(
    ("word", "bit"),
    [
        ("nopte", 0x4000_0000),
        ("DSISR_NOHPTE", 0x4000_0000),
        ("isstore", 0x0200_0000),
        ("Store", 0x0200_0000),
        ("set_rc", 0x0004_0000),
        ("bad_direct_st", 0x8000_0000),
        ("bad_ext_ctrl", 0x0010_0000),
        ("dabrmatch", 0x0040_0000),
        ("icswx_no_ct", 0x4000),
        ("bad_copypaste", 8),
        ("bad_amo", 4),
        ("bad_ci_ldst", 2),
        ("nothing", None),
    ],
)
def test_bits_have_the_names_that_linux_and_the_decoder_give_them(word: str, bit: int | None) -> None:
    assert named(word) == bit


def test_every_bit_that_has_a_name_is_one_bit_of_the_format() -> None:
    assert set(BITS.values()) == {field.mask for field in HDSISR.fields}


def test_what_kvm_put_there_itself_is_no_fault() -> None:
    assert handling(CANARY).outcome == "RETRY"


@given(dsisr=st.lists(st.sampled_from(sorted(set(BITS.values())))).map(lambda each: sum(set(each))))
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_said_is_what_the_handler_does(version: str, dsisr: int) -> None:
    """A guest without memory slots: the bits alone decide."""
    overlay = Overlay(
        PhysicalMemory(SparseMemory(), RamMap([Range(0, 1 << 20, "ram")])), [Range(POOL, 1 << 20, "pool")]
    )
    machine = Machine(overlay, Pool(overlay, POOL, 1 << 20), version=version)
    vm = machine.make(1)
    said = handling(dsisr, version)
    result = page_fault(machine, vm, Fault(0x1000, 0x1000, dsisr))
    if said.outcome is not None:
        assert result == said.outcome
    elif said.says[0].startswith("outside all memory slots it is a device"):
        assert result == "MMIO"
    else:
        assert result == "DSI"
