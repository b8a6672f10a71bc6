"""Lines of a replay are read strictly, and whatever they hold is one sentence or a request."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import UsageError
from inspector.kvm.fault import Fault
from inspector.kvm.host import HostPage
from inspector.kvm.lines import LONGEST, Request, Stretch, parse

HOST = {"hva": "0x7f0000010000", "base": "0x10000", "shift": 16, "writable": True, "dirty": False, "io": False}
FAULT: dict[str, Any] = {"op": "fault", "lpid": 1, "ea": "0xc000000000000123", "gpa": 65536, "dsisr": "0x42000000"}


def read(**fields: Any) -> Request:
    """A line of these fields, read."""
    return parse(json.dumps(fields))


def test_a_fault() -> None:
    host = HostPage(0x7F00_0001_0000, 0x10000, 16, writable=True, dirty=False)
    assert read(**FAULT, host=HOST) == Request("fault", 1, Fault(0xC000_0000_0000_0123, 65536, 0x4200_0000, host))
    assert read(**FAULT, host=None).asked == read(**FAULT).asked == Fault(0xC000_0000_0000_0123, 65536, 0x4200_0000)


def test_what_a_fault_and_its_host_may_say_besides() -> None:
    more = {**HOST, "accessed": False, "compound": 21, "transparent": True, "entry": "0xc000000000010187"}
    asked = read(**FAULT, host=more, invalidated=True, fetch=1, nip="0x100", pid=3, comment="met on a Tuesday").asked
    assert isinstance(asked, Fault)
    assert asked.invalidated
    assert asked.fetch
    assert asked.host == HostPage(
        0x7F00_0001_0000, 0x10000, 16, True, False, False, False, 21, True, 0xC000_0000_0001_0187
    )


def test_a_host_says_little_where_the_rest_is_plain() -> None:
    asked = parse(json.dumps({**FAULT, "host": {"hva": 0x3000, "base": 0x5000}}), 12).asked
    assert isinstance(asked, Fault)
    assert asked.host == HostPage(0x3000, 0x5000, 12)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"op": "unmap", "lpid": 1, "gpa": "0x10000"}, Request("unmap", 1, 0x10000)),
        ({"op": "age", "lpid": "0x2", "gpa": 0}, Request("age", 2, 0)),
        ({"op": "test-age", "lpid": 4095, "gpa": (1 << 52) - 1}, Request("test-age", 4095, (1 << 52) - 1)),
        ({"op": "dirty-log", "lpid": 1, "base": 0, "size": 65536}, Request("dirty-log", 1, Stretch(0, 65536))),
        ({"op": "slot", "lpid": 1, "base": 0, "size": 65536}, Request("slot", 1, Stretch(0, 65536))),
        (
            {"op": "slot", "lpid": 1, "base": 0, "size": 65536, "flags": ["log", "KVM_MEM_READONLY"], "hva": "0x7f00"},
            Request("slot", 1, Stretch(0, 65536, 3, 0x7F00)),
        ),
        ({"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": "0x1"}, Request("slot", 1, Stretch(0, 0, 1))),
        ({"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": "log"}, Request("slot", 1, Stretch(0, 0, 1))),
        (
            {"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": "KVM_MEM_READONLY"},
            Request("slot", 1, Stretch(0, 0, 2)),
        ),
        ({"op": "free", "lpid": 1}, Request("free", 1, None)),
    ],
)
def test_the_other_operations(fields: dict[str, Any], asked: Request) -> None:
    assert read(**fields) == asked


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "no JSON"),
        ("{", "no JSON: Expecting property name"),
        ("[]", "it is a list"),
        ("3", "it is a number"),
        ("null", "it is null"),
        ('"free"', "it is a string"),
        ("{}", '"op" is missing; it is fault, unmap'),
        ('{"op": "fly"}', 'or free, not "fly"'),
        ('{"op": ["free"]}', "not a list"),
        ('{"op": "free"}', '"lpid" is missing'),
        ('{"op": "free", "lpid": 0}', "1 to 4095, not 0"),
        ('{"op": "free", "lpid": 4096}', "1 to 4095, not 4096"),
        ('{"op": "free", "lpid": true}', '"lpid" is a whole number'),
        ('{"op": "free", "lpid": 1.0}', "not 1.0"),
        ('{"op": "free", "lpid": -1}', "it is negative"),
        ('{"op": "free", "lpid": NaN}', "NaN is no number"),
        ('{"op": "free", "lpid": 1, "pid": Infinity}', "Infinity is no number"),
        ('{"op": "free", "lpid": 1, "lpid": 2}', "a field is given twice"),
        ('{"op": "free", "lpid": 1, "gpa": 3}', 'free has no field "gpa"'),
        ('{"op": "unmap", "lpid": 1}', '"gpa" is missing'),
        ('{"op": "unmap", "lpid": 1, "gpa": "12"}', 'not "12"'),
        ('{"op": "unmap", "lpid": 1, "gpa": "0x"}', 'not "0x"'),
        ('{"op": "unmap", "lpid": 1, "gpa": "0x-1"}', 'not "0x-1"'),
        ('{"op": "unmap", "lpid": 1, "gpa": "0x\\u0663"}', "not "),
        ('{"op": "unmap", "lpid": 1, "gpa": "0x10000000000000"}', "a number of 52 bits, and it has 53"),
        ('{"op": "unmap", "lpid": 1, "gpa": 1' + "0" * 4000 + "}", "bits"),
        ('{"op": "unmap", "lpid": 1, "gpa": 1' + "0" * 6000 + "}", "a number is too long"),
        ('{"op": "unmap", "lpid": 1, "gpa": "0x' + "0" * 6000 + '1"}', "..."),
        ('{"op": "unmap", "lpid": 1, "gpa": null}', "not null"),
        ('{"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": ["loud"]}', '"flags" has "loud"'),
        ('{"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": [[]]}', '"flags" has a list'),
        ('{"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": {}}', "not an object"),
        (
            '{"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": "loud"}',
            '"flags" has "loud"; it is a number, or a list of names, which are log, readonly',
        ),
        ('{"op": "slot", "lpid": 1, "base": 0, "size": 0, "flags": "1"}', '"flags" has "1"; it is a number'),
        ('{"op": "slot"}', '"lpid", "base" and "size" are missing'),
        ('{"op": "fault", "lpid": 1, "gpa": 0}', '"ea" and "dsisr" are missing'),
        ("[" * 60_000, "nested too deeply"),
        ('{"op": "free", "lpid": 1}' + " " * LONGEST, "65,536 characters at most"),
    ],
)
def test_what_is_wrong_is_one_sentence(line: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(line)
    said = str(raised.value)
    assert problem in said
    assert len(said) < 250
    assert "\n" not in said


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        (3, "not a number"),
        ({}, '"hva" and "base" are missing in "host", which is null where'),
        ({"hva": 0}, '"base" is missing'),
        ({"base": 0}, '"hva" is missing'),
        ({"hva": 0, "base": 0, "shift": 17}, "12, 16, 21 or 30, not 17"),
        ({"hva": 0, "base": 0x10000, "shift": 21}, "0x10000 is no multiple of 2**21"),
        ({"hva": 0, "base": 1 << 56}, "a number of 56 bits"),
        ({"hva": 0, "base": 0, "dirty": "no"}, '"dirty" is true or false, not "no"'),
        ({"hva": 0, "base": 0, "writeable": True}, 'host has no field "writeable"'),
        ({"hva": 0, "base": 0, "shift": 21, "compound": 16}, '"compound" is log2'),
    ],
)
def test_a_host_that_cannot_be(host: object, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        read(**FAULT, host=host)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["0x1", "0xffff0000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["lpid", "ea", "gpa", "dsisr", "host", "base", "size", "flags", "hva", "invalidated"])
OPS = st.sampled_from(["fault", "unmap", "age", "test-age", "dirty-log", "slot", "free"])


@given(st.builds(lambda op, rest: {**rest, "op": op}, OPS | ANY, st.dictionaries(NAMES, ANY)))
def test_any_object_is_a_request_or_a_sentence(fields: dict[str, Any]) -> None:
    with suppress(UsageError):
        request = parse(json.dumps(fields))
        assert request.op == fields["op"]
        assert 0 < request.lpid < 4096


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "replace")))
def test_any_text_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@given(OPS, st.integers(1, 4095), st.integers(0, (1 << 52) - 1), st.booleans())
def test_hexadecimal_and_whole_numbers_are_the_same(op: str, lpid: int, value: int, upper: bool) -> None:
    names = {"fault": ("ea", "gpa"), "dirty-log": ("base", "size"), "slot": ("base", "size"), "free": ()}.get(
        op, ("gpa",)
    )
    plain: dict[str, Any] = {"op": op, "lpid": lpid, **dict.fromkeys(names, value)}
    written = f"0x{value:X}" if upper else hex(value)
    strings: dict[str, Any] = {"op": op, "lpid": hex(lpid), **dict.fromkeys(names, written)}
    if op == "fault":
        plain["dsisr"], strings["dsisr"] = 0, "0x0"
    assert parse(json.dumps(plain)) == parse(json.dumps(strings))
