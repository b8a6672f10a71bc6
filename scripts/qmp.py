"""QMP for the harness, by the inspector's own wire: any command, for a harness does more than look."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from inspector.errors import ConnectError, ProtocolError, TargetLost
from inspector.qmp import Wire

MOST_EVENTS = 1000
PATIENCE = 120.0
"""Seconds for an answer, on a machine that may be slow and busy."""


class Qmp:
    """A client of the QMP socket at ``path``. Raises TargetLost, ReplyTimeout or ProtocolError."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        self.path = path
        self.events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        """Those that came before the answer to a command, the latest last."""
        try:
            self._wire = Wire(str(path), timeout, self.events.append)
        except ConnectError as error:
            raise TargetLost(f"nothing answers on QEMU's control socket {path}; start the guest") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket; QEMU stays."""
        self._wire.close()

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, timeout: float = PATIENCE) -> Any:
        """What QEMU returns for ``command``; ProtocolError with its words where it refuses."""
        message = self._wire.ask(command, arguments or {}, timeout)
        if "return" in message:
            return message["return"]
        raise ProtocolError(f"QEMU refused {command!r}: {message['error'].get('desc')}; check its arguments")

    def hmp(self, line: str, *, cpu: int | None = None, timeout: float = PATIENCE) -> str:
        """What the human monitor prints for ``line``, with plain newlines; ``cpu`` is the vCPU it is asked of."""
        arguments: dict[str, Any] = {"command-line": line} | ({} if cpu is None else {"cpu-index": cpu})
        text = self.execute("human-monitor-command", arguments, timeout=timeout)
        return str(text).replace("\r\n", "\n")
