"""What tests of a real stub share: a target that is closed at the end, a bare client, and waits."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from inspector.targets.live import LiveTarget, open_live
from scripts.guests import Machine

LIMIT = 120.0


@contextmanager
def opened(spec: str, **options: object) -> Iterator[LiveTarget]:
    """A target that is read through gdb, or the RAM file that is given; closed at the end."""
    if "ram_file" not in options:
        options.setdefault("source", "gdb")
    target = open_live(spec, **options)  # type: ignore[arg-type]
    try:
        yield target
    finally:
        target.close()


def eventually(what: Callable[[], bool]) -> bool:
    """Whether ``what`` comes true within the limit."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def ask_stub(address: str, *packets: bytes) -> list[bytes]:
    """The answers of a bare client, which then detaches. A guest that was stopped will run."""
    host, port = address.rsplit(":", 1)
    answers = []
    with socket.create_connection((host, int(port)), LIMIT) as stub:
        for packet in (b"qSupported:multiprocess+", *packets, b"D;1"):
            stub.sendall(b"$%b#%02x" % (packet, sum(packet) & 0xFF))
            while True:
                answer = b""
                while not (answer.count(b"#") and len(answer) >= answer.index(b"#") + 3):
                    one = stub.recv(1)
                    assert one, "the stub closed the connection"
                    answer += one
                stub.sendall(b"+")
                if b"$T" not in answer:
                    break
            answers.append(answer[answer.index(b"$") + 1 : answer.index(b"#")])
    return answers[1:-1]


def physical_mode(machine: Machine) -> bytes:
    """What the next client finds: ``0`` for virtual reads."""
    return ask_stub(machine.gdb_address, b"qqemu.PhyMemMode")[0]


def open_bytes(path: Path, offset: int, length: int) -> bytes:
    """A piece of a file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
