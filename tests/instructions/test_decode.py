"""What an instruction is: its text, its kind and where it leads."""

from __future__ import annotations

import pytest

from inspector.instructions import decode as module
from inspector.instructions.decode import decode
from inspector.instructions.operations import Kind

HERE = 0xC000_0000_0000_2100


@pytest.mark.parametrize(
    ("word", "kind", "target", "text"),
    [
        (0xE8A4_0000, Kind.LOAD, None, "ld r5, 0(r4)"),
        (0x7CA0_5D28, Kind.STORE, None, "stdbrx r5, 0, r11"),
        (0x4400_0002, Kind.SYSTEM_CALL, None, "sc"),
        (0x4400_0022, Kind.SYSTEM_CALL, None, "sc 1"),
        (0x4400_0001, Kind.SYSTEM_CALL, None, None),  # scv 0
        (0x4BFF_FFF8, Kind.BRANCH, HERE - 8, "b 0xc0000000000020f8"),
        (0x4BFF_FFFA, Kind.BRANCH, (1 << 64) - 8, None),  # ba
        (0x4182_0010, Kind.BRANCH, HERE + 16, "beq 0xc000000000002110"),
        (0x4E80_0020, Kind.BRANCH, "lr", "blr"),
        (0x4E80_0421, Kind.BRANCH, "ctr", "bctrl"),
        (0x4C00_0024, Kind.RETURN, "srr0", "rfid"),
        (0x4C00_0224, Kind.RETURN, "hsrr0", "hrfid"),
        (0x7FE0_0008, Kind.TRAP, None, "trap"),
        (0x3860_0000, Kind.OTHER, None, "li r3, 0"),
        (0x6000_0000, Kind.OTHER, None, "nop"),
        (0x0000_0000, Kind.UNKNOWN, None, ".long 0x00000000"),
        (0x7C00_04AC, Kind.OTHER, None, "sync"),
    ],
)
def test_each_kind(word: int, kind: Kind, target: int | str | None, text: str | None) -> None:
    found = decode(HERE, word)
    assert (found.kind, found.target, found.size) == (kind, target, 4)
    if text is not None:
        assert found.text == text


def test_without_capstone_accesses_are_told_and_the_rest_is_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_capstone", lambda: None)
    assert not module.can_disassemble()
    assert decode(HERE, 0xE8A4_FFF0).text == "ld r5, -16(r4)"
    assert decode(HERE, 0xF400_0019).text == "lxv vs32, 16(0)"
    assert decode(HERE, 0x7CA4_58AE).text == "lbzx r5, r4, r11"
    assert decode(HERE, 0x7C04_5FEC).text == "dcbz r4, r11"
    branch = decode(HERE, 0x4BFF_FFF8)
    assert (branch.text, branch.kind, branch.target) == (".long 0x4bfffff8", Kind.BRANCH, HERE - 8)
    assert decode(HERE, 0x3860_0000).kind is Kind.UNKNOWN  # nobody says that it is an instruction


def test_a_prefix_takes_the_word_after_it() -> None:
    found = decode(HERE, 0x0410_0000, 0xE460_1234)
    assert (found.text, found.size, found.kind) == ("pld r3, 4660(pc)", 8, Kind.LOAD)


@pytest.mark.parametrize(
    ("at", "word", "suffix"),
    [(HERE, 0x0410_0000, None), (0x213C, 0x0410_0000, 0xE460_1234), (HERE, 0x0480_0000, 0xE460_1234)],
)
def test_a_prefix_that_cannot_be_is_unknown(at: int, word: int, suffix: int | None) -> None:
    """Without its suffix, across 64 bytes, and with a reserved bit set."""
    found = decode(at, word, suffix)
    assert (found.kind, found.operation) == (Kind.UNKNOWN, None)
    assert found.text.startswith(".long 0x04")
