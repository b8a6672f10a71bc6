"""Addresses of stubs as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import UsageError
from inspector.gdbmi.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("spec", "endpoint"),
    [
        ("gdb:localhost:1234", Endpoint("localhost", 1234)),
        ("gdb:10.0.0.1:65535", Endpoint("10.0.0.1", 65535)),
        ("gdb::1234", Endpoint("localhost", 1234)),
        ("gdb:[::1]:1234", Endpoint("::1", 1234)),
        ("gdb:[fe80::1%eth0]:1", Endpoint("fe80::1%eth0", 1)),
        ("gdb:unix:/tmp/a b:c|d", Endpoint(path="/tmp/a b:c|d")),
        ("gdb:unix:| true", Endpoint(path="| true")),
    ],
)
def test_what_is_understood(spec: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(spec) == endpoint
    assert parse_endpoint(f"gdb:{endpoint}") == endpoint


@pytest.mark.parametrize(
    "spec",
    [
        *("gdb:", "gdb:1234", "gdb:host", "gdb:host:", "gdb:host:0", "gdb:host:65536", "gdb:host:12x", "gdb:| true:1"),
        *("gdb:::1:1234", "gdb:a b:1", "gdb:host:1\n", "gdb:unix:", "gdb:unix:/tmp/a\nb", "gdb:[::1:5", "gdb:host:٣"),
    ],
)
def test_what_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(spec)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_anything_is_understood_or_refused(text: str) -> None:
    try:
        endpoint = parse_endpoint("gdb:" + text)
    except UsageError:
        return
    assert endpoint.path is not None or 0 < endpoint.port < 65536
