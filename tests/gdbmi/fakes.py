"""What the bridge's tests share: a fake gdb as a program, and a fake stub as a server."""

from __future__ import annotations

import json
import re
import select
import socket
import stat
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FAKE = Path(__file__).with_name("fake_gdb.py")
LIMIT = 10.0

TARGET_XML = b"l<?xml version='1.0'?><target><architecture>powerpc:common64</architecture></target>"


class FakeGdb:
    """A program in ``folder`` that answers by ``rules``; ``path`` starts it, ``commands`` is what it was told."""

    def __init__(self, folder: Path, rules: list[dict[str, Any]]) -> None:
        self._log = folder / "commands"
        (folder / "rules.json").write_text(json.dumps(rules))
        self.argv = [sys.executable, str(FAKE), str(folder / "rules.json"), str(self._log)]
        self.path = str(folder / "fake-gdb")
        quoted = " ".join(f"'{word}'" for word in self.argv)
        Path(self.path).write_text(f'#!/bin/sh\nexec {quoted} "$@"\n')
        Path(self.path).chmod(stat.S_IRWXU)

    @property
    def commands(self) -> list[str]:
        """Every command so far, console commands unwrapped."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [re.sub(r'^-interpreter-exec console "(.*)"$', r"\1", line) for line in lines]

    def ended(self) -> bool:
        """Whether its standard input has ended, waiting for that."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            if "<end of input>" in self.commands:
                return True
            time.sleep(0.01)
        return False


def record(body: str) -> str:
    """A result record with what gdb writes around it."""
    return f"TOKEN^{body}\n(gdb) \n"


def register_values(**raw: str) -> str:
    """What ``-data-list-register-values`` answers, by register number."""
    items = ",".join(f'{{number="{number[1:]}",value="{value}"}}' for number, value in raw.items())
    return record(f"done,register-values=[{items}]")


def memory_record(address: int, data: bytes) -> str:
    """What ``-data-read-memory-bytes`` answers."""
    end = address + len(data)
    return record(f'done,memory=[{{begin="{address:#018x}",offset="0x0",end="{end:#018x}",contents="{data.hex()}"}}]')


def target_text(text: str) -> str:
    """What a ``monitor`` command answers."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    lines = "".join(f'@"{line}\\r\\n"\n' for line in escaped.splitlines())
    return lines + record("done")


MTREE = """FlatView #0
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-000000000fffffff (prio 0, ram): ram
  0006030203180000-00060302031bffff (prio 0, i/o): xive.tima
"""
THREADS = (
    'threads=[{id="1",target-id="Thread 1.1",details="CPU#0 [running]",state="stopped"},'
    '{id="2",target-id="Thread 1.2",details="CPU#1 [halted ]",state="stopped"}],current-thread-id="1"'
)
NAMES = [*(f"r{n}" for n in range(32)), "pc", "msr", "cr", "lr", "ctr", "xer", "", "xer", "pid", "lpcr", "pvr"]


def attach_rules() -> list[dict[str, Any]]:
    """Enough for a session to attach: two vCPUs, 256 MiB of RAM."""
    names = ",".join(f'"{name}"' for name in NAMES)
    return [
        {"match": r"inspector_guard", "say": record('done,value="1"')},
        {"match": r"show version", "say": '~"GNU gdb (Fake) 13.1\\n"\n' + record("done")},
        {"match": r"^-target-select", "say": record("connected")},
        {"match": r"PhyMemMode", "say": '~"received: \\"OK\\"\\n"\n' + record("done")},
        {"match": r"info mtree", "say": target_text(MTREE)},
        {"match": r"^-thread-info", "say": record("done," + THREADS)},
        {"match": r"^-data-list-register-names", "say": record(f"done,register-names=[{names}]")},
    ]


class FakeStub:
    """A server on 127.0.0.1 that answers packets by prefix, and keeps what it was sent.

    ``greeting`` is sent at once, ``stop_reply`` too but as a packet; a reply is the body to send, raw bytes
    in ``raw``, or None for silence. ``delay`` holds every reply back. ``hang_up_after`` closes after so many bytes
    of a reply. With ``accepting`` False it listens and nobody comes."""

    def __init__(
        self,
        replies: dict[bytes, bytes | None] | None = None,
        *,
        running: bool = True,
        version: str = "7.2.22",
        status: str = "paused",
        greeting: bytes = b"",
        raw: bytes | None = None,
        delay: float = 0.0,
        hang_up_after: int | None = None,
        accepting: bool = True,
    ) -> None:
        self.replies: dict[bytes, bytes | None] = {
            b"qSupported": b"PacketSize=1000;qXfer:features:read+;multiprocess+",
            b"qXfer:features:read:target.xml:0": TARGET_XML,
            b"qqemu.Supported": b"sstepbits;sstep;PhyMemMode",
            b"qRcmd," + b"info version".hex().encode(): version.encode() + b"\r\n",
            b"qRcmd," + b"info status".hex().encode(): f"VM status: {status}\r\n".encode(),
            b"qRcmd,": b"",
            b"Qqemu": b"OK",
            b"D": b"OK",
        }
        self.replies = {**(replies or {}), **{k: v for k, v in self.replies.items() if k not in (replies or {})}}
        self.packets: list[bytes] = []
        self.raw_received = b""
        self.closed = threading.Event()
        self._greeting = greeting or (b"$T02thread:01;#04" if running else b"")
        self._raw = raw
        self._delay = delay
        self._hang_up_after = hang_up_after
        self._accepting = accepting
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def spec(self) -> str:
        """As a target is written."""
        return f"gdb:127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(LIMIT)
        self._listener.close()

    def accept_late(self) -> None:
        """Serve, at last, the clients that were let wait."""
        self._accepting = True

    def _serve(self) -> None:
        while not self._ended.is_set():
            if self._accepting and select.select([self._listener], [], [], 0.02)[0]:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    self._talk(client)
                self.closed.set()
            else:
                self._ended.wait(0.02)

    def _talk(self, client: socket.socket) -> None:
        client.sendall(self._greeting)
        received = b""
        while not self._ended.is_set():
            if not select.select([client], [], [], 0.02)[0]:
                continue
            data = client.recv(4096)
            if not data:
                return
            self.raw_received += data
            received += data
            whole = list(re.finditer(rb"\$([^#]*)#..", received))
            self.packets += [found[1] for found in whole]
            received = received[whole[-1].end() :] if whole else received
            if not all(self._reply(client, found[1]) for found in whole):
                return

    def _reply(self, client: socket.socket, packet: bytes) -> bool:
        self._ended.wait(self._delay)
        body = next((body for prefix, body in self.replies.items() if packet.startswith(prefix)), b"")
        if self._raw is not None:
            client.sendall(self._raw)
        elif body is not None:
            said = b"+"
            if packet.startswith(b"qRcmd,") and body:
                said += framed(b"O" + body.hex().encode())
                body = b"OK"
            said += framed(body)
            if self._hang_up_after is not None:
                client.sendall(said[: self._hang_up_after])
                return False
            client.sendall(said)
        return True


def framed(body: bytes) -> bytes:
    """``body`` as a packet."""
    return b"$%b#%02x" % (body, sum(body) & 0xFF)
