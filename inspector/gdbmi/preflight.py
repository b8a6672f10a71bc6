"""A first look at a stub over a bare socket, before gdb is let near it.

It tells in milliseconds what gdb would take long to say unclearly: nobody listens, it is not a stub,
it is busy, it is of another architecture, it cannot read physical memory. And it learns the one
thing that gdb swallows: whether the guest was running. Accepting a client stops the guest
(``gdb_chr_event`` of QEMU's gdbstub), and QEMU before 8.1 reports that stop by itself, at once, if
and only if there was a running guest to stop. Later versions do not; there ``info status`` still
tells a guest that was never started, shut down, or broken from one that was only paused.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

from inspector.errors import ConnectError, ProtocolError, WrongArchitecture
from inspector.gdbmi.endpoint import Endpoint
from inspector.gdbmi.monitor import parse_machine, parse_status, parse_version, version_words

LIMIT = 4.0
"""Seconds until a silent stub is called busy."""

PACKET_LIMIT = 1 << 20
SUPPORTED = b"qSupported:multiprocess+;xmlRegisters=powerpc"
STOP_REPORT = (b"T02thread:", b"S02")
STOPS_SILENTLY = (8, 1)
"""First QEMU that does not report the stop that an attaching client causes (commit 758370052fb)."""

ARCHITECTURE = "powerpc:common64"
KNOWN_ARCHITECTURES = {
    "i386": "a 32-bit x86 guest",
    "i386:x86-64": "an x86-64 guest",
    "powerpc:common": "a 32-bit PowerPC guest",
    "powerpc:403": "a 32-bit PowerPC guest",
    "aarch64": "an AArch64 guest",
    "arm": "a 32-bit Arm guest",
    "riscv:rv64": "a 64-bit RISC-V guest",
    "s390:64-bit": "an s390x guest",
}


@dataclass(frozen=True, slots=True)
class StubFacts:
    """What a stub says of itself.

    ``gdb_address`` is what gdb is to be told for a TCP stub: numbers only, as the kernel gave them.
    ``machine`` is QEMU's name for its type, empty where it does not say. ``unix_path`` is the server's own name for its
    Unix socket, and ``listener`` the OS process that began to listen there (0: unknown). ``met_at`` is when it was
    connected to, by the monotonic clock.
    ``found_running`` is None where it cannot be told; ``version`` is QEMU's (major, minor) or None."""

    packet_size: int
    version: tuple[int, int] | None
    version_text: str
    machine: str
    status: str
    found_running: bool | None
    gdb_address: str
    unix_path: str = ""
    listener: int = 0
    met_at: float = 0.0


