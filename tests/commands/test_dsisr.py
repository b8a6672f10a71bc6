"""``dsisr``, as a user meets it."""

from __future__ import annotations

import pytest

from inspector.errors import UsageError
from tests.commands.asking import shown, told


def test_the_bits_that_are_set_are_told_and_no_others() -> None:
    said = shown("dsisr 0x42000000")
    assert "30  nopte" in said
    assert "25  store" in said
    assert "badaccess" not in said


@pytest.mark.parametrize(
    "words", ["nopte|store", "DSISR_NOHPTE|DSISR_ISSTORE", "(nopte|0x2000000)", "0x40000000|store"]
)
def test_bits_may_be_named(words: str) -> None:
    assert told(f"dsisr '{words}'")[0]["set"] == ["nopte", "store"]


@pytest.mark.parametrize(
    ("value", "result"), [("badconfig", "EFAULT"), ("badaccess|store", "DSI"), ("0x7fff", "RETRY"), ("rc", None)]
)
def test_what_the_bits_alone_decide_is_in_json(value: str, result: str | None) -> None:
    assert told(f"dsisr '{value}'")[0]["kvm"]["result"] == result


def test_bits_without_a_name_are_told_as_unknown() -> None:
    assert "unknown bits set: 0x1" in shown("dsisr 1")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("nosuchbit", "'nosuchbit' is no bit of DSISR; write a number, or bits joined by |: .*nopte, .*store"),
        ("'nopte|foo'", "'foo' is no bit of DSISR"),
        ("nopte,store", "cannot read 'nopte,store' as a DSISR; write a number, or bits"),
        ("0x100000000", "has 33 bits, and DSISR has 32; give a smaller one"),
    ],
)
def test_what_is_no_dsisr_is_refused(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        shown(f"dsisr {words}")


def test_an_older_kernel_asks_the_host_for_r_and_c() -> None:
    assert "host's own entry" in shown("dsisr rc --as SEED")
    assert "host's own entry" not in shown("dsisr rc --as 6.1")
