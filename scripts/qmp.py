"""QMP, as far as the harness needs it: one connection, one command at a time, the latest events kept.

Blocking on purpose, and without a dependency: the harness asks a handful of questions and each has a
limit. The wire is JSON, one object a line (QEMU, docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from inspector.errors import ProtocolError, ReplyTimeout, TargetLost

MOST_EVENTS = 1000


class Qmp:
    """A client of the QMP socket at ``path``. Raises TargetLost, ReplyTimeout or ProtocolError."""

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._buffer = b""
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        """Those that came before the answer to a command, the latest last."""
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise TargetLost(f"nothing answers on QEMU's control socket {path} ({error}); start the guest") from error
        self._message(time.monotonic() + timeout)  # the greeting
        self.execute("qmp_capabilities", timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket; QEMU stays."""
        self._socket.close()

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = 30.0) -> Any:
        """What QEMU returns for ``command``; ProtocolError with its words where it refuses."""
        deadline = time.monotonic() + timeout
        request = {"execute": command, "arguments": arguments or {}}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise TargetLost(f"QEMU closed its control socket {self.path}; start the guest again") from error
        while True:
            message = self._message(deadline)
            if "return" in message:
                return message["return"]
            if "error" in message:
                raise ProtocolError(f"QEMU refused {command!r}: {message['error'].get('desc')}; check its arguments")
            if "event" in message:
                self.events.append(message)

    def hmp(self, line: str, *, cpu: int | None = None, timeout: float = 30.0) -> str:
        """What the human monitor prints for ``line``, with plain newlines; ``cpu`` is the vCPU it is asked of."""
        arguments: dict[str, Any] = {"command-line": line} | ({} if cpu is None else {"cpu-index": cpu})
        text = self.execute("human-monitor-command", arguments, timeout=timeout)
        return str(text).replace("\r\n", "\n")

    def _message(self, deadline: float) -> dict[str, Any]:
        """The next object on the wire, before ``deadline`` (of the monotonic clock)."""
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
                got = self._socket.recv(65536)
            except TimeoutError as error:
                raise ReplyTimeout(f"QEMU did not answer on {self.path} in time; is it overloaded?") from error
            except OSError as error:
                raise TargetLost(f"QEMU's control socket {self.path} broke; start the guest again") from error
            if not got:
                raise TargetLost(f"QEMU closed its control socket {self.path}; start the guest again")
            self._buffer += got
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message