class StubSocket:
    """One connection that speaks the remote serial protocol: packets out, packets in, with a limit."""

    def __init__(self, endpoint: Endpoint, path: str | None, limit: float) -> None:
        """Connect. ``path`` stands in for a Unix endpoint's own (it may be too long for a socket address)."""
        self.where = str(endpoint)
        self.limit = limit
        self._buffer = b""
        self.reported_stop = False
        """Whether the stub has reported a stop by itself."""
        try:
            if endpoint.path is not None:
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.socket.settimeout(limit)
                self.socket.connect(path or endpoint.path)
            else:
                self.socket = socket.create_connection((endpoint.host, endpoint.port), limit)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer = self.socket.getpeername()
            self.listener = _listener(self.socket)
        except (OSError, UnicodeError) as bad:
            why = os.strerror(bad.errno) if isinstance(bad, OSError) and bad.errno and bad.errno > 0 else str(bad)
            raise ConnectError(
                f"no stub answers at {self.where} ({why}); start QEMU with -gdb {_option(endpoint)}"
            ) from bad

    def send(self, body: bytes) -> None:
        """Send one packet."""
        try:
            self.socket.sendall(b"$%s#%02x" % (body, sum(body) & 0xFF))
        except OSError as bad:
            raise self._cut_short() from bad

    def receive(self) -> bytes:
        """The body of the next packet. Raises ConnectError for silence, ProtocolError for anything but packets."""
        deadline = monotonic() + self.limit
        while True:
            self._buffer = self._buffer.lstrip(b"+")
            if self._buffer[:1] not in (b"", b"$", b"-"):
                heard = self._buffer[:40].decode("ascii", "replace")
                raise ProtocolError(f"{self.where} is not a gdbstub: it said {heard!r}; give the port of QEMU's -gdb")
            end = self._buffer.find(b"#")
            if self._buffer[:1] == b"$" and 0 < end <= len(self._buffer) - 3:
                body, check = self._buffer[1:end], self._buffer[end + 1 : end + 3]
                self._buffer = self._buffer[end + 3 :]
                if check.lower() != b"%02x" % (sum(body) & 0xFF):
                    raise ProtocolError(f"{self.where} sent a packet with a wrong checksum; try again")
                with suppress(OSError):
                    self.socket.sendall(b"+")
                return body
            if self._buffer[:1] == b"-" or len(self._buffer) > PACKET_LIMIT:
                raise ProtocolError(f"{self.where} does not speak as a gdbstub does; give the port of QEMU's -gdb")
            self._more(deadline)

    def ask(self, body: bytes) -> bytes:
        """Send a packet and receive its answer; a stop that the stub reports by itself is none."""
        self.send(body)
        while (answer := self.receive()).startswith(STOP_REPORT):
            self.reported_stop = True
        return answer

    def monitor(self, command: str) -> str:
        """What QEMU's monitor prints for ``command``."""
        self.send(b"qRcmd," + command.encode().hex().encode())
        text = b""
        while (body := self.receive()).startswith(b"O") and body != b"OK":
            with suppress(ValueError):
                text += bytes.fromhex(body[1:].decode("ascii", "replace"))
            if len(text) > PACKET_LIMIT:
                break
        return text.decode("utf-8", "replace")

    def architecture(self) -> str:
        """What the target description calls the guest's architecture; empty where there is none."""
        text = b""
        while len(text) < PACKET_LIMIT:
            body = self.ask(b"qXfer:features:read:target.xml:%x,7f0" % len(text))
            text += body[1:]
            if body[:1] != b"m":
                break
        found = re.search(rb"<architecture>\s*([^<\s]{1,40})\s*</architecture>", text)
        return found[1].decode("ascii", "replace") if found else ""

    def leave(self, resume: bool) -> None:
        """Close, letting the guest run (``D``) or leaving it stopped."""
        with suppress(OSError, ConnectError, ProtocolError):
            if resume:
                self.limit = min(self.limit, 1.0)
                self.send(b"D;1")
                while self.receive() != b"OK":
                    pass
        self.socket.close()

    def abandon(self) -> None:
        """Close a connection that has not been answered.

        A busy QEMU accepts it later, when its client has gone, and accepting stops the guest; the detach
        sent here is then read and lets it run again. Whatever else listens gets a few stray bytes."""
        with suppress(OSError):
            self.socket.sendall(b"$D;1#b0")
            self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()

    def _more(self, deadline: float) -> None:
        left = deadline - monotonic()
        try:
            self.socket.settimeout(max(left, 0.001))
            piece = self.socket.recv(65536)
        except TimeoutError as late:
            if self._buffer:
                raise ProtocolError(f"{self.where} stopped in the middle of a packet; try again") from late
            raise ConnectError(
                f"{self.where} accepts a connection and stays silent: it is busy with another client"
                " (one at a time), or it is not a gdbstub; detach the other client first"
            ) from late
        except OSError as bad:
            raise self._cut_short() from bad
        if not piece:
            raise self._cut_short()
        self._buffer += piece

    def _cut_short(self) -> ProtocolError:
        return ProtocolError(
            f"{self.where} closed the connection in the middle of an answer;"
            " see whether QEMU runs and whether that is its gdbstub"
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A stub that was looked at, its guest still standing, and the connection that holds it.

    Letting the guest go before gdb comes would have it stopped twice; and whenever QEMU's guest goes on, its virtio
    devices look for what they were not told of (``virtio_device_start_ioeventfd_impl``), so that a notification that
    was lost is lost no more, and nobody can see that it was."""

    facts: StubFacts
    stub: StubSocket

    def hand_over(self) -> None:
        """Close, the guest standing still. gdb is to have been told to attach by then: it does so even should this
        program be killed now, and lets the guest go where it ran (launch.LEAVE)."""
        self.stub.leave(resume=False)

    def let_go(self) -> None:
        """Close, leaving the guest as it was found; one of which that cannot be told stands. Nothing happens where it
        was handed over."""
        self.stub.leave(resume=self.facts.found_running is True)


def probe(endpoint: Endpoint, path: str | None = None, limit: float = LIMIT) -> Held:
    """Look at the stub at ``endpoint``, and hold it. Where that raises, the guest is left as it was: ConnectError,
    ProtocolError, WrongArchitecture."""
    met_at = monotonic()
    stub = StubSocket(endpoint, path, limit)
    answered = False
    found_running: bool | None = None
    try:
        first = stub.ask(SUPPORTED)
        answered = True
        found_running = stub.reported_stop or None
        size = re.search(rb"PacketSize=([0-9a-fA-F]{1,8})", first)
        if size is None:
            raise ProtocolError(f"{endpoint} does not answer as a gdbstub does; give the port of QEMU's -gdb")
        version_text = version_words(stub.monitor("info version"))
        machine = parse_machine(stub.monitor("qom-get /machine type"))
        status = parse_status(stub.monitor("info status"))
        version = parse_version(version_text)
        if found_running is None:
            found_running = judge(version, status)
        architecture = stub.architecture() if b"qXfer:features:read+" in first else ""
        if architecture != ARCHITECTURE:
            name = KNOWN_ARCHITECTURES.get(architecture, architecture or "an architecture it does not name")
            raise WrongArchitecture(f"the stub at {endpoint}", name)
        if b"PhyMemMode" not in stub.ask(b"qqemu.Supported"):
            raise ProtocolError(
                f"the stub at {endpoint} offers no physical reads;"
                " use qemu-system-ppc64 4.1 or later, not a user-mode one"
            )
        unix_path = stub.peer if isinstance(stub.peer, str) else ""
        address = _numeric(stub.peer)
    except BaseException:
        if not answered:
            stub.abandon()
        else:
            stub.leave(resume=found_running is not False)
        raise
    facts = StubFacts(
        int(size[1], 16),
        version,
        version_text,
        machine,
        status,
        found_running,
        address,
        unix_path,
        stub.listener,
        met_at,
    )
    return Held(facts, stub)


def release(endpoint: Endpoint, resume: bool) -> None:
    """Let go of a guest whose gdb died without detaching: virtual reads again, and running where it ran.

    Best effort: where the stub no longer answers there is nothing to put right."""
    with suppress(ConnectError, ProtocolError):
        stub = StubSocket(endpoint, None, 1.0)
        try:
            stub.ask(SUPPORTED)
            stub.ask(b"Qqemu.PhyMemMode:0")
        except (ConnectError, ProtocolError):
            stub.abandon()
        else:
            stub.leave(resume)


def judge(version: tuple[int, int] | None, status: str) -> bool | None:
    """Whether the guest ran, where the stub reported no stop: False, or None where that proves nothing.

    ``status`` is what ``info status`` says after the attach. Anything but a plain ``paused`` (``paused
    (prelaunch)``, ``shutdown`` …) was so before, because stopping changes only a running guest's state."""
    if version is not None and version < STOPS_SILENTLY:
        return False
    return None if status in ("paused", "") else False


def _listener(connection: socket.socket) -> int:
    """The process that began to listen on a Unix socket (unix(7), SO_PEERCRED); 0 where there is none to be seen."""
    if connection.family != socket.AF_UNIX:
        return 0
    pid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    return pid


def _numeric(peer: object) -> str:
    """The address that a TCP connection reached, in the form ``target remote`` takes."""
    if not isinstance(peer, tuple):
        return ""
    host, port = str(peer[0]), int(peer[1])
    if not re.fullmatch(r"[0-9A-Za-z.:%_-]+", host):
        raise ConnectError(f"{host!r} is not an address gdb can be given; use a numeric one")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _option(endpoint: Endpoint) -> str:
    """What QEMU is to be told to listen there."""
    if endpoint.path is not None:
        return f"unix:{endpoint.path},server=on,wait=off"
    host = f"[{endpoint.host}]" if ":" in str(endpoint.host) else endpoint.host
    return f"tcp:{host}:{endpoint.port}"
