"""QEMU's control socket, for what only looks: ``--qmp unix:PATH``.

One connection, one command at a time; the wire is JSON, one object a line (QEMU, docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self

from inspector.errors import ConnectError, NotSupported, ProtocolError, ReplyTimeout, TargetLost, UsageError

MOST_BYTES = 64 << 20
"""A message that is longer is no answer of QEMU's."""
LOOKING = ("info ", "qom-get ")
"""How monitor commands begin that only look."""


def _dropped(_event: dict[str, Any]) -> None:
    """What becomes of events that nobody asked for."""


class Wire:
    """The socket ``path``, greeted: messages out, messages in, each with a limit. ``event`` is handed every event that
    comes in between. Raises ConnectError, TargetLost, ReplyTimeout, ProtocolError."""

    def __init__(self, path: str, timeout: float, event: Callable[[dict[str, Any]], None] = _dropped) -> None:
        self.path = path
        self._event = event
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            self._message(monotonic() + timeout)  # the greeting
            self.ask("qmp_capabilities", {}, timeout)
        except OSError as error:
            self._socket.close()
            why = error.strerror or error
            raise ConnectError(f"nothing answers on the QMP socket {path} ({why}); is QEMU running?") from error
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Let go of the socket; QEMU stays."""
        self._socket.close()

    def ask(self, command: str, arguments: dict[str, Any], timeout: float) -> dict[str, Any]:
        """QEMU's answer, with "return" or "error" in it."""
        deadline = monotonic() + timeout
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        except OSError as error:
            raise TargetLost(f"QEMU closed its QMP socket {self.path}; is it still running?") from error
        while True:
            message = self._message(deadline)
            if "return" in message or isinstance(message.get("error"), dict):
                return message
            if "event" in message:
                self._event(message)

    def _message(self, deadline: float) -> dict[str, Any]:
        """The next object, before ``deadline``."""
        while b"\n" not in self._buffer:
            left = deadline - monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
                got = self._socket.recv(65536)
            except TimeoutError as error:
                raise ReplyTimeout(
                    f"QEMU did not answer on {self.path} in time; it takes one client at a time there, so close others"
                ) from error
            except OSError as error:
                raise TargetLost(f"the QMP socket {self.path} broke ({error}); is QEMU still running?") from error
            if not got:
                raise TargetLost(f"QEMU closed its QMP socket {self.path}; is it still running?")
            self._buffer += got
            if len(self._buffer) > MOST_BYTES:
                raise ProtocolError(f"what answers on {self.path} is not QMP; give QEMU's -qmp socket")
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ProtocolError(f"what answers on {self.path} is not QMP; give QEMU's -qmp socket")
        return found


class Qmp:
    """A client of the QMP socket ``unix:PATH``. Raises UsageError, and what :class:`Wire` raises."""

    def __init__(self, where: str, timeout: float = 10.0) -> None:
        if not where.startswith("unix:") or not where.removeprefix("unix:"):
            raise UsageError(f"{where!r} is no QMP socket; write unix:PATH, as QEMU's -qmp unix:PATH,server=on has it")
        self.timeout = timeout
        self._wire = Wire(where.removeprefix("unix:"), timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wire.close()

    def execute(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """What QEMU returns. Raises NotSupported with its words where it refuses."""
        message = self._wire.ask(command, arguments or {}, self.timeout)
        if "return" in message:
            return message["return"]
        raise NotSupported(f"QEMU refused {command} ({message['error'].get('desc')}); this needs QEMU 7.2 or later")

    def monitor(self, commands: Sequence[str]) -> list[str]:
        """What the human monitor prints for commands that only look."""
        for each in commands:
            if not each.startswith(LOOKING):
                raise UsageError(f"monitor command {each!r} may do more than look; give one that begins with info")
        return [str(self.execute("human-monitor-command", {"command-line": each})) for each in commands]
