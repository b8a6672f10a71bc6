"""The console, against a shell of this machine behind a socket."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.errors import ProtocolError, ReplyTimeout, TargetLost
from scripts.console import Console


class Terminal:
    """The other end: what a guest's console is to QEMU's socket."""

    def __init__(self, path: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self.end = socket.socket()

    def accept(self) -> None:
        self._server.settimeout(10)
        self.end, _ = self._server.accept()

    def close(self) -> None:
        self.end.close()
        self._server.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Terminal, Console]]:
    terminal = Terminal(tmp_path / "console")
    console = Console(tmp_path / "console")
    terminal.accept()
    yield terminal, console
    terminal.close()
    console.close()


@pytest.fixture
def shell(pair: tuple[Terminal, Console]) -> Iterator[Console]:
    terminal, console = pair
    process = subprocess.Popen(
        ["sh"], stdin=terminal.end.fileno(), stdout=terminal.end.fileno(), stderr=subprocess.STDOUT
    )
    yield console
    process.kill()
    process.wait(timeout=10)


def test_what_was_printed_is_kept_and_waited_for(pair: tuple[Terminal, Console]) -> None:
    terminal, console = pair
    threading.Timer(0.05, lambda: terminal.end.sendall(b"boot\r\n...READY\r\n")).start()
    assert console.wait_for(b"READ(Y)", timeout=10)[1] == b"Y"
    console.wait_for(b"Y\r\n", timeout=10)
    assert console.text == "boot\n...READY\n"
    with pytest.raises(ReplyTimeout, match="READY"):
        console.wait_for(b"READY", timeout=0.05, start=console.size)


def test_a_console_that_ends_is_said_at_once(pair: tuple[Terminal, Console]) -> None:
    terminal, console = pair
    terminal.end.sendall(b"panic")
    terminal.end.close()
    with pytest.raises(TargetLost, match="panic"):
        console.wait_for(b"READY", timeout=60)


def test_shell_output_status_and_quotes(shell: Console) -> None:
    assert shell.shell("echo one; echo \"it's\" 'two  words'", 10) == "one\nit's two  words\n"
    assert shell.shell("true", 10) == ""
    with pytest.raises(ProtocolError, match="status 3"):
        shell.shell("echo said; exit 3", 10)
    assert shell.shell("exit 3", 10, check=False) == ""
    assert shell.shell("printf 'a\\nb\\n'", 10) == "a\nb\n"


def test_a_late_answer_is_not_the_next_ones(shell: Console) -> None:
    with pytest.raises(ReplyTimeout, match="sleep"):
        shell.shell("sleep 0.3; echo late", 0.05)
    assert shell.shell("echo next", 10) == "next\n"
