"""A bare socket to a gdbstub: the floor that the bridge is measured against, and nothing more.

It stops the guest by connecting; ``close`` detaches and lets it run on."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

LIMIT = 10.0


class StubSocket:
    """One client of the stub at ``HOST:PORT``, reading real addresses."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._drain()
        features = self.ask(b"qSupported:multiprocess+;xmlRegisters=powerpc").decode()
        sizes = [part.split("=")[1] for part in features.split(";") if part.startswith("PacketSize=")]
        self.most = int(sizes[0], 16) // 2
        """The longest read that one packet carries, in bytes."""
        self.ask(b"Qqemu.PhyMemMode:1")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the stub as it was found, and the guest running."""
        self.ask(b"Qqemu.PhyMemMode:0")
        self.ask(b"D;1")
        self._socket.close()

    def ask(self, packet: bytes) -> bytes:
        """The reply to ``packet``, without its frame."""
        self._socket.sendall(b"$%b#%02x" % (packet, sum(packet) & 0xFF))
        reply = b""
        while (end := reply.find(b"#")) < 0 or len(reply) < end + 3:
            got = self._socket.recv(1 << 16)
            if not got:
                raise ConnectionError("the stub closed the connection")
            reply += got
        self._socket.sendall(b"+")
        return reply[reply.index(b"$") + 1 : end]

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at a real address, as many packets as it takes, one at a time."""
        pieces = []
        while length:
            size = min(length, self.most)
            pieces.append(bytes.fromhex(self.ask(b"m%x,%x" % (address, size)).decode()))
            address += size
            length -= size
        return b"".join(pieces)

    def _drain(self) -> None:
        """QEMU before 8.1 reports the stop by itself."""
        self._socket.settimeout(0.3)
        try:
            self._socket.recv(1 << 12)
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(LIMIT)
