"""A proxy between a client and a stub that writes down every packet, and the checks on what it wrote.

    with Proxy("127.0.0.1:1234") as proxy:
        target = open_live(f"gdb:{proxy.address}")
        ...
        audit(proxy.packets, target.ram)

Connections are served one after another, as QEMU does; ``delay`` holds back every reply by so many
seconds, and ``cut_next_read`` ends the connection in the middle of the answer to the next ``m`` packet."""

from __future__ import annotations

import re
import select
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from inspector.memory.physical import RamMap

LIMIT = 120.0
WRITING = re.compile(
    rb"""^(?:M|X|P|G|k|vKill|R|r|C|S|[Zz][0-4]|QMem|vFlash|vFile:(?:open|pwrite|unlink)|vRun|vCont;[^?]*;[CS]"""
    rb"""|i|I|t|B|F|Qemu|QStart|QPass|QProgram|QAllow)"""
)
"""Packets that write memory or registers, insert breakpoints, or end or restart the guest."""
MODE = b"Qqemu.PhyMemMode:"
LOOKING_MONITOR = ("info ", "print", "cpu ", "qom-get ", "gpa2hva ")
SAVE = re.compile(r'pmemsave (0x[0-9a-f]+) (0x[0-9a-f]+) "/[\w./-]+/inspector-ram-\w+/\d+"')


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of the client's: its body, and which connection (from 0) it went over."""

    body: bytes
    connection: int

    @property
    def read(self) -> tuple[int, int] | None:
        """(address, length) of an ``m`` packet."""
        found = re.fullmatch(rb"m([0-9a-f]+),([0-9a-f]+)", self.body)
        return (int(found[1], 16), int(found[2], 16)) if found else None

    @property
    def monitor(self) -> str | None:
        """The monitor command of a ``qRcmd`` packet."""
        if not self.body.startswith(b"qRcmd,"):
            return None
        return bytes.fromhex(self.body[6:].decode()).decode()


class Proxy:
    """Listens on 127.0.0.1 and passes bytes to the stub at ``HOST:PORT`` or ``unix:PATH`` and back."""

    def __init__(self, stub: str) -> None:
        self._stub = stub
        self.packets: list[Packet] = []
        self.delay = 0.0
        self.cut_next_read = False
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join(LIMIT)
        self._listener.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                client, _ = self._listener.accept()
                with client, self._reach() as stub, suppress(OSError):
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._pass(client, stub)
                self.connections += 1

    def _reach(self) -> socket.socket:
        if self._stub.startswith("unix:"):
            stub = socket.socket(socket.AF_UNIX)
            stub.connect(self._stub.removeprefix("unix:"))
            return stub
        host, port = self._stub.rsplit(":", 1)
        stub = socket.create_connection((host, int(port)), LIMIT)
        stub.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stub

    def _pass(self, client: socket.socket, stub: socket.socket) -> None:
        sent = b""
        cutting = False
        while not self._ended.is_set():
            ready = select.select([client, stub], [], [], 0.05)[0]
            if client in ready:
                data = client.recv(65536)
                if not data:
                    return
                sent = self._write_down(sent + data)
                if self.cut_next_read and self.packets and self.packets[-1].read:
                    cutting, self.cut_next_read = True, False
                stub.sendall(data)
            if stub in ready:
                data = stub.recv(65536)
                if self.delay:
                    self._ended.wait(self.delay)
                if not data:
                    return
                if cutting:
                    client.sendall(data[: data.find(b"$") + 4])
                    return
                client.sendall(data)

    def _write_down(self, sent: bytes) -> bytes:
        """Keep the whole packets in ``sent``; what follows them is returned."""
        end = 0
        for found in re.finditer(rb"\$([^#]*)#[0-9a-fA-F]{2}", sent):
            self.packets.append(Packet(found[1], self.connections))
            end = found.end()
        rest = sent[end:]
        return rest if b"$" in rest else b""


def audit(packets: list[Packet], ram: RamMap, *, run_control: bool = False) -> int:
    """Check that ``packets`` only look, and at RAM only; how many reads there were.

    Every read is of RAM, by real address (after the mode was set and before it was reset), nothing is written,
    the monitor is asked only what looks, or to save RAM to a file of ours, and the guest runs only by detaching unless
    ``run_control``."""
    physical = False
    reads = 0
    for packet in packets:
        body = packet.body
        assert not WRITING.match(body), f"a packet that writes: {body!r}"
        if body.startswith(MODE):
            physical = body == MODE + b"1"
        if (read := packet.read) is not None:
            reads += 1
            assert physical, f"read in virtual mode: {body!r}"
            assert ram.covers(*read), f"read outside RAM: {body!r}"
        if (asked := packet.monitor) is not None and (saved := SAVE.fullmatch(asked)):
            assert ram.covers(int(saved[1], 16), int(saved[2], 16)), f"saved from outside RAM: {asked!r}"
        elif asked is not None:
            assert asked.startswith(LOOKING_MONITOR), f"the monitor was told {asked!r}"
        if body.startswith((b"vCont;", b"c", b"s")):
            assert run_control, f"the guest was run: {body!r}"
    assert not physical, "the stub was left in physical mode"
    return reads
