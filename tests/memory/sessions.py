"""A stub that is local, as a session shows it: RAM, and a monitor that answers as QEMU 7.2 does."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inspector.gdbmi.endpoint import Endpoint
from inspector.gdbmi.preflight import StubFacts
from inspector.memory.physical import Clock, RamMap, Range

SIZE = 1 << 20
MEMDEV = "memory backend: ram\r\n  size:  {size}\r\n  merge: true\r\n  share: {share}\r\n  host nodes: \r\n\r\n"
PMEMSAVE = re.compile(r'pmemsave (0x[0-9a-f]+) (0x[0-9a-f]+) "([^"]+)"')


def pattern(length: int, seed: int = 1) -> bytes:
    """Bytes that differ from place to place."""
    block = b"".join(((seed + at) * 0x9E3779B97F4A7C15 & (1 << 64) - 1).to_bytes(8, "big") for at in range(512))
    blocks = (bytes([at & 0xFF, at >> 8]) + block[2:] for at in range(-(-length // len(block))))
    return b"".join(blocks)[:length]


@dataclass
class FakeTransport:
    """Only gdb's process id."""

    pid: int = 0


@dataclass
class FakeSession:
    """RAM ``data`` from address 0, which QEMU keeps at ``host``; what it is asked is kept."""

    data: bytes = field(default_factory=lambda: pattern(SIZE))
    host: int | None = None
    path: str = ""
    share: bool = False
    save: Callable[[int, int, str], str] | None = None
    address: str = "127.0.0.1:1234"
    clock: Clock = field(default_factory=Clock)
    said: list[str] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    where: str = "127.0.0.1:1234"

    def __post_init__(self) -> None:
        self.ram = RamMap([Range(0, len(self.data), "ram")])
        self.endpoint = Endpoint("127.0.0.1", 1234)
        self.stub = StubFacts(4096, (7, 2), "7.2", "pseries-7.2", "paused", True, self.address)
        self.transport: Any = FakeTransport(os.getpid())

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | None]:
        self.reads += runs
        return [self.data[at : at + size] if self.ram.covers(at, size) else None for at, size in runs]

    def monitor(self, command: str) -> str:
        self.said.append(command)
        word, *rest = command.split(maxsplit=1)
        if command == "info memdev":
            return MEMDEV.format(size=len(self.data), share=str(self.share).lower()) if self.path else ""
        if command == "qom-get /objects/ram mem-path":
            return f'"{self.path}"\r\n'
        if word == "qom-get":
            return "Error: Property 'memory-backend-file.offset' not found\r\n"
        if word == "gpa2hva" and self.host is not None:
            at = int(rest[0], 16)
            return f"Host virtual address for {at:#x} (ram) is {self.host + at:#x}\r\n"
        if (found := PMEMSAVE.fullmatch(command)) and self.save is not None:
            return self.save(int(found[1], 16), int(found[2], 16), found[3])
        return "Error: refused\r\n"

    def monitors(self, commands: Sequence[str]) -> list[str | None]:
        return [self.monitor(command) for command in commands]

    def write(self, address: int, length: int, path: str) -> str:
        """What pmemsave does."""
        try:
            with open(path, "wb") as file:
                file.write(self.data[address : address + length])
        except OSError as bad:
            return f"Error: Could not open '{path}': {bad.strerror}\r\n"
        return ""
