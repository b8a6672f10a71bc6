"""Who serves a connection, found among real processes."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from inspector.memory.hostprocess import of_client, parse_address

SERVER = """
import socket, sys
family, where = sys.argv[1:]
if family == "unix":
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
else:
    listener = socket.socket(socket.AF_INET6 if family == "both" else socket.AF_INET)
    if family == "both":
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::" if family == "both" else "127.0.0.1", 0))
listener.listen(1)
print(0 if family == "unix" else listener.getsockname()[1], flush=True)
served, _ = listener.accept()
listener.close()
print("served", flush=True)
input()
"""
CLIENT = """
import socket, sys
if sys.argv[1] == "unix":
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(sys.argv[2])
else:
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
print("connected", flush=True)
input()
"""
LIMIT = 20.0

Start = Callable[..., subprocess.Popen[str]]


def line(child: subprocess.Popen[str]) -> str:
    """The next line a child prints."""
    assert child.stdout is not None
    assert select.select([child.stdout], [], [], LIMIT)[0]
    return child.stdout.readline().strip()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a script; all are ended with the test."""
    with ExitStack() as stack:

        def begin(script: str, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
            child = subprocess.Popen(
                [sys.executable, "-c", script, *words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd,
            )  # fmt: skip
            stack.callback(child.wait, LIMIT)
            stack.callback(child.kill)
            return child

        yield begin


@pytest.mark.parametrize("family", ["ip4", "both"])
def test_the_other_end_of_a_tcp_connection(start: Start, family: str) -> None:
    server = start(SERVER, family, "")
    bystander = start(SERVER, family, "")
    line(bystander)
    client = start(CLIENT, "tcp", line(server))
    assert line(client) == "connected"
    assert line(server) == "served"
    assert of_client(client.pid).pids == (server.pid,)


def test_the_server_of_a_unix_socket(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "a b")
    server = start(SERVER, "unix", path)
    line(server)
    client = start(CLIENT, "unix", path)
    assert line(client) == "connected"
    assert line(server) == "served"
    assert of_client(client.pid, path).pids == (server.pid,)
    assert of_client(client.pid, path, listener=server.pid).pids == (server.pid,)
    assert of_client(client.pid, "other name", listener=server.pid).pids == (server.pid,)


def test_nobody_else_is_named(start: Start, tmp_path: Path) -> None:
    idle = start("input()")
    assert of_client(idle.pid).pids == ()
    assert "not on this machine" in of_client(idle.pid).why
    assert of_client(idle.pid, str(tmp_path / "none")).pids == ()
    assert of_client(os.getpid(), listener=os.getpid()).pids == ()


def test_a_process_of_another_user_is_not_looked_at(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start(SERVER, "ip4", "")
    client = start(CLIENT, "tcp", line(server))
    line(client)
    line(server)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    found = of_client(client.pid)
    assert found.pids == ()
    assert "no process of this user" in found.why


@pytest.mark.skipif(sys.byteorder != "little", reason="the kernel writes the machine's own order")
@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F:1F90", ("127.0.0.1", 8080)),
        ("00000000000000000000000001000000:0016", ("::1", 22)),
        ("0000000000000000FFFF00000100007F:FFFF", ("127.0.0.1", 65535)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
