"""Where a stub listens, as users write it: ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from inspector.errors import UsageError
from inspector.gdbmi.records import has_control


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A TCP ``host`` and ``port``, or the ``path`` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_endpoint(spec: str) -> Endpoint:
    """``gdb:HOST:PORT`` or ``gdb:unix:PATH``; an IPv6 address in brackets, an empty HOST is this machine.

    Raises UsageError."""
    text = spec.removeprefix("gdb:")
    if has_control(text):
        raise UsageError(f"{spec!r} holds a control character; write gdb:HOST:PORT or gdb:unix:PATH")
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise UsageError(f"{spec!r} names no socket; write gdb:unix:PATH")
        return Endpoint(path=path)
    match = re.fullmatch(r"(?:\[([^][]*)]|([^][:\s|]*)):([0-9]{1,5})", text)
    if match is None or not 0 < int(match[3]) < 65536:
        raise UsageError(f"{spec!r} is not a stub's address; write gdb:HOST:PORT, gdb:[IPv6]:PORT or gdb:unix:PATH")
    return Endpoint(match[1] or match[2] or "localhost", int(match[3]))
