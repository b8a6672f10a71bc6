"""The byte order that the stub used, told from the MSR, and undone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import ProtocolError
from inspector.gdbmi.registers import RegisterReader, in_order
from inspector.memory.physical import Clock
from tests.gdbmi.fakes import FakeGdb, FakeStub, attach_rules, record, register_values, target_text
from tests.gdbmi.test_session import attached

U64 = st.integers(0, (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
NO_BIT_56 = U64.map(lambda value: value & ~(1 << 56))


def swapped(value: int, size: int) -> int:
    return int.from_bytes(value.to_bytes(size, "little"), "big")


@given(NO_BIT_56, U64, U32, U32)
def test_both_orders_give_the_same_values(msr: int, r1: int, cr: int, pvr: int) -> None:
    little = {"msr": msr | 1, "r1": r1, "cr": cr, "xer": cr ^ 5, "pvr": pvr}
    raw = {name: swapped(value, 4 if name in ("cr", "xer") else 8) for name, value in little.items()}
    assert in_order(raw) == little
    big = {**little, "msr": msr & ~1}
    assert in_order(big) == big


def test_an_msr_as_the_stub_sent_it() -> None:
    assert in_order({"msr": 0x33B0_8002_0000_0080 ^ 0})["msr"] == 0x8000_0000_0280_B033
    assert in_order({"msr": 0x8000_0000_0000_1000})["msr"] == 0x8000_0000_0000_1000


def test_a_pvr_that_cannot_be_is_told() -> None:
    with pytest.raises(ProtocolError, match="PVR"):
        in_order({"msr": 0x8000_0000_0000_1000, "pvr": 0x0012_4E00_0000_0000})


E14 = record('error,msg="Could not fetch register \\"pid\\"; remote failure reply \'E14\'"')


def test_a_secondary_vcpu_whose_sprs_are_refused_is_asked_through_the_monitor(tmp_path: Path) -> None:
    rules = [
        *attach_rules(),
        {"match": r"register-values --thread 2 x 33 40", "say": E14},
        {"match": r"register-values --thread 2 x 33 32 40", "say": E14},
        {
            "match": r"register-values --thread 2 x 33 32",
            "say": register_values(_33="0x33b0800200000080", _32="0x10" + "0" * 14),
        },
        {"match": r"monitor print/x \$pid", "say": target_text("0x4")},
        {"match": r"monitor print/x \$pvr", "say": target_text("0")},
        {"match": r"monitor print/x", "say": target_text("unknown register")},
    ]
    with FakeStub() as stub, attached(FakeGdb(tmp_path, rules), stub) as (gdb, session):
        reader = RegisterReader(session)
        found = reader.read(session.cpus[1], ["pc", "pid", "lpcr", "pvr", "nonesuch"])
        assert found == {"pc": 0x10, "pid": 4, "pvr": 0}, "what cannot be had is absent, and zero is a value"
        asked = gdb.commands
        monitored = [command for command in asked if command.startswith("monitor")]
        assert monitored[-5:] == [
            "monitor cpu 1", "monitor print/x $pid", "monitor print/x $lpcr", "monitor print/x $pvr", "monitor cpu 0",
        ]  # fmt: skip
        reader.read(session.cpus[1], ["pc", "pid"])
        again = gdb.commands[len(asked) :]
        assert not any("40" in command for command in again), "the refused register was asked for again"


def test_a_monitor_that_does_not_switch_gives_nothing(tmp_path: Path) -> None:
    rules = [
        *attach_rules(),
        {"match": r"register-values", "say": register_values(_33="0x8000000000001000")},
        {"match": r"monitor cpu 1", "say": target_text("invalid CPU index")},
        {"match": r"monitor print", "say": target_text("0x4")},
    ]
    with FakeStub() as stub, attached(FakeGdb(tmp_path, rules), stub) as (_, session):
        reader = RegisterReader(session)
        reader.broken.add(1)
        assert reader.read(session.cpus[1], ["pid"]) == {}


def test_unavailable_is_absent_and_no_msr_is_an_error(tmp_path: Path) -> None:
    rules = [
        *attach_rules(),
        {
            "match": r"thread 1 x 33 32 34",
            "say": register_values(_33="0x8000000000001000", _32="<unavailable>", _34="0x12345678"),
        },
        {"match": r"thread 1 x", "say": register_values(_32="0x1")},
    ]
    with FakeStub() as stub, attached(FakeGdb(tmp_path, rules), stub) as (_, session):
        reader = RegisterReader(session)
        assert reader.read(session.cpus[0], ["pc", "cr"]) == {"cr": 0x12345678}
        with pytest.raises(ProtocolError, match="MSR"):
            reader.read(session.cpus[0], ["pc"])
        assert Clock() == session.clock
