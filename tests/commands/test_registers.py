"""``regs`` and ``cpu``."""

from __future__ import annotations

import pytest

from inspector.errors import UnknownRegister, UsageError
from inspector.guest import Guest
from inspector.targets.base import GENERAL, REGISTERS
from tests.commands.asking import ask, session, told
from tests.fakes import KERNEL_MSR, LINUX_LPCR, NIP, USER_MSR, USER_TEXT_EA, guest, linux_target


def test_a_register_that_is_not_known_is_null_and_not_zero() -> None:
    (answer,) = told("regs", guest(cpu=1))
    assert answer["cpu"] == 1
    assert answer["registers"]["lpcr"] is None
    assert answer["registers"]["ptcr"] == "0x0"
    assert answer["registers"]["msr"] == f"{USER_MSR:#x}"


def test_the_general_registers_come_with_all() -> None:
    (short,), (long,) = told("regs"), told("regs --all")
    assert set(long["registers"]) == set(REGISTERS)
    assert set(long["registers"]) - set(short["registers"]) == set(GENERAL)
    assert long["registers"]["r1"] == "0xc000000003a3c000"


def test_registers_by_name_in_the_order_named_once_each() -> None:
    (answer,) = told("regs $lpcr PC pidr nip")
    assert list(answer["registers"].items()) == [("lpcr", f"{LINUX_LPCR:#x}"), ("nip", f"{NIP:#x}"), ("pid", "0x4")]


def test_of_every_vcpu() -> None:
    assert [(each["cpu"], each["registers"]["nip"]) for each in told("regs nip --every")] == [
        (0, f"{NIP:#x}"),
        (1, f"{USER_TEXT_EA + 0x100:#x}"),
    ]


def test_bit_by_bit_puts_the_value_together_again() -> None:
    (answer,) = told("regs msr amr --bits")
    msr = answer["bits"]["msr"]
    rebuilt = int(msr["residue"], 16)
    for each in msr["fields"]:
        rebuilt |= int(each["value"], 16) << int(each["bits"].split(":")[-1])
    assert rebuilt == KERNEL_MSR
    pr = next(each for each in msr["fields"] if each["name"] == "PR")
    assert (pr["value"], pr["bits"], pr["ibm"]) == ("0x0", "14", "49")
    assert set(answer["bits"]) == {"msr", "amr"}


def test_a_register_without_fields_or_value_is_shown_plainly_beside_the_bits() -> None:
    target = linux_target()
    target.set(0, amr=None)
    (answer,) = told("regs amr r3 msr --bits", target)
    assert set(answer["bits"]) == {"msr"}
    assert answer["registers"]["amr"] is None
    assert answer["registers"]["r3"] == "0x33333333"


def test_values_set_by_hand_are_shown() -> None:
    (answer,) = told("regs pid", guest(overrides={"pid": 9}))
    assert answer["registers"]["pid"] == "0x9"


def test_there_is_no_such_register() -> None:
    with pytest.raises(UnknownRegister, match="'regs' lists"):
        ask("regs msr nosuch")


def test_the_vcpus_in_a_line_each() -> None:
    assert told("cpu") == [
        {
            "cpu": 0,
            "chosen": True,
            "nip": f"{NIP:#x}",
            "msr": f"{KERNEL_MSR:#x}",
            "mode": "kernel, translation on, little-endian",
            "pid": 4,
            "lpid": 0,
        },
        {
            "cpu": 1,
            "chosen": False,
            "nip": f"{USER_TEXT_EA + 0x100:#x}",
            "msr": f"{USER_MSR:#x}",
            "mode": "user, translation on, little-endian",
            "pid": 4,
            "lpid": 0,
        },
    ]


def test_what_is_not_known_of_a_vcpu_is_null() -> None:
    target = linux_target()
    target.set(0, nip=None, msr=None, pid=None, lpidr=None)
    first = told("cpu", target)[0]
    assert [first[name] for name in ("nip", "msr", "mode", "pid", "lpid")] == [None] * 5


def test_the_choice_of_a_vcpu_holds_for_the_session() -> None:
    at: Guest = guest()
    assert told("cpu 0x1", at)[0]["chosen"] is True
    assert at.cpu == 1
    assert told("regs nip", at)[0]["cpu"] == 1
    assert session(at).value("$nip") == USER_TEXT_EA + 0x100


def test_there_is_no_such_vcpu() -> None:
    at = guest()
    with pytest.raises(UsageError, match="there are: 0, 1"):
        ask("cpu 7", at)
    assert at.cpu == 0
