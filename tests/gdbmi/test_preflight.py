"""The first look over a bare socket: every wrong thing that may listen there, and what it leaves behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inspector.errors import ConnectError, InspectorError, ProtocolError, WrongArchitecture
from inspector.gdbmi.endpoint import Endpoint
from inspector.gdbmi.preflight import StubFacts, judge, probe
from tests.gdbmi.fakes import TARGET_XML, FakeStub, framed


def look(stub: FakeStub, limit: float = 5.0) -> StubFacts:
    """What is found; the guest is left as it was."""
    held = probe(Endpoint("127.0.0.1", stub.port), None, limit)
    held.let_go()
    return held.facts


@contextmanager
def sentence(error: type[InspectorError], words: str) -> Iterator[None]:
    with pytest.raises(error, match=words) as caught:
        yield
    assert "\n" not in str(caught.value)


def test_a_running_guest_is_seen_and_let_run_on() -> None:
    with FakeStub(running=True) as stub:
        held = probe(Endpoint("localhost", stub.port))
        assert b"D;1" not in stub.packets, "it stands until gdb comes"
        held.let_go()
        facts = held.facts
        assert stub.closed.wait(5)
    assert facts.found_running is True
    assert facts.version == (7, 2)
    assert facts.gdb_address == f"127.0.0.1:{stub.port}"
    assert stub.packets[-1] == b"D;1"


def test_a_running_guest_that_is_handed_over_stands() -> None:
    with FakeStub(running=True) as stub:
        probe(Endpoint("127.0.0.1", stub.port)).hand_over()
        assert stub.closed.wait(5)
    assert b"D;1" not in stub.packets


@pytest.mark.parametrize(
    ("version", "status", "found"),
    [("7.2.22Debian", "paused", False), ("9.2.0", "paused (prelaunch)", False), ("9.2.0", "paused", None)],
)
def test_a_stopped_guest_is_left_stopped(version: str, status: str, found: bool | None) -> None:
    with FakeStub(running=False, version=version, status=status) as stub:
        facts = look(stub)
        assert stub.closed.wait(5)
    assert facts.found_running is found
    assert b"D;1" not in stub.packets


def test_what_proves_nothing_is_not_guessed() -> None:
    assert judge((8, 0), "paused") is False
    assert judge((8, 1), "paused") is None
    assert judge((8, 1), "paused (debug)") is False
    assert judge((8, 1), "shutdown") is False
    assert judge(None, "paused") is None
    assert judge(None, "") is None


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with sentence(ConnectError, "no stub answers .* -gdb"):
        probe(Endpoint("127.0.0.1", port))
    with sentence(ConnectError, "no stub answers"):
        probe(Endpoint(path="/nonexistent/socket"))
    with sentence(ConnectError, "no stub answers"):
        probe(Endpoint("name.invalid", 1234), limit=5)


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"220 mail ready\r\n", b"\0\1\2\3", b"HTTP/1.1 400\r\n"]
)
def test_not_a_stub_that_talks(greeting: bytes) -> None:
    with FakeStub(greeting=greeting) as stub, sentence(ProtocolError, "not a gdbstub"):
        look(stub)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"+$garbage#00", "checksum"),
        (b"+" + framed(b"OK"), "does not answer as a gdbstub"),
        (b"+" + framed(b""), "does not answer as a gdbstub"),
        (b"-----", "does not speak"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a gdbstub"),
        (b"+$" + b"a" * (2 << 20), "does not speak"),
    ],
)
def test_not_a_stub_that_answers(raw: bytes, words: str) -> None:
    with FakeStub(raw=raw, running=False) as stub, sentence(ProtocolError, words):
        look(stub)


def test_a_silent_one_is_busy_and_is_told_to_run_the_guest_when_it_comes_to_it() -> None:
    with FakeStub(accepting=False) as stub:
        began = time.monotonic()
        with sentence(ConnectError, "busy with another client"):
            look(stub, 0.3)
        assert time.monotonic() - began < 5
        stub.accept_late()
        assert stub.closed.wait(5)
        assert stub.packets[-1] == b"D;1", "accepting stops the guest; nobody would let it run again"


@pytest.mark.parametrize("after", [0, 1, 5, 30])
def test_a_reply_cut_short(after: int) -> None:
    with FakeStub(hang_up_after=after, running=False) as stub, sentence(ProtocolError, "closed the connection"):
        look(stub)


def test_a_reply_that_stops_in_the_middle() -> None:
    with FakeStub(raw=b"+$PacketSi", running=False) as stub, sentence(ProtocolError, "middle of a packet"):
        look(stub, 0.3)


def test_replies_a_second_late_are_replies() -> None:
    with FakeStub(delay=1.0) as stub:
        facts = look(stub)
    assert facts.found_running is True


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        (b"i386:x86-64", "x86-64 guest"),
        (b"powerpc:common", "32-bit PowerPC"),
        (b"vax", "of vax"),
        (None, "does not name"),
    ],
)
@pytest.mark.parametrize("running", [True, False])
def test_other_architectures_are_named_and_left_as_they_were(
    architecture: bytes | None, words: str, running: bool
) -> None:
    xml = TARGET_XML.replace(b"powerpc:common64", architecture) if architecture else b"l<target></target>"
    with FakeStub({b"qXfer:features:read:target.xml:0": xml}, running=running) as stub:
        with sentence(WrongArchitecture, words):
            look(stub)
        assert stub.closed.wait(5)
    assert (b"D;1" in stub.packets) is running


def test_a_target_description_in_pieces() -> None:
    middle = len(TARGET_XML) // 2
    with FakeStub(
        {
            b"qXfer:features:read:target.xml:0": b"m" + TARGET_XML[1:middle],
            b"qXfer:features:read:target.xml:": b"l" + TARGET_XML[middle:],
        }
    ) as stub:
        look(stub)


def test_a_stub_without_physical_reads() -> None:
    with FakeStub({b"qqemu.Supported": b"sstepbits;sstep"}) as stub, sentence(ProtocolError, "no physical reads"):
        look(stub)
